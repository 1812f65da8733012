"""Lightning's automatic optimization trains with SAM: two gradients a step, the published rule."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from documented_examples import run_example, sam_step
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return run_example("model=self, rho=0.05")


def loader() -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(48, 8, generator=generator), torch.randint(0, 3, (48,), generator=generator)
    return DataLoader(TensorDataset(inputs, targets), batch_size=8)


def fit(module: Any, *, epochs: int, resume: Path | None = None) -> Any:
    import lightning

    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=epochs, logger=False, **quiet)
    trainer.fit(module, loader(), ckpt_path=resume)
    return trainer


def without_norm(example: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    net = example["Net"]()
    net.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    return net


def test_the_weights_follow_the_published_rule(example: dict[str, Any]) -> None:
    net = without_norm(example)
    layers = copy.deepcopy(net.layers)
    fit(net, epochs=1)
    base = torch.optim.SGD(layers.parameters(), lr=0.1, momentum=0.9)
    for x, y in loader():
        sam_step(layers, lambda x=x, y=y: nn.functional.cross_entropy(layers(x), y), base, rho=0.05)
    for trained, expected in zip(net.layers.parameters(), layers.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, rtol=0, atol=1e-6)


def test_it_is_bit_for_bit_the_plain_loop(example: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = example["Net"]()
    plain = copy.deepcopy(net)
    fit(net, epochs=1)
    optimizer = plain.configure_optimizers()
    for batch in loader():

        def closure(batch: Any = batch) -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = plain.training_step(batch, 0)
            loss.backward()
            return loss

        optimizer.step(closure)
    for name, value in plain.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_a_step_is_two_gradients_and_one_step_of_the_trainer(example: dict[str, Any]) -> None:
    trainer = fit(example["Net"](), epochs=2)
    (optimizer,) = trainer.optimizers
    assert trainer.global_step == optimizer.steps == 12
    assert optimizer.gradient_evaluations == 24


def test_batch_norm_counts_each_batch_once(example: dict[str, Any]) -> None:
    net = example["Net"]()
    fit(net, epochs=2)
    assert int(net.layers[1].num_batches_tracked) == 12


def test_a_resumed_run_ends_where_the_whole_one_does(example: dict[str, Any], tmp_path: Path) -> None:
    whole, half = without_norm(example), without_norm(example)
    fit(whole, epochs=2)
    fit(half, epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    resumed = without_norm(example)
    trainer = fit(resumed, epochs=2, resume=tmp_path / "half.ckpt")
    assert trainer.optimizers[0].gradient_evaluations == 24
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
