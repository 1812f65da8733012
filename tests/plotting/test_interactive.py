"""One HTML file: nothing from elsewhere, the numbers of the surface, and drawn by a real browser."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from landscape.errors import UsageError
from landscape.plotting.interactive import page_numbers, save_page
from landscape.records.landmarks import Landmarks

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)


@pytest.fixture
def with_path(bowl):
    import dataclasses

    path = Landmarks(np.array([[2.0, 0.0], [0.05, 0.05], [0.0, 0.0]]), np.zeros(3), ("far", "near", "end"))
    return dataclasses.replace(bowl(holes=True), trajectory=path)


def test_the_page_loads_nothing_from_anywhere(with_path, tmp_path):
    text = save_page([with_path, with_path], ["SGD", "</script><b>"], tmp_path / "x.html").read_text()
    tags = re.findall(
        r"<(?:script|link|img|iframe)\b[^>]*>", text.split("<script>")[0] + text.rsplit("</script>", 2)[-1]
    )
    assert tags == ['<link rel="icon" href="data:,">', '<script type="application/json" id="numbers">']
    assert not re.search(r"@import|url\(\s*['\"]?http", text.split("<script>")[0])
    assert text.count("</script>") == 3
    assert "</script><b>" not in text


def test_the_page_has_the_losses_with_null_where_there_is_none(with_path):
    numbers = json.loads(page_numbers([with_path], ["a"]))
    [panel] = numbers["panels"]
    shown = np.array(panel["loss"], dtype=np.float64)
    finite = np.isfinite(with_path.loss)
    assert np.array_equal(shown[finite], with_path.loss[finite])
    assert np.isnan(shown[~finite]).all()
    assert numbers["logarithmic"] is True
    [path] = panel["paths"]
    assert path["loss"][0] is None
    # On the drawn surface, which is linear between points: the mean of the four around.
    assert path["loss"][1] == pytest.approx(float(with_path.loss[10:12, 10:12].mean()))
    assert path["loss"][2] == pytest.approx(0.01)


def test_the_same_surfaces_give_the_same_bytes(bowl, tmp_path):
    pages = [save_page([bowl()], [], tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_lines_and_runs_have_no_page(tmp_path):
    with pytest.raises(UsageError, match=r"\.html is for surfaces on a plane"):
        save_page([], [], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --window-size=700,450 --virtual-time-budget=8000 --enable-logging=stderr"
).split()

# What a reader does: turns the second scene, then switches heights.
_USED = """<script>
const wait = setInterval(() => {
  if (document.body.dataset.drawn !== "yes") return;
  clearInterval(wait);
  const plot = document.getElementById("plot");
  Plotly.relayout(plot, { "scene2.camera": { eye: { x: 0.5, y: 2, z: 1.5 } } }).then(() => setTimeout(() => {
    const before = plot.data[0].z[10][10];
    document.getElementById("scale").click();
    const eyes = [plot.layout.scene, plot.layout.scene2].map((scene) => scene.camera.eye.y);
    document.body.dataset.seen = JSON.stringify([eyes, before, plot.data[0].z[10][10], plot.data.length]);
  }, 300));
}, 50);
</script></body>"""


def _opened(page, folder, what):
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", what, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not [line for line in said if re.search(r"Error|Uncaught|Failed", line)]
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH to open the page with")
def test_a_browser_draws_the_page_from_disk_without_an_error(with_path, tmp_path):
    page = save_page([with_path, with_path], ["SGD", "SAM"], tmp_path / "x.html")
    _opened(page, tmp_path, f"--screenshot={tmp_path / 's.png'}")
    picture = _pixels(tmp_path / "s.png")
    # Dark green and yellow of the colour map are there: a page without WebGL is white and grey.
    colourful = (picture.max(axis=2).astype(int) - picture.min(axis=2)) > 60
    assert colourful.mean() > 0.02


@pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH to open the page with")
def test_in_a_browser_scenes_turn_together_and_heights_are_switched(with_path, tmp_path):
    page = save_page([with_path, with_path], ["SGD", "SAM"], tmp_path / "x.html")
    head, _, tail = page.read_text(encoding="utf-8").rpartition("</body>")
    page.write_text(head + _USED + tail, encoding="utf-8")
    text = _opened(page, tmp_path, "--dump-dom")
    seen = re.search(r'data-seen="([^"]*)"', text)
    assert seen is not None
    eyes, logarithm, height, traces = json.loads(seen.group(1))
    assert eyes == [2, 2]
    assert logarithm == pytest.approx(np.log10(0.01))
    assert height == pytest.approx(0.01)
    assert traces == 4


def _pixels(path):
    from matplotlib.image import imread

    return (imread(path)[:, :, :3] * 255).astype(np.uint8)
