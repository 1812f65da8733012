import copy
import math
import os
import shutil
import sysconfig
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from landscape.errors import Remark, UsageError
from landscape.models.cifar_resnet import CifarResNet
from landscape.objective import BatchLoss, Objective
from landscape.surfaces import forward_passes
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.forward_passes import ForwardPass, compiled_pass, fastest
from landscape.surfaces.merging import merged
from landscape.surfaces.plane import build_plane
from landscape.surfaces.sampling import sample_surface

needs_compiler = pytest.mark.skipif(
    not (
        shutil.which(os.environ.get("CXX", "g++"))
        and Path(sysconfig.get_path("include"), "Python.h").exists()
    ),
    reason="no C++ compiler, or no headers of Python",
)
CLASSES = nn.CrossEntropyLoss()


def _data(count: int = 7, dtype: torch.dtype = torch.float32) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images in batches of four and a ragged last one."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 8, 8, generator=generator, dtype=dtype)
    labels = torch.randint(3, (count,), generator=generator)
    return list(zip(images.split(4), labels.split(4), strict=True))


def _resnet() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CifarResNet(3, 3, widths=(4, 6), blocks=1)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
                nn.init.uniform_(module.weight, -2, 2)
                nn.init.uniform_(module.bias)
    return model.eval()


@pytest.fixture(scope="module")
def resnet() -> Objective:
    return Objective(_resnet(), CLASSES, _data())


@pytest.fixture(scope="module")
def compiled(resnet) -> ForwardPass:
    """The one network that is really compiled in these tests."""
    return compiled_pass([resnet], 2 * resnet.point)


@pytest.fixture
def quick_compiler(monkeypatch):
    """``torch.compile`` is replaced by what a function makes of the forward pass: no test needs to wait."""

    def replace(change=lambda outputs: outputs):
        def compile(function, **settings):
            return lambda values, inputs: change(function(values, inputs))

        monkeypatch.setattr(torch, "compile", compile)

    return replace


