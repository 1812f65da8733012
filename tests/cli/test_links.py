"""Links, pipes and devices in a stranger's folder, or named by mistake: not written through, not replaced."""

import os

import pytest

MINE = "# mine\n"


@pytest.fixture
def target(tmp_path):
    """A file of the user's that links lead to."""
    file = tmp_path / "home" / ".bashrc"
    file.parent.mkdir()
    file.write_text(MINE)
    return file


def test_measure_appends_no_line_through_a_link_in_the_folder_of_a_run(runs, target, landscape):
    link = runs / "sgd-0" / "measures.jsonl"
    link.symlink_to(target)
    result = landscape("measure", "runs/sgd-0", "-M", "loss", "-q")
    assert result.code == 3
    assert "measures.jsonl is a symbolic link to" in result.error
    assert target.read_text() == MINE
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("compare", "runs/sgd-0", "-M", "gradients"), "table.tex"),
        (("surface", "runs/sgd-0", "--points", "3", "--limit", "20", "--overwrite"), "figure.svg"),
        (("surface", "runs/sgd-0", "--points", "3", "--limit", "20", "--overwrite"), "numbers.npz"),
        (("plot", "runs/sgd-0"), "figure.pdf"),
        (("convert", "runs/sgd-0", "--overwrite"), "weights.safetensors"),
        (("measure", "runs/sgd-0", "-M", "loss"), "measures.jsonl"),
    ],
)
def test_an_output_that_is_a_link_is_named_with_its_target_and_left_alone(
    runs, target, landscape, tmp_path, arguments, output
):
    (tmp_path / output).symlink_to(target)
    flag = [output] if arguments[0] == "convert" else ["-o", output]
    result = landscape(*arguments, *flag)
    assert result.code == 3
    assert f"{output} is a symbolic link to {target}" in result.err.splitlines()[-1]
    assert "Traceback" not in result.err
    assert target.read_text() == MINE
    assert (tmp_path / output).is_symlink()


def test_the_captions_of_a_figure_are_not_written_through_links_either(runs, target, landscape, tmp_path):
    (tmp_path / "figure.txt").symlink_to(target)
    result = landscape("plot", "runs/sgd-0", "-o", "figure.svg")
    assert result.code == 3
    assert "figure.txt is a symbolic link" in result.err.splitlines()[-1]
    assert target.read_text() == MINE


def test_a_pipe_for_an_output_is_refused_at_once(runs, landscape, tmp_path):
    os.mkfifo(tmp_path / "table.csv")
    result = landscape("compare", "runs/sgd-0", "-M", "gradients", "-o", "table.csv")
    assert result.code == 3
    assert "table.csv is a pipe, not a regular file" in result.error


def test_a_table_that_is_written_again_keeps_its_permissions(runs, landscape, tmp_path):
    (tmp_path / "table.csv").touch(0o600)
    assert landscape("compare", "runs/sgd-0", "-M", "gradients", "-o", "table.csv").code == 0
    assert (tmp_path / "table.csv").stat().st_mode & 0o777 == 0o600
