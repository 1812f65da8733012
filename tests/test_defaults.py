"""Every number is the same under any default device and dtype of torch, and in any mode of autograd or autocast."""

import ast
import contextlib
import copy
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pretend_device
import problems
import pytest
import torch
from optim import battery
from short_measures import SMALL, short
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from landscape import linalg
from landscape.checkpoints import load_checkpoint
from landscape.data import load_data
from landscape.errors import InputError, Remark
from landscape.losses import LOSSES
from landscape.measures import MEASURES, measure
from landscape.models import MODELS, build_model
from landscape.objective import BatchLoss, Objective
from landscape.optim import OPTIMIZERS, BatchClosure
from landscape.registry import NameTable
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.plane import PLANES, build_plane, plane_row
from landscape.surfaces.sampling import sample_surface
from landscape.training import Recipe, train
from landscape.training.measured import Measuring
from landscape.verification.other_tools import verify


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() is dtype
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
        assert torch.get_default_device() == torch.device(device)
    finally:
        torch.set_default_device(None)


# Tensors on the meta device have no values, so that one that is made without a device fails, as it would on a GPU.
SURROUNDINGS: dict[str, Sequence[Callable[[], contextlib.AbstractContextManager[object]]]] = {
    "device, float64, inference mode, autocast": [
        lambda: default_device("meta"),
        lambda: default_dtype(torch.float64),
        torch.inference_mode,
        lambda: torch.autocast("cpu"),
    ],
    "within device, bfloat16, no grad": [
        lambda: torch.device("meta"),
        lambda: default_dtype(torch.bfloat16),
        torch.no_grad,
    ],
}
# What computes most, and leaves the modes of the caller, is tried in the first only: outside of inference mode remains
# what is inside of no_grad.
ONCE = ("measure", "plane", "a run", "surface")

Row = Callable[[], object]
ROWS: dict[str, Row] = {}


def row(name: str, *arguments: object) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Adds a row that calls the function with these arguments."""

    def add(function: Callable[..., object]) -> Callable[..., object]:
        ROWS[name] = functools.partial(function, *arguments)
        return function

    return add


X, Y = problems.classification(16, features=4, classes=3, dtype=torch.float32)
LOSS = nn.CrossEntropyLoss()


def network(*layers: nn.Module, seed: int = 0) -> nn.Module:
    layers = layers or (nn.BatchNorm1d(5), nn.Tanh())
    return problems.network(nn.Linear(4, 5), *layers, nn.Linear(5, 3), seed=seed, dtype=torch.float32)


class InFull(nn.Module):
    """A network that computes without the autocast that surrounds a step, which is the user's to choose."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.inner(x)


def backward(loss: Tensor) -> None:
    with torch.autocast("cpu", enabled=False):
        loss.backward()


class OwnLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": LOSS(self.inner(x), labels)}


NETWORKS = {"norm": network(), "Tanh": network(nn.Tanh()), "ReLU": network(nn.ReLU())}
OTHER, THIRD = network(seed=1), network(seed=2)
IMAGES = problems.network(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3), dtype=torch.float32)
PICTURES = X.view(16, 1, 2, 2).repeat(1, 1, 2, 2), Y
TOKENS = problems.network(nn.Embedding(3, 4), nn.Linear(4, 3), dtype=torch.float32)
WEIGHTS = torch.tensor([0.5, 1.0, 2.0])
HOT = torch.eye(3)[Y]
BUNDLE = OwnLoss()
MATRIX = (
    problems.orthogonal(12).float()
    @ torch.diag(torch.linspace(-1, 5, 12))
    @ problems.orthogonal(12).float().T
)
PAIRS = TensorDataset(X, Y)


def objective(kind: str = "norm") -> Objective:
    return Objective(NETWORKS[kind], LOSS, problems.batches(X, Y, 10))


def specifications(table: NameTable) -> Iterator[str]:
    """Every row, plain and with each choice of each option."""
    for name, entry in table.items():
        yield short(name, table=table)
        for option in entry.options.values():
            for choice in option.choices:
                if choice not in (str(option.default), "None"):
                    yield short(name, {**SMALL, option.name: choice}, table)


