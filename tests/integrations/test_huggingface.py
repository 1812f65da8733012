"""The Trainer of Transformers trains with SAM: two gradients a step, the published rule."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from documented_examples import run_example, sam_step


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("readme"))
        return run_example("SAMTrainer")


def bert(dropout: float = 0.0) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return BertForSequenceClassification(BertConfig(vocab_size=50, **sizes, **dropouts))


def data() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {"input_ids": torch.randint(0, 50, (8,), generator=generator), "labels": i % 2} for i in range(32)
    ]


def trainer(example: dict[str, Any], model: Any, path: Path, seen: list[Any], **options: Any) -> Any:
    class Recording(example["SAMTrainer"]):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *rest: Any) -> Any:
            seen.append(inputs)
            return super().training_step(model, inputs, *rest)

    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "lr_scheduler_type": "constant"}
    chosen = {"max_steps": 6, "save_strategy": "no", "learning_rate": 1e-2, **quiet, **options}
    from transformers import TrainingArguments

    return Recording(model, TrainingArguments(str(path), **chosen), train_dataset=data())


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_the_weights_follow_the_published_rule(example: dict[str, Any], tmp_path: Path, limit: float) -> None:
    model, seen = bert(), []
    plain = copy.deepcopy(model).train()
    # Plain SGD: Adam divides by what is nearly zero, so that one rounding is a whole step.
    run = trainer(example, model, tmp_path, seen, max_grad_norm=limit, optim="sgd")
    run.train()
    base = torch.optim.SGD(plain.parameters(), lr=1e-2)
    assert len(seen) == 6
    for inputs in seen:
        sam_step(plain, lambda inputs=inputs: plain(**inputs).loss, base, rho=0.05, limit=limit or None)
    for (name, trained), expected in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, rtol=0, atol=1e-6, msg=name)
    assert not torch.equal(model.classifier.weight, bert().classifier.weight)


def test_a_step_is_two_gradients_and_one_step_of_the_trainer(example: dict[str, Any], tmp_path: Path) -> None:
    run = trainer(example, bert(dropout=0.1), tmp_path, [])
    run.train()
    optimizer = run.optimizer.optimizer
    assert run.state.global_step == optimizer.steps == 6
    assert optimizer.gradient_evaluations == 12


def test_the_loss_that_is_logged_is_that_at_the_weights(example: dict[str, Any], tmp_path: Path) -> None:
    model, seen = bert(), []
    plain = copy.deepcopy(model)
    run = trainer(example, model, tmp_path, seen, max_steps=1)
    found = run.train().training_loss
    assert math.isclose(found, plain(**seen[0]).loss.item(), rel_tol=1e-6)


def test_a_resumed_run_ends_where_the_whole_one_does(example: dict[str, Any], tmp_path: Path) -> None:
    whole, half = bert(), bert()
    trainer(example, whole, tmp_path / "whole", []).train()
    saving = {"save_strategy": "steps", "save_steps": 3}
    trainer(example, half, tmp_path / "half", [], max_steps=3, **saving).train()
    resumed = bert()
    run = trainer(example, resumed, tmp_path / "half", [], **saving)
    run.train(resume_from_checkpoint=str(tmp_path / "half" / "checkpoint-3"))
    assert run.optimizer.optimizer.gradient_evaluations == 12
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_folder_is_its_own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from landscape import load_checkpoint

    monkeypatch.chdir(tmp_path)
    model = bert()
    model.save_pretrained("here")
    batch = {"input_ids": torch.arange(12).reshape(3, 4), "labels": torch.arange(3) % 2}
    checkpoint = load_checkpoint("hf:here", data=[batch])
    assert checkpoint.model_name == "hf:here"
    for name, tensor in model.state_dict().items():
        assert torch.equal(checkpoint.model.state_dict()[name], tensor)
