"""What a stranger's file names never runs: payloads × files × commands × flags. A new payload is one row."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.checkpoints import convert
from landscape.models import build_model
from landscape.training import Recipe

PAYLOADS = [
    ("model", "os:system:x=y:command=touch pwned"),
    ("data", "os:system:x=y:command=touch pwned"),
    ("model", "os:system:command=touch pwned"),
    ("data", "subprocess:getoutput:cmd=touch pwned:download=true"),
    ("data", "subprocess:getoutput:download=true,cmd=touch pwned"),
    ("model", "./evil.py:made"),
    ("data", "./evil.py:made"),
    ("model", "evil.py:made:a=b:c=d"),
    ("data", " ./evil.py : made "),
    ("data", "evil:made"),
    ("model", "EVIL:made:width=8"),
    ("model", "evil_:_made_:width=8"),
    ("model", "builtins:exec"),
    ("data", "builtins:exec:x=a:b,c=d:e"),
    ("model", "mlp:width=8:depth=1"),
    ("data", "moons:noise=0.1:os:system"),
    ("model", "torchvision:../../evil"),
    ("model", "torchvision:get_model"),
    ("model", "torchvision:evil:made"),
    ("model", "timm:hf-hub:evil/made"),
    ("model", "timm:create_model"),
    ("model", "timm:resnet18.hf-hub:evil/made"),
    ("model", "timm:resnet18:checkpoint_path=evil.pt"),
    ("model", "timm:resnet18:pretrained=true"),
    ("model", "hf:remote"),
    ("data", "hf-datasets:remote"),
    ("data", "npz:pickled.npz"),
    ("data", "digits:evil=./evil.py"),
    ("optimizer", "os:system:command=touch pwned"),
    ("base", "./evil.py:made"),
    ("loss", "builtins:exec:x=y"),
    ("loss", "./evil.py:made"),
    ("task", "./evil.py:made"),
    ("model", "./evil.py"),
]
"""A field of a recipe, and what it says there."""

HARMLESS = {"npz:pickled.npz", "timm:resnet18:pretrained=true"}
"""What names no code but cannot be used either: a folder that says it merely holds another run."""

EVIL = "open('pwned', 'w').close()\ndef made(*a, **k): open('pwned', 'w').close()\n"
GOOD = {"model": "mlp:width=8,depth=1", "data": "moons:samples=60", "optimizer": "sgd", "base": "sgd"}
STATE = build_model(GOOD["model"], classes=2, input_shape=(2,), seed=0).state_dict()
FLAGS = {"model": ("-d", GOOD["data"]), "data": ("-m", GOOD["model"])}
PROGRAMS = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"}

_seen: list[str] | None = None


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    """Notes programs that are started, and the stranger's code that is imported or run."""
    if _seen is None:
        return
    if event in PROGRAMS:
        _seen.append(f"{event} {arguments}")
    elif event == "import" and str(arguments[0]).lower().strip("_") in ("evil", "x"):
        _seen.append(f"import {arguments[0]}")
    elif event == "exec" and Path(getattr(arguments[0], "co_filename", "")).name.lower() == "evil.py":
        _seen.append("exec evil.py")


@pytest.fixture(scope="module")
def watched():
    """An audit hook; such a hook can only be switched off, not removed."""
    sys.addaudithook(_watch)


@pytest.fixture
def stranger(tmp_path, monkeypatch, watched):
    """A folder with a stranger's files, in which commands are run and watched."""
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "remote").mkdir()
    config = {"auto_map": {"AutoConfig": "evil.Made"}, "architectures": ["Made"], "model_type": "made"}
    (tmp_path / "remote" / "config.json").write_text(json.dumps(config))
    (tmp_path / "remote" / "evil.py").write_text(EVIL)
    (tmp_path / "remote" / "remote.py").write_text(EVIL)
    np.savez(tmp_path / "pickled.npz", inputs=np.array([print], object), targets=np.zeros(1))
    seen: list[str] = []
    monkeypatch.setattr(sys.modules[__name__], "_seen", seen)
    return seen


def write(folder: Path, recipe: dict[str, str]) -> None:
    """A run as ``landscape train`` writes it, the same as safetensors, and a folder with a recipe alone."""
    run, bare = folder / "run", folder / "bare"
    run.mkdir()
    bare.mkdir()
    content = {"format": "landscape.checkpoint/1", "recipe": recipe, "state_dict": STATE, "epoch": 1}
    torch.save({**content, "step": 1, "metrics": {}, "training": {}}, run / "checkpoint.pt")
    convert(run / "checkpoint.pt", folder / "converted.safetensors")
    (run / "history.jsonl").write_text('{"epoch": 1, "train_loss": 0.5}\n{"epoch": 2, "train_loss": 0.4}\n')
    # What lacks a field was not written by training, and is left alone.
    said = {**Recipe(**GOOD).to_dict(), **recipe}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in said.items() if value is not None]
    (bare / "recipe.toml").write_text("".join(lines))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        # A quarter, which are of every kind, is always tried.
        pytest.param(*payload, marks=[pytest.mark.thorough] if number % 4 else [], id=" ".join(payload))
        for number, payload in enumerate(PAYLOADS)
    ],
)
def test_nothing_that_a_file_names_runs(landscape, stranger, tmp_path, field, text):
    write(tmp_path, {**GOOD, field: text})
    measured = [
        (command, file, *more, *flags)
        for command, *more in (("measure", "-M", "loss"), ("verify",), ("surface", "--points", "3"))
        for file in ("run", "converted.safetensors")
        for flags in ((), FLAGS.get(field, ()))
    ]
    refusing = [
        *measured,
        ("compare", "run", "--measure", "loss"),
        *(("train", "-o", folder, *dry) for folder in ("run", "bare") for dry in ((), ("--dry-run",))),
    ]
    for arguments in refusing:
        result = landscape(*arguments)
        assert result.code == (2 if arguments[0] == "train" and text in HARMLESS else 3), (
            arguments,
            result.err,
        )
        assert field in result.err or text.split(":")[0].strip() in result.err, (arguments, result.err)
    told = landscape("inspect", "run")
    assert told.code == 0
    assert text.strip() in told.out
    assert landscape("convert", "run", "again.safetensors").code == 0
    assert stranger == []
    assert not (tmp_path / "pwned").exists()


def test_a_picture_of_a_run_runs_nothing_that_its_recipe_names(landscape, stranger, tmp_path):
    evil = "os:system:x=y:command=touch pwned"
    write(tmp_path, dict.fromkeys(GOOD, evil))
    (tmp_path / "bare" / "recipe.toml").rename(tmp_path / "run" / "recipe.toml")
    for arguments in (("run",), ("run/history.jsonl",)):
        assert landscape("plot", *arguments, "-o", "plot.png").code == 0
    assert stranger == []
    assert not (tmp_path / "pwned").exists()
