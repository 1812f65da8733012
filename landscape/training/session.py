"""A run in memory: the network, its optimizer, and how far they are, to the step."""

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape.data import with_label_noise
from landscape.errors import UsageError
from landscape.losses.loss_functions import BatchLoss
from landscape.losses.next_token import NextToken
from landscape.objective.batch import moved
from landscape.objective.misfits import FAILURES
from landscape.optim import BatchClosure, Division, Exchange, build_optimizer
from landscape.optim.division import block_of
from landscape.processes.group import ALONE, Group
from landscape.records.history import Entry
from landscape.training import determinism
from landscape.training.augmentation import augmented, require_pictures
from landscape.training.averages import MovingAverage, averaged_network
from landscape.training.batch_norm import synchronise
from landscape.training.compiling import CompiledNetwork, require_compiled
from landscape.training.loading import Examples
from landscape.training.recipe import Recipe
from landscape.training.schedule import learning_rate_factor
from landscape.training.subject import Subject, right
from landscape.training.sums import Sums

_SECONDS_BETWEEN_READS = 0.25
"""A device other than the CPU is asked for the losses of its steps so often, because the host waits for the answer."""


class NonFiniteLossError(ArithmeticError):
    """The loss of a step or of the test set is not a number."""


class Session:
    """Training, one step at a time.

    The state between two steps is plain data: passing :meth:`state` of one session to :meth:`restore` of another
    continues with the same bits on the CPU.

    Several processes take every step together: each reads and runs its examples of a batch, and all have the weights,
    the losses and the metrics of one.

    Args:
        recipe: What is trained.
        subject: The objects that it names.
        device: Where this process computes.
        exchange: How the processes exchange; ``None`` for this one alone.

    Attributes:
        epoch: Complete epochs.
        metrics: The results of the last complete epoch.
        history: An entry for each complete epoch without its seconds, from which a damaged file is restored.
        environments: Where the run was computed: more than one if it was interrupted and continued elsewhere.
        is_read: Whether the loss of the last step was read, so that its other numbers can be too.
    """

    def __init__(
        self, recipe: Recipe, subject: Subject, device: torch.device, *, exchange: Exchange | None = None
    ) -> None:
        self.exchange = exchange or Exchange(ALONE)
        self.recipe = recipe
        self.subject = subject
        require_pictures(recipe.augment, subject.data)
        self.data = with_label_noise(subject.data, rate=recipe.label_noise)
        self.device = device
        self.dtype = torch.float64 if recipe.dtype == "float64" else torch.float32
        self.model = subject.network().to(device, self.dtype)
        if recipe.sync_batch_norm and not self.group.alone:
            synchronise(self.model, self.exchange)
        # AutoAugment changes images on the CPU, one by one; everything else happens on the device.
        place = torch.device("cpu") if recipe.augment == "autoaugment" else device
        self._train = Examples(self.data.split("train"), self.data.collate, device=place)
        self._test = Examples(self.data.split("test"), self.data.collate, device=device)
        self.examples = len(self._train)
        self._refuse_labels()
        self.steps_per_epoch = len(self.batches(0))
        self.epoch = 0
        self.optimizer = build_optimizer(
            self.model,
            optimizer=recipe.built_optimizer,
            base=recipe.base,
            lr=recipe.lr,
            total_steps=self.steps,
            steps_per_epoch=self.steps_per_epoch,
            num_examples=self.examples,
            class_counts=self._class_counts() if recipe.optimizer.startswith("focal-sam") else None,
            seed=determinism.derived_seed(recipe.seed, 0, "optimizer"),
        )
        if recipe.max_grad_norm is not None:
            self.optimizer.max_grad_norm = recipe.max_grad_norm
        self.metrics: dict[str, int | float] = {}
        self.history: list[Entry] = []
        self.environments: list[dict[str, str | int]] = [
            determinism.environment(device, compiled=recipe.compile, processes=self.group.world)
        ]
        self.average = None if recipe.ema is None else MovingAverage(self.model, decay=recipe.ema)
        self._step = 0  # within the epoch
        self._sums = Sums()
        self._read_at = 0.0
        self._steps_between = self._unread_steps = 0
        self.is_read = False
        self._generators: determinism.Generators | None = None
        self._averaged: nn.Module | None = None
        self._network = self._compiled() if recipe.compile else self.model  # which takes the passes of a step

    def _class_counts(self) -> list[int]:
        """The training examples of each class, for an optimizer that weighs classes."""
        targets = getattr(self.data.split("train"), "targets", None)
        if targets is None or self.data.classes is None:
            raise UsageError(
                f"optimizer=focal-sam needs the labels of all training examples, and {self.data.name} reads them one "
                "by one; use another optimizer, or a data set with its labels in `targets`"
            )
        return torch.as_tensor(targets, device="cpu").flatten().bincount(minlength=self.data.classes).tolist()

    @torch.no_grad()
    def _refuse_labels(self) -> None:
        """Refuses labels beyond the classes of the network, which one example shows."""
        inputs, _ = next(self._test.batches([[0]]))
        try:
            outputs = self.model.eval()(moved(inputs, self.device, self.dtype))
        except FAILURES:  # the first step will say what does not fit
            return
        for split, examples in (("train", self._train), ("test", self._test)):
            examples.refuse_labels(self.subject.mean, outputs, split=split)

    @property
    def group(self) -> Group:
        """The processes that take the steps."""
        return self.exchange.group

    @property
    def step(self) -> int:
        """Steps done, over all epochs."""
        return self.epoch * self.steps_per_epoch + self._step

    @property
    def steps(self) -> int:
        """All steps of the run."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def steps_left(self) -> int:
        """The steps that this epoch still has."""
        return self.steps_per_epoch - self._step

    @property
    def epochs_done(self) -> int | float:
        """Epochs done, within one with the share of its steps."""
        return self.epoch + self._step / self.steps_per_epoch if self._step else self.epoch

    @property
    def averages(self) -> bool:
        """Whether the network that is evaluated and saved after an epoch has averaged weights."""
        return self.evaluated is not self.model

    def copied(self) -> nn.Module:
        """A copy of the network that is trained, with the buffers that a checkpoint would have."""
        twin = copy.deepcopy(self.model)
        self._average_buffers(twin)
        return twin

    @property
    def within_epoch(self) -> bool:
        """Whether an epoch has begun and is not complete."""
        return self._step > 0

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and saved: the average after an epoch that has one, else the model."""
        return self._averaged or self.model

    @property
    def loss(self) -> float:
        """The mean training loss of this epoch up to the step whose loss was read last: on the CPU, every step's."""
        return self._sums.mean_loss

    def train_epoch(self) -> Iterator[None]:
        """Takes the remaining steps of this epoch and pauses after each.

        Raises:
            NonFiniteLossError: The loss of this step is not finite, or that of an earlier one whose loss was not read
                at once; such steps are skipped, so the weights are finite.
        """
        if self._generators is not None:
            determinism.restore_generators(self._generators, self.device)
            self._generators = None
        elif self._step == 0 and self.group.alone:
            determinism.seed_generators(self._derived_seed("step"), self.device)
        self.model.train()
        batches = self.batches(self.epoch)
        remaining = batches[self._step :]
        fetched = self._train.batches([self._own(numbers)[0] for numbers in remaining])
        for numbers in remaining:
            self._take_step(self._closure(numbers, lambda: next(fetched), batches))
            yield

    def finish_epoch(self, pause: Callable[[], None]) -> None:
        """Evaluates the network on the test set and counts the epoch; if ``pause`` raises, nothing is changed.

        Raises:
            NonFiniteLossError: The test loss is not finite, or the loss of a step.
        """
        self._read()
        self._sums.gather(self.group)
        self._share_buffers()
        averaged = self._average(pause)
        test = self._evaluate(averaged or self.model, pause)
        if not math.isfinite(test.mean_loss):
            raise NonFiniteLossError(f"the test loss after epoch {self.epoch + 1} is {test.mean_loss}")
        optimizer = self.optimizer
        accuracy = {} if test.accuracy is None else {"test_accuracy": test.accuracy}
        # In this order, because tables of the history have it.
        self.metrics = {
            "train_loss": self._sums.mean_loss,
            **({"train_accuracy": self._sums.accuracy or 0.0} if accuracy else {}),
            "test_loss": test.mean_loss,
            **accuracy,
            "gradients": _shortest(optimizer.gradient_evaluations),
            "sam_fraction": optimizer.sam_steps / optimizer.steps if optimizer.steps else 0.0,
            "skipped_steps": optimizer.skipped_steps,
        }
        self._averaged = averaged
        self.epoch += 1
        self._step = 0
        # So that a loss is known from the first step on.
        self._sums, self._read_at, self._unread_steps = Sums(), -math.inf, 0

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0 over all epochs."""
        warmup = self.recipe.warmup_epochs * self.steps_per_epoch
        schedule = self.recipe.schedule
        factor = learning_rate_factor(step, steps=self.steps, warmup_steps=warmup, schedule=schedule)
        return self.recipe.lr * factor

    def batches(self, epoch: int) -> list[list[int]]:
        """The examples of each batch of an epoch."""
        order = determinism.epoch_order(self.examples, seed=self.recipe.seed, epoch=epoch)
        batches = _chunks(order, self.recipe.batch_size)
        if len(batches) > 1 and len(batches[-1]) == 1 < self.recipe.batch_size:
            batches.pop()  # batch norm cannot learn from a single example
        return batches

    def state(self) -> dict[str, Any]:
        """The content of a checkpoint; within an epoch also its sums and the state of the generators.

        Raises:
            NonFiniteLossError: The loss of a step since the last reading is not finite.
        """
        self._read()
        if self.within_epoch:
            self._sums.gather(self.group)
            self._share_buffers()
        return {
            "state_dict": self.evaluated.state_dict(),
            "recipe": self.recipe.to_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "metrics": self.metrics,
            **({} if self.average is None else {"ema_state_dict": self.average.values}),
            "training": {
                # If weights are averaged, the state_dict above is the average, and this is what is trained further.
                "model": None if self._averaged is None else self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "history": self.history,
                "environments": self.environments,
                "step_in_epoch": self._step,
                "sums": self._sums.totals() if self.within_epoch else None,
                "generators": determinism.generators_state(self.device) if self.within_epoch else None,
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from what :meth:`state` returned."""
        training = state["training"]
        self.model.load_state_dict(training["model"] or state["state_dict"])
        if training["model"] is not None:
            self._averaged = copy.deepcopy(self.model)
            self._averaged.load_state_dict(state["state_dict"])
        if self.average is not None:
            self.average.load(state["ema_state_dict"])
        base = training["optimizer"]["base"]
        # The kernels are those of this device, whatever the run was computed on before.
        groups = [
            {**saved, **{key: group[key] for key in ("fused",) if key in group}}
            for saved, group in zip(base["param_groups"], self.optimizer.param_groups, strict=True)
        ]
        state_of_base = {**base, "param_groups": groups}
        self.optimizer.load_state_dict({**training["optimizer"], "base": state_of_base})
        self.epoch, self.metrics = state["epoch"], dict(state["metrics"])
        self.history = list(training["history"])
        before = list(training.get("environments", []))
        self.environments = before if before[-1:] == self.environments else before + self.environments
        self._step = training["step_in_epoch"]
        if self._step:
            self._sums, self._generators = Sums(training["sums"]), training["generators"]

    def _derived_seed(self, purpose: str) -> int:
        return determinism.derived_seed(self.recipe.seed, self.epoch, purpose)

    def _own(self, numbers: list[int]) -> tuple[list[int], Division | None]:
        """The examples of a batch that this process reads, and the division; without one of its own, the first."""
        if self.group.alone:
            return numbers, None
        recipe = self.recipe
        piece = recipe.micro_batch if recipe.accumulate > 1 else getattr(self.optimizer, "m", None)
        division = Division.split(len(numbers), self.exchange, piece=piece)
        return [numbers[row] for row in division.rows.tolist()] or numbers[:1], division

    def _closure(
        self,
        numbers: list[int],
        fetch: Callable[[], tuple[Tensor, Tensor]],
        batches: list[list[int]],
        *,
        undivided: bool = False,
    ) -> BatchClosure:
        recipe, (own, division) = self.recipe, self._own(numbers)
        following = itertools.islice(itertools.cycle(batches), self._step + 1, None)

        def another() -> BatchClosure:
            """The next batch of the epoch; after the last comes the first."""
            further = next(following)
            return self._closure(further, lambda: next(self._train.batches([self._own(further)[0]])), batches)

        indices = torch.tensor(own, device="cpu")
        seed = self._derived_seed(f"augment/{self._step}")
        failure: Exception | None = None
        inputs = targets = torch.zeros_like(indices)  # where they cannot be read
        try:
            inputs, targets = fetch()
            inputs = augmented(inputs, indices, kind=recipe.augment, pixels=self._train.pixels, seed=seed)
            inputs, targets = moved((inputs, targets), self.device, self.dtype)
        except Exception as raised:
            failure = raised
        # A network that exchanges something itself has to be entered by all or none.
        if self.exchange.couples:
            self.group.agree(failure)
        elif failure is not None and self.group.alone:
            raise failure
        self.exchange.failure = failure
        in_one_piece = recipe.accumulate == 1 or recipe.accumulation == "m-sam"
        return self.subject.closure(
            self._network,
            size=None if in_one_piece else recipe.micro_batch,
            inputs=inputs,
            targets=targets,
            indices=indices,
            another=another,
            autocast=torch.bfloat16 if recipe.precision == "bf16" else None,
            division=None if undivided else division,
        )

    def _compiled(self) -> nn.Module:
        recipe = self.recipe
        if isinstance(self.subject.loss, (BatchLoss, NextToken)):
            raise UsageError(
                "compile=True needs a loss of (outputs, targets), and this one calls the network itself; leave it out "
                "(--compile)"
            )
        undivided = recipe.accumulate == 1 or recipe.accumulation == "m-sam"
        numbers = self.batches(0)
        size = len(self._own(numbers[0][: recipe.micro_batch])[0])
        self._network = CompiledNetwork(
            self.model, size=size, graphs=undivided and self.device.type == "cuda"
        )
        [batch] = self._train.batches([self._own(numbers[0])[0]])
        self.model.train()
        trial = self._closure(numbers[0], lambda: batch, numbers, undivided=True)
        require_compiled(self.model, trial, device=self.device)
        return self._network

    def _take_step(self, closure: BatchClosure) -> None:
        self._averaged = None
        if not self.group.alone:  # each process draws its own, also after a pause
            purpose = f"step/{self._step}/{self.group.rank}"
            determinism.seed_generators(self._derived_seed(purpose), self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        loss = self.optimizer.step(closure).detach()
        self._step += 1
        correct: Tensor | None = torch.zeros((), dtype=torch.int64, device=self.device)
        if closure.counted:
            correct = right(closure.first_outputs, closure.targets)
        self._sums.add(loss, correct, examples=len(closure))
        self.is_read = self._is_due()
        if self.is_read:
            self._read()
        if self.average is not None:
            self.average.update(self.model, step=self.step)

    def _is_due(self) -> bool:
        """Whether the losses are read after this step, in all processes or in none."""
        if self.device.type == "cpu":
            return True
        now = time.monotonic()
        if self.group.alone:
            if now < self._read_at:
                return False
            self._read_at = now + _SECONDS_BETWEEN_READS
            return True
        # Clocks differ, so that the first process decides after how many steps all read again.
        self._unread_steps -= 1
        if self._unread_steps > 0:
            return False
        pace = (now - self._read_at) / max(self._steps_between, 1)
        steps = int(_SECONDS_BETWEEN_READS / pace) if 0 < pace < math.inf else 1
        self._steps_between = self._unread_steps = self.group.decided(max(1, steps))
        self._read_at = now
        return True

    def _share_buffers(self) -> None:
        """Averages what the passes of each process have left in the network, such as batch-norm statistics."""
        if self.group.alone or self.exchange.couples:
            return
        buffers = {name: b for name, b in self.model.named_buffers() if b.is_floating_point()}
        averages = {} if self.average is None else self.average.values
        self._average_in_place([*buffers.values(), *(averages[name] for name in buffers if name in averages)])

    def _average_buffers(self, network: nn.Module) -> None:
        """The same in a network that the processes have made of this one."""
        if not (self.group.alone or self.exchange.couples):
            self._average_in_place([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    def _average_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by their means over the processes."""
        self.group.add(tensors)
        for tensor in tensors:
            tensor /= self.group.world

    def _read(self) -> None:
        """Reads the losses of the steps since the last reading, and refuses one that is not finite."""
        losses = self._sums.read()
        for step, loss in enumerate(losses, start=self._step - len(losses)):
            if not math.isfinite(loss):
                batch = self.batches(self.epoch)[step]
                listed = ", ".join(map(str, batch[:12]))
                more = "" if len(batch) <= 12 else f", … ({len(batch)} in all)"
                raise NonFiniteLossError(
                    f"the loss is {loss} in epoch {self.epoch + 1} of {self.recipe.epochs}, step {step + 1} "
                    f"of {self.steps_per_epoch}, on training examples {listed}{more}"
                )

    def _average(self, pause: Callable[[], None]) -> nn.Module | None:
        """The network with averaged weights, if the recipe or the optimizer averages any."""

        def inputs() -> Iterator[Tensor]:
            batches = self.batches(self.epoch)
            fetched = self._train.batches([self._own(numbers)[0] for numbers in batches])
            for _ in batches:
                pause()
                with self.group.together():
                    inputs, _ = moved(next(fetched), self.device, self.dtype)
                yield inputs

        if self.average is not None:
            return self.average.network(self.model)
        averaged = averaged_network(self.model, self.optimizer, inputs())
        if averaged is not None:
            self._average_buffers(averaged)
        return averaged

    @torch.no_grad()
    def _evaluate(self, model: nn.Module, pause: Callable[[], None]) -> Sums:
        model.eval()
        sums, size, examples = Sums(), self.recipe.batch_size, len(self._test)
        fetched = self._test.batches(_chunks(block_of(examples, self.group), size))
        # As often in every process, because all pause together.
        for _ in range(0, -(-examples // self.group.world), size):
            pause()
            with self.group.together():
                for batch in itertools.islice(fetched, 1):
                    inputs, targets = moved(batch, self.device, self.dtype)
                    part = self.subject.tested(model, inputs, targets)
                    sums.add(
                        part.loss, part.correct, examples=len(targets), weight=part.weight, is_whole=False
                    )
        sums.read()
        sums.gather(self.group)
        return sums


def _chunks(order: Sequence[int], size: int) -> list[list[int]]:
    return [list(order[start : start + size]) for start in range(0, len(order), size)]


def _shortest(count: float) -> int | float:
    """A sum of thirds and shares without its rounding error, as an integer if it is one."""
    rounded = round(count, 3)
    return int(rounded) if rounded == int(rounded) else rounded
