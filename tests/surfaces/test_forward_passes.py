import copy

import pytest
import torch
from torch import nn

from landscape.errors import UsageError
from landscape.models.cifar_resnet import CifarResNet
from landscape.objective import BatchLoss, Objective
from landscape.surfaces import forward_passes, fusing
from landscape.surfaces.folding import fold, traced
from landscape.surfaces.forward_passes import WAYS, evaluation, quickest
from landscape.surfaces.sampling import sample_surface


def _images(dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(7, 3, 8, 8, generator=generator, dtype=dtype)
    labels = torch.randint(3, (7,), generator=generator)
    return [(images[:4], labels[:4]), (images[4:], labels[4:])]


class Plain(nn.Module):
    """Batch norm without gain and shift, a convolution with a bias, and one whose output is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.second = nn.Conv2d(4, 4, 1)
        self.other = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.norm(self.first(x)).relu())
        return self.head((x + self.other(x)).mean((2, 3)))


def _objective(model: nn.Module, dtype: torch.dtype = torch.float64) -> Objective:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, -2, 2)
                nn.init.uniform_(module.bias)
    return Objective(model.to(dtype).eval(), nn.CrossEntropyLoss(), _images(dtype))


@pytest.fixture
def resnet() -> Objective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _objective(CifarResNet(3, 3, widths=(4, 6), blocks=1))


@pytest.mark.parametrize("way", [way for way in WAYS if way != "fused"])
def test_every_way_gives_the_same_loss_and_accuracy_at_every_point(resnet, way):
    evaluate = evaluation(resnet, way)
    for scale in (0.0, 0.1, -0.5, 2.0):
        point = resnet.point * (1 + scale) + scale * torch.randn_like(resnet.point)
        loss, accuracy = resnet.evaluate(point)
        found, right = evaluate(point)
        assert found == pytest.approx(loss, rel=1e-10)
        assert right == accuracy


def test_batch_norms_are_folded_where_they_follow_a_convolution_and_nowhere_else():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = _objective(Plain())
    graph = traced(objective._risk.replica.model)
    assert [made.norm.affine for made in fold(graph, channels_last=False)] == [False]
    called = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    assert called == ["folded_0", "second", "other", "head"]
    loss, accuracy = objective.evaluate(objective.point + 0.3)
    assert evaluation(objective, "folded")(objective.point + 0.3) == (
        pytest.approx(loss, rel=1e-12),
        accuracy,
    )


class Sums(nn.Module):
    """Sums of folded convolutions: of one shape, broadcast, with a number, and of one that is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.stems = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)) for _ in range(5))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two, three, small, again = (stem(x) for stem in self.stems)
        total = torch.relu(one + two) + (1.0 + three) + (small.mean((2, 3), keepdim=True).relu() + x[:, :1])
        return self.head(
            (total + again + again.relu() * again + self.stems[0](x[:, :, :1, :1] + 1)).mean((2, 3))
        )


def test_sums_and_relus_written_in_place_change_nothing():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = _objective(Sums())
    for way in ("folded", "folded-channels-last"):
        evaluate = evaluation(objective, way)
        for scale in (0.0, 0.3, -1.0):
            point = objective.point + scale
            loss, accuracy = objective.evaluate(point)
            assert evaluate(point) == (pytest.approx(loss, rel=1e-12), accuracy)


def test_ways_that_a_network_does_not_allow_are_not_taken():
    class Twisted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x if float(x.sum()) > 1e9 else -x)

    x, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    objective = Objective(Twisted(), nn.CrossEntropyLoss(), [(x, y)])
    assert [evaluation(objective, way) is None for way in WAYS] == [False, True, True, True, True]
    with pytest.raises(UsageError, match="forward=folded is not possible"):
        sample_surface(objective, points=3, forward="folded")
    unknown = Objective(nn.Linear(3, 3), BatchLoss(lambda model, batch: model(batch).mean()), [x])
    assert evaluation(unknown, "channels-last") is None


def test_batch_norm_in_training_mode_is_not_folded(resnet):
    model = copy.deepcopy(resnet._risk.replica.model)
    objective = Objective(model, nn.CrossEntropyLoss(), _images(torch.float64), batch_norm="batch")
    assert evaluation(objective, "folded") is None


