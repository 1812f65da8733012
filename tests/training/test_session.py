"""What a session does in each step and what it says of an epoch, against sums over the examples by hand."""

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional
from waits import Waits

from landscape.training import Recipe
from landscape.training.session import NonFiniteLossError, Session
from landscape.training.subject import subject_of

RECIPE = Recipe(
    model="mlp:width=8", data="moons:samples=100", epochs=3, batch_size=16, lr=0.5,
    optimizer="sgd:momentum=0,weight_decay=0", dtype="float64",
)  # fmt: skip


def session(**fields):
    recipe = dataclasses.replace(RECIPE, **fields)
    return Session(recipe, subject_of(recipe), torch.device("cpu"))


def tensors(dataset):
    inputs, targets = zip(*(dataset[k] for k in range(len(dataset))), strict=True)
    return torch.stack(list(inputs)).double(), torch.tensor([int(target) for target in targets])


def weights(running):
    return torch.cat([p.detach().flatten().clone() for p in running.model.parameters()])


def test_every_example_weighs_the_same_in_the_numbers_of_an_epoch():
    """The last of the five batches holds 6 examples; the weights hardly move, so that one pass gives all numbers."""
    running = session(lr=1e-30, seed=3)
    inputs, targets = tensors(running.data.train)
    outputs = running.model(inputs).detach()
    for _ in running.train_epoch():
        assert running.within_epoch
    expected = float(functional.cross_entropy(outputs, targets))
    assert running.loss == pytest.approx(expected, rel=1e-12)
    running.finish_epoch(lambda: None)
    assert running.metrics["train_loss"] == pytest.approx(expected, rel=1e-12)
    assert running.metrics["train_accuracy"] == float((outputs.argmax(1) == targets).double().mean())
    inputs, targets = tensors(running.data.test)  # 16 and 14
    outputs = running.model(inputs).detach()
    expected_test = float(functional.cross_entropy(outputs, targets))
    assert running.metrics["test_loss"] == pytest.approx(expected_test, rel=1e-12)
    assert running.metrics["test_accuracy"] != 0.5  # which a count of the wrong answers would give too
    assert running.metrics["test_accuracy"] == int((outputs.argmax(1) == targets).sum()) / 30
    assert (running.epoch, running.step, running.within_epoch) == (1, 5, False)
    for _ in running.train_epoch():
        pass
    assert running.loss == pytest.approx(expected, rel=1e-12)  # of this epoch alone


def test_the_learning_rate_of_every_step_is_that_of_the_schedule():
    running = session(warmup_epochs=1, schedule="linear")
    expected = [0.5 * (step + 1) / 5 for step in range(5)] + [0.5 * (1 - step / 10) for step in range(10)]
    assert [running.learning_rate(step) for step in range(15)] == pytest.approx(expected, rel=1e-12)
    used = []
    for _ in range(3):
        for _ in running.train_epoch():
            used.append(running.optimizer.param_groups[0]["lr"])
        running.finish_epoch(lambda: None)
    assert used == pytest.approx(expected, rel=1e-12)


def test_a_gradient_is_cut_to_its_greatest_norm():
    running = session(max_grad_norm=1e-3, schedule="constant")
    before = weights(running)
    next(running.train_epoch())
    assert float((weights(running) - before).norm()) == pytest.approx(0.5 * 1e-3, rel=1e-3)


def test_only_a_last_batch_of_one_among_several_is_left_out():
    running = session()
    for examples, sizes in (
        (70, [16, 16, 16, 16, 6]),
        (34, [16, 16, 2]),
        (33, [16, 16]),
        (17, [16]),
        (1, [1]),
    ):
        running.examples = examples
        assert [len(batch) for batch in running.batches(0)] == sizes
    running = session(batch_size=1)
    running.examples = 3
    assert [len(batch) for batch in running.batches(0)] == [1, 1, 1]


def test_the_share_of_steps_of_sam_and_the_steps_are_counted():
    running = session(optimizer="ss-sam", seed=1)
    sam = 0
    for _ in running.train_epoch():
        sam += len(running.optimizer.losses) > 1
    running.finish_epoch(lambda: None)
    assert running.metrics["sam_fraction"] == running.optimizer.sam_steps / 5
    assert 0 < running.optimizer.sam_steps < 5
    assert (running.steps, running.steps_per_epoch) == (15, 5)