for specification in specifications(MEASURES):
    if "by=head" in specification:  # these networks have none
        continue
    for kind in ["Tanh", "ReLU"] if specification.startswith("hessian-trace") else ["Tanh"]:

        @row(f"measure {specification} {kind}", specification, kind)
        def measured(specification: str, kind: str) -> object:
            return measure(objective(kind), [specification])


def waypoints() -> list[Waypoint]:
    here = objective()
    return [
        Waypoint.of(name, here.of(model))
        for name, model in (("b", OTHER), ("c", THIRD), ("a", NETWORKS["norm"]))
    ]


for specification in specifications(PLANES):

    @row(f"plane {specification}", specification)
    def plane(specification: str) -> object:
        entry = plane_row(specification)
        through = waypoints() if entry.origin else []
        if entry.origin == "first":
            through = through[:0:-1]
        built = build_plane(specification, objective(), through=through)
        return built, objective().hessian_product(built.x)


for forward in ("plain", "channels-last", None):

    @row(f"surface {forward}", forward)
    def surface(forward: str | None) -> object:
        here = Objective(IMAGES, LOSS, [PICTURES])
        return sample_surface(here, "random", points=3, forward=forward, gradient_norm=forward is None)


@row("surface through checkpoints")
def path() -> object:
    return sample_surface(
        objective(), "interpolation", points=3, through=waypoints()[:0:-1], test=objective()
    )


for name in OPTIMIZERS:

    @row(f"optimizer {name}", name)
    def optimizer(name: str) -> object:
        """Three steps of an optimizer that is made under the defaults, around a network that is not."""
        if torch.is_inference_mode_enabled():  # in which torch's own cannot step either
            with torch.inference_mode(False):
                return optimizer(name)
        model = InFull(copy.deepcopy(OTHER)).train()
        if OPTIMIZERS[name].is_base:
            built = OPTIMIZERS.build(name, model.parameters(), lr=0.1)
        else:
            built = battery.build(name, model)

        def closure() -> Tensor:
            built.zero_grad()
            loss = LOSS(model(X), Y)
            backward(loss)
            return loss

        if getattr(built, "needs_batch", False):
            each = nn.CrossEntropyLoss(reduction="none")
            indices = torch.arange(16, device="cpu")
            closure = BatchClosure(  # type: ignore[assignment]
                model, each, inputs=X, targets=Y, indices=indices, backward=backward
            )
        losses = [float(built.step(closure)) for _ in range(3)]
        return losses, list(model.parameters()), getattr(built, "memory", {})


SOLVERS: dict[str, dict[str, object]] = {
    "hutchinson": {"max_probes": 20},
    "hutchpp": {"sketch": 3, "max_products": 20},
    "lanczos": {"count": 2, "max_basis": 8},
    "power_iteration": {},
    "stochastic_lanczos_quadrature": {"probes": 2, "steps": 5},
}
FORMS: dict[str, Callable[[Tensor], linalg.Operator]] = {
    "tensor": lambda matrix: matrix,
    "dense": linalg.dense,
    "numpy": lambda matrix: matrix.numpy(),
    "scipy": linalg.to_scipy,
}
for name, options in SOLVERS.items():
    for form, convert in FORMS.items():

        @row(f"solver {name} {form}", name, convert, options)
        def solved(name: str, convert: Callable[[Tensor], object], options: dict[str, object]) -> object:
            return getattr(linalg, name)(
                convert(MATRIX), generator=torch.Generator("cpu").manual_seed(3), **options
            )


def products(model: nn.Module, loss: object, data: object, **options: object) -> object:
    here = Objective(model, loss, data, **options)  # type: ignore[arg-type]
    there = here.at(here.point + 0.1 * here.gradient)
    return (
        here.loss,
        here.gradient,
        here.hessian_product(here.gradient),
        here.provenance,
        there.loss,
        there.point,
    )


