"""Surfaces of networks with batch norm, beside scripts that know nothing of ours."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from landscape.errors import InputError, UsageError
from landscape.objective import Objective
from landscape.objective.batches import Batches
from landscape.surfaces.barrier import with_barrier
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.forward_passes import ForwardPass
from landscape.surfaces.merging import merged
from landscape.surfaces.plane import build_plane
from landscape.surfaces.sampling import sample_surface

CE = nn.CrossEntropyLoss()


class Twice(nn.Module):
    """A layer of batch norm that each forward pass goes through twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(6, 10)

    def forward(self, x):
        x = functional.relu(self.norm(self.first(x)))
        return self.head(self.norm(self.second(x)).relu().mean((2, 3)))


def convolutional(norm=nn.BatchNorm2d) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), norm(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1), norm(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


def untrained(norm, seed: int) -> nn.Module:
    """The network as it starts, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return convolutional(norm).eval()


def trained(build, seed: int, batches, *, epochs: int, lr: float = 0.1) -> nn.Module:
    """The network after some epochs of SGD from its own start, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        for _ in range(epochs):
            for k in torch.randperm(len(batches)):
                optimizer.zero_grad()
                CE(model(batches[k][0]), batches[k][1]).backward()
                optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def digits():
    """Ten equal batches of digits."""
    data = load_digits()
    x = torch.tensor(data.images[:640] / 16 - 0.3, dtype=torch.float32)[:, None]
    return list(zip(x.split(64), torch.tensor(data.target[:640]).split(64), strict=True))


@pytest.fixture(scope="module")
def minima(digits):
    """Two networks with batch norm, trained from different starts."""
    return [trained(convolutional, seed, digits, epochs=5) for seed in (0, 1)]


def recalibrated(model, batches) -> nn.Module:
    twin = copy.deepcopy(model)
    update_bn([x for x, _ in batches], twin)
    return twin


def own_loss(model, batches) -> float:
    """The mean loss of a network as it is."""
    with torch.no_grad():
        return float(sum(CE(model(x), y).double() for x, y in batches) / len(batches))


def between(models, t: float, batches, *, recalibrated: bool) -> float:
    """What a plain script finds on the line: weights between those of two networks, then the statistics."""
    twin = copy.deepcopy(models[0])
    with torch.no_grad():
        for p, a, b in zip(twin.parameters(), *(m.parameters() for m in models), strict=True):
            p.copy_(a + t * (b - a))
        for p, a, b in zip(twin.buffers(), *(m.buffers() for m in models), strict=True):
            p.copy_((1 - t) * a + t * b)
    if recalibrated:
        update_bn([x for x, _ in batches], twin)
    return own_loss(twin, batches)


def through(models, batches, **settings) -> SimpleNamespace:
    """The objective of the first network, and the waypoints of all."""
    objectives = [Objective(model, CE, batches, **settings) for model in models]
    waypoints = [Waypoint.of(f"c{k}", objective) for k, objective in enumerate(objectives)]
    return SimpleNamespace(objective=objectives[0], objectives=objectives, waypoints=waypoints)


class TestRecalibration:
    def test_the_barrier_is_that_of_a_script_with_update_bn(self, minima, digits):
        exact, batches = [copy.deepcopy(m).double() for m in minima], [(x.double(), y) for x, y in digits]
        line = through(exact, batches, batch_norm="recalibrate")
        surface = sample_surface(line.objective, "interpolation", points=11, through=line.waypoints)
        expected = [between(exact, t, batches, recalibrated=True) for t in surface.x]
        assert surface.loss[0] == pytest.approx(expected, rel=1e-12)
        height = max(
            loss - (1 - t) * expected[0] - t * expected[-1]
            for t, loss in zip(surface.x, expected, strict=True)
        )
        assert surface.meta["barrier"]["loss"]["height"] == pytest.approx(height, rel=1e-12)
        assert height > 0.5

    def test_means_at_every_point_whatever_asks(self, minima, digits):
        objective = Objective(minima[0], CE, digits, batch_norm="recalibrate")
        there = objective.point + 0.05 * torch.randn(
            objective.dimension, generator=torch.Generator().manual_seed(0)
        )
        twin = copy.deepcopy(minima[0])
        nn.utils.vector_to_parameters(there, twin.parameters())
        update_bn([x for x, _ in digits], twin)
        expected = own_loss(twin, digits)
        assert objective.at(there).loss == pytest.approx(expected, rel=1e-5)
        assert objective.evaluate(there)[0] == pytest.approx(expected, rel=1e-5)
        losses = [batch.at(there).loss for batch in objective.per_batch()]
        assert np.mean(losses) == pytest.approx(expected, rel=1e-5)
        # The statistics are constants to derivatives, and those of the point where these are taken.
        CE(twin(digits[0][0]), digits[0][1]).backward()
        gradient = torch.cat([p.grad.flatten() for p in twin.parameters()])
        first = next(iter(objective.per_batch())).at(there)
        assert torch.allclose(first.gradient, gradient, rtol=1e-3, atol=1e-5)
        here = own_loss(recalibrated(minima[0], digits), digits)
        assert objective.at(objective.point).loss == pytest.approx(here, rel=1e-5)

    @pytest.mark.parametrize("way", ["plain", "channels-last"])
    def test_every_way_of_forward_passes_recalibrates(self, minima, digits, way):
        objective = Objective(minima[0], CE, digits, batch_norm="recalibrate")
        evaluate = ForwardPass(way).evaluation(objective)
        end = Objective(minima[1], CE, digits).point
        for t in (0.5, 0.0, 1.0):
            point = objective.point + t * (end - objective.point)
            expected = between(minima, t, digits, recalibrated=True)
            assert evaluate(point)[0] == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize(
        "norm",
        [
            lambda n: nn.BatchNorm2d(n, momentum=None),
            lambda n: nn.BatchNorm2d(n, affine=False),
            nn.SyncBatchNorm,
        ],
        ids=["momentum-none", "affine-false", "sync"],
    )
    def test_every_kind_of_batch_norm_agrees_with_update_bn(self, digits, norm):
        models = [trained(lambda: convolutional(norm), seed, digits[:4], epochs=1) for seed in (0, 1)]
        line = through(models, digits[:4], batch_norm="recalibrate")
        surface = sample_surface(line.objective, "interpolation", points=3, through=line.waypoints)
        expected = [between(models, t, digits[:4], recalibrated=True) for t in surface.x]
        assert surface.loss[0] == pytest.approx(expected, rel=1e-5)

    def test_costs_one_pass_a_point_whatever_is_computed_there(self, minima, digits):
        objective = Objective(minima[0], CE, digits[:2], batch_norm="recalibrate")
        assert objective.loss > 0
        assert objective.gradient.norm() > 0
        assert objective.ledger.passes()["evaluations"] == 2
        objective.evaluate(objective.point + 0.1)
        assert objective.ledger.passes()["evaluations"] == 4

    def test_can_be_switched_off_to_time_what_else_is_done(self, minima, digits):
        objective = Objective(minima[0], CE, digits[:2], batch_norm="recalibrate")
        there = objective.point + 0.02
        fixed = objective.at_fixed_statistics()
        twin = recalibrated(minima[0], digits[:2])
        nn.utils.vector_to_parameters(there, twin.parameters())
        loss = fixed.at(there).loss
        assert loss == pytest.approx(own_loss(twin, digits[:2]), rel=1e-5)
        assert objective.at(there).loss != pytest.approx(loss, rel=1e-2)
        stored = Objective(minima[0], CE, digits[:2])
        assert stored.at_fixed_statistics() is stored

    def test_a_layer_that_is_used_twice_averages_over_both_uses(self, digits):
        model = trained(Twice, 0, digits[:4], epochs=1)
        objective = Objective(model, CE, digits[:4], batch_norm="recalibrate")
        expected = own_loss(recalibrated(model, digits[:4]), digits[:4])
        assert objective.loss == pytest.approx(expected, rel=1e-5)


class TestByDefault:
    """What a line does unless it is told otherwise: recompute the statistics at every point, on a part of the data."""

    def test_ends_are_their_own_losses_and_the_barrier_is_that_of_a_script(self, minima, digits):
        line = through(minima, digits)
        surface = sample_surface(line.objective, "interpolation", points=11, through=line.waypoints)
        part = list(Batches(digits).sample)
        assert [size for size, _ in part] == [64] * 5
        assert "from 320 training examples" in surface.meta["batch_norm"]
        own = [own_loss(recalibrated(model, [batch for _, batch in part]), digits) for model in minima]
        assert surface.loss[0, [0, -1]] == pytest.approx(own, rel=1e-4)
        expected = np.array([between(minima, t, digits, recalibrated=True) for t in surface.x])
        height = (expected - (1 - surface.x) * expected[0] - surface.x * expected[-1]).max()
        assert surface.meta["barrier"]["loss"]["height"] == pytest.approx(height, rel=0.05)
        assert height > 0.5
        checks = surface.meta["checkpoints"]
        assert [check["agree"] for check in checks] == [True, True]
        assert [check["own"]["loss"] for check in checks] == pytest.approx(own, rel=1e-5)
        stored = [own_loss(model, digits) for model in minima]
        assert [check["stored"]["loss"] for check in checks] == pytest.approx(stored, rel=1e-5)
        assert surface.meta["provenance"]["batch_norm"] == "recalibrate"
        assert surface.meta["provenance"]["examples"] != line.objective.provenance.examples
        assert line.objective.loss == pytest.approx(stored[0], rel=1e-5)

    def test_one_recalibration_serves_both_splits_and_the_gradient(self, minima, digits):
        held_out = [(x.flip(3), y) for x, y in digits[:3]]
        ends = [[Objective(model, CE, data) for data in (digits, held_out)] for model in minima]
        waypoints = [Waypoint.of(f"c{k}", train, test=test) for k, (train, test) in enumerate(ends)]
        (train, test), visits = ends[0], []
        plane = build_plane("interpolation", train, through=waypoints)
        settings = {"test": test, "forward": "plain", "gradient_norm": True}
        for points in (3, 5):
            before = train.ledger.counts["evaluations"]
            surface = sample_surface(train, plane, points=points, **settings)
            visits.append(train.ledger.counts["evaluations"] - before)
        assert visits[1] - visits[0] == 2 * 320
        for check, (_, end) in zip(surface.meta["checkpoints"], ends, strict=True):
            assert check["surface"] == pytest.approx(check["own"], rel=1e-4)
            assert check["stored"]["test_loss"] == pytest.approx(end.loss, rel=1e-5)
        model = recalibrated(minima[0], [batch for _, batch in Batches(digits).sample])
        assert surface.test_loss[0, 0] == pytest.approx(own_loss(model, held_out), rel=1e-4)
        assert surface.meta["test"]["batch_norm"] == "recalibrate"

    @pytest.mark.parametrize("plane", ["bezier:steps=1", "trajectory"])
    def test_planes_that_leave_the_checkpoints_need_no_flag(self, minima, digits, plane):
        models = [*minima, trained(convolutional, 2, digits[:2], epochs=1)]
        models = models[:2] if plane.startswith("bezier") else models
        line = through(models, digits[:2])
        origin = line.objective if len(models) == 2 else Objective(models[-1], CE, digits[:2])
        surface = sample_surface(origin, plane, points=2, through=line.waypoints)
        assert "recomputed" in surface.meta["batch_norm"]
        assert all(check["agree"] for check in surface.meta["checkpoints"])

    def test_a_waypoint_without_statistics_is_recalibrated_like_all_others(self, minima, digits):
        line = through(minima, digits[:2])
        bare = Waypoint("bare", line.waypoints[1].point)
        waypoints = [line.waypoints[0], bare]
        surface = sample_surface(line.objective, "interpolation", points=3, through=waypoints)
        assert surface.meta["checkpoints"][1]["own"] == pytest.approx(
            line.waypoints[1].recalibrated, rel=1e-4
        )


class TestStored:
    def test_every_checkpoint_of_a_line_has_its_own_statistics(self, minima, digits):
        line = through(minima, digits, batch_norm="stored")
        surface = sample_surface(line.objective, "interpolation", points=5, through=line.waypoints)
        own = [own_loss(model, digits) for model in minima]
        assert surface.loss[0, [0, -1]] == pytest.approx(own, rel=1e-4)
        expected = [between(minima, t, digits, recalibrated=False) for t in surface.x]
        assert surface.loss[0] == pytest.approx(expected, rel=1e-4)
        assert surface.centre_error == 0
        assert surface.meta["batch_norm"] == "interpolated between the checkpoints"
        checks = surface.meta["checkpoints"]
        assert [check["own"]["loss"] for check in checks] == pytest.approx(own, rel=1e-5)
        assert [check["surface"]["loss"] for check in checks] == pytest.approx(own, rel=1e-4)
        assert [check["agree"] for check in checks] == [True, True]
        # With those of the first, as a mistake would have it, the second is nowhere near its own.
        wrong = line.objective.evaluate(line.waypoints[1].point)[0]
        assert wrong > 2 * own[1]

    @pytest.mark.parametrize("batch_norm", ["auto", "stored"])
    def test_the_objective_has_its_statistics_afterwards(self, minima, digits, batch_norm):
        line = through(minima, digits, batch_norm=batch_norm)
        before, statistics = line.objective.at(line.objective.point).gradient, line.objective.statistics
        sample_surface(line.objective, "interpolation", points=3, through=line.waypoints)
        assert torch.equal(line.objective.at(line.objective.point).gradient, before)
        sample_surface(line.objective, "interpolation", points=3, through=line.waypoints)
        assert all(
            torch.equal(values, statistics[name]) for name, values in line.objective.statistics.items()
        )

    def test_graphs_are_not_kept_from_one_set_of_statistics_to_the_next(self, minima, digits):
        objective, other = (Objective(minima[0], CE, digits[:2]) for _ in range(2))
        ones = torch.ones(objective.dimension)
        before = objective.hessian_product(ones)
        statistics = {name: 2 * values for name, values in objective.statistics.items()}
        products = [
            each.at(each.point, statistics=statistics).hessian_product(ones) for each in (objective, other)
        ]
        assert torch.equal(*products)
        assert not torch.equal(products[0], before)

    @pytest.mark.parametrize("count", [2, 3])
    def test_every_checkpoint_of_a_plane_has_its_own_loss_also_on_test_data(self, minima, digits, count):
        models = [*minima, trained(convolutional, 2, digits, epochs=2)][:count]
        held_out = [(x.flip(3), y) for x, y in digits[:3]]
        objectives = [
            [Objective(model, CE, data, batch_norm="stored") for data in (digits, held_out)]
            for model in models
        ]
        waypoints = [Waypoint.of(f"c{k}", train, test=test) for k, (train, test) in enumerate(objectives)]
        train, test = objectives[0]
        surface = sample_surface(train, "checkpoints", points=4, through=waypoints, test=test)
        for check, model in zip(surface.meta["checkpoints"], models, strict=True):
            own = {"loss": own_loss(model, digits), "test_loss": own_loss(model, held_out)}
            assert check["surface"] == pytest.approx(own, rel=1e-3)
            assert check["agree"] is True
        # Far beyond the checkpoints an affine function of them would have negative variances.
        far = sample_surface(train, "checkpoints", points=4, span=500.0, through=waypoints)
        assert not np.isnan(far.loss).any()

    @pytest.mark.parametrize("plane", ["bezier:steps=1", "trajectory"])
    def test_a_plane_between_no_checkpoints_is_refused_without_recalibration(self, minima, digits, plane):
        models = [*minima, trained(convolutional, 2, digits[:2], epochs=1)]
        models = models[:2] if plane.startswith("bezier") else models[::-1]
        stored = through(models, digits[:2], batch_norm="stored")
        end = Objective(models[-1 if plane == "trajectory" else 0], CE, digits[:2], batch_norm="stored")
        with pytest.raises(UsageError, match=r"those of c0, c1.* differ.*leave out --batch-norm stored"):
            build_plane(plane, end, through=stored.waypoints)

    def test_a_waypoint_without_statistics_is_refused(self, minima, digits):
        line = through(minima, digits[:1], batch_norm="stored")
        bare = Waypoint("bare", line.waypoints[1].point)
        with pytest.raises(UsageError, match=r"statistics of bare are not known.*Waypoint\.of"):
            build_plane("interpolation", line.objective, through=[line.waypoints[0], bare])


@pytest.mark.parametrize("batch_norm", ["auto", "stored", "batch", "recalibrate"])
@pytest.mark.parametrize("frozen", [False, True], ids=["group-norm", "frozen"])
def test_a_network_without_statistics_that_differ_is_sampled_as_before(digits, batch_norm, frozen):
    """Group norm stores none; statistics that were frozen are those of both."""
    norm = nn.BatchNorm2d if frozen else lambda n: nn.GroupNorm(2, n)
    first = untrained(norm, 0)
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1)
    line = through([first, second], digits[:2], batch_norm=batch_norm)
    plane = build_plane("interpolation", line.objective, through=line.waypoints)
    assert plane.statistics is None
    surface = sample_surface(line.objective, plane, points=3)
    losses = [line.objective.evaluate(line.objective.point + t * plane.x)[0] for t in surface.x]
    assert surface.loss[0].tolist() == losses
    assert all(check["agree"] for check in surface.meta["checkpoints"])
    assert "barrier" in surface.meta