@pytest.mark.parametrize(
    ("counted", "shown"), [(5 / 3 * 3, 5), (4 / 3, 1.333), (0.1 + 0.2, 0.3), (7 + 1e-9, 7), (2.5, 2.5)]
)
def test_gradients_are_counted_to_a_thousandth(counted, shown):
    running = session()
    next(running.train_epoch())
    running.optimizer.gradient_evaluations = counted
    running.finish_epoch(lambda: None)
    assert running.metrics["gradients"] == shown
    assert type(running.metrics["gradients"]) is type(shown)


def test_another_batch_is_the_following_one_of_the_epoch_and_after_the_last_comes_the_first():
    running = session()
    batches = running.batches(0)
    running._step = 3
    closure = running._closure(batches[3], lambda: next(running._train.batches([batches[3]])), batches)
    following = [closure.another() for _ in range(3)]
    assert [part.indices.tolist() for part in following] == [batches[4], batches[0], batches[1]]


@pytest.mark.parametrize(
    ("accumulate", "accumulation", "pieces"),
    [(1, "full-batch", [16]), (2, "full-batch", [8, 8]), (4, "full-batch", [4] * 4), (4, "m-sam", [16])],
)
def test_a_batch_goes_through_the_network_whole_or_in_as_many_pieces_as_asked_for(
    accumulate, accumulation, pieces
):
    optimizer = "sam" if accumulation == "m-sam" else RECIPE.optimizer
    running = session(accumulate=accumulate, accumulation=accumulation, optimizer=optimizer)
    batch = next(running._train.batches([list(range(16))]))
    seen = []
    running.model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    running._closure(list(range(16)), lambda: batch, running.batches(0))()
    assert seen == pieces


def test_the_places_where_a_run_was_computed_are_added_up_without_repetition():
    first, second = session(), session()
    [here] = first.environments
    second.restore(first.state())
    assert second.environments == [here]
    elsewhere = [{**here, "torch": "0.4"}, {**here, "torch": "1.0"}]
    second.restore({**first.state(), "training": {**first.state()["training"], "environments": elsewhere}})
    assert second.environments == [*elsewhere, here]
    third = session()
    third.restore({**first.state(), "training": {**first.state()["training"], "environments": []}})
    assert third.environments == [here]
    fourth, returned = session(), [elsewhere[0], here]
    fourth.restore({**first.state(), "training": {**first.state()["training"], "environments": returned}})
    assert fourth.environments == returned


@pytest.mark.parametrize("fields", [{}, {"ema": 0.8}, {"optimizer": "swa:start=0.1"}], ids=str)
@pytest.mark.parametrize("steps", [2, 5, 7])
def test_a_state_goes_on_as_if_nothing_had_been_between(fields, steps):
    whole, first, second = session(**fields), session(**fields), session(**fields)

    def taken(running, count):
        while count:
            for _ in running.train_epoch():
                count -= 1
                if not count and running._step < running.steps_per_epoch:
                    return
            running.finish_epoch(lambda: None)

    taken(first, steps)
    state = copy.deepcopy(first.state())
    assert (state["training"]["sums"] is None) == (steps == 5)
    assert (state["training"]["generators"] is None) == (steps == 5)
    assert ("ema_state_dict" in state) == ("ema" in fields)
    second.restore(state)
    assert (second.step, second.epoch) == (steps, steps // 5)
    assert torch.equal(weights(second), weights(first))
    for name, tensor in first.evaluated.state_dict().items():
        assert torch.equal(second.evaluated.state_dict()[name], tensor)
    taken(second, 10 - steps)
    taken(whole, 10)
    assert torch.equal(weights(second), weights(whole))
    assert second.metrics == whole.metrics
    for name, tensor in whole.evaluated.state_dict().items():
        assert torch.equal(second.evaluated.state_dict()[name], tensor)


@pytest.mark.parametrize(("count", "more"), [(12, ""), (13, ", … (13 in all)")])
def test_a_dozen_examples_of_a_batch_that_breaks_a_run_are_named(count, more):
    running = session(batch_size=count)
    next(running.model.parameters()).data.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError) as caught:
        next(running.train_epoch())
    batch = running.batches(0)[0]
    assert len(batch) == count
    assert str(caught.value).endswith("on training examples " + ", ".join(map(str, batch[:12])) + more)


