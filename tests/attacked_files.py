"""Files of every kind that commands read, and edits of their bytes."""

import json

import numpy as np
from command_line import TINY
from hypothesis import strategies as st

from landscape import records

PLACES = {
    "checkpoint": "runs/sgd-0/checkpoint.pt",
    "weights": "weights.pt",
    "safetensors": "w.safetensors",
    "records": "runs/sgd-0/measures.jsonl",
    "history": "runs/sgd-0/history.jsonl",
    "records on the way": "runs/sgd-0/measures-history.jsonl",
    "recipe": "runs/sgd-0/recipe.toml",
    "surface": "s.npz",
    "journal": "j.journal",
    "landscaper": "landscaper.npz",
    "h5": "s.h5",
    "flags": "c.toml",
}
"""Where each kind of file lies."""
GIVEN = ("-m", "mlp:width=8,depth=1", "-d", "digits", "--limit", "20", "-M", "loss", "-q")
TRAIN = ("train", *TINY, "-q")
COMMANDS = {
    "checkpoint": [
        ("inspect", "runs/sgd-0/checkpoint.pt"),
        ("measure", "runs/sgd-0", *GIVEN[4:]),
        (*TRAIN, "-o", "runs/sgd-0"),
    ],
    "weights": [
        ("inspect", "weights.pt"),
        ("measure", "weights.pt", *GIVEN),
        ("convert", "weights.pt", "n.safetensors"),
    ],
    "safetensors": [("inspect", "w.safetensors"), ("measure", "w.safetensors", *GIVEN)],
    "records": [
        ("compare", "runs", "--no-measure-missing"),
        ("measure", "runs/sgd-0", *GIVEN[4:]),
        ("plot", "runs", "--kind", "dots", "-o", "x.svg"),
        ("report", "runs", "--no-turn", "-o", "x.html"),
    ],
    "history": [
        ("compare", "runs", "--no-measure-missing", "-M", "gradients", "-M", "loss"),
        ("plot", "runs/sgd-0/history.jsonl", "-o", "x.svg"),
        (*TRAIN, "-o", "runs/sgd-0"),
    ],
    "records on the way": [("plot", "runs/sgd-0/measures-history.jsonl", "-o", "x.svg")],
    "recipe": [
        ("compare", "runs", "--no-measure-missing"),
        ("plot", "runs", "--kind", "history", "-o", "x.svg"),
        ("report", "runs", "--no-turn", "-o", "x.html"),
        (*TRAIN, "-o", "runs/sgd-0"),
    ],
    "surface": [
        ("plot", "s.npz", "-o", "x.csv"),
        ("plot", "s.npz", "-o", "x.svg"),
        ("report", "s.npz", "--no-turn", "-o", "x.html"),
        ("surface", "s.npz", "--merge", "-o", "m.npz"),
    ],
    "journal": [("surface", "runs/sgd-0", "--points", "3", "--limit", "20", "-o", "j.npz", "-q")],
    "landscaper": [("plot", "landscaper.npz", "-o", "x.csv")],
    "h5": [("plot", "s.h5", "-o", "x.csv")],
    "flags": [
        ("measure", "runs/sgd-0", "-q", "-c", "c.toml"),
        ("plot", "s.npz", "-c", "c.toml", "-o", "x.csv"),
    ],
}
"""What reads each kind of file; the first is what is run most, as it costs least."""


def write_others(folder):
    """What no command of ours writes: weights alone, the files of other tools, and a journal that was left."""
    import torch
    from records_made import run

    from landscape.models import build_model

    torch.save(
        build_model("mlp:width=8,depth=1", classes=10, input_shape=(1, 8, 8), seed=0).state_dict(),
        folder / "weights.pt",
    )
    lines = [{"epoch": k, "step": k, **json.loads(records.to_json(run(k / 2)))} for k in (1, 2)]
    (folder / PLACES["records on the way"]).write_text("".join(json.dumps(line) + "\n" for line in lines))
    axis = np.linspace(-1, 1, 4)
    np.savez_compressed(folder / "landscaper.npz", loss=np.outer(axis, axis) + 2, coordinates=[axis, axis])
    (folder / "c.toml").write_text(
        'limit = 20\nsplit = "test"\nbatch-norm = "stored"\nmeasure = ["loss", "accuracy"]\n'
    )
    try:
        import h5py
    except ImportError:
        return
    with h5py.File(folder / "s.h5", "w") as file:
        file["xcoordinates"], file["ycoordinates"] = axis, axis[:3]
        file["train_loss"], file["train_acc"] = np.ones((4, 3)), np.full((4, 3), 50.0)


PIECES = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"\x1b[2J",
        b"\n",
        b'"',
        b"{",
        b"[",
        b"}",
        b"]",
        b",",
        b":",
        b"-",
        b"1e999",
        b"NaN",
        b"null",
    ),
    *(
        b"true",
        b'"x"',
        b"[]",
        b"{}",
        b"[[1]]",
        b"0",
        b"-1",
        b"9" * 25,
        b"9" * 400,
        b"9" * 5000,
        b"[" * 3000,
        b"\\ud800",
        b"\xc3\xa9",
    ),
)


@st.composite
def edits(draw):
    """A function that edits bytes: flips, pieces put in place of others, cuts; sometimes words of a text changed."""
    count = draw(st.integers(1, 3))
    changes = [
        (
            draw(st.sampled_from(["flip", "piece", "piece", "token", "cut"])),
            draw(st.floats(0, 1, exclude_max=True)),
            draw(st.sampled_from(PIECES)),
            draw(st.integers(0, 255)),
            draw(st.integers(0, 8)),
        )
        for _ in range(count)
    ]

    def edit(content):
        for kind, share, piece, byte, length in changes:
            place = int(share * len(content))
            if kind == "flip" and content:
                content = content[:place] + bytes([content[place] ^ (byte or 1)]) + content[place + 1 :]
            elif kind == "piece":
                content = content[:place] + piece + content[place + length :]
            elif kind == "cut" and byte < 64:
                content = content[:place]
            elif kind == "token":
                content = with_another_token(content, share, piece)
        return content

    return edit


def with_another_token(content, share, piece):
    """A number, word or string of the text replaced by a piece; other bytes than text stay."""
    import re

    tokens = list(re.finditer(rb'"[^"\n]*"|-?[0-9][0-9.eE+-]*|true|false|null', content[:20_000]))
    if not tokens:
        return content
    token = tokens[int(share * len(tokens))]
    return content[: token.start()] + piece + content[token.end() :]
