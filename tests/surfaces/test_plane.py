import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import InputError, UsageError
from landscape.objective import BatchLoss, Objective
from landscape.parameters import Entry
from landscape.surfaces.directions import normal_numbers
from landscape.surfaces.plane import PLANES, build_plane


class Mixed(nn.Module):
    """Every role of a parameter: filters, an embedding, a gain, biases, a one-off token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 8)
        self.convolution = nn.Conv1d(8, 5, 3)
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, 4)
        self.class_token = nn.Parameter(torch.randn(1, 1, 8))
        with torch.no_grad():
            self.norm.weight.normal_()
            self.norm.bias.normal_()

    def forward(self) -> torch.Tensor:
        return sum(p.square().sum() for p in self.parameters())


@pytest.fixture
def mixed():
    def make(
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        model: type[nn.Module] = Mixed,
        parameters: list[str] | None = None,
    ) -> Objective:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = model().to(dtype)
        loss = BatchLoss(lambda model, batch: model())
        return Objective(network, loss, [torch.zeros(1)], parameters=parameters)

    return make


def _blocks(objective: Objective, vector: torch.Tensor) -> dict[str, np.ndarray]:
    return {name: part.double().numpy() for name, part in objective.layout.named(vector).items()}


def test_filter_norms_of_a_direction_equal_those_of_the_weights(mixed):
    objective = mixed()
    plane = build_plane("random", objective)
    weights = _blocks(objective, objective.point)
    for vector in (plane.x, plane.y):
        blocks = _blocks(objective, vector)
        for name in ("embedding.weight", "convolution.weight", "head.weight"):
            rows = len(weights[name])
            expected = np.linalg.norm(weights[name].reshape(rows, -1), axis=1)
            assert np.linalg.norm(blocks[name].reshape(rows, -1), axis=1) == pytest.approx(
                expected, rel=1e-12
            )
        token = np.linalg.norm(weights["class_token"])
        assert np.linalg.norm(blocks["class_token"]) == pytest.approx(token, rel=1e-12)


@pytest.mark.parametrize("normalisation", ["filter", "layer"])
def test_biases_and_gains_stay_and_are_recorded(mixed, normalisation):
    objective = mixed()
    plane = build_plane(f"random:normalisation={normalisation}", objective)
    ignored = ("convolution.bias", "norm.weight", "norm.bias", "head.bias")
    assert set(plane.ignored) == set(ignored)
    for vector in (plane.x, plane.y):
        blocks = _blocks(objective, vector)
        assert all((blocks[name] == 0).all() for name in ignored)
        assert all((block != 0).all() for name, block in blocks.items() if name not in ignored)


def test_layer_norms_of_a_direction_equal_those_of_the_weights(mixed):
    objective = mixed()
    plane = build_plane("random:normalisation=layer", objective)
    weights, blocks = _blocks(objective, objective.point), _blocks(objective, plane.x)
    for name in ("embedding.weight", "convolution.weight", "head.weight", "class_token"):
        assert np.linalg.norm(blocks[name]) == pytest.approx(np.linalg.norm(weights[name]), rel=1e-12)


def test_plain_directions_are_standard_normal_and_nearly_orthogonal(mixed):
    class Wide(Mixed):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(200, 200)

    objective = mixed(model=Wide)
    plane = build_plane("random:normalisation=none", objective)
    assert plane.ignored == ()
    n = objective.dimension
    for vector in (plane.x, plane.y):
        assert abs(float(vector.mean())) < 4 / n**0.5
        assert abs(float(vector.var()) - 1) < 4 * (2 / n) ** 0.5
        assert abs(float((vector**4).mean()) - 3) < 4 * (96 / n) ** 0.5
    assert abs(plane.cosine) < 4 / n**0.5


@pytest.mark.parametrize("kind", PLANES)
def test_recorded_cosine_and_norms_are_those_of_the_final_directions(mixed, companions, kind):
    objective = mixed(dtype=torch.float32)
    plane = build_plane(kind, objective, through=companions(objective, kind))
    vectors = [v.double() for v in (plane.x, plane.y) if v is not None]
    assert plane.norms == pytest.approx([float(v.norm()) for v in vectors], rel=1e-12)
    assert len(plane.labels) == len(vectors)
    if len(vectors) == 1:
        assert plane.cosine is None
    else:
        assert plane.cosine == pytest.approx(float(torch.cosine_similarity(*vectors, dim=0)), abs=1e-12)


@pytest.mark.parametrize("kind", PLANES)
def test_same_call_gives_the_same_bytes(mixed, companions, kind):
    objective = mixed()
    first, again = (build_plane(kind, mixed(), through=companions(objective, kind)) for _ in range(2))
    assert first.describe() == again.describe()
    assert torch.equal(first.x, again.x)


@pytest.mark.parametrize("kind", ["random", "line"])
def test_another_seed_gives_unrelated_directions(mixed, kind):
    first, other = build_plane(kind, mixed()), build_plane(f"{kind}:seed=1", mixed())
    pairs = [
        (a, b) for a in (first.x, first.y) for b in (other.x, other.y) if a is not None and b is not None
    ]
    for a, b in pairs:
        assert abs(float(torch.cosine_similarity(a, b, dim=0))) < 0.5


@pytest.mark.parametrize(
    ("axis", "drawn"),
    [
        (1, [-0.37845423109178844, 0.6963612383311963, 0.8608443305746791]),
        (2, [-0.3511851375609327, 0.8508583765487131, -0.07796392022750984]),
    ],
)
def test_random_numbers_are_pinned_for_every_machine_and_version(axis, drawn):
    entry = Entry("head.weight", (4, 5), offset=7, size=20, role="filter")
    assert normal_numbers(entry, seed=0, axis=axis).standard_normal(3).tolist() == drawn


def test_float32_and_float64_draw_the_same_direction(mixed):
    single = build_plane("random:normalisation=none", mixed(dtype=torch.float32))
    double = build_plane("random:normalisation=none", mixed(dtype=torch.float64))
    assert torch.equal(single.x, double.x.float())


def test_direction_does_not_depend_on_which_other_parameters_are_free(mixed):
    objective, alone = mixed(), mixed(parameters=["head.*"])
    whole = objective.layout.named(build_plane("random", objective).x)
    part = alone.layout.named(build_plane("random", alone).x)
    assert torch.equal(whole["head.weight"], part["head.weight"])


def test_two_checkpoints_get_one_direction_normalised_for_each(mixed):
    first, second = mixed(seed=0), mixed(seed=1)
    assert not torch.equal(first.point, second.point)
    a, b = (
        _blocks(o, build_plane("random", o).x)["convolution.weight"].reshape(5, -1) for o in (first, second)
    )
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines == pytest.approx(np.ones(5), abs=1e-12)
    assert (np.abs(np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1) - 1) > 1e-3).any()


def test_filter_of_zero_weights_does_not_move(mixed):
    objective = mixed()
    point = objective.point.clone()
    objective.layout.named(point)["head.weight"][2] = 0
    blocks = _blocks(objective, build_plane("random", objective.at(point)).x)
    assert (blocks["head.weight"][2] == 0).all()
    assert np.isfinite(blocks["head.weight"]).all()


def test_network_without_filters_is_refused_with_the_way_out(mixed):
    class OnlyGains(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(4)

        def forward(self) -> torch.Tensor:
            return self.norm.weight.sum() + self.norm.bias.sum()

    with pytest.raises(InputError, match="normalisation=none"):
        build_plane("random", mixed(model=OnlyGains))


@pytest.mark.parametrize(
    ("text", "hint"),
    [("randm", "random"), ("random:sed=1", "seed"), ("random:normalisation=batch", "filter, layer, none")],
)
def test_unknown_names_and_options_are_answered_with_what_there_is(mixed, text, hint):
    with pytest.raises(UsageError, match=hint):
        build_plane(text, mixed())
