"""The mistakes that everybody makes: each is answered by one sentence that says what to do instead."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import landscape as landscape
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import landscape as library
from landscape.errors import InputError, UsageError
from landscape.optim import SAM

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))

def data():
    return 3

def loss(outputs):
    return outputs.sum()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files of somebody who has trained a network in a script of their own."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORK)
    for name in ("empty", "pictures"):
        Path(name).mkdir()
    for name in ("cat", "dog"):
        Path(f"photos/train/{name}").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(f"photos/train/{name}/1.png")
    torch.manual_seed(0)
    model = nn.ModuleDict({"fc": nn.Linear(64, 10)})
    optimizer = torch.optim.Adam(model.parameters())
    torch.save(model.state_dict(), "net.pt")
    torch.save(optimizer.state_dict(), "optimizer.pth")
    torch.save({"epoch": 3, "loss": 0.1}, "log.pt")
    torch.save(nn.Linear(32, 10).state_dict(), "other.pt")
    torch.save(nn.Linear(64, 10), "whole.pt")
    Path("measures.jsonl").write_text('{"schema": "landscape.measure/1"}\n')
    x = np.random.default_rng(0).standard_normal((22, 64)).astype("f4")
    np.savez("data.npz", train_inputs=x, train_targets=np.arange(22) % 10)
    np.savez("eleven.npz", train_inputs=x, train_targets=np.arange(22) % 11)
    np.savez("keys.npz", images=x, classes=np.arange(22) % 10)
    return tmp_path


MODEL = ("-m", "./net.py:Net")
DATA = ("-d", "npz:data.npz")
USUAL = (*MODEL, *DATA)
MEASURE = ("measure", "net.pt", "-M", "loss")

COMMANDS = {
    "neither model nor data": (3, ["measure", "net.pt"], ["add -m MODEL", "-d DATA"]),
    "no model": (3, ["measure", "net.pt", *DATA], ["add -m MODEL"]),
    "no data": (3, ["measure", "net.pt", *MODEL], ["add -d DATA"]),
    "a file that is not there": (
        3,
        ["measure", "nett.pt", *USUAL],
        ["does not exist", "holds log.pt, net.pt"],
    ),
    "a glob that the shell left": (
        3,
        ["measure", "runs/*.pt", *USUAL],
        ["matches no file", "check the folder"],
    ),
    "an address as a checkpoint": (3, ["measure", "https://a.org/net.pt", *USUAL], ["download it"]),
    "a folder without a checkpoint": (3, ["measure", "empty", *USUAL], ["it holds nothing", "name the file"]),
    "the state of an optimizer": (
        3,
        ["measure", "optimizer.pth", *USUAL],
        ["the state of an optimizer", "name the file of model.state_dict()"],
    ),
    "a file without weights": (
        3,
        ["measure", "log.pt", *USUAL],
        ["found: epoch, loss", "model.state_dict()"],
    ),
    "a network that was saved whole": (3, ["measure", "whole.pt", *DATA], ["add -m MODEL"]),
    "no checkpoint": (2, ["measure", *USUAL], ["Missing argument 'CHECKPOINT…'", "landscape measure --help"]),
    "no examples": (2, [*MEASURE, *USUAL, "--limit", "0"], ["not in the range x>=1"]),
    "a conversion to the same kind": (2, ["convert", "net.pt", "new.pt"], ["end it in .safetensors"]),
    "records as a checkpoint": (3, ["measure", "measures.jsonl", *USUAL], ["`landscape compare`"]),
    "code as a checkpoint": (3, ["measure", "net.py", *USUAL], ["-m ./file.py:NAME names a network"]),
    "data as a checkpoint": (3, ["measure", "data.npz", *USUAL], ["-d npz:FILE names data"]),
    "weights of another network": (3, ["measure", "other.pt", *USUAL], ["does not fit", "-m"]),
    "a class that is not in the file": (2, [*MEASURE, "-m", "./net.py:Nte", *DATA], ["did you mean 'Net'?"]),
    "a file of code that is not there": (3, [*MEASURE, "-m", "./nt.py:Net", *DATA], ["no file ./nt.py"]),
    "a model in upper case": (2, [*MEASURE, "-m", "ResNet18", *DATA], ["resnet18'?"]),
    "pictures for vectors": (3, [*MEASURE, "-m", "resnet18", *DATA], ["takes pictures", "use mlp"]),
    "a missing data folder": (3, [*MEASURE, *MODEL, "-d", "cifar10"], ["download=true", "root=DIR"]),
    "an empty data folder": (3, [*MEASURE, *MODEL, "-d", "imagefolder:pictures"], ["pictures/train/CLASS/*"]),
    "a missing array file": (3, [*MEASURE, *MODEL, "-d", "npz:d.npz"], ["there is no file d.npz"]),
    "arrays of other names": (3, [*MEASURE, *MODEL, "-d", "npz:keys.npz"], ["inputs", "targets"]),
    "an address as data": (
        2,
        [*MEASURE, *MODEL, "-d", "https://a.org/d.zip"],
        ["download it, and name the file"],
    ),
    "an unknown normalisation": (
        2,
        [*MEASURE, *MODEL, "-d", "imagefolder:photos:normalize=imagenett"],
        ["one of imagenet, half"],
    ),
    "more classes than outputs": (3, [*MEASURE, *MODEL, "-d", "npz:eleven.npz"], ["labels are 0 to 9"]),
    "a data function that returns none": (
        3,
        [*MEASURE, *MODEL, "-d", "./net.py:data"],
        ["returns a Dataset"],
    ),
    "a loss of one argument": (3, [*MEASURE, *USUAL, "--loss", "./net.py:loss"], ["(outputs, targets)"]),
    "a loss misspelt": (2, [*MEASURE, *USUAL, "--loss", "crossentropy"], ["did you mean 'cross-entropy'?"]),
    "a measure misspelt": (
        2,
        [*MEASURE[:2], *USUAL, "-M", "hessian-trase"],
        ["did you mean 'hessian-trace'?"],
    ),
    "an option misspelt": (2, [*MEASURE, *USUAL, "--batchsize", "32"], ["'--batch-size'"]),
    "a measure's option": (2, [*MEASURE, "-M", "hessian-trace:probes=9"], ["did you mean 'max_probes'?"]),
    "options behind a comma": (
        2,
        [*MEASURE, "-M", "surrogate-gap,rho=0.1"],
        ["follow a colon: 'surrogate-gap:rho=0.1'"],
    ),
    "a negative radius": (
        2,
        [*MEASURE, *USUAL, "-M", "surrogate-gap:rho=-0.1"],
        ["must be a finite number above 0"],
    ),
    "the validation split": (2, [*MEASURE, *USUAL, "--split", "val"], ["'train', 'test', 'both'"]),
    "a split that is not there": (3, [*MEASURE, *USUAL, "--split", "test"], ["measure on --split train"]),
    "half precision": (2, [*MEASURE, *USUAL, "--dtype", "float16"], ["'float32', 'float64'"]),
    "no such device": (2, [*MEASURE, *USUAL, "--device", "gpu"], ["not one of cpu, cuda, cuda:1, mps"]),
    "a parameter misspelt": (2, [*MEASURE, *USUAL, "--parameters", "f.*"], ["did you mean 'fc.*'?"]),
    "an accuracy as a fraction": (
        3,
        [*MEASURE, *USUAL, "--expect-accuracy", "0.95"],
        ["is in percent: 95.1"],
    ),
    "averaged weights that are not there": (
        3,
        [*MEASURE, *USUAL, "--weights", "ema"],
        ["leave out --weights ema"],
    ),
    "a command misspelt": (2, ["mesure", "net.pt"], ["did you mean 'measure'?"]),
    "a picture format": (2, ["surface", "net.pt", *USUAL, "-o", "s.jpg"], ["end it in .pdf, .svg, .png"]),
    "a grid with a comma": (2, ["surface", "net.pt", *USUAL, "--points", "51,51"], ["such as 51 or 51x31"]),
    "a line through one network": (
        2,
        ["surface", "net.pt", *USUAL, "-q", "--plane", "interpolation"],
        ["goes through 2 checkpoints, not 1; name them all"],
    ),
    "a checkpoint to plot": (3, ["plot", "net.pt"], ["written by `landscape surface"]),
    "a folder without runs": (3, ["compare", "empty"], ["landscape train -o empty"]),
    "an optimizer in upper case": (2, ["train", "--optimizer", "SAM", "-o", "new"], ["did you mean 'sam'?"]),
    "an optimizer's options": (2, ["train", "--optimizer", "sam,rho=0.1", "-o", "new"], ["'sam:rho=0.1'"]),
}


@pytest.mark.parametrize("mistake", COMMANDS)
def test_a_command_with_a_mistake_says_the_fix(landscape, folder, mistake):
    code, arguments, fixes = COMMANDS[mistake]
    before = sorted(folder.iterdir())
    result = landscape(*arguments)
    assert "Traceback" not in result.err
    assert (result.code, result.out) == (code, ""), result.err
    error = result.err.splitlines()[-1]
    assert error.startswith("Error: ")
    for words in fixes:
        assert words in error
    assert sorted(folder.iterdir()) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there(landscape, folder):
    result = landscape(*MEASURE, *USUAL, "--device", "cuda")
    assert (result.code, "leave it out for the best device, or use cpu" in result.error) == (2, True)
    with pytest.raises(UsageError, match=r"device='cuda' cannot be used: .*device='cpu'"):
        library.Objective(NET, CE, (X, Y), device="cuda")


CE = nn.CrossEntropyLoss()
NET = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
CONVOLUTION = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 3))
X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
LOADER = DataLoader(TensorDataset(X, Y), batch_size=4)
READ = iter(LOADER)
list(READ)


def loaded():
    return LOADER


def objective(model=NET, loss=CE, data=(X, Y), **options):
    return library.Objective(model, loss, data, **options).loss


def sgd():
    return torch.optim.SGD(NET.parameters(), lr=0.1)


CALLS = {
    "a state dict as the model": (lambda: objective(NET.state_dict()), "model.load_state_dict(state)"),
    "a class as the model": (lambda: objective(nn.Linear), "is a class: pass a network made of it"),
    "a file as the model": (lambda: objective("net.pt"), "landscape.load_checkpoint(path"),
    "a function as the model": (lambda: objective(lambda: NET), "pass the network that it returns"),
    "model and loss swapped": (lambda: objective(CE, NET), "the order is Objective(model, loss, batches)"),
    "loss and data swapped": (
        lambda: objective(NET, LOADER, CE),
        "the order is Objective(model, loss, batches)",
    ),
    "data and model swapped": (
        lambda: objective(LOADER, CE, NET),
        "the order is Objective(model, loss, batches)",
    ),
    "a class as the loss": (
        lambda: objective(loss=nn.CrossEntropyLoss),
        "pass an instance, CrossEntropyLoss()",
    ),
    "a value as the loss": (lambda: objective(loss=CE(NET(X), Y)), "pass the function"),
    "no loss": (lambda: objective(loss=None), "a name such as 'cross-entropy'"),
    "a loss misspelt": (lambda: objective(loss="cross-entrpy"), "did you mean 'cross-entropy'?"),
    "a sum": (lambda: objective(loss=nn.CrossEntropyLoss(reduction="sum")), "pass reduction='mean'"),
    "(model, batch) in other words": (
        lambda: objective(loss=lambda net, b: CE(net(b[0]), b[1]), data=[(X, Y)]),
        "BatchLoss(loss)",
    ),
    "inputs without targets": (lambda: objective(data=X), "pass inputs and targets, (x, y)"),
    "a name as data": (lambda: objective(data="cifar10"), "landscape.data.load_data(name).split('train')"),
    "a function as data": (lambda: objective(data=loaded), "call it, and pass what it returns"),
    "a class as data": (lambda: objective(data=TensorDataset), "pass an instance"),
    "both splits": (lambda: objective(data={"train": LOADER, "test": LOADER}), "data['train']"),
    "an empty list": (lambda: objective(data=[]), "the data are empty"),
    "a generator that is used up": (lambda: objective(data=READ), "pass list(…) of it"),
    "one example": (lambda: objective(data=(X[0], 1)), "pass a list of them"),
    "one example of tensors": (lambda: objective(data=(X[0], Y[0])), "pass x[None] and y[None]"),
    "fewer targets than inputs": (lambda: objective(data=(X, Y[:5])), "12 inputs and 5 targets"),
    "a dictionary of other keys": (lambda: objective(data=[{"x": X, "y": Y}]), "without labels or label"),
    "labels as floats": (lambda: objective(data=(X, Y.float())), "y.long()"),
    "labels as int32": (lambda: objective(data=(X, Y.int())), "y.long()"),
    "labels as a column": (lambda: objective(data=(X, Y[:, None])), "y.squeeze(1)"),
    "labels one-hot": (lambda: objective(data=(X, functional.one_hot(Y))), "y.argmax(1)"),
    "labels from 1": (lambda: objective(data=(X, Y + 1)), "do labels start at 1?"),
    "labels from 1 in a later batch": (
        lambda: objective(data=[(X, Y), (X, Y + 1)]),
        "batch 1 of the data has labels 1 to 3",
    ),
    "a later batch of another shape": (
        lambda: objective(data=[(X, Y), (X[:, :3], Y)]),
        "cannot be evaluated on this data (inputs (12, 3)",
    ),
    "targets that broadcast": (
        lambda: objective(nn.Linear(4, 1), nn.MSELoss(), (X, Y.float())),
        "y.view(-1, 1)",
    ),
    "binary labels": (
        lambda: objective(nn.Linear(4, 1), nn.BCEWithLogitsLoss(), (X, Y % 2)),
        "y.float().view(-1, 1)",
    ),
    "channels last": (
        lambda: objective(CONVOLUTION, data=(torch.ones(12, 8, 8, 3), Y)),
        "x.permute(0, 3, 1, 2)",
    ),
    "no channel": (lambda: objective(CONVOLUTION, data=(torch.ones(12, 8, 8), Y)), "x[:, None]"),
    "bytes": (lambda: objective(data=(torch.ones(12, 4, dtype=torch.uint8), Y)), "x.float() / 255"),
    "not flattened": (lambda: objective(data=(X.view(12, 2, 2), Y)), "x.flatten(1)"),
    "dropout": (lambda: objective(nn.Sequential(nn.Linear(4, 3), nn.Dropout())), "call model.eval() first"),
    "a device in other words": (lambda: objective(device="gpu"), "pass 'cpu', 'cuda', 'cuda:1' or 'mps'"),
    "a type as text": (lambda: objective(dtype="float64"), "torch.float64"),
    "tensors as a selection": (lambda: objective(parameters=NET[0].parameters()), "pass names or a function"),
    "a batch size twice": (lambda: objective(data=LOADER, batch_size=32), "leave it out"),
    "a measure as a function": (
        lambda: library.measure(library.Objective(NET, CE, (X, Y)), [library.measures.hessian_trace]),
        "call it, hessian_trace(objective)",
    ),
    "a measure of a network": (
        lambda: library.measure(NET, "loss"),
        "landscape.Objective(model, loss, batches)",
    ),
    "a measure of a network, called": (lambda: library.measures.loss(NET), "landscape.Objective("),
    "SAM of davda54": (
        lambda: SAM(NET.parameters(), torch.optim.SGD, rho=0.05, lr=0.1),
        "SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.05)",
    ),
    "SAM with lr": (lambda: SAM(sgd(), lr=0.1), "an option of its base optimizer"),
    "SAM of a negative radius": (lambda: SAM(sgd(), rho=-0.05), "rho must be a finite number ≥ 0"),
    "a step without a closure": (lambda: SAM(sgd()).step(), "optimizer.step(closure)"),
    "the first of two steps": (lambda: SAM(sgd()).first_step(zero_grad=True), "optimizer.step(closure)"),
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("mistake", CALLS)
def test_a_call_with_a_mistake_says_the_fix(mistake):
    call, fix = CALLS[mistake]
    with pytest.raises((UsageError, InputError, AttributeError)) as failure:
        call()
    assert fix in str(failure.value)


def test_there_are_at_least_forty_mistakes_and_none_of_them_in_vain():
    assert len(COMMANDS) + len(CALLS) >= 40
    assert objective() > 0  # what all of CALLS differ from in one point