class TestCheck:
    @pytest.fixture
    def frozen(self, digits):
        """Two networks that differ in a layer which is not free."""
        models = [untrained(lambda n: nn.GroupNorm(2, n), seed) for seed in range(2)]
        for model in models:
            model[0].requires_grad_(False)
        return through(models, digits[:2])

    def test_disagreement_is_given_where_a_checkpoint_has_another_loss(self, frozen):
        surface = sample_surface(frozen.objective, "interpolation", points=3, through=frozen.waypoints)
        assert [check["agree"] for check in surface.meta["checkpoints"]] == [True, False]
        assert "barrier" not in surface.meta
        assert "at c1 is" in surface.meta["disagreement"]
        assert "a frozen weight or a buffer" in surface.meta["disagreement"]

    def test_parameters_that_are_held_fixed_and_differ_are_named(self, frozen):
        first = frozen.objective
        places = [Waypoint.of(f"c{k}", each, origin=first) for k, each in enumerate(frozen.objectives)]
        surface = sample_surface(first, "interpolation", points=3, through=places)
        assert [check.get("held") for check in surface.meta["checkpoints"]] == [None, "0.weight and 1 more"]
        assert surface.meta["disagreement"].startswith(
            "c1 differs in parameters that are held fixed (0.weight and 1 more), so that the surface does not pass"
        )
        # Also where the losses agree by chance.
        alike = [places[0], dataclasses.replace(places[1], own={"loss": float(surface.loss[0, -1])})]
        again = sample_surface(first, "interpolation", points=3, through=alike)
        assert [check["agree"] for check in again.meta["checkpoints"]] == [True, False]

    def test_the_loss_that_disagrees_is_named(self, frozen):
        surface = sample_surface(frozen.objective, "interpolation", points=3, through=frozen.waypoints)
        surface = surface.described(
            checkpoints=[
                {
                    "label": "c1", "agree": False,
                    "surface": {"loss": 1.0, "test_loss": 3.0}, "own": {"loss": 1.0, "test_loss": float("nan")},
                }
            ]
        )  # fmt: skip
        assert (
            "the test loss of the surface at c1 is 3, and that of the checkpoint itself nan"
            in with_barrier(surface).meta["disagreement"]
        )

    def test_nor_one_on_a_curve(self, frozen):
        surface = sample_surface(frozen.objective, "bezier:steps=2", points=3, through=frozen.waypoints)
        assert "disagreement" in surface.meta
        assert "barrier" not in surface.meta["plane"]["curve"]
        assert len(surface.meta["plane"]["curve"]["loss"]) == 21

    def test_checkpoints_beside_the_plane_are_neither_right_nor_wrong(self, digits):
        models = [untrained(lambda n: nn.GroupNorm(2, n), seed) for seed in range(5)]
        run = through(models[::-1], digits[:1])
        objective = Objective(models[0], CE, digits[:1])
        surface = sample_surface(objective, "trajectory", points=3, through=run.waypoints)
        checks = surface.meta["checkpoints"]
        assert [check["agree"] for check in checks] == [None, None, None, None, True]
        assert all(check["distance"] > 0 for check in checks[:-1])
        assert [check["own"]["loss"] for check in checks] == pytest.approx(
            [own_loss(model, digits[:1]) for model in models[::-1]], rel=1e-5
        )

    def test_a_run_that_is_killed_or_sharded_gives_the_same_bytes(self, minima, digits, tmp_path):
        line = through(minima, digits[:2])
        asked = {"points": 5, "through": line.waypoints}
        sample_surface(line.objective, "interpolation", **asked).save(tmp_path / "whole")
        with pytest.raises(ZeroDivisionError):
            sample_surface(
                line.objective,
                "interpolation",
                **asked,
                journal=tmp_path / "j",
                progress=lambda k, n: 1 / (k - 2),
            )
        sample_surface(line.objective, "interpolation", **asked, journal=tmp_path / "j").save(
            tmp_path / "again"
        )
        parts = [sample_surface(line.objective, "interpolation", **asked, shard=(k, 2)) for k in (1, 2)]
        merged(parts).save(tmp_path / "merged")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "whole").read_bytes()
        assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()

    def test_a_journal_of_other_statistics_is_refused(self, minima, digits, tmp_path):
        line = through(minima, digits[:2], batch_norm="stored")
        sample_surface(
            line.objective, "interpolation", points=3, through=line.waypoints, journal=tmp_path / "j"
        )
        other = copy.deepcopy(minima[1])
        other[1].running_mean += 1
        changed = through([minima[0], other], digits[:2], batch_norm="stored")
        with pytest.raises(InputError, match="statistics_sha256"):
            sample_surface(
                changed.objective,
                "interpolation",
                points=3,
                through=changed.waypoints,
                journal=tmp_path / "j",
            )
