"""Flags from a file."""

import json

from landscape.records import read

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
