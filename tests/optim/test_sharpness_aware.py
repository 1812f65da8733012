"""The shared step: its closure, its groups, its state, and the schedulers and copies of a training loop."""

import copy
import io
import pickle

import pytest
import torch
from optim.battery import VARIANTS, Watch, batch, build, closure, direction, mlp, sgd, weights
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.optim import ASAM, CRSAM, ERM, GSAM, SAM

# The closure


def test_step_without_a_closure_says_what_to_write() -> None:
    with pytest.raises(UsageError, match=r"SAM.step needs a closure(.|\n)*loss.backward\(\)"):
        SAM(sgd(mlp())).step()


def test_a_closure_without_backward_is_named() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    with pytest.raises(UsageError, match=r"has to call loss.backward\(\)"):
        optimizer.step(lambda: nn.functional.cross_entropy(model(batch()[0]), batch()[1]))


def test_a_closure_that_returns_nothing_is_named() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    evaluate = closure(optimizer, model)

    def forgetful() -> None:
        evaluate()

    with pytest.raises(UsageError, match="return loss"):
        optimizer.step(forgetful)  # type: ignore[arg-type]


def test_a_closure_may_return_a_number() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    evaluate = closure(optimizer, model)
    loss = optimizer.step(lambda: evaluate().item())  # type: ignore[arg-type,return-value]
    assert loss.item() == pytest.approx(closure(optimizer, mlp())().item())


def test_step_returns_the_loss_of_the_unmoved_weights_without_its_graph() -> None:
    model = mlp()
    optimizer = SAM(sgd(model), rho=0.5)
    expected = closure(optimizer, model)().item()
    loss = optimizer.step(closure(optimizer, model))
    assert loss.item() == expected
    assert not loss.requires_grad
    assert optimizer.losses[0].item() == expected < optimizer.losses[1].item()


def test_the_closure_may_be_called_where_gradients_are_off() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    before = weights(model)
    with torch.no_grad():
        optimizer.step(closure(optimizer, model))
    assert not torch.equal(before, weights(model))


def test_several_backward_calls_in_a_closure_are_one_gradient() -> None:
    models = [mlp(), mlp()]
    whole, parts = SAM(sgd(models[0])), SAM(sgd(models[1]))
    x, y = batch()

    def accumulate() -> Tensor:
        parts.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for half in (slice(0, 8), slice(8, 16)):
            loss = nn.functional.cross_entropy(models[1](x[half]), y[half]) / 2
            loss.backward()
            total += loss.detach()
        return total

    whole.step(closure(whole, models[0]))
    parts.step(accumulate)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-14)


# The door


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf"), "wide"])
@pytest.mark.parametrize("variant", [SAM, ASAM, GSAM, CRSAM])
def test_a_radius_out_of_range_is_refused(variant: type[SAM], rho: float) -> None:
    with pytest.raises(UsageError, match=r"rho=.* is not allowed: rho must be a finite number ≥ 0"):
        variant(sgd(mlp()), rho=rho)


@pytest.mark.parametrize(
    "make",
    [
        lambda base: ASAM(base, eta=-1),
        lambda base: GSAM(base, alpha=-1),
        lambda base: GSAM(base, rho_max=-1),
        lambda base: GSAM(base, rho_max=0.1, rho_min=float("nan")),
        lambda base: GSAM(base, rho_max=0.1, lr_min=-0.1),
        lambda base: GSAM(base, rho_max=0.1, lr_min=0.2),
        lambda base: CRSAM(base, alpha=float("nan")),
        lambda base: CRSAM(base, beta=-0.1),
        lambda base: CRSAM(base, mode="quadratic"),
        lambda base: CRSAM(base, log_policy="ignore"),
        lambda base: ASAM(base, asam_on="biases"),
        lambda base: GSAM(base, adaptive="abs_plus_gamma"),
        lambda base: SAM(base, max_grad_norm=0.0),
    ],
)
def test_other_hyper_parameters_out_of_range_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="is not allowed"):
        make(sgd(mlp()))


def test_a_radius_of_a_group_out_of_range_is_refused() -> None:
    model = mlp()
    with pytest.raises(UsageError, match="rho=-1"):
        SAM(torch.optim.SGD([{"params": model.parameters(), "rho": -1}], lr=0.1))
    optimizer = SAM(sgd(model))
    optimizer.param_groups[0]["rho"] = float("nan")
    before = weights(model)
    with pytest.raises(UsageError, match="rho=nan"):
        optimizer.step(closure(optimizer, model))
    assert torch.equal(before, weights(model))


