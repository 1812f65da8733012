"""Rows of checkpoints of any origin: which files are in them, and which seed each of them has."""

import pytest

from landscape.comparison.groups import from_groups, from_table, seeds_in_words, unpaired
from landscape.errors import InputError, UsageError


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A function that makes empty files in the current folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    return make


def seeds(*texts, **options):
    return [(m.row, m.path.as_posix(), m.seed) for m in from_groups(texts, **options)]


def test_a_pattern_is_a_row_and_its_seeds_are_the_numbers_that_differ(files):
    files("own/sgd-2.pt", "own/sgd-10.pt", "own/sam-2.pt", "own/sgd-2.log", "own/measures.jsonl")
    assert seeds("SGD=own/sgd-*", "SAM=own/sam-*") == [
        ("SGD", "own/sgd-2.pt", 2),
        ("SGD", "own/sgd-10.pt", 10),
        ("SAM", "own/sam-2.pt", 2),
    ]
    words = seeds_in_words(from_groups(["SGD=own/sgd-*", "SAM=own/sam-*"]))
    assert words == "Seeds, from the names (sgd-2.pt → 2): SGD 2, 10; SAM 2"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["r18-lr0.1-s0.pt", "r18-lr0.1-s1.pt"], [0, 1]),
        (["seed0-epoch10.pt", "seed1-epoch12.pt"], [0, 1]),  # several differ: the one after the word
        (["a-seed=3-best.pt", "b_seed_4.pt"], [3, 4]),
        (["0/net.pt", "1/net.pt"], [0, 1]),
        (["run7/ckpt7.pt", "run8/ckpt8.pt"], [7, 8]),  # the same number twice
        (["epoch=3-step=10.ckpt", "epoch=4-step=10.ckpt"], [3, 4]),
        (["model.pt"], [None]),
        (["resnet18-5.pt"], [5]),
    ],
)
def test_the_seed_in_names_of_many_forms(files, names, expected):
    files(*names)
    assert [m.seed for m in from_groups([f"x={','.join(names)}"])] == expected


def test_a_regular_expression_says_where_the_seed_is(files):
    files("a/best-1-of-9.pt", "a/last-2-of-8.pt")
    assert [s for *_, s in seeds("x=a/*", seed_from=r"-(\d+)-of")] == [1, 2]
    assert [s for *_, s in seeds("x=a/*", seed_from=r"/(\w+)-")] == ["best", "last"]


def test_labels_and_paths_may_hold_any_characters(files):
    files("a=b/x,1.pt", "c[0].pt")
    assert seeds("SAM ρ=0.1 \x1b[31m=a=b/x,1.pt", "y=c[0].pt") == [
        ("SAM ρ=0.1 \x1b[31m", "a=b/x,1.pt", 1),
        ("y", "c[0].pt", 0),
    ]


REFUSED_GROUPS = {
    "no label": (["=own/*"], None, UsageError, "is not LABEL=PATTERN"),
    "no pattern": (["SGD="], None, UsageError, "is not LABEL=PATTERN"),
    "nothing matches": (
        ["S=own/x-*"],
        None,
        InputError,
        r"'S': nothing matches own/x-\*; own holds a-0-1.pt, a-1",
    ),
    "no such folder": (["S=none/x-*"], None, InputError, r"nothing matches none/x-\*; \. holds own"),
    "one of two patterns": (["S=own/b-0.pt,own/x"], None, InputError, "nothing matches own/x; "),
    "labels repeat": (["S=own/b-0.pt", "S=own/b-1.pt"], None, UsageError, "two groups are called 'S'"),
    "two numbers differ": (["S=own/a-*"], None, UsageError, "row 'S' differ in 2 numbers .*--seed-from"),
    "other words": (["S=own/b-0.pt,own/a-0-1.pt"], None, UsageError, "differ in more than a number"),
    "one seed twice": (
        ["S=own/b-*"],
        r"(\.)pt",
        UsageError,
        r"two checkpoints with seed \.: own/b-0.pt and own/b-1",
    ),
    "no match": (["S=own/b-*"], r"c-(\d)", UsageError, r"does not match own/b-0.pt of row 'S'"),
    "no expression": (["S=own/b-*"], r"(\d", UsageError, "is no regular expression: missing \\)"),
    "no group": (["S=own/b-*"], r"\d", UsageError, "has no group; put the seed in brackets"),
    "shared": (
        ["S=own/b-*", "T=own/b-1.pt"],
        None,
        InputError,
        "'S' seed 1 .* and 'T' seed 1 .* the same checkpoint",
    ),
    "one path twice": (["S=own/b-0.pt", "T=own/../own/b-0.pt"], None, InputError, "are the same checkpoint"),
}


