"""Every operation whose use of parameters is recorded: norms, blocks and random moves against autograd."""

import math
from collections.abc import Callable
from functools import partial

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.curvature.example_gradients import squared_norms_by_use, squared_norms_by_vmap
from landscape.curvature.example_probes import OutputCurvature
from landscape.curvature.gauss_newton_trace import plan
from landscape.curvature.recording import NotRecordedError, recorded
from landscape.draws import Draws
from landscape.measures import hessian_trace
from landscape.objective import Objective

CE = nn.CrossEntropyLoss()


class Function(nn.Module):
    """A function of its input and one parameter."""

    def __init__(self, shape: tuple[int, ...], function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.randn(shape)), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


class Attention(nn.Module):
    def __init__(self, **how: object) -> None:
        super().__init__()
        self.inner, self.how = nn.MultiheadAttention(4, 2, batch_first=True), how

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, **{"need_weights": False, **self.how})[0]


class Positions(nn.Module):
    """Adds rows of an embedding that are read once for all examples."""

    def __init__(self, leading: int) -> None:
        super().__init__()
        self.rows, self.indices = (
            nn.Embedding(5, 4),
            torch.tensor([2, 0, 2, 1, 4]).reshape(*(1,) * leading, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rows(self.indices)


def ended(*layers: nn.Module) -> nn.Module:
    """Something smooth after the layers, and a head that takes any width."""
    return nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))


VECTORS, TOKENS, IMAGES = (5,), (3, 4), (2, 5, 6)
CASES: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "linear": (VECTORS, lambda: nn.Linear(5, 3)),
    "linear on tokens": (TOKENS, lambda: nn.Linear(4, 3)),
    "function linear, no bias": (TOKENS, lambda: Function((3, 4), functional.linear)),
    "conv1d": (TOKENS, lambda: nn.Conv1d(3, 4, 3, padding=1, stride=2)),
    "conv2d": (IMAGES, lambda: nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=(1, 0), groups=2)),
    "conv2d, dilated, circular": (
        IMAGES,
        lambda: nn.Conv2d(2, 3, 2, dilation=2, padding=1, padding_mode="circular", bias=False),
    ),
    "batch norm": (IMAGES, lambda: nn.BatchNorm2d(2)),
    "layer norm": (TOKENS, lambda: nn.LayerNorm(4)),
    "group norm": (IMAGES, lambda: nn.GroupNorm(2, 2)),
    "added positions": (TOKENS, lambda: Function((1, 3, 4), lambda x, w: x + w)),
    "added with a factor": (TOKENS, lambda: Function((4,), lambda x, w: torch.add(x, w, alpha=-2))),
    "scaled": (TOKENS, lambda: Function((4,), lambda x, w: w * x)),
    "class token": (
        TOKENS,
        lambda: Function((1, 1, 4), lambda x, w: torch.cat([w.expand(len(x), -1, -1), x], 1)),
    ),
    "self-attention": (TOKENS, Attention),
    "looked-up positions": ((5, 4), lambda: Positions(0)),
    "looked-up positions of one row": ((5, 4), lambda: Positions(1)),
}


def objective_of(name: str, count: int = 4) -> Objective:
    torch.manual_seed(0)
    shape, build = CASES[name]
    layer, x = build(), torch.randn(count, *shape, dtype=torch.float64)
    model = ended(layer)
    model(x.float())
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) / 2
    return Objective(model.double().eval(), CE, [(x, torch.randint(0, 3, (count,)))])


def words(count: int = 4) -> Objective:
    torch.manual_seed(0)
    model = ended(nn.Embedding(5, 3, padding_idx=1)).eval()
    x = torch.tensor([[0, 2, 2, 1], [3, 3, 3, 3], [1, 1, 4, 0], [2, 0, 2, 0]])[:count]
    model(x)
    return Objective(model.double(), CE, [(x, torch.tensor([0, 2, 1, 1])[:count])])


def build(name: str, count: int = 4) -> Objective:
    return words(count) if name == "embedding" else objective_of(name, count)