def own(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return LOSS(model(batch["x"]), batch["y"])


SOURCES: dict[str, Callable[[], tuple[object, dict[str, object]]]] = {
    "pair": lambda: ((X, Y), {}),
    "pairs": lambda: ([(X[:9], Y[:9]), (X[9:], Y[9:])], {}),
    "data set": lambda: (PAIRS, {"batch_size": 5}),
    "numbers": lambda: ([(x, int(y)) for x, y in zip(X, Y, strict=True)], {}),
    "loader": lambda: (DataLoader(PAIRS, batch_size=5), {}),
    "shuffled": lambda: (
        DataLoader(PAIRS, batch_size=5, shuffle=True, generator=torch.Generator("cpu").manual_seed(1)),
        {},
    ),
    "numpy": lambda: ((X.numpy(), Y.numpy()), {}),
    "dictionaries": lambda: ([{"x": X[:9], "y": Y[:9]}, {"x": X[9:], "y": Y[9:]}], {}),
    "recalibrated": lambda: ((X, Y), {"batch_norm": "recalibrate", "batch_size": 8}),
    "batch statistics": lambda: ((X, Y), {"batch_norm": "batch", "batch_size": 8}),
    "double": lambda: ((X, Y), {"dtype": torch.float64, "micro_batch": 5}),
    "forward": lambda: ((X, Y), {"products": "forward-over-reverse"}),
}
for name in SOURCES:

    @row(f"data {name}", name)
    def read(name: str) -> object:
        data, options = SOURCES[name]()
        return products(NETWORKS["norm"], BatchLoss(own) if name == "dictionaries" else LOSS, data, **options)


EXAMPLES = {
    "bce-with-logits": (NETWORKS["norm"], (X, HOT)),
    "next-token": (TOKENS, Y.view(4, 4)),
    "model": (BUNDLE, {"x": X, "labels": Y}),
}
for name in LOSSES:

    @row(f"loss {name}", name)
    def differentiated(name: str) -> object:
        model, batch = EXAMPLES.get(name, (NETWORKS["norm"], (X, Y)))
        return products(model, name, [batch])


@row("loss weighted")
def weighted() -> object:
    return products(NETWORKS["norm"], nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), [(X, Y)])


for name in MODELS:

    @row(f"model {name}", name)
    def built(name: str) -> object:
        shape = (8,) if name == "decoder" else (3, 8, 8)
        return list(build_model(name, classes=3, input_shape=shape, seed=0).parameters())[:3]


for name in ("digits", "moons:samples=40"):

    @row(f"data {name}", name)
    def loaded(name: str) -> object:
        return [part.tolist() for part in load_data(name).split("train")[0]]


@row("a run, its measures and its checkpoint")
def run() -> object:
    recipe = Recipe(
        model="mlp:width=4,norm=batch",
        data="moons:samples=40",
        optimizer="sam",
        epochs=1,
        batch_size=16,
        lr=0.1,
        device="cpu",
        label_noise=0.1,
    )
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            recipe, output=Path(folder) / "run", measuring=Measuring(every=1, names=("hessian-trace",))
        )
        checkpoint = load_checkpoint(result.checkpoint)
        return result.history, checkpoint.contents.state, list(verify(checkpoint, limit=20))


def numbers(value: object) -> object:
    """Everything in a result that must not depend on the surroundings."""
    if isinstance(value, Tensor):
        assert not value.is_inference()
        return (str(value.dtype), str(value.device), value.detach().tolist())
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        fields = (field.name for field in dataclasses.fields(value) if field.name != "seconds")
        return {name: numbers(getattr(value, name)) for name in fields}
    if isinstance(value, dict):
        return {key: numbers(part) for key, part in value.items() if key != "seconds"}
    if isinstance(value, (list, tuple)):
        return [numbers(part) for part in value]
    return value


@functools.cache
def reference(name: str) -> object:
    return numbers(ROWS[name]())


def switches() -> object:
    """The state of the caller's modes, which a call leaves as it was."""
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
    )


