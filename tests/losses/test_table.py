"""Losses by name: their formulas, their exact traces, and functions of the user's own."""

import problems
import pytest
import torch
from torch import nn
from torch.nn import functional

from landscape.errors import InputError, UsageError
from landscape.losses import LOSSES, build_loss, loss_name
from landscape.measures import hessian_trace
from landscape.objective import BatchLoss, Objective

X, Y = problems.classification(30, features=6, classes=3)


def net(outputs=3):
    return problems.network(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, outputs))


CASES = {
    "cross-entropy": (Y, functional.cross_entropy),
    "cross-entropy:label_smoothing=0.1": (
        Y,
        lambda f, y: functional.cross_entropy(f, y, label_smoothing=0.1),
    ),
    "mse": (Y, lambda f, y: (f - functional.one_hot(y, 3)).square().mean()),
    "bce-with-logits": (
        (X[:, :3] > 0).long(),
        lambda f, y: -(y * functional.logsigmoid(f) + (1 - y) * functional.logsigmoid(-f)).mean(),
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_loss_is_its_formula_and_its_trace_is_exact(name):
    targets, formula = CASES[name]
    batches = [(X[:17], targets[:17]), (X[17:], targets[17:])]
    objective = Objective(net(), build_loss(name), batches)
    assert objective.loss == pytest.approx(float(formula(net()(X), targets)), rel=1e-12)
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    found = hessian_trace(objective)
    assert found.standard_error is None
    assert found.value == pytest.approx(float(objective.hessian_product(identity).trace()), rel=1e-9)


@pytest.mark.parametrize("name", ["mse", "bce-with-logits"])
def test_one_output_and_a_number_an_example_are_not_broadcast(name):
    targets = (X[:, 0] > 0).double()
    model = net(1)
    plain = {"mse": functional.mse_loss, "bce-with-logits": functional.binary_cross_entropy_with_logits}[name]
    objective = Objective(model, build_loss(name), [(X, targets)])
    assert objective.loss == pytest.approx(float(plain(model(X)[:, 0], targets)), rel=1e-12)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)

    def forward(self, input_ids, attention_mask=None, labels=None):
        return {"logits": self.head(self.embedding(input_ids))}


def language():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tokens().double(), torch.randint(0, 7, (6, 5)), (torch.rand(6, 5) > 0.3).long()


@pytest.mark.parametrize("size", [1, 4, 6])
def test_every_predicted_token_counts_the_same_whatever_the_batches(size):
    model, ids, mask = language()
    batches = [
        {"input_ids": i, "attention_mask": m} for i, m in zip(ids.split(size), mask.split(size), strict=True)
    ]
    objective = Objective(model, build_loss("next-token"), batches)
    logits, wanted = model(ids)["logits"][:, :-1], ids[:, 1:]
    chosen = (mask[:, 1:] * mask[:, :-1]).bool()
    expected = functional.cross_entropy(logits[chosen], wanted[chosen])
    assert objective.loss == pytest.approx(float(expected), rel=1e-12)
    assert (objective.num_examples, objective.total_weight) == (6, int(chosen.sum()))


@pytest.mark.parametrize("size", [1, 4, 6])
def test_labels_of_each_token_are_weighted_alike_and_ignored_ones_left_out(size):
    model, ids, mask = language()
    labels = ids.masked_fill(mask == 0, -100)
    batches = [
        {"input_ids": i, "labels": t} for i, t in zip(ids.split(size), labels.split(size), strict=True)
    ]
    objective = Objective(model, build_loss("cross-entropy"), batches)
    expected = functional.cross_entropy(model(ids)["logits"].flatten(0, 1), labels.flatten())
    assert objective.loss == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "targets", "said"),
    [
        ("cross-entropy", X[:, 0], "cross-entropy is for class numbers.*--loss mse"),
        ("mse", X[:, :2], r"outputs \(30, 3\) and targets \(30, 2\) differ in shape"),
        ("mse", Y + 5, "class numbers from 5 to 7, but there are 3 scores"),
        ("bce-with-logits", Y, "class numbers take --loss cross-entropy"),
        ("next-token", Y, "a batch must be token numbers"),
        ("model", Y, "returns a|cannot be evaluated"),
    ],
)
def test_targets_that_do_not_fit_are_told_with_the_way_out(name, targets, said):
    with pytest.raises(InputError, match=said):
        _ = Objective(net(), build_loss(name), [(X, targets)]).loss