@pytest.mark.parametrize(
    "base",
    [
        lambda model: model.parameters(),
        lambda model: torch.optim.SGD,
        lambda model: torch.optim.LBFGS(model.parameters()),
        lambda model: SAM(sgd(model)),
    ],
)
def test_what_cannot_be_a_base_is_refused_with_an_example(base) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=r"write SAM\(torch.optim.SGD"):
        SAM(base(mlp()))


def test_a_model_that_is_not_the_optimized_one_is_refused() -> None:
    with pytest.raises(UsageError, match="none of the parameters"):
        SAM(sgd(mlp()), model=mlp())


def test_a_network_that_is_all_frozen_is_refused() -> None:
    model = mlp().requires_grad_(False)
    with pytest.raises(UsageError, match="requires_grad_"):
        SAM(sgd(model))


# Clipping


def test_only_the_final_direction_is_clipped() -> None:
    free, clipped = mlp(), mlp()
    for model, limit in ((free, None), (clipped, 0.01)):
        optimizer = GSAM(sgd(model), alpha=0.7, max_grad_norm=limit)
        optimizer.step(closure(optimizer, model))
    assert direction(clipped).norm().item() == pytest.approx(0.01, rel=1e-4)
    cosine = torch.cosine_similarity(direction(free), direction(clipped), dim=0)
    assert cosine.item() == pytest.approx(1.0, abs=1e-12)


def test_a_direction_shorter_than_the_limit_is_not_clipped() -> None:
    free, clipped = mlp(), mlp()
    for model, limit in ((free, None), (clipped, 1e6)):
        optimizer = SAM(sgd(model), max_grad_norm=limit)
        optimizer.step(closure(optimizer, model))
    assert torch.equal(direction(free), direction(clipped))


# Parameters of every kind


def test_frozen_parameters_are_left_out_of_the_vector() -> None:
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = SAM(sgd(model), rho=0.3)
    assert optimizer.flat.dimension == 18
    before = weights(model)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert torch.equal(weights(model)[:25], before[:25])
    assert watch.displacements[0].norm().item() == pytest.approx(0.3, rel=1e-9)


def test_a_layer_can_be_frozen_and_freed_between_steps() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    for free in (True, False, True):
        model[0].requires_grad_(free)
        before = weights(model)
        optimizer.zero_grad()
        optimizer.step(closure(optimizer, model))
        assert torch.equal(weights(model)[:25], before[:25]) is not free
        assert torch.isfinite(weights(model)).all()


@pytest.mark.parametrize("variant", [SAM, GSAM])
def test_a_parameter_that_no_pass_reaches_is_left_to_the_base_as_such(variant: type[SAM]) -> None:
    model = mlp()
    unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
    base = torch.optim.SGD([*model.parameters(), unused], lr=0.1, weight_decay=0.5)
    optimizer = variant(base, rho=0.1)
    optimizer.step(closure(optimizer, model))
    assert unused.grad is None
    assert torch.equal(unused.detach(), torch.ones(3, dtype=torch.float64))


def test_tied_weights_are_one_part_of_the_vector() -> None:
    first, second = nn.Linear(4, 4, bias=False).double(), nn.Linear(4, 4, bias=False).double()
    second.weight = first.weight
    model = nn.Sequential(first, nn.Tanh(), second, nn.Linear(4, 3).double())
    optimizer = SAM(sgd(model), model=model, rho=0.2)
    assert optimizer.flat.dimension == 16 + 15
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert watch.displacements[0].norm().item() == pytest.approx(0.2, rel=1e-9)


def test_sparse_gradients_are_filled_in() -> None:
    ends = []
    for sparse in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(6, 4, sparse=sparse), nn.Linear(4, 3)).double()
        optimizer = GSAM(sgd(model), rho=0.2, alpha=0.5)

        def evaluate(model: nn.Module = model) -> Tensor:
            model.zero_grad()
            loss = nn.functional.cross_entropy(model(torch.tensor([0, 1, 1, 3])), torch.tensor([0, 1, 2, 0]))
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(evaluate)
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1])