@pytest.mark.parametrize(
    ("name", "surroundings"),
    [(n, s) for n in ROWS for s in list(SURROUNDINGS)[: 1 if n.startswith(ONCE) else 2]],
)
def test_numbers_do_not_depend_on_defaults_and_modes(name: str, surroundings: str) -> None:
    expected = reference(name)
    with contextlib.ExitStack() as contexts:
        for context in SURROUNDINGS[surroundings]:
            contexts.enter_context(context())
        before = switches()
        value = ROWS[name]()
        assert switches() == before
    assert repr(numbers(value)) == repr(expected)


def test_what_is_made_in_inference_mode_can_be_measured() -> None:
    """Its network and its data are inference tensors, which autograd cannot save."""
    with torch.inference_mode():
        x, y = X.clone(), Y.clone()
        model = copy.deepcopy(NETWORKS["norm"])
        inside = [objective_of(model, x, y) for _ in range(2)]
        values = [numbers(measure(inside[0], list(CHEAP)))]
    values += [numbers(measure(here, list(CHEAP))) for here in (inside[1], objective_of(model, x, y))]
    assert [repr(value) for value in values] == [
        repr(numbers(measure(objective_of(NETWORKS["norm"], X, Y), CHEAP)))
    ] * 3


CHEAP = ["gradient-norm", "dominant-eigenvalue", "hessian-trace:method=hutchinson,max_probes=8"]


def objective_of(model: nn.Module, x: Tensor, y: Tensor) -> Objective:
    return Objective(model, LOSS, [(x, y)])


def test_every_public_solver_is_among_the_rows() -> None:
    functions = {name for name, value in vars(linalg).items() if hasattr(value, "__code__")}
    assert functions == set(SOLVERS) | {"as_operator", "dense", "from_scipy", "to_scipy"}


FILE = """
import torch
torch.set_default_device("meta")

def model():
    return torch.nn.Linear(2, 2)

def data():
    x = torch.ones(20, 2)
    return torch.utils.data.TensorDataset(x, torch.arange(20) % 2)
"""


def test_the_cpu_takes_the_place_of_a_default_device_that_a_file_chooses_in_vain(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FILE)
    try:
        with pytest.warns(
            Remark, match=r"net\.py chooses a default device of torch, whose tensors have no values"
        ):
            model = build_model(f"{tmp_path}/net.py:model")
        assert torch.get_default_device() == torch.device("cpu")
        assert Objective(model, LOSS, load_data(f"{tmp_path}/net.py:data").split("train")).loss > 0
    finally:
        torch.set_default_device(None)


@pytest.mark.skipif(bool(pretend_device.reason_without()), reason=pretend_device.reason_without())
def test_a_network_on_two_devices_that_moves_nothing_is_refused_unless_one_is_named() -> None:
    model = copy.deepcopy(NETWORKS["norm"])
    model[3].to(pretend_device.pretend_device())  # type: ignore[index]
    several = Objective(model, LOSS, [(X, Y)])
    with pytest.raises(InputError, match=r"has to move its activations .* device="):
        _ = several.loss
    assert Objective(model, LOSS, problems.batches(X, Y, 10), device="cpu").loss == objective().loss
    with pytest.raises(InputError, match="all parameters on one device, got cpu, pretend:0"):
        OPTIMIZERS.build("sam", torch.optim.SGD(model.parameters(), lr=0.1), model=model)


FLOATS = frozenset("empty eye linspace ones rand randn zeros".split())
FACTORIES = FLOATS | frozenset("arange as_tensor full randint randperm tensor".split())


def test_every_new_tensor_names_its_device_and_its_type() -> None:
    root, missing = Path(__file__).parent.parent, []
    paths = [*(root / "landscape").rglob("*.py"), *(root / "cli").rglob("*.py")]
    # The registry creates a tensor to learn where it is.
    for path in [path for path in paths if path.name != "user_code.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(ast.Attribute(ast.Name("torch"), name), keywords=keywords) if name in FACTORIES:
                    named = {keyword.arg for keyword in keywords}
                    if not {"device", *(["dtype"] if name in FLOATS else [])} <= named:
                        missing.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert not missing