OWN = """
import torch
from landscape import BatchLoss

def cubic(outputs, targets, *, power=3):
    return (outputs[:, 0] - targets).abs().pow(power).mean()

def energy(model, batch):
    return model(batch[0]).square().mean()

def made(scale: float = 1.0):
    return lambda outputs, targets: scale * outputs.mean()

def wrapped():
    return BatchLoss(energy)

class Weighted(torch.nn.Module):
    def forward(self, outputs, targets):
        return outputs.sum(1).mean()

def nothing():
    return 3
"""


def test_a_loss_of_the_users_own_is_the_function_or_what_it_returns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    f, y = net()(X), Y.double()
    expected = {
        "cubic": (f[:, 0] - y).abs().pow(3).mean(),
        "cubic:power=2": (f[:, 0] - y).square().mean(),
        "energy": f.square().mean(),
        "made:scale=2": 2 * f.mean(),
        "wrapped": f.square().mean(),
        "Weighted": f.sum(1).mean(),
    }
    for name, value in expected.items():
        objective = Objective(net(), build_loss(f"./own.py:{name}"), [(X, y)])
        assert objective.loss == pytest.approx(float(value), rel=1e-12), name
    assert isinstance(build_loss("own:energy"), BatchLoss)
    with pytest.raises(InputError, match=r"own\.py:nothing gives a int, not a loss"):
        build_loss("./own.py:nothing")
    with pytest.raises(UsageError, match="did you mean 'power'"):
        build_loss("./own.py:cubic:pwer=2")


def test_names_leave_out_defaults_and_every_row_is_built():
    assert loss_name("cross-entropy:label_smoothing=0.0") == "cross-entropy"
    assert loss_name("cross_entropy:label_smoothing=0.1") == "cross-entropy:label_smoothing=0.1"
    for name in LOSSES:
        build_loss(name)
    with pytest.raises(UsageError, match="did you mean 'cross-entropy'"):
        build_loss("crossentropy")
    with pytest.raises(UsageError, match="label_smoothing=2"):
        build_loss("cross-entropy:label_smoothing=2")


@pytest.mark.parametrize("mean", ["token", "sequence"])
def test_a_batch_without_a_predicted_token_has_no_loss(mean):
    logits = torch.zeros(2, 3, 5, requires_grad=True)
    batch = {"input_ids": torch.ones(2, 3, dtype=torch.int64), "labels": torch.full((2, 3), -100)}
    criterion = LOSSES.build(f"next-token:mean={mean}")
    loss = criterion(logits, criterion.inputs_and_targets(batch)[1])
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()


ALONE = {
    "a function of two": (
        "def helper(): pass\ndef own(outputs, targets, eps=1): return (outputs * eps).mean()\n",
        "own",
    ),
    "its own name first": (
        "def other(a, b): pass\ndef loss(model, batch): return model(batch[0]).mean()\n",
        "loss",
    ),
    "a class": (
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x): return x\n"
        "class Own(nn.Module):\n    def forward(self, outputs, targets): return outputs.mean()\n",
        "Own",
    ),
}


def test_a_loss_that_a_file_has_made_is_that_loss(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.py").write_text(
        "from torch import nn\ncriterion = nn.CrossEntropyLoss(label_smoothing=0.1)\n"
    )
    objective = Objective(net(), build_loss("./made.py:criterion"), [(X, Y)])
    expected = functional.cross_entropy(net()(X), Y, label_smoothing=0.1)
    assert objective.loss == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("case", ALONE)
def test_a_file_alone_names_its_loss(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    text, expected = ALONE[case]
    (tmp_path / "mine.py").write_text(text)
    assert loss_name("./mine.py") == f"./mine.py:{expected}"
    objective = Objective(net(), build_loss("./mine.py"), [(X, Y)])
    assert objective.loss == pytest.approx(net()(X).mean().item())
