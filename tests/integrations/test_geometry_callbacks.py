"""The callbacks for Lightning and transformers: a fit with one leaves the bytes of a fit without."""

import json

import pytest
import torch
from documented_examples import run_example
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tracked_cases import same

MEASURES = ["loss", "gradient-norm", "dominant-eigenvalue", "critical-sharpness"]


def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 6, generator=generator), torch.randint(0, 3, (64,), generator=generator)


def fitted_by_lightning(folder, callbacks):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Dropout(0.2), nn.Linear(12, 3))

        def forward(self, x):
            return self.layers(x)

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    lightning.seed_everything(0, verbose=False)
    module = Module()
    trainer = lightning.Trainer(
        max_steps=50, accumulate_grad_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, callbacks=callbacks,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(*data()), batch_size=8, shuffle=True))
    return module.state_dict(), trainer.optimizers[0].state_dict()["state"], torch.get_rng_state()


@pytest.mark.parametrize("library", ["lightning", "transformers"])
def test_the_documented_examples(tmp_path, monkeypatch, library):
    pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    names = run_example(f"landscape.integrations.{library} import GeometryCallback")
    assert len(names["callback"].tracker.history) >= 2


def test_lightning(tmp_path):
    pytest.importorskip("lightning")
    from landscape.integrations.lightning import GeometryCallback

    x, y = data()
    callback = GeometryCallback("cross-entropy", (x, y), measures=MEASURES, every=20, output=tmp_path / "run")
    with_it = fitted_by_lightning(tmp_path, [callback])
    without = fitted_by_lightning(tmp_path, [])
    assert all(map(same, with_it, without))
    assert [step for step, _ in callback.tracker.history] == [20, 40]
    assert callback.tracker.steps == 50
    assert callback.tracker.history[0][1]["critical-sharpness"].details["direction"] == "update"
    lines = (tmp_path / "run" / "measures-history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [20] * 4 + [40] * 4


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bf16", marks=pytest.mark.thorough)])
def test_transformers(tmp_path, dtype):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from landscape.integrations.transformers import GeometryCallback

    ids = torch.randint(0, 32, (24, 8), generator=torch.Generator().manual_seed(0))
    examples = [{"input_ids": row, "labels": row} for row in ids]
    probes = [{"input_ids": ids[:8], "labels": ids[:8]}, {"input_ids": ids[8:16], "labels": ids[8:16]}]

    def fitted(callbacks):
        transformers.set_seed(0)
        shape = {"vocab_size": 32, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
        config = transformers.GPT2Config(**shape, bos_token_id=0, eos_token_id=0)
        model = transformers.GPT2LMHeadModel(config)
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"), max_steps=50, per_device_train_batch_size=4, report_to=[],
            gradient_accumulation_steps=2, use_cpu=True, save_strategy="no", disable_tqdm=True, logging_strategy="no",
            bf16=dtype == "bf16",
        )  # fmt: skip
        trainer = transformers.Trainer(model, arguments, train_dataset=examples, callbacks=callbacks)
        trainer.train()
        return model.state_dict(), trainer.optimizer.state_dict()["state"], torch.get_rng_state()

    callback = GeometryCallback("next-token", probes, measures=MEASURES, every=20)
    with_it, without = fitted([callback]), fitted([])
    assert all(map(same, with_it, without))
    assert [step for step, _ in callback.tracker.history] == [20, 40]
    assert set(callback.tracker.history[0][1]) == set(MEASURES)