def test_complex_parameters_are_pairs_of_reals() -> None:
    z = nn.Parameter(torch.tensor([1.0 + 2.0j, -0.5j], dtype=torch.complex128))
    optimizer = SAM(torch.optim.SGD([z], lr=0.1), rho=0.1)
    start = z.detach().clone()

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * z.abs().square().sum()
        loss.backward()
        return loss

    optimizer.step(evaluate)
    expected = start * (1 + 0.1 / torch.view_as_real(start).norm())
    torch.testing.assert_close(z.grad, expected, rtol=1e-11, atol=0)


def test_parameters_of_several_precisions_are_restored_bit_for_bit() -> None:
    torch.manual_seed(0)
    low = nn.Parameter(torch.randn(50, dtype=torch.bfloat16))
    high = nn.Parameter(torch.randn(50, dtype=torch.float32))
    before = low.detach().clone(), high.detach().clone()
    optimizer = SAM(torch.optim.SGD([low, high], lr=0.0), rho=0.5)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = (low.float() ** 2 * high).sum()
        loss.backward()
        return loss

    optimizer.step(evaluate)
    assert torch.equal(low, before[0])
    assert torch.equal(high, before[1])
    assert low.grad.dtype is torch.bfloat16


def test_half_precision_weights_with_no_gradient_at_all_give_no_nan() -> None:
    w = nn.Parameter(torch.ones(4, dtype=torch.float16))
    optimizer = SAM(torch.optim.SGD([w], lr=0.1))

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = (w.float() * 0.0).sum()
        loss.backward()
        return loss

    optimizer.step(evaluate)
    assert torch.equal(w.detach(), torch.ones(4, dtype=torch.float16))
    assert optimizer.skipped_steps == 0


class Autocast(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x.float()).float()


