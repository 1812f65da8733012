"""``landscape watch``: curves as text, a page that reloads while a run goes on, and the end with the runs."""

import itertools
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
from command_line import TINY
from command_line import landscape as landscape
from landscape.cli.chart import chart


def text(lines):
    return ["".join(cell.text for cell in line) for line in lines]


def test_a_straight_line_goes_from_corner_to_corner():
    x = np.arange(50.0)
    lines = text(chart([(x, x)], width=40, height=6, label="step"))
    assert len(lines) == 7
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].startswith("49 │")
    assert lines[5].startswith(" 0 │")
    assert lines[0][-1] != " "
    assert lines[5][4] != " "
    drawn = [[k for k, c in enumerate(line[4:]) if "\u2801" <= c <= "\u28ff"] for line in lines[:6]]
    assert all(a[0] > b[0] for a, b in itertools.pairwise(drawn))
    assert re.fullmatch(r" +0 +step +49", lines[6])


def test_decades_are_logarithmic_and_said():
    x = np.arange(4.0)
    lines = text(chart([(x, 10.0**x)], width=40, height=8, label="epoch", log=True))
    assert "values: logarithmic" in lines[-1]
    rows = [[k for k, c in enumerate(line) if "\u2801" <= c <= "\u28ff"] for line in lines[:8]]
    middle = [float(np.mean(row)) for row in rows]
    steps = -np.diff(middle)
    assert steps == pytest.approx(np.full(7, steps.mean()), rel=0.25)  # a straight line


def test_every_curve_has_its_number_and_what_is_not_finite_is_left_out():
    x = np.arange(5.0)
    curves = [(x, x), (x, np.array([4, np.nan, 2, np.inf, 0.0]))]
    cells = [cell for line in chart(curves, width=30, height=5, label="") for cell in line]
    assert {c.curve for c in cells} == {None, 0, 1}
    assert text(chart([(x, x * np.nan)], width=30, height=5, label="")) == ["no values yet"]


def test_a_finished_run_is_printed_once_in_a_pipe_with_a_page_that_stays(landscape, runs, tmp_path):
    done = landscape("watch", "runs/sgd-0", "runs/sam-0", "--html", "w.html")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("loss  sgd train")
    assert any(line.startswith("accuracy") for line in lines)
    page = (tmp_path / "w.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "refresh" not in page


def test_the_page_of_a_run_that_goes_on_reloads(landscape, runs, tmp_path):
    recipe = tmp_path / "runs" / "sgd-0" / "recipe.toml"
    recipe.write_text(re.sub(r"(?m)^epochs = .*$", "epochs = 99", recipe.read_text()))
    assert landscape("watch", "runs/sgd-0", "--html", "w.html", "--every", "5").code == 0
    assert 'http-equiv="refresh" content="5"' in (tmp_path / "w.html").read_text(encoding="utf-8")


def test_in_a_terminal_it_ends_with_the_runs(runs, tmp_path):
    theirs, ours = pty.openpty()
    command = [sys.executable, "-P", "-m", "landscape", "watch", "runs/sgd-0", "--every", "0.2"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40"}
    process = subprocess.Popen(command, cwd=tmp_path, stdout=ours, stderr=ours, stdin=ours, env=environment)
    os.close(ours)
    shown = b""
    while True:
        try:
            part = os.read(theirs, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert process.wait(60) == 0
    assert b"loss" in shown
    assert "⠉".encode() in shown or "⠒".encode() in shown or "⣀".encode() in shown


def test_a_surface_is_refused_with_the_command_that_draws_it(landscape, tmp_path):
    assert landscape("train", *TINY, "--optimizers", "sgd", "-o", "r", "-q").code == 0
    assert landscape("surface", "r", "--points", "3", "--limit", "20", "-q", "-o", "s.npz").code == 0
    refused = landscape("watch", "s.npz")
    assert refused.code == 3
    assert "landscape plot draws it" in refused.error


def test_a_folder_that_is_not_there_is_one_line(landscape):
    refused = landscape("watch", "nothing")
    assert refused.code == 3
    assert "no such file" in refused.error


@pytest.mark.parametrize(("state", "reloads"), [("running", True), ("finished", False), ("failed", False)])
def test_the_page_of_a_tracker_reloads_until_it_is_over(landscape, runs, tmp_path, state, reloads):
    run = tmp_path / "runs" / "sgd-0"
    (run / "recipe.toml").unlink()
    (run / "tracker.json").write_text(f'{{"state": "{state}"}}')
    assert landscape("watch", "runs/sgd-0", "--html", "w.html").code == 0
    assert ("refresh" in (tmp_path / "w.html").read_text(encoding="utf-8")) == reloads