NAMES = [*CASES, "embedding"]


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_the_hessian_follow_from_the_results_of_operations(name: str) -> None:
    """Σ_j of the forms of all unit steps of a parameter is the trace of its diagonal block."""
    objective = build(name)
    dense = objective.hessian_product(torch.eye(objective.dimension, dtype=torch.float64)).diag()
    truth = [float(part.sum()) for part in objective.layout.split(dense)]

    def visit(risk, batch):  # type: ignore[no-untyped-def]
        curvature = OutputCurvature(risk, batch, less_gauss_newton=False)
        traces = torch.zeros(len(truth), dtype=torch.float64)
        for k, use in enumerate(curvature.uses):
            number = next(n for n, p in enumerate(risk.replica.parameters) if p is use.parameter)
            for unit in torch.eye(use.parameter.numel(), dtype=torch.float64):
                moves = [torch.zeros_like(one.place) for one in curvature.uses]
                moves[k] = use.map.moved(
                    unit.reshape(1, *use.parameter.shape).expand(4, *use.parameter.shape)
                )
                traces[number] += curvature.forms(moves, keep=True)[:, k].sum()
        return [traces]

    (found,) = objective.average(visit)
    assert found.tolist() == pytest.approx(truth, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_norms_of_per_example_gradients(name: str) -> None:
    objective = build(name)

    def visit(risk, batch):  # type: ignore[no-untyped-def]
        model, names = risk.replica.model, risk.replica.layout.names

        def cotangents(outputs: Tensor, rows: slice) -> Tensor:
            return torch.linspace(1, 2, 2 * outputs.numel(), dtype=outputs.dtype).reshape(2, *outputs.shape)

        one = squared_norms_by_use(model, names, batch[0], cotangents)
        if name == "self-attention":  # vmap has no rule for its fused operation
            graph = model(batch[0])
            rows = [
                torch.stack([
                    g.square().sum()
                    for g in torch.autograd.grad(graph[i], risk.replica.parameters, s[i], retain_graph=True)
                ])
                for s in cotangents(graph.detach(), slice(0, len(graph))) for i in range(len(graph))
            ]  # fmt: skip
            return [one - torch.stack(rows).sum(0)]
        return [one - squared_norms_by_vmap(model, names, batch[0], cotangents)]

    (difference,) = objective.average(visit)
    assert float(difference.abs().max()) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_random_moves_have_the_covariance_of_random_parameters(name: str) -> None:
    """A batch holds the same two examples many times, and each of them is moved for itself."""
    copies, draws = 50, 20

    def visit(risk, batch):  # type: ignore[no-untyped-def]
        many = tuple(part.repeat(copies, *[1] * (part.ndim - 1)) for part in batch)
        for k, use in enumerate(OutputCurvature(risk, many, less_gauss_newton=False).uses):
            units = torch.eye(use.parameter.numel(), dtype=torch.float64).reshape(-1, *use.parameter.shape)
            columns = torch.stack([
                use.map.moved(unit.expand(2 * copies, *unit.shape))[:2].flatten(1)[:, :12] for unit in units
            ])  # fmt: skip
            truth = torch.einsum("jia,jib->iab", columns, columns)
            samples = torch.cat([
                use.map.shaken(partial(Draws(k, n).signs, like=use.place)).flatten(1)[:, :12].unflatten(0, (copies, 2))
                for n in range(draws)
            ])  # fmt: skip
            products = torch.einsum("nia,nib->niab", samples, samples)
            error = products.std(0) / math.sqrt(len(samples))
            assert bool(((products.mean(0) - truth).abs() <= 5 * error + 1e-9).all())
            across = torch.einsum("na,nb->nab", samples[:, 0], samples[:, 1])
            assert bool((across.mean(0).abs() <= 5 * across.std(0) / math.sqrt(len(samples)) + 1e-9).all())
        return []

    build(name, 2).average(visit)


@pytest.mark.parametrize("name", NAMES)
def test_recording_changes_no_output_and_finds_every_parameter_once(name: str) -> None:
    objective = build(name)

    def visit(risk, batch):  # type: ignore[no-untyped-def]
        model, names = risk.replica.model, risk.replica.layout.names
        plain = model(batch[0])
        with recorded(model, names, len(batch[0])) as uses:
            again = model(batch[0])
        assert torch.allclose(plain, again, rtol=1e-12, atol=1e-14)
        assert len(uses) == len(names) == len({id(use.parameter) for use in uses})
        return []

    objective.average(visit)
    assert plan(objective).by_use


MASK = torch.ones(3, 3).triu(1).bool()


@pytest.mark.parametrize(
    "how",
    [
        {"need_weights": True},
        {"attn_mask": MASK},
        {"attn_mask": torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3), "need_weights": True},
        {"padded": True, "average_attn_weights": False, "need_weights": True},
        {"padded": True, "attn_mask": MASK},
    ],
    ids=["weights", "causal", "added", "padded", "both"],
)
def test_attention_with_masks_is_recorded(how: dict[str, object]) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(4, 2, batch_first=True).double().eval()
    x, padding = (
        torch.randn(5, 3, 4, dtype=torch.float64),
        torch.arange(3) >= torch.tensor([3, 1, 2, 3, 2])[:, None],
    )
    how = {**how, "key_padding_mask": padding} if how.pop("padded", False) else how
    plain = attention(x, x, x, **how)
    with recorded(attention, [name for name, _ in attention.named_parameters()], 5) as uses:
        again = attention(x, x, x, **how)
    assert len(uses) == 4
    assert torch.allclose(again[0], plain[0], rtol=1e-12, atol=1e-14)
    assert (again[1] is None) == (plain[1] is None)
    assert plain[1] is None or torch.allclose(again[1], plain[1], rtol=1e-12, atol=1e-14)