@pytest.mark.parametrize("mistake", list(REFUSED_GROUPS))
def test_groups_that_cannot_be_used_are_refused_with_what_to_do(files, mistake):
    files("own/a-0-1.pt", "own/a-1-2.pt", "own/b-0.pt", "own/b-1.pt")
    texts, seed_from, kind, says = REFUSED_GROUPS[mistake]
    with pytest.raises(kind, match=says):
        from_groups(texts, seed_from)


def test_a_table_gives_rows_seeds_and_other_fields_in_its_order(files):
    folder = files("data/a.pt", "data/b.pt", "here.pt")
    text = '\ufeffseed,row,checkpoint,lr\n1,"SAM, ρ",a.pt,0.1\n\n0,SGD,b.pt,-1e-3\nx,SGD,here.pt,\n'
    (folder / "data/t.csv").write_text(text, encoding="utf-8")
    members = from_table(folder / "data/t.csv")
    assert [(m.row, m.seed, m.path.name, dict(m.fields)) for m in members] == [
        ("SAM, ρ", 1, "a.pt", {"lr": "0.1"}),
        ("SGD", 0, "b.pt", {"lr": "-1e-3"}),
        ("SGD", "x", "here.pt", {"lr": ""}),
    ]
    assert all(m.path.exists() for m in members)


HEAD = "checkpoint,row,seed\n"
REFUSED_TABLES = {
    "empty": ("", "has no column checkpoint; its columns are: none"),
    "head alone": (HEAD, "has no line below the header"),
    "column": (
        "checkpoint,rows,seed\n",
        r"has no column row \(did you mean 'rows'\?\); its columns are: checkpoint",
    ),
    "column twice": ("checkpoint,row,seed,seed\n", "two columns of one name"),
    "file": (f"{HEAD}none.pt,S,0\n", "line 2: none.pt does not exist, neither in .* nor in "),
    "cell": (f"{HEAD}a.pt,,0\n", "line 2: row is empty"),
    "short": (f"{HEAD}a.pt,S\n", "line 2 has 2 cells, and the header has 3"),
    "seed twice": (
        f"{HEAD}a.pt,S,0\nb.pt,S,0\n",
        "row 'S' has two checkpoints with seed 0: .*a.pt and .*b.pt",
    ),
    "file twice": (f"{HEAD}a.pt,S,0\na.pt,T,0\n", "are the same checkpoint"),
    "formula": (f"{HEAD}a.pt,=1+1,0\n", r"line 2: row is '=1\+1', which is a formula"),
    "formula of a command": (f"{HEAD}a.pt,S,@SUM(1)\n", "seed is '@SUM\\(1\\)', which is a formula"),
    "no text": (f"{HEAD}a.pt,S,{'9' * 200_000}\n", "line 2 is not a line of CSV: field larger"),
}


@pytest.mark.parametrize("mistake", list(REFUSED_TABLES))
def test_a_table_that_cannot_be_used_is_refused_with_its_line(files, mistake):
    folder = files("a.pt", "b.pt")
    text, says = REFUSED_TABLES[mistake]
    (folder / "t.csv").write_text(text)
    with pytest.raises((InputError, UsageError), match=says):
        from_table(folder / "t.csv")


def test_seeds_that_a_row_lacks_are_named(files):
    files("a-0.pt", "a-1.pt", "b-1.pt", "b-2.pt")
    assert unpaired(from_groups(["A=a-*", "B=b-*"])) == [
        "A lacks seed 2; B lacks seed 0: differences are over the seeds that both rows have"
    ]
    assert unpaired(from_groups(["A=a-*"])) == []