def test_quicker_ways_are_not_taken_where_a_module_does_more_than_its_forward_pass():
    twice = lambda module, inputs, output: 2 * output
    expected = {"stem": (True, True), "norm": (True, False), "whole": (True, True)}
    for place, refused in expected.items():
        model = nn.Sequential(
            nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten()
        )
        {"stem": model[0], "norm": model[1], "whole": model}[place].register_forward_hook(twice)
        objective = _objective(model, torch.float32)
        ways = [evaluation(objective, way) for way in ("folded", "fused")]
        assert tuple(way is None for way in ways) == refused
        for way in ways:
            assert way is None or way(objective.point + 0.1)[0] == pytest.approx(
                objective.evaluate(objective.point + 0.1)[0]
            )


def test_network_that_writes_to_its_inputs_is_computed_plainly():
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.first(x.mul_(2.0))).mean((2, 3))

    objective = _objective(Writing(), torch.float32)
    (_, (images, _)), *_ = objective._risk.batches
    before = images.clone()
    assert [evaluation(objective, way) is None for way in WAYS] == [False, True, True, True, True]
    assert torch.equal(images, before)


def test_network_that_returns_a_dictionary_is_computed_plainly(monkeypatch):
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.norm(self.first(x)).mean((2, 3))}

    monkeypatch.setattr(forward_passes, "WORTHWHILE", 0)
    objective = _objective(Named(), torch.float32)
    assert quickest(objective, objective.point) in ("plain", "channels-last")
    assert evaluation(objective, "fused") is None


def test_fused_convolutions_are_not_taken_in_double_precision_or_where_torch_has_none(resnet, monkeypatch):
    assert evaluation(resnet, "fused") is None
    single = Objective(
        copy.deepcopy(resnet._risk.replica.model).float(), nn.CrossEntropyLoss(), _images(torch.float32)
    )
    if not fusing.available():
        pytest.skip("this torch has no fused convolutions")
    assert evaluation(single, "fused") is not None
    monkeypatch.setattr(forward_passes, "available", lambda: False)
    assert evaluation(single, "fused") is None


def test_a_way_that_fails_is_not_taken(resnet, monkeypatch):
    def failing(objective: Objective, way: str) -> None:
        raise AttributeError("module 'torch' has no attribute 'quick'")

    monkeypatch.setattr(forward_passes, "WORTHWHILE", 0)
    monkeypatch.setattr(forward_passes, "evaluation", failing)
    assert quickest(resnet, resnet.point) == "plain"


def test_a_way_that_gives_another_loss_is_never_chosen(resnet, monkeypatch):
    monkeypatch.setattr(forward_passes, "WORTHWHILE", 0)
    monkeypatch.setattr(forward_passes, "_timed", lambda evaluate, point: (evaluate(point)[0], _next()))
    clock = iter([5.0, 1.0, 0.5, 0.1])
    _next = lambda: next(clock)
    assert quickest(resnet, resnet.point) == "folded-channels-last"
    clock = iter([5.0, 9.0, 3.0])
    assert quickest(resnet, resnet.point) == "folded"
    clock = iter([5.0, 1.0, 0.5, 0.1])
    wrong = lambda objective, way: lambda point: (objective.evaluate(point)[0] * 1.001, None)
    monkeypatch.setattr(forward_passes, "evaluation", wrong)
    assert quickest(resnet, resnet.point) == "plain"


def test_small_surfaces_are_computed_in_the_plain_way_whatever_the_clock_says(resnet):
    assert sample_surface(resnet, points=2).meta["forward"] == "plain"


def test_the_way_of_a_run_is_kept_when_it_is_resumed(resnet, tmp_path, monkeypatch):
    whole = sample_surface(resnet, points=4, forward="folded-channels-last")
    journal = tmp_path / "journal"

    class Killed(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done == 6:
            raise Killed

    with pytest.raises(Killed):
        sample_surface(resnet, points=4, forward="folded-channels-last", journal=journal, progress=stop)
    resumed = sample_surface(resnet, points=4, journal=journal)
    assert resumed.meta["forward"] == "folded-channels-last"
    for name, surface in (("a", whole), ("b", resumed)):
        surface.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_model_is_bit_identical_after_every_way(resnet):
    model = copy.deepcopy(resnet._risk.replica.model)
    objective = Objective(model, nn.CrossEntropyLoss(), _images(torch.float64))
    before = copy.deepcopy(model.state_dict())
    for way in (way for way in WAYS if evaluation(objective, way) is not None):
        sample_surface(objective, points=3, forward=way)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
