"""The study of a small language model: rounding, blocks, what its claims compare, and two of its rows once."""

import dataclasses
import importlib
import sys
from pathlib import Path

import pytest
import torch

from landscape.models import build_model

FOLDER = Path(__file__).parents[2] / "figures" / "reproductions"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_rounding_has_fifteen_values_a_row_and_is_off_by_half_a_step(load):
    model = build_model("decoder:width=8,depth=1,heads=2,length=8", seed=0)
    coarse = load("sam_forgetting").rounded(model)
    for (name, before), after in zip(model.named_parameters(), coarse.parameters(), strict=True):
        if before.ndim == 1:
            assert torch.equal(before, after), name
            continue
        steps = before.abs().amax(1, keepdim=True) / 7
        assert torch.all((before - after).abs() <= steps * 0.5001)
        levels = after / steps
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        assert int(levels.abs().max().round()) == 7


def test_every_parameter_is_in_one_block(load):
    script = load("sam_forgetting")
    for name, _ in build_model("decoder:width=8,depth=2,heads=2,length=8").named_parameters():
        assert sum(script._is_in(name, marks) for marks in script.BLOCKS.values()) == 1, name


def test_the_claims_compare_like_with_like(load):
    script = load("sam_forgetting")
    arms = {arm.label: arm for arm in (*script.CONTINUED, *script.FINE_TUNED)}
    results = {
        label: {
            measure: [place + (0.1 + 0.01 * place) * seed for seed in range(3)]
            for measure in ("forgetting", "rounding A", "rounding B", "trace A", "trace B", "loss B")
        }
        for place, label in enumerate(arms)
    }
    claims = script.claims({"results": results})
    # Rows are numbered in the order of the arms: SAM-AdamW's is after AdamW's and before AdamW's with twice the epochs.
    first = [claim.judgement for claim in claims[:8]]
    assert first == ["does not hold"] * 4 + ["holds"] * 4
    assert [claim.judgement for claim in claims[8:]] == [
        *["does not hold"] * 3,
        *["holds"] * 3,
        *["does not hold"] * 3,
        *["holds"] * 3,
    ]
    for arm in script.FINE_TUNED:
        assert arm.start in {row.label for row in script.CONTINUED}
        assert arm.passes == 1 + arm.label.endswith(script.TWICE) * (arm.start == script.CONTINUED[0].label)


@pytest.mark.thorough
def test_rows_are_trained_and_measured_once(load, monkeypatch, tmp_path):
    script, study = load("sam_forgetting"), load("study")
    monkeypatch.setattr(script, "CONTINUED", script.CONTINUED[1:2])
    monkeypatch.setattr(
        script, "FINE_TUNED", (dataclasses.replace(script.FINE_TUNED[1], start=script.CONTINUED[0].label),)
    )
    monkeypatch.setattr(script, "BLOCKS", {"attention": (".attn.",)})
    setup = script.STUDY.setups["text"]
    small = dataclasses.replace(
        setup,
        fields={**setup.fields, "model": "decoder:width=4,depth=1,heads=1,length=8", "epochs": 1},
        limit=2,
        more={"fine-tuning": "text:source=stdlib,length=8,limit=400"},
    )
    work = study.Work(script.STUDY, small, "text:length=8,limit=400", range(1), tmp_path, device="cpu")
    first, tuned = script.compute(work).values()
    assert tuned["forgetting"] == [tuned["loss A"][0] - first["loss A"][0]]
    assert 0 < tuned["eigenvalue B attention"][0] < tuned["trace B"][0]
    monkeypatch.setattr(script, "_measured", None)  # what is on disk is not measured again
    assert list(script.compute(work).values()) == [first, tuned]
