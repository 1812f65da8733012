"""``landscape report``: one page of what is on disk, harmless whatever the names in it, and drawn by a real browser."""

import html.parser
import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from command_line import landscape as landscape
from records_made import run

from landscape import records
from landscape.records.surface import Surface

# A script, a formula of LaTeX, one of a spreadsheet, a control character, a cell of Markdown and the end of a script.
EVIL = (
    "<script>alert(1)</script>$\\frac{1}$=cmd|'x'!A1\x1b[2J`|](javascript:x)\u202e</style>--><svg onload=x>"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def made(place, optimizers=("sgd", "sam"), seeds=2, **fields):
    """Folders of runs with a recipe, a history and records, as training and measuring leave them."""
    for number, optimizer in enumerate(optimizers):
        for seed in range(seeds):
            folder = place / f"{number}-{seed}"
            folder.mkdir(parents=True)
            lines = [
                {"epoch": e, "train_loss": 1 / e + seed / 9, "test_accuracy": 1 - 0.5 / e} for e in (1, 2, 3)
            ]
            (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            (folder / "recipe.toml").write_text(
                f"optimizer = {json.dumps(optimizer)}\nseed = {seed}\nlr = 0.1\nepochs = 3\n"
            )
            for measure in ("accuracy", "dominant-eigenvalue"):
                value = 0.9 - number / 10 + seed / 100
                estimate = run(value, seed=seed, optimizer=optimizer, measure=measure, **fields)
                records.append(folder / "measures.jsonl", estimate)


def surface(path, checkpoint, label="sgd"):
    x = np.linspace(-1, 1, 5)
    loss = x[None] ** 2 + x[:, None] ** 2 + 0.1
    meta = {"label": label, "command": "landscape surface", "provenance": {"checkpoint": checkpoint}}
    Surface(x=x, y=x, loss=loss, accuracy=None, computed=np.ones((5, 5)), meta=meta).save(path)


class Elements(html.parser.HTMLParser):
    """The elements, identifiers and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.names, self.ids, self.attributes, self.open = Counter(), Counter(), set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.names[tag] += 1
        self.ids.update(value for name, value in attrs if name == "id")
        self.attributes |= {(name, value) for name, value in attrs}
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(path):
    return path.read_text(encoding="utf-8")


def test_the_page_has_every_part_and_loads_nothing(landscape, tmp_path):
    made(tmp_path / "runs")
    surface(tmp_path / "near.npz", run(0.0).provenance.checkpoint)
    surface(tmp_path / "other.npz", "of another network")
    result = landscape("report", "runs", "--no-turn", "-o", "r.html")
    assert (result.code, result.out) == (0, "r.html\n"), result.err
    page, found = read(tmp_path / "r.html"), Elements(read(tmp_path / "r.html"))
    for part in ("Results", "Curves over training", "Surfaces", "Recipes", "Provenance", "Commands"):
        assert f"<h2>{part}</h2>" in page
    assert "SAM is lowest" in page  # the verdict on the eigenvalue
    assert "landscape report runs --no-turn -o r.html" in page
    assert "landscape measure CHECKPOINT -M spectral-density" in page  # what is missing
    assert "near.npz" in page
    assert "other.npz" not in page
    assert found.names["svg"] >= 5  # two measures, two curves, a surface
    assert found.names["script"] == 0
    assert set(found.ids.values()) == {1}
    loaded = {v for n, v in found.attributes if n in ("src", "href", "xlink:href", "srcset", "action")}
    assert all(v.startswith(("#", "data:")) for v in loaded)
    assert landscape("report", "runs", "--no-turn", "-o", "r.html").code == 0
    assert read(tmp_path / "r.html") == page


def test_names_of_a_stranger_are_text(landscape, tmp_path):
    made(tmp_path / "runs", ("sgd", EVIL), data=EVIL, unit=EVIL)
    surface(tmp_path / "evil.npz", "any", label=EVIL)
    for form in ("html", "md"):
        result = landscape("report", "runs", "evil.npz", "--no-turn", "-o", f"r.{form}")
        assert result.code == 0, result.err
        text = read(tmp_path / f"r.{form}")
        assert "<script>" not in text
        assert all(c.isprintable() or c == "\n" for c in text)
    found = Elements(read(tmp_path / "r.html"))
    assert not found.names.keys() & {"script", "iframe", "object", "img"}
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in read(tmp_path / "r.html")
    table = next(line for line in read(tmp_path / "r.md").splitlines() if "frac" in line)
    assert not re.search(r"(?<!\\)\]\(", table)


@pytest.mark.parametrize("flags", [(), ("--turn",)])
def test_without_plotly_the_pictures_remain(landscape, tmp_path, monkeypatch, flags):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    surface(tmp_path / "s.npz", "any")
    result = landscape("report", "s.npz", "-o", "r.html", *flags)
    if flags:
        assert result.code == 2
        assert "plotly" in result.error
    else:
        assert Elements(read(tmp_path / "r.html")).names["svg"] == 1


def test_surfaces_that_turn_show_a_picture_where_no_script_runs(landscape, tmp_path):
    pytest.importorskip("plotly")
    surface(tmp_path / "s.npz", "any", label=EVIL)
    assert landscape("report", "s.npz", "-o", "r.html").code == 0
    page = read(tmp_path / "r.html")
    assert '<div id="turn" hidden>' in page
    assert page.index("<svg") < page.index('id="turn"')
    assert "alert(1)</script>" not in page


def test_markdown_has_the_tables_and_no_picture(landscape, tmp_path):
    made(tmp_path / "runs")
    assert landscape("report", "runs", "--format", "md").code == 0
    text = read(tmp_path / "report.md")
    assert "| --- |" in text
    assert "## Provenance" in text
    assert "    landscape report runs --format md" in text
    assert "svg" not in text


def test_runs_without_a_record_show_their_curves_and_the_command_that_measures(landscape, tmp_path):
    made(tmp_path / "runs")
    for file in tmp_path.glob("runs/*/measures.jsonl"):
        file.unlink()
        (file.parent / "checkpoint.pt").write_bytes(file.parent.name.encode())
    result = landscape("report", "runs", "--no-turn")
    assert result.code == 0, result.err
    page = read(tmp_path / "report.html")
    assert "landscape compare runs" in page
    assert Elements(page).names["svg"] == 2


def test_runs_that_do_not_belong_together_are_refused_in_one_line(landscape, tmp_path):
    made(tmp_path / "a", ("sgd",))
    made(tmp_path / "b", ("sam",), data="moons")
    refused = landscape("report", "a", "b")
    assert refused.code == 3
    assert "the records differ in data (digits and moons)" in refused.error
    assert not (tmp_path / "report.html").exists()


def test_runs_of_several_settings_are_rows_and_curves_of_their_own(landscape, tmp_path):
    made(tmp_path / "a", ("sgd",))
    made(tmp_path / "b", ("sgd",))
    for file in tmp_path.glob("b/*/recipe.toml"):
        file.write_text(file.read_text().replace("lr = 0.1", "lr = 0.2"))
        measures = file.parent / "measures.jsonl"
        measures.write_text(
            measures.read_text().replace('"lr": 0.1', '"lr": 0.2').replace("('lr', 0.1)", "('lr', 0.2)")
        )
        measures.write_text(re.sub(r'"checkpoint": "[^"]*', r"\g<0>b", measures.read_text()))
    refused = landscape("report", "a", "b")
    assert refused.code == 3
    assert "--by optimizer,lr" in refused.error
    assert landscape("report", "a", "b", "--by", "optimizer,lr", "--no-turn").code == 0
    page = read(tmp_path / "report.html")
    assert "sgd lr=0.1: 2 runs; sgd lr=0.2: 2 runs" in page
    assert "optimizer, lr" in page


def test_what_a_tracker_or_an_unfinished_run_has_is_shown(landscape, tmp_path):
    made(tmp_path / "runs", ("sgd",))
    file = tmp_path / "runs" / "0-1" / "recipe.toml"
    file.write_text(file.read_text().replace("epochs = 3", "epochs = 9"))
    (tmp_path / "tracked").mkdir()
    line = records.to_json(run(1.0, measure="loss"))
    (tmp_path / "tracked" / "measures-history.jsonl").write_text(line.replace("{", '{"epoch": 1, ', 1) + "\n")
    done = landscape("report", "runs", "--no-turn")
    assert (done.code, done.err.count("its training is at epoch 3 of 9")) == (0, 1)
    assert "2 runs" in read(tmp_path / "report.html")
    assert landscape("report", "tracked", "--no-turn").code == 0
    assert Elements(read(tmp_path / "report.html")).names["svg"] == 1


@pytest.mark.parametrize("arguments", [("nothing",), ("nothing.npz",), ("empty",)])
def test_what_is_not_there_is_named(landscape, tmp_path, arguments):
    (tmp_path / "empty").mkdir()
    refused = landscape("report", *arguments)
    assert refused.code == 3
    assert arguments[0] in refused.error


@pytest.mark.thorough
def test_thousands_of_runs_are_rows_of_means_on_a_small_page(landscape, tmp_path):
    made(tmp_path / "runs", [f"sam:rho={k / 100}" for k in range(1, 21)], seeds=100)
    result = landscape("report", "runs", "--no-turn")
    assert result.code == 0, result.err
    page = read(tmp_path / "report.html")
    assert "The curves of the first 12 of 20 settings are drawn." in page
    assert "1950 more runs" in page
    assert len(page) < 3e6


@pytest.mark.thorough
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("turn", ["--turn", "--no-turn"])
def test_a_browser_draws_every_picture_without_an_error_and_scrolls_only_down(
    landscape, tmp_path, width, turn
):
    made(tmp_path / "runs", ("sgd", EVIL, "x" * 300))
    surface(tmp_path / "a.npz", "a")
    surface(tmp_path / "b.npz", "b", label=EVIL)
    if turn == "--turn":
        pytest.importorskip("plotly")
    assert landscape("report", "runs", "a.npz", "b.npz", turn, "-o", "r.html").code == 0
    page = read(tmp_path / "r.html")
    # The page forbids scripts of others, and this is one.
    probe = """<script>addEventListener("load", () => setTimeout(() => {
      const drawn = [...document.querySelectorAll("figure svg")].map((svg) => svg.getBoundingClientRect());
      const small = drawn.filter((box) => box.width < 150 || box.height < 50).length;
      console.log("probe", document.documentElement.scrollWidth, innerWidth, drawn.length, small,
        document.querySelectorAll("#plot canvas").length);
    }, 3000));</script></body>"""
    changed = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (tmp_path / "probe.html").write_text(changed.replace("</body>", probe), encoding="utf-8")
    # No window is narrower than 500 pixels, but a frame can be.
    frame = f'<iframe src="probe.html" style="border:0;width:{width}px;height:2400px"></iframe>'
    (tmp_path / "frame.html").write_text(f"<!DOCTYPE html>{frame}", encoding="utf-8")
    for name in ("r", "frame"):
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        flags += ["--enable-unsafe-swiftshader", "--enable-logging=stderr", "--virtual-time-budget=8000"]
        flags += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,2400", "--dump-dom"]
        command = [str(CHROMIUM), *flags, (tmp_path / f"{name}.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "INFO:CONSOLE" not in line]
        said += [line for line in done.stderr.splitlines() if "Uncaught" in line or "Refused" in line]
        assert not said
    [numbers] = re.findall(r'"probe ([\d ]+)"', done.stderr)
    scroll, inner, drawn, small, canvases = map(int, numbers.split())
    assert inner == width
    assert scroll <= inner
    assert drawn == page.count("<figure") == 5
    assert small == 0
    assert (canvases > 0) == (turn == "--turn")