@pytest.mark.parametrize("name", VARIANTS)
def test_autocast_works_as_it_does_for_the_base(name: str) -> None:
    torch.manual_seed(0)
    model = Autocast(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    lr = 0.001 if name == "ada-sam" else 0.1  # its steps are as long as those of Adam
    optimizer = build(name, model, sgd(model, lr))
    evaluate = closure(optimizer, model)
    losses = [optimizer.step(evaluate).item() for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]
    assert optimizer.skipped_steps == 0


def test_channels_last_weights_are_restored_and_get_gradients_in_their_own_layout() -> None:
    model = nn.Conv2d(4, 6, 3).double().to(memory_format=torch.channels_last)
    twin = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    for net in (model, twin):
        optimizer = GSAM(sgd(net), rho=0.2)
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

        def evaluate(net: nn.Module = net, x: Tensor = x) -> Tensor:
            net.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            return loss

        optimizer.step(evaluate)
    assert model.weight.grad is not None
    assert model.weight.grad.stride() == model.weight.stride()
    torch.testing.assert_close(model.weight.detach(), twin.weight.detach().clone(), rtol=1e-10, atol=1e-12)


# Groups and schedulers


@pytest.mark.parametrize("attach_to_base", [True, False])
@pytest.mark.filterwarnings("error")
def test_a_scheduler_attaches_to_the_optimizer_or_its_base(attach_to_base: bool) -> None:
    model = mlp()
    optimizer = SAM(sgd(model, lr=0.4))
    schedule = torch.optim.lr_scheduler.StepLR(optimizer.base if attach_to_base else optimizer, 1, gamma=0.5)
    for expected in (0.4, 0.2, 0.1):
        assert (
            optimizer.param_groups[0]["lr"] == optimizer.base.param_groups[0]["lr"] == pytest.approx(expected)
        )
        optimizer.step(closure(optimizer, model))
        schedule.step()


def test_groups_are_shared_with_the_base_also_after_either_has_loaded_a_state() -> None:
    optimizer = SAM(sgd(mlp()))
    for load in (
        lambda: None,
        lambda: optimizer.load_state_dict(optimizer.state_dict()),
        lambda: optimizer.base.load_state_dict(optimizer.base.state_dict()),
    ):
        load()
        assert optimizer.param_groups is optimizer.base.param_groups
        assert optimizer.state is optimizer.base.state


def test_a_base_that_loads_a_state_without_a_radius_gets_the_default() -> None:
    plain = sgd(mlp())
    optimizer = SAM(sgd(mlp()), rho=0.3)
    optimizer.base.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["rho"] == 0.3


def test_a_base_that_is_wrapped_again_takes_the_new_radius() -> None:
    model = mlp()
    base = torch.optim.SGD(
        [{"params": model[0].parameters(), "rho": 0.7}, {"params": model[2].parameters()}], lr=0.1
    )
    SAM(base, rho=0.05)
    SAM(base, rho=0.2)
    assert [group["rho"] for group in base.param_groups] == [0.7, 0.2]


@pytest.mark.parametrize("through_base", [True, False])
def test_a_group_can_be_added_between_steps(through_base: bool) -> None:
    model = mlp()
    optimizer = SAM(torch.optim.SGD(model[0].parameters(), lr=0.1), rho=0.1)
    optimizer.step(closure(optimizer, model))
    (optimizer.base if through_base else optimizer).add_param_group(
        {"params": model[2].parameters(), "rho": 0.0}
    )
    before = weights(model)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert torch.equal(watch.points[1][25:], before[25:])
    assert not torch.equal(weights(model)[25:], before[25:])


def test_a_group_without_a_radius_gets_the_default() -> None:
    model = mlp()
    optimizer = SAM(torch.optim.SGD(model[0].parameters(), lr=0.1), rho=0.4)
    optimizer.add_param_group({"params": model[2].parameters()})
    assert optimizer.param_groups[1]["rho"] == 0.4


def test_zero_grad_clears_the_gradients() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    optimizer.step(closure(optimizer, model))
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_step_hooks_see_every_step() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    seen: list[str] = []
    optimizer.register_step_post_hook(lambda *_: seen.append("optimizer"))
    optimizer.base.register_step_post_hook(lambda *_: seen.append("base"))
    optimizer.step(closure(optimizer, model))
    assert seen == ["base", "optimizer"]


def test_a_profiler_sees_every_step() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step(closure(optimizer, model))
    assert "Optimizer.step#SAM.step" in {event.key for event in profile.key_averages()}


# State


def test_the_state_of_another_optimizer_is_refused_by_name() -> None:
    state = GSAM(sgd(mlp())).state_dict()
    with pytest.raises(InputError, match="this state is GSAM over SGD, and the optimizer is SAM over SGD"):
        SAM(sgd(mlp())).load_state_dict(state)
    with pytest.raises(InputError, match="GSAM over AdamW"):
        GSAM(torch.optim.AdamW(mlp().parameters())).load_state_dict(state)
    with pytest.raises(InputError, match=r"optimizer.base.load_state_dict"):
        ERM(sgd(mlp())).load_state_dict(sgd(mlp()).state_dict())


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    optimizer.step(closure(optimizer, model))
    other = SAM(
        torch.optim.SGD([{"params": mlp()[0].parameters()}, {"params": mlp()[2].parameters()}], lr=0.1)
    )
    with pytest.raises(ValueError, match="parameter groups"):
        optimizer.load_state_dict(other.state_dict())
    assert optimizer.steps == 1


def test_the_radius_of_a_group_is_part_of_the_state() -> None:
    optimizer = SAM(sgd(mlp()), rho=0.1)
    optimizer.param_groups[0]["rho"] = 0.025
    again = SAM(sgd(mlp()), rho=0.1)
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["rho"] == 0.025


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_of_model_and_optimizer_goes_on_by_itself(copy_of) -> None:  # type: ignore[no-untyped-def]
    model = mlp()
    optimizer = ASAM(sgd(model), model=model)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step(closure(optimizer, model))
    twin, twin_optimizer = copy_of((model, optimizer))
    before = weights(model)
    twin_optimizer.step(closure(twin_optimizer, twin))
    assert torch.equal(weights(model), before)
    optimizer.step(closure(optimizer, model))
    assert torch.equal(weights(model), weights(twin))


def test_saving_is_not_disturbed_by_further_steps() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    optimizer.step(closure(optimizer, model))
    file = io.BytesIO()
    state = optimizer.state_dict()
    torch.save(state, file)
    optimizer.step(closure(optimizer, model))
    assert state["counters"]["steps"] == 1


# Batch norm without a model


def test_without_the_model_batch_norm_sees_every_pass() -> None:
    model = mlp(nn.BatchNorm1d(5))
    optimizer = SAM(sgd(model))
    optimizer.step(closure(optimizer, model))
    assert model[1].num_batches_tracked == 2
