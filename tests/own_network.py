"""A network in a plain Python file of somebody else's project, who knows nothing of ours: ResNet-20 for CIFAR."""

from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, before, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.planes = planes

    def forward(self, x):
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if x.shape != out.shape:
            pad = (self.planes - x.shape[1]) // 2
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad))
        out += x
        return functional.relu(out, inplace=True)


class ResNet(nn.Module):
    def __init__(self, blocks, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        layers, before = [], 16
        for planes in (16, 32, 64):
            for index in range(blocks):
                layers.append(Block(before, planes, 2 if planes > before and index == 0 else 1))
                before = planes
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layers(out)
        return self.linear(functional.adaptive_avg_pool2d(out, 1).flatten(1))


def resnet20(num_classes=10):
    return ResNet(3, num_classes)


class LSTMClassifier(nn.Module):
    def __init__(self, vocabulary=20, hidden=8, num_classes=3):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 6)
        self.lstm = nn.LSTM(6, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, num_classes)

    def forward(self, tokens):
        states, _ = self.lstm(self.embedding(tokens))
        return self.head(states.mean(1))
