"""Flags from a file."""

import json

import pytest

from landscape.records.json_lines import read

CONFIG = """
measure = ["loss", "surrogate-gap:rho=0.2"]
limit = 60
split = "test"
batch_size = 30
dtype = "float64"
quiet = true
"""


def test_a_file_sets_flags_and_the_command_line_overrides_it(landscape, runs, tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG)
    result = landscape("measure", "runs/sgd-0", "-c", "c.toml", "--limit", "50")
    assert (result.code, result.err) == (0, "")
    taken = read(runs / "sgd-0/measures.jsonl").estimates
    assert [e.measure for e in taken] == ["loss", "surrogate-gap"]
    assert taken[1].settings == {"rho": 0.2}
    origin = taken[0].provenance
    assert (origin.split, origin.num_examples, origin.batch_size, origin.dtype) == ("test", 50, 30, "float64")


def test_a_file_for_training_may_say_everything(landscape, tmp_path):
    (tmp_path / "c.toml").write_text(
        'model = "mlp:width=4,depth=1"\ndata = "moons:samples=60"\noptimizer = "sam:rho=0.1"\nepochs = 1\n'
        'seed = 3\nlr = 0.05\noutput = "here"\nlabel-smoothing = 0.1\n'
    )
    assert landscape("train", "--config", "c.toml").code == 0
    recipe = json.loads(json.dumps((tmp_path / "here/recipe.toml").read_text()))
    assert 'optimizer = "sam:rho=0.1"' in recipe
    assert "seed = 3" in recipe
    assert "label_smoothing = 0.1" in recipe


def test_an_unknown_key_is_answered_with_the_nearest(landscape, runs, tmp_path, snapshot):
    (tmp_path / "c.toml").write_text("limits = 50\n")
    before = snapshot()
    result = landscape("measure", "runs/sgd-0", "-c", "c.toml")
    assert result.code == 2
    assert "c.toml: 'limits' is not an option of `landscape measure` (did you mean 'limit'?)" in result.error
    assert snapshot() == before


def test_a_value_of_the_wrong_kind_and_a_broken_file_are_said(landscape, runs, tmp_path):
    (tmp_path / "c.toml").write_text('limit = "many"\n')
    result = landscape("measure", "runs/sgd-0", "-c", "c.toml")
    assert (result.code, "--limit" in result.error) == (2, True)
    (tmp_path / "c.toml").write_text("limit = = 3\n")
    result = landscape("measure", "runs/sgd-0", "-c", "c.toml")
    assert (result.code, "c.toml is not TOML" in result.error) == (3, True)
    assert landscape("measure", "runs/sgd-0", "-c", "none.toml").code == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("quiet = 1", "quiet = 1 is neither true nor false"),
        ('quiet = ""', "neither true nor false"),
        ("resume = []", "neither true nor false"),
        ("limit = true", "limit = True is neither text nor a number"),
        ("limit = 2.5", "'2.5' is not a valid integer"),
        ("limit = inf", "is not a valid integer"),
        ("limit = [20]", "neither text nor a number"),
        ("limit = 1979-05-27", "limit = 1979-05-27 is neither text nor a number"),
        ("batch-size = {x = 1}", "neither text nor a number"),
        ("model = [[[]]]", "neither text nor a number"),
        ('output = "a\\u0000b"', "holds a NUL character"),
        ('measure = [["loss"]]', "neither text nor a number"),
        ("measure = [07:32:00]", "neither text nor a number"),
        ('split = "valid"', "'valid' is not one of"),
        ('dtype = "\\u001b[2J"', "is not one of"),
    ],
)
def test_a_value_of_a_type_that_the_flag_does_not_have_is_a_usage_error(
    landscape, runs, tmp_path, line, says
):
    (tmp_path / "c.toml").write_text(line + "\n")
    result = landscape("measure", "runs/sgd-0", "-c", "c.toml")
    assert result.code == 2
    assert says in result.error


def test_a_repeatable_flag_may_be_one_text(landscape, runs, tmp_path):
    (tmp_path / "c.toml").write_text('measure = "loss"\nlimit = "20"\nquiet = true\n')
    assert landscape("measure", "runs/sgd-0", "-c", "c.toml").code == 0
    assert [e.measure for e in read(runs / "sgd-0/measures.jsonl").estimates] == ["loss"]


@pytest.mark.parametrize(
    "text", ["limit = " + "9" * 5000, "limit = " + "[" * 5000, "limit = 1979-13-45", "\udcff"]
)
def test_what_cannot_be_read_as_toml_is_said_in_one_line(landscape, runs, tmp_path, text):
    (tmp_path / "c.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    result = landscape("measure", "runs/sgd-0", "-c", "c.toml")
    assert result.code == 3
    assert "c.toml is not TOML" in result.error
