"""Adapters of PEFT: loaded around their base as PEFT does it, without code that their settings name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import call
from torch import Tensor, nn

from landscape import Objective
from landscape.checkpoints import inspect_checkpoint, load_checkpoint
from landscape.errors import InputError, UsageError

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

X = torch.randint(0, 19, (6, 5), generator=torch.Generator().manual_seed(0))
DATA = [(X, X[:, 0] % 3)]


def base() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 6}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 19, "num_labels": 3}
    config = transformers.GPT2Config(**sizes, **ends)
    return transformers.GPT2ForSequenceClassification(config).eval()


def with_adapter(**settings: Any) -> Any:
    """A network with an adapter whose second matrix is not zero, as after training."""
    usual = {"r": 2, "target_modules": ["c_attn"], "lora_alpha": 6, "fan_in_fan_out": True}
    network = peft.PeftModel(base(), peft.LoraConfig(**{**usual, **settings})).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return network


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    base().save_pretrained("base")
    Path("data.py").write_text(
        f"import torch\ndef data():\n    return [(torch.tensor({X.tolist()}), torch.tensor({DATA[0][1].tolist()}))]\n"
    )
    return tmp_path


def loss_of(network: nn.Module) -> Tensor:
    return nn.functional.cross_entropy(network(X).logits, DATA[0][1])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "target_modules": ["c_attn", "c_fc"],
            "rank_pattern": {"c_fc": 3},
            "alpha_pattern": {"h.1.mlp.c_fc": 5},
        },
        {
            "use_rslora": True,
            "target_modules": "all-linear",
            "modules_to_save": ["score"],
            "task_type": "SEQ_CLS",
        },
        {"use_dora": True},
        {"target_modules": ["wte", "c_attn"], "bias": "lora_only", "layers_to_transform": None},
    ],
)
def test_an_adapter_is_loaded_as_peft_loads_it(folder: Path, settings: dict[str, Any]) -> None:
    trained = with_adapter(**settings)
    trained.save_pretrained("adapter", save_embedding_layers=False)
    theirs = peft.PeftModel.from_pretrained(base(), "adapter", is_trainable=True).eval()
    state = torch.random.get_rng_state()
    checkpoint = load_checkpoint("adapter", model="hf:base", data=DATA)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(checkpoint.model(X).logits, theirs(X).logits)  # by another kernel of attention
    assert loss_of(checkpoint.model).item() == pytest.approx(loss_of(trained).item(), rel=1e-5)
    objective = checkpoint.objective()
    free = {name for name, p in theirs.named_parameters() if p.requires_grad}
    assert set(objective.layout.names) == free
    assert "do not require a gradient and are held fixed" in " ".join(objective.notes)
    assert str(objective.provenance.frozen).startswith(f"{len(list(theirs.parameters())) - len(free)} of ")
    slopes = torch.autograd.grad(loss_of(theirs), [p for p in theirs.parameters() if p.requires_grad])
    expected = torch.cat([slope.reshape(-1) for slope in slopes])
    assert float((objective.gradient - expected).norm() / expected.norm()) < 1e-4


def test_a_network_with_an_adapter_is_measured_in_python(folder: Path) -> None:
    network = with_adapter()
    objective = Objective(network, "cross-entropy", DATA, parameters=["lora_A.*"])
    assert objective.dimension == 2 * 2 * 8
    whole = Objective(network, "cross-entropy", DATA)
    assert whole.dimension == sum(p.numel() for n, p in network.named_parameters() if "lora_" in n)
    network.merge_adapter()
    with pytest.raises(InputError, match=r"are merged into its weights, .* call unmerge_adapter"):
        _ = Objective(network, "cross-entropy", DATA).loss
    merged = network.merge_and_unload()
    assert Objective(merged, "cross-entropy", DATA, parameters=["attn.*"]).loss == pytest.approx(
        whole.loss, rel=1e-5
    )


def test_the_command_measures_an_adapter_and_says_what_is_frozen(folder: Path, capsys: Any) -> None:
    network = with_adapter()
    network.save_pretrained("adapter")
    flags = ["-m", "hf:base", "-d", "./data.py:data", "-M", "gradient-norm"]
    assert call(["measure", "adapter", *flags, "--parameters", "lora_B.*"]) == 0
    out, err = capsys.readouterr()
    assert "free parameters: lora_B.*; all others are held fixed" in out
    assert "the base network has the weights of base/model.safetensors" in " ".join(err.split())
    record = json.loads(Path("adapter/measures.jsonl").read_text())
    assert record["provenance"]["model"].startswith("LoRA on hf:base (")
    leaves = [p for n, p in network.named_parameters() if "lora_B" in n]
    slopes = torch.autograd.grad(loss_of(network), leaves)
    norm = float(torch.cat([s.reshape(-1) for s in slopes]).norm())
    assert record["value"] == pytest.approx(norm, rel=1e-4)
    # Its number depends on the base and on the settings, which are not in its file.
    altered = base()
    with torch.no_grad():
        altered.score.weight.mul_(1.5)  # type: ignore[operator, union-attr]
    altered.save_pretrained("base")
    names = {load_checkpoint("adapter", model="hf:base", data=DATA).model_name}
    settings = json.loads(Path("adapter/adapter_config.json").read_text())
    Path("adapter/adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 7}))
    names.add(load_checkpoint("adapter", model="hf:base", data=DATA).model_name)
    assert len(names | {record["provenance"]["model"]}) == 3


def test_a_line_between_two_adapters(folder: Path) -> None:
    torch.manual_seed(1)
    first, second = with_adapter(), with_adapter()
    with torch.no_grad():
        for parameter in second.parameters():
            if parameter.requires_grad:
                parameter.mul_(-1.0)
    first.save_pretrained("first")
    second.save_pretrained("second")
    checkpoint = load_checkpoint("first", model="hf:base", data=DATA)
    there = checkpoint.network_of("second")
    torch.testing.assert_close(there(X).logits, second(X).logits)
    torch.testing.assert_close(checkpoint.model(X).logits, first(X).logits)
    with_adapter(lora_alpha=9).save_pretrained("other")
    with pytest.raises(InputError, match=r"not adapters with the same settings"):
        checkpoint.network_of("other")
    with pytest.raises(InputError, match=r"not adapters with the same settings"):
        checkpoint.network_of("base")


def test_what_is_missing_is_said_in_one_line(folder: Path, capsys: Any) -> None:
    with_adapter().save_pretrained("adapter")
    settings = json.loads(Path("adapter/adapter_config.json").read_text()) | {
        "base_model_name_or_path": "some/gpt"
    }
    Path("adapter/adapter_config.json").write_text(json.dumps(settings))
    for flags, says, code in (
        ([], "is an adapter for some/gpt, and holds neither the weights of that network nor data; add -m "
         "hf:some/gpt -d DATA", 3),
        (["-m", "mlp", "-d", "./data.py:data"], "'mlp' is a network without weights", 2),
        (["-m", "hf:other", "-d", "./data.py:data"], "there is no other/config.json", 3),
    ):  # fmt: skip
        assert call(["measure", "adapter", *flags]) == code
        assert says in " ".join(capsys.readouterr().err.split())
    assert inspect_checkpoint("adapter").command == "landscape measure adapter -m hf:some/gpt -d DATA"
    other = transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2, num_labels=3)
    )
    with pytest.raises(InputError, match=r"name the base that it was trained on, some/gpt, with -m"):
        load_checkpoint("adapter", model=other, data=DATA)
    Path("adapter/adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"adapter_config\.json does not exist"):
        load_checkpoint("adapter", model="hf:base", data=DATA)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "IA3"}, "only LORA is loaded"),
        (
            {"megatron_config": {"a": 1}, "megatron_core": "own_module"},
            "sets megatron_config, which is not supported",
        ),
        ({"init_lora_weights": "pissa"}, "which changes the base network"),
        ({"layer_replication": [[0, 2]]}, "sets layer_replication"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "not those of a LoRA adapter"),
        ({"modules_to_save": ["(a+)+b"]}, "not those of a LoRA adapter"),
        ({"lora_alpha": "8"}, "not those of a LoRA adapter"),
        ({"alpha_pattern": [1]}, "not those of a LoRA adapter"),
    ],
)
def test_settings_that_would_run_code_or_compute_something_else_are_refused(
    folder: Path, changes: dict[str, Any], says: str
) -> None:
    Path("own_module.py").write_text("raise SystemExit('ran')\n")
    with_adapter().save_pretrained("adapter")
    settings = json.loads(Path("adapter/adapter_config.json").read_text())
    Path("adapter/adapter_config.json").write_text(json.dumps(settings | changes))
    with pytest.raises(InputError, match=says):
        load_checkpoint("adapter", model="hf:base", data=DATA)


def test_without_peft_its_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_adapter().save_pretrained("adapter")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(UsageError, match=r"pip install .peft"):
        load_checkpoint("adapter", model="hf:base", data=DATA)