def _remarks(work) -> tuple[object, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = work()
    return result, [str(warning.message) for warning in caught if warning.category is Remark]


def _points(objective: Objective) -> list[torch.Tensor]:
    noise = torch.randn(objective.dimension, generator=torch.Generator().manual_seed(1))
    return [(1 + scale) * objective.point + scale * noise for scale in (0.0, 0.1, -0.5, 2.0)]


class TestChannelsLast:
    def test_gives_the_same_loss_and_accuracy_at_every_point(self):
        objective = Objective(_resnet().double(), CLASSES, _data(dtype=torch.float64))
        evaluate = ForwardPass("channels-last").evaluation(objective)
        for point in _points(objective):
            loss, accuracy = objective.evaluate(point.double())
            assert evaluate(point.double()) == (pytest.approx(loss, rel=1e-10), accuracy)

    def test_is_refused_for_what_is_no_image(self):
        x, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
        objective = Objective(nn.Linear(3, 3), CLASSES, [(x, y)])
        with pytest.raises(UsageError, match="forward=channels-last is not possible"):
            sample_surface(objective, points=3, forward="channels-last")
        hidden = Objective(nn.Linear(3, 3), BatchLoss(lambda model, batch: model(batch).mean()), [x])
        with pytest.raises(UsageError, match="use forward=plain"):
            ForwardPass("channels-last").evaluation(hidden)

    def test_network_that_writes_to_its_inputs_is_computed_plainly(self, monkeypatch):
        class Writing(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first = nn.Conv2d(3, 3, 1)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.first(x.mul_(2.0)).mean((2, 3))

        monkeypatch.setattr(forward_passes, "WORTHWHILE", 0)
        data = _data()
        before = [images.clone() for images, _ in data]
        objective = Objective(Writing(), CLASSES, data)
        chosen, remarks = _remarks(lambda: fastest([objective], objective.point, points=9, compiling=True))
        assert chosen.way == "plain"
        assert remarks == ["torch.compile is not possible for this network and data; going on without it"]
        assert all(torch.equal(images, kept) for (images, _), kept in zip(data, before, strict=True))


class TestChoice:
    def test_small_surfaces_are_computed_plainly_whatever_the_clock_says(self, resnet):
        assert sample_surface(resnet, points=2).meta["forward"] == "plain"

    def test_the_faster_way_is_taken_and_one_that_gives_another_loss_never(self, resnet, monkeypatch):
        monkeypatch.setattr(forward_passes, "WORTHWHILE", 0)
        clock = iter([(1.0, 5.0), (1.0, 4.0), (1.0, 5.0), (1.0, 6.0), (1.0, 5.0), (1.001, 1.0)])
        monkeypatch.setattr(forward_passes, "_timed", lambda evaluate, point: next(clock))
        ways = [fastest([resnet], resnet.point, points=9, compiling=False).way for _ in range(3)]
        assert ways == ["channels-last", "plain", "plain"]

    @pytest.mark.parametrize(
        ("seconds", "points", "compiling", "way"),
        [
            (0.6, 441, None, "channels-last"),
            (0.6, 51 * 51, None, "compiled"),
            (0.6, 51 * 51, False, "channels-last"),
            (0.6, 9, True, "compiled"),
            (0.3, 51 * 51, None, "channels-last"),
        ],
        ids=["short grid", "long grid", "no-compile", "compile", "compiled is slower"],
    )
    def test_a_grid_is_compiled_where_that_pays_back_twice(
        self, resnet, quick_compiler, monkeypatch, seconds, points, compiling, way
    ):
        quick_compiler()
        monkeypatch.setattr(forward_passes, "WORTHWHILE", 0)
        monkeypatch.setattr(forward_passes, "_SECONDS_A_LAYER", 60 / 14)
        each = 0.6 * 4 / 7  # the first batch has four of seven examples
        clock = iter([(1.0, 2 * each), (1.0, each), (1.0, 0.5 if seconds < 0.6 else 0.1)])
        monkeypatch.setattr(forward_passes, "_timed", lambda evaluate, point: next(clock))
        choice, remarks = _remarks(
            lambda: fastest([resnet], resnet.point, points=points, compiling=compiling)
        )
        assert choice.way == way
        automatic = compiling is None and points > 441
        assert len(remarks) == automatic + (automatic and way != "compiled")
        assert (
            not automatic or "takes about 26 minutes: compiling its forward pass (--no-compile" in remarks[0]
        )

    def test_a_choice_of_both_is_refused(self, resnet):
        with pytest.raises(UsageError, match="give either forward or compile"):
            sample_surface(resnet, points=3, forward="plain", compile=True)


class TestCompiled:
    @pytest.mark.thorough
    @needs_compiler
    def test_gives_the_same_loss_and_accuracy_at_every_point_and_on_other_data(self, resnet, compiled):
        test = Objective(_resnet(), CLASSES, [(x.flip(3), y) for x, y in _data(9)])
        for objective in (resnet, test):
            evaluate = compiled.evaluation(objective)
            for point in _points(objective):
                loss, accuracy = objective.evaluate(point)
                assert evaluate(point) == (pytest.approx(loss, rel=1e-5), accuracy)

    @pytest.mark.thorough
    @needs_compiler
    def test_what_overflows_has_the_value_of_the_plain_network(self, resnet, compiled):
        evaluate, kinds = compiled.evaluation(resnet), set()
        for power in range(0, 40, 3):
            point = resnet.point * 10.0**power
            loss, _ = resnet.evaluate(point)
            assert evaluate(point)[0] == pytest.approx(loss, rel=1e-5, nan_ok=True)
            kinds.add(math.isnan(loss))
        assert kinds == {True, False}

    @pytest.mark.thorough
    @needs_compiler
    def test_one_compilation_serves_test_data_and_other_statistics(self, compiled, monkeypatch):
        models = [_resnet(), _resnet()]
        with torch.no_grad():
            for values in (*models[1].parameters(), *models[1].buffers()):
                values.mul_(1.1) if values.is_floating_point() else None
        train, other = (Objective(model, CLASSES, _data()) for model in models)
        settings = {
            "points": 5,
            "through": [Waypoint.of("a", train), Waypoint.of("b", other)],
            "test": Objective(models[0], CLASSES, [(x.flip(3), y) for x, y in _data(9)]),
        }
        plain = sample_surface(train, "interpolation", **settings)
        monkeypatch.setattr("landscape.surfaces.sampled_grid.fastest", lambda *_, **__: compiled)
        with torch._dynamo.config.patch(error_on_recompile=True):
            surface = sample_surface(train, "interpolation", **settings)
        assert surface.meta["forward"] == "compiled"
        assert surface.meta["batch_norm"].startswith("recomputed at every point")
        for name, values in surface.values.items():
            assert values == pytest.approx(plain.values[name], rel=1e-5)

    @pytest.mark.thorough
    @needs_compiler
    def test_model_and_random_numbers_are_bit_identical_afterwards(self, compiled):
        model = _resnet()
        objective, state = Objective(model, CLASSES, _data()), torch.get_rng_state()
        compiled.evaluation(objective)(objective.point + 0.2)
        expected = _resnet().state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda outputs: outputs + torch.tensor([0.1, 0, 0]), "gives a loss of"),
            (torch.nan_to_num, "where it is nan"),
            (lambda outputs: outputs.unknown, "torch.compile failed (AttributeError: "),
        ],
        ids=["another loss", "hidden NaN", "failure"],
    )
    def test_is_not_taken_where_it_fails_or_disagrees(self, resnet, quick_compiler, change, reason):
        quick_compiler(change)
        surface, remarks = _remarks(lambda: sample_surface(resnet, points=3, compile=True))
        assert surface.meta["forward"] == "plain"
        assert len(remarks) == 1
        assert reason in remarks[0]
        assert remarks[0].endswith("; going on without it")