def test_random_numbers_of_a_step_are_those_of_the_recipe_and_not_of_the_process():
    drawn = []
    for seed in (1, 2):
        running = session(epochs=1)
        running.model.register_forward_pre_hook(lambda *_: drawn.append(float(torch.rand(()))))
        torch.manual_seed(seed)
        for _ in running.train_epoch():
            pass
    assert drawn[: len(drawn) // 2] == drawn[len(drawn) // 2 :]
    assert len(set(drawn)) > 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": "gsam", "label_noise": 0.2, "ema": 0.9},
        {"optimizer": "sam", "accumulate": 2},
        {
            "optimizer": "entropy-sgd:langevin_steps=2",
            "model": "cnn",
            "data": "digits",
            "augment": "cutout",
            "batch_size": 500,
        },
    ],
    ids=str,
)
def test_steps_and_evaluations_wait_for_no_device_and_give_the_numbers_of_the_cpu(
    fields, device, monkeypatch
):
    monkeypatch.setattr("landscape.training.session._SECONDS_BETWEEN_READS", 1e9)
    here = session(dtype="float32", **fields)
    there = Session(here.recipe, here.subject, device)
    for running in (here, there):
        next(running.train_epoch())  # reads its loss, so that a display has a number early
    with Waits(device.type) as waits:
        for _ in there.train_epoch():
            pass
    if device.type != "cpu":  # whose memory is read without waiting
        assert waits.total == 0
        assert waits.uploads == 0
    for _ in here.train_epoch():
        pass
    with Waits(device.type) as waits:
        tested = there._evaluate(there.model, lambda: None)
    assert (
        device.type == "cpu" or waits.total == 2
    )  # the losses of all batches, and their correct predictions
    assert tested.accuracy is not None
    for running in (here, there):
        running.finish_epoch(lambda: None)
    assert there.metrics == pytest.approx(here.metrics, rel=1e-5)
    assert there.metrics["train_accuracy"] == here.metrics["train_accuracy"]


def test_a_loss_that_is_read_late_names_its_step(device, monkeypatch):
    monkeypatch.setattr("landscape.training.session._SECONDS_BETWEEN_READS", 1e9)
    recipe = dataclasses.replace(RECIPE, dtype="float32")
    running = Session(recipe, subject_of(recipe), device)
    steps = running.train_epoch()
    for _ in range(2):
        next(steps)
    parameters = list(running.model.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    parameters[0].data.fill_(float("nan"))
    expected = r"the loss is nan in epoch 1 of 3, step 3 of 5, on training examples "

    def finish():
        for _ in steps:
            parameters[0].data.copy_(before[0])
        running.state()

    with pytest.raises(NonFiniteLossError, match=expected + ", ".join(map(str, running.batches(0)[2][:12]))):
        finish()
    assert all(bool(parameter.isfinite().all()) for parameter in parameters[1:])


def test_data_that_do_not_fit_a_device_stay_on_the_host(monkeypatch):
    device = torch.device("meta")
    dataset = subject_of(RECIPE).data.train
    size = dataset.inputs.nbytes + dataset.targets.nbytes
    for memory, place in ((4 * size, "meta"), (4 * size - 4, "cpu")):
        monkeypatch.setattr("landscape.data.examples.available_bytes", lambda _, memory=memory: memory)
        assert dataset.on(device).inputs.device.type == place
    assert dataset.on(torch.device("cpu")) is dataset


def test_the_kernels_of_the_base_are_those_of_the_device_and_not_of_the_checkpoint():
    first, second = (session(optimizer="sam", base="adamw") for _ in range(2))
    next(first.train_epoch())
    state = copy.deepcopy(first.state())
    state["training"]["optimizer"]["base"]["param_groups"][0]["fused"] = True
    second.restore(state)
    assert second.optimizer.base.param_groups[0]["fused"] is None
    assert state["training"]["optimizer"]["base"]["param_groups"][0]["fused"]
    for running in (first, second):
        for _ in running.train_epoch():
            pass
    assert torch.equal(weights(second), weights(first))