def test_padded_sequences_of_a_dictionary_have_probes_of_their_own() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(5, 4), nn.Linear(4, 3)
            self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            x = self.words(input_ids)
            x = x + self.inner(x, x, x, key_padding_mask=attention_mask == 0)[0]
            shares = attention_mask / attention_mask.sum(1, keepdim=True)
            scores: Tensor = self.head((x * shares[..., None]).sum(1))
            return scores

    torch.manual_seed(0)
    mask = (torch.arange(6) < torch.randint(2, 7, (8, 1))).double()
    batch = {"input_ids": torch.randint(5, (8, 6)), "attention_mask": mask, "labels": torch.randint(3, (8,))}
    objective = Objective(Encoder().double().eval(), CE, [batch])
    assert plan(objective).by_example
    truth = float(objective.hessian_product(torch.eye(objective.dimension, dtype=torch.float64)).trace())
    result = hessian_trace(objective, tolerance=0.03)
    assert result.details["method"] == "example-probes"
    assert result.standard_error is not None
    assert abs(result.value - truth) <= 4 * result.standard_error


def test_attention_that_cannot_be_recorded_takes_another_way() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, batch_first=True, add_zero_attn=True).double().eval()
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    with pytest.raises(NotRecordedError), recorded(layer, ["out_proj.weight"], 5):
        layer(x, x, x)


def test_a_parameter_used_twice_is_not_covered() -> None:
    x, y = problems.classification(9, 6, 6)
    layer = nn.Linear(6, 6)
    twice = nn.Sequential(layer, nn.Tanh(), layer).double()
    chosen = plan(Objective(twice, CE, [(x, y)]))
    assert not chosen.by_use
    assert not chosen.by_example


@pytest.mark.parametrize("padding", [-2, 2])
def test_a_padding_row_counts_from_the_end_where_it_is_negative(padding: int) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Parameter(torch.randn(5, 3)), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(functional.embedding(x, self.words, padding_idx=padding).flatten(1))
            return scores

    torch.manual_seed(0)
    x = torch.randint(0, 5, (20, 4))
    objective = Objective(Reader().double(), CE, [(x, torch.randint(0, 3, (20,)))])
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    found = hessian_trace(objective)
    assert found.details["method"] == "exact"
    assert found.value == pytest.approx(float(objective.hessian_product(identity).trace()), rel=1e-12)