@pytest.mark.parametrize("settings", [{"forward": "channels-last"}, {"compile": True}], ids=str)
def test_the_way_of_a_run_is_kept_when_it_is_resumed(resnet, quick_compiler, tmp_path, settings):
    quick_compiler()
    journal, way = tmp_path / "journal", settings.get("forward", "compiled")
    undisturbed = sample_surface(resnet, points=4, **settings)
    with pytest.raises(ZeroDivisionError):
        sample_surface(resnet, points=4, **settings, journal=journal, progress=lambda k, n: 1 / (k - 6))
    resumed = sample_surface(resnet, points=4, journal=journal)
    assert resumed.meta["forward"] == undisturbed.meta["forward"] == way
    assert resumed.to_bytes() == undisturbed.to_bytes()


def test_a_compiled_run_is_not_resumed_where_nothing_can_be_compiled(resnet, quick_compiler, tmp_path):
    journal = tmp_path / "journal"
    quick_compiler()
    sample_surface(resnet, points=3, compile=True, journal=journal)
    quick_compiler(lambda outputs: outputs.unknown)
    with pytest.raises(
        UsageError, match=r"was begun with compiled forward passes, and torch\.compile failed"
    ):
        sample_surface(resnet, points=3, journal=journal)


def test_a_run_with_forward_passes_of_another_version_is_refused_before_anything_is_timed(
    resnet, tmp_path, monkeypatch
):
    journal, never = tmp_path / "journal", lambda *_, **__: pytest.fail("a forward pass was timed")
    monkeypatch.setattr("landscape.surfaces.sampled_grid.WAYS", ())
    sample_surface(resnet, points=3, forward="plain", journal=journal)
    before = journal.read_bytes()
    monkeypatch.setattr("landscape.surfaces.sampled_grid.fastest", never)
    with pytest.raises(UsageError, match=r"journal was begun with plain forward passes, which this version"):
        sample_surface(resnet, points=3, journal=journal)
    assert journal.read_bytes() == before


def test_shards_computed_in_two_ways_are_merged_and_say_so(resnet, quick_compiler):
    quick_compiler()
    shards = [
        sample_surface(resnet, points=3, shard=(k, 2), **settings)
        for k, settings in ((1, {"compile": True}), (2, {"forward": "plain"}))
    ]
    assert merged(shards).meta["forward"] == "compiled and plain"


def test_gradient_norms_alone_are_never_a_reason_to_compile(resnet, quick_compiler, monkeypatch):
    quick_compiler(lambda outputs: outputs.unknown)
    monkeypatch.setattr(forward_passes, "WORTHWHILE", 0)
    monkeypatch.setattr(forward_passes, "_SECONDS_A_LAYER", 0.0)
    _, remarks = _remarks(
        lambda: sample_surface(resnet, build_plane("random", resnet), points=2, gradient_norm=True)
    )
    assert remarks == []


def test_model_is_bit_identical_after_channels_last():
    model = _resnet()
    before = copy.deepcopy(model.state_dict())
    sample_surface(Objective(model, CLASSES, _data()), points=3, forward="channels-last")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
