"""Each kind of figure draws what it is for, at the width of a venue and with fonts that a paper may have."""

import dataclasses
import json
import re

import matplotlib
import numpy as np
import pytest
from matplotlib.contour import QuadContourSet
from records_made import provenance, recipe, run

from landscape import records
from landscape.errors import InputError, UsageError
from landscape.plotting import save_figure
from landscape.plotting.figure_options import FigureOptions
from landscape.plotting.kinds import KINDS, draw_figure, suitable
from landscape.plotting.sources import Run, read_source
from landscape.plotting.style import paper
from landscape.records.landmarks import Landmarks
from landscape.registry.venues import VENUES

COLOUR_MAPS = {"filled": {"viridis"}, "contour": {"viridis"}, "difference": {"RdBu_r"}, "basins": {"viridis"}}
"""Of the kinds that draw contours; the others have none."""
MEASURES = {"spectrum": "spectral-density", "quantiles": "gradient-noise", "blocks": "block-spectra"}


def spectral(seed=0):
    grid = np.linspace(-1, 9, 30)
    details = {"grid": grid.tolist(), "density": np.exp(-(grid**2)).tolist(), "density_error": [0.01] * 30}
    return run(0.5, seed=seed, measure="spectral-density", details=details)


def blocks(count, seed=0):
    grid = np.linspace(-1, 9, 30)
    details = {
        "blocks": [f"blocks.{k}" for k in range(count)],
        "grid": grid.tolist(),
        "densities": [np.exp(-((grid - k) ** 2)).tolist() for k in range(count)],
        "density_errors": [[0.01] * 30] * count,
        "distances": (0.5 * (1 - np.eye(count))).tolist(),
    }
    return run(0.25, seed=seed, measure="block-spectra", details=details, error=0.02)


def noise(seed=0):
    normal = np.linspace(-2, 2, 21)
    points = {"theoretical": normal.tolist(), "ordered": (3 + normal).tolist()}
    return run(3.0, seed=seed, measure="gradient-noise", details={"qq": points, "normality_p": 0.25})


def epochs(shift=0.0):
    return tuple(
        {
            "epoch": float(k),
            "gradients": 10.0 * k,
            "train_loss": 1 / k + shift,
            "test_loss": 1.2 / k + shift,
            "test_accuracy": 1 - 1 / k,
        }
        for k in range(1, 6)
    )


@pytest.fixture
def sources(bowl, tmp_path):
    plane = bowl()
    trajectory = Landmarks(np.array([[0.9, 0.9], [0.0, 0.0]]), np.zeros(2), ("epoch 0", "epoch 1"))
    slice_ = dataclasses.replace(
        plane, y=np.zeros(1), loss=plane.loss[:1], computed=plane.computed[:1], test_loss=plane.loss[:1] + 1
    )
    compared = tuple(
        run(float(s + len(o)), seed=s, optimizer=o, measure=m)
        for o in ("sgd", "sam")
        for s in (0, 1)
        for m in ("loss", "hessian-trace")
    )
    return {
        "filled": [dataclasses.replace(plane, trajectory=trajectory), bowl(holes=True)],
        "contour": [bowl(holes=True)],
        "relief": [plane, bowl(holes=True)],
        "difference": [plane, bowl(scale=2.0)],
        "line": [slice_],
        "basins": [bowl(holes=True)],
        "history": [
            Run(tmp_path, "sgd", epochs()),
            Run(tmp_path, "sgd", epochs(0.1)),
            Run(tmp_path, "sam", epochs(0.2)),
        ],
        "timeline": [Run(tmp_path, "sgd", epochs()), Run(tmp_path, "sam", epochs(0.2))],
        "dots": [Run(tmp_path, "runs", records=compared)],
        "spectrum": [
            Run(tmp_path, "sgd", records=(spectral(),)),
            Run(tmp_path, "sam", records=(spectral(1),)),
        ],
        "quantiles": [Run(tmp_path, "sgd", records=(noise(),))],
        "blocks": [Run(tmp_path, "sgd", records=(blocks(3),))],
    }


def wish_for(kind, **fields):
    return FigureOptions(
        measures=(MEASURES[kind],) if kind in MEASURES else (), names=fields.pop("names", ()), **fields
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_as_wide_as_the_venue_says_in_type_of_seven_to_nine_points(sources, kind, tmp_path):
    given = sources[kind]
    drawing = draw_figure(
        given, wish_for(kind, venue="icml", names=["a", "b"][: len(given)], command="landscape plot x"), kind
    )
    figure = drawing.figure
    width, height = figure.get_size_inches()
    assert width in (VENUES["icml"].column, VENUES["icml"].text)
    sizes = {
        t.get_fontsize()
        for t in figure.findobj(matplotlib.text.Text)
        if t.get_text().strip() and t.get_visible()
    }
    assert sizes
    assert min(sizes) >= 7
    assert max(sizes) <= 9
    save_figure(figure, tmp_path / "f.pdf", caption=drawing.caption)
    content = (tmp_path / "f.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", content)
    assert [float(side) / 72 for side in box.groups()] == pytest.approx([width, height], abs=1e-5)
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"/Type1 " not in content
    maps = {artist.cmap.name for artist in figure.findobj(QuadContourSet)}
    assert maps & {"viridis", "RdBu_r"} == COLOUR_MAPS.get(kind, set())
    again = draw_figure(
        given, wish_for(kind, venue="icml", names=["a", "b"][: len(given)], command="landscape plot x"), kind
    )
    save_figure(again.figure, tmp_path / "g.pdf", caption=again.caption)
    assert (tmp_path / "g.pdf").read_bytes() == content
    assert (tmp_path / "g.txt").read_bytes() == (tmp_path / "f.txt").read_bytes()
    assert len(drawing.caption) > 40


def test_what_suits_is_drawn_when_no_kind_is_asked_for(sources):
    for kind in ("filled", "line", "history", "dots", "spectrum", "quantiles"):
        assert suitable(sources[kind]) == kind


@pytest.mark.parametrize(
    ("kind", "of", "message"),
    [
        ("filed", "filled", "did you mean 'filled'"),
        ("dots", "filled", "does not fit what the files hold; what fits: filled, contour"),
        ("relief", "dots", "what fits: history, timeline, dots"),
        ("line", "filled", "this is a plane"),
        ("filled", "line", "this is a line"),
        ("difference", "contour", "needs two surfaces, 1 were given"),
        ("history", "dots", "nothing over training"),
    ],
)
def test_a_kind_that_does_not_fit_is_answered_with_one_that_does(sources, kind, of, message):
    with pytest.raises(UsageError, match=message):
        draw_figure(sources[of], FigureOptions(), kind)


def test_surfaces_and_runs_do_not_mix(sources):
    with pytest.raises(InputError, match="one after the other"):
        suitable([*sources["filled"], *sources["dots"]])


def test_a_measure_that_is_not_there_is_named_with_those_that_are(sources):
    with pytest.raises(UsageError, match=r"did you mean 'loss'.*loss, accuracy"):
        draw_figure(sources["history"], FigureOptions(measures=("los",)))
    with pytest.raises(InputError, match="no record of accuracy was found, only of hessian-trace, loss"):
        draw_figure(sources["dots"], FigureOptions(measures=("accuracy",)))
    with pytest.raises(InputError, match="does not say 'seconds' of epoch 1; draw it over epochs"):
        draw_figure(sources["history"], FigureOptions(over="seconds"))


def test_captions_of_records_name_settings_seeds_checkpoints_and_command(sources):
    text = draw_figure(sources["dots"], FigureOptions(command="landscape plot m.jsonl")).caption
    for fact in (
        "mlp on digits, train split, n = 200",
        "Seeds of sgd: 0, 1; sam: 0, 1",
        "`landscape plot m.jsonl`",
        "Checkpoints ",
    ):
        assert fact in text


def test_panels_with_scales_of_their_own_say_so(sources):
    drawing = draw_figure(sources["filled"], FigureOptions(shared=False, names=("a", "b")))
    assert drawing.figure.get_suptitle() == "Each panel has its own colour scale."
    assert "its own colour scale" in drawing.caption


@pytest.mark.parametrize(
    ("kind", "wish", "says"),
    [
        ("filled", {"view": (30, 30)}, "--view does nothing for a figure of kind 'filled'; it is for relief"),
        ("history", {"cmap": "magma"}, "--cmap does nothing for a figure of kind 'history'"),
        (
            "spectrum",
            {"log": False},
            "--linear does nothing .* it is for filled, contour, relief, difference",
        ),
        (
            "filled",
            {"cmap": "jet"},
            "--cmap jet: equal steps would look unequal, because its lightness does not go in one direction",
        ),
        ("difference", {"cmap": "viridis"}, "to the middle and back"),
        ("filled", {"cmap": "virids"}, "no such colour map .did you mean 'viridis'"),
        ("difference", {"vmin": -1.0}, "--vmin does nothing for a figure of kind 'difference'"),
        ("difference", {"vmax": -1.0}, "give it above 0"),
    ],
)
def test_options_that_do_nothing_or_do_not_suit_are_refused(sources, kind, wish, says):
    with pytest.raises(UsageError, match=says):
        draw_figure(sources[kind], FigureOptions(**wish, names=["a", "b"][: len(sources[kind])]), kind)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"size": (0.1, 3)}, "--size: 0.1 inches is not between 0.5 and 40"),
        ({"dpi": 5000}, "--dpi 5000 is not between 30 and 1200"),
        ({"view": (95, 0)}, "--view 95,0 is not within"),
        ({"view": (float("nan"), 0)}, "--view nan,0 is not within"),
        ({"vmin": float("inf")}, "--vmin inf is not a finite number"),
        ({"vmin": 2.0, "vmax": 1.0}, "--vmin 2 is not below --vmax 1"),
        ({"log": True, "vmin": 0.0}, "needs limits above 0"),
        ({"levels": (1.0, 2.0), "vmax": 1.0}, "leave out --vmin and --vmax"),
    ],
)
def test_numbers_that_cannot_be_drawn_are_refused_at_once(wish, says):
    with pytest.raises(UsageError, match=says):
        FigureOptions(**wish)


def test_a_log_axis_of_what_is_not_positive_is_refused(bowl, sources):
    with pytest.raises(UsageError, match=r"--log: .* the lowest is -4.99; use --linear, or a --vmin above 0"):
        draw_figure([bowl(shift=-5.0)], FigureOptions(log=True))
    with pytest.raises(UsageError, match=r"--log: .* the lowest is 0; use --linear"):
        draw_figure(sources["history"], FigureOptions(log=True, measures=["accuracy"]))


@pytest.mark.parametrize("log", [True, False])
def test_curves_and_lines_are_logarithmic_as_requested(sources, log):
    scale = "log" if log else "linear"
    for kind, wish in (("history", {"measures": ["loss"]}), ("line", {"vmin": 5.0, "vmax": 20.0})):
        ax = draw_figure(sources[kind], FigureOptions(log=log, **wish)).figure.axes[0]
        assert ax.get_yscale() == scale
    assert ax.get_ylim() == (5.0, 20.0)


def test_a_view_asks_for_a_relief(bowl):
    drawing = draw_figure(
        [bowl()], FigureOptions(view=(20, -140), size=(3.0, 2.0), vmax=10.0, command="plot x")
    )
    ax = drawing.figure.axes[0]
    assert (ax.elev, ax.azim) == (20, -140)
    assert drawing.figure.get_size_inches().tolist() == [3.0, 2.0]
    assert "Clipped and grey: values above 10. Seen from elevation 20° and azimuth −140°" in drawing.caption
    assert drawing.caption.endswith("Drawn by `plot x`.")
    assert "the dot is the checkpoint" not in drawing.caption


def test_axes_and_paths_have_the_names_and_colours_of_papers(bowl, sources):
    axes = draw_figure(sources["dots"], FigureOptions()).figure.axes
    assert [ax.get_xlabel() for ax in axes] == ["L (loss/θ²)", "Tr H (loss/θ²)"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["SGD", "SAM"]
    for label, colour in (("gsam:rho=0.1", "#004488"), ("my-net", "black")):
        path = dataclasses.replace(bowl(label=label), trajectory=sources["filled"][0].trajectory)
        drawing = draw_figure([path, path], FigureOptions(names=["", ""]))
        assert colour in {line.get_color() for line in drawing.figure.axes[0].lines}
    assert drawing.figure.axes[0].get_title() == "my-net"


def test_captions_have_numbers_without_formulas(bowl):
    options = FigureOptions(names=["a", "b"], vmax=2e-5, log=True)
    text = draw_figure([bowl(scale=1e-6), bowl(scale=3e-6)], options, "difference").caption
    assert "Clipped and dotted: values above 2e−05." in text
    assert re.search(r"Symmetric logarithmic colours, linear between −(\de−0[67]) and \1\.", text)
    assert "$" not in text


def test_a_size_holds_for_every_kind(sources):
    for kind, given in sources.items():
        wish = wish_for(kind, size=(4.0, 3.0), names=["a", "b"][: len(given)])
        assert draw_figure(given, wish, kind).figure.get_size_inches().tolist() == [4.0, 3.0]


def test_a_font_that_is_not_there_is_refused_and_one_that_is_is_used():
    with pytest.raises(UsageError, match=r"no font .Tines..*--font"), paper("Tines"):
        pass
    with paper("DejaVu Serif"), paper():
        assert matplotlib.rcParams["font.family"][0] == "DejaVu Serif"


def test_settings_that_need_tex_or_a_missing_font_change_nothing(sources, recwarn):
    with matplotlib.rc_context({"text.usetex": True, "font.family": "No Such Font"}):
        draw_figure(sources["history"], FigureOptions())
    assert not [warning for warning in recwarn if "font" in str(warning.message)]


def test_files_are_told_apart_by_what_they_hold(bowl, tmp_path):
    bowl().save(tmp_path / "no-suffix")
    folder = tmp_path / "runs" / "sgd-0"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text('optimizer = "sgd:momentum=0.5"\n')
    lines = [json.dumps({"epoch": k, "train_loss": 1 / k}) for k in (1, 2)]
    (folder / "history.jsonl").write_text("\n".join([*lines, '{"epoch": 3, "tr']))
    records.append(folder / "measures.jsonl", run(1.0))
    measured = {"epoch": 2, "step": 4, **json.loads(records.to_json(run(2.0)))}
    (folder / "measures-history.jsonl").write_text(json.dumps(measured) + "\n")
    [surface] = read_source(tmp_path / "no-suffix")
    assert surface.loss.shape == (21, 21)
    [whole] = read_source(tmp_path / "runs")
    assert (whole.label, len(whole.epochs), len(whole.measured), len(whole.records)) == (
        "sgd:momentum=0.5",
        2,
        1,
        1,
    )
    [history] = read_source(folder / "history.jsonl")
    assert history.label == "sgd:momentum=0.5"
    [taken] = read_source(folder / "measures.jsonl")
    assert taken.label == "sgd"
    assert suitable([taken]) == "dots"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\nrest", "begins with b'.x89PNG"),
        (b"PK\x03\x04garbage", "damaged or not a surface"),
        (b"{}\n[1]\n", "no line of a history and no record"),
        (b"step 3: loss 0.2\n", "begins with b'step 3: '"),
    ],
)
def test_what_is_none_of_them_is_refused_in_one_line(tmp_path, content, says):
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_source(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="folder without a run"):
        read_source(tmp_path)


def test_networks_without_a_recipe_are_rows_by_their_folder(tmp_path):
    foreign = dataclasses.replace(run(1.0), provenance=provenance(recipe=None))
    drawing = draw_figure([Run(tmp_path, "resnet", records=(foreign,))], FigureOptions())
    assert [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()] == ["resnet"]
    assert recipe()["optimizer"] not in drawing.caption


def test_a_file_with_several_checkpoints_names_each_of_them(tmp_path):
    for number, name in enumerate(("a.pt", "b.pt")):
        origin = provenance(recipe=None, checkpoint=name * 16, checkpoint_file=name)
        records.append(tmp_path / "all.jsonl", dataclasses.replace(run(float(number)), provenance=origin))
    drawing = draw_figure(read_source(tmp_path / "all.jsonl"), FigureOptions())
    rows = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert rows == [f"{tmp_path.name} a.pt", f"{tmp_path.name} b.pt"]
    for optimizer in ("sgd", "sam"):
        of_one = dataclasses.replace(spectral(), provenance=run(1.0, optimizer=optimizer).provenance)
        records.append(tmp_path / "spectra.jsonl", of_one)
    drawing = draw_figure(read_source(tmp_path / "spectra.jsonl"), FigureOptions(), kind="spectrum")
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["SGD", "SAM"]


def test_a_history_of_other_types_is_drawn_without_them(tmp_path):
    lines = [json.dumps({"epoch": k, "train_loss": 1 / k}) for k in (1, 2)]
    lines += [json.dumps({"epoch": 3, "train_loss": 10**400}), json.dumps({"epoch": 10**400}), "[" * 10_000]
    (tmp_path / "history.jsonl").write_text("\n".join(lines))
    (tmp_path / "recipe.toml").write_text("optimizer = " + "[" * 2000)
    [run] = read_source(tmp_path)
    assert run.epochs == ({"epoch": 1, "train_loss": 1}, {"epoch": 2, "train_loss": 0.5}, {"epoch": 3})
    assert run.label == tmp_path.name


def test_a_measure_of_an_epoch_without_end_is_drawn_nowhere(tmp_path):
    lines = [{"epoch": k, **json.loads(records.to_json(run(2.0)))} for k in (1, 10**400)]
    (tmp_path / "measures-history.jsonl").write_text("\n".join(map(json.dumps, lines)))
    [measured] = read_source(tmp_path / "measures-history.jsonl")
    assert ([each.epoch for each in measured.measured], measured.records) == ([1.0], ())


def test_the_matrix_of_blocks_has_all_of_them_and_the_panels_some(tmp_path):
    source = Run(tmp_path, "gpt", records=(blocks(15),))
    drawing = draw_figure([source], wish_for("blocks", venue="icml"), "blocks")
    titles = [ax.get_title(loc) for ax in drawing.figure.axes for loc in ("left", "center")]
    assert sum("blocks." in title for title in titles) == 11
    ((image,),) = (ax.images for ax in drawing.figure.axes if ax.images and ax.get_xlabel() == "block")
    assert image.get_array().shape == (15, 15)
    assert "11 of 15 blocks have a panel." in drawing.caption
    assert "0.25 ± 0.02 on average" in drawing.caption
    assert "15 blocks.14." in drawing.caption


def test_blocks_of_several_networks_are_refused(tmp_path):
    sources = [Run(tmp_path, name, records=(blocks(2, seed),)) for seed, name in enumerate("ab")]
    with pytest.raises(UsageError, match="--kind blocks draws one record, and there are 2"):
        draw_figure(sources, wish_for("blocks"), "blocks")


def test_the_line_before_aligning_is_thin_and_may_make_the_axis_logarithmic(sources, recwarn):
    (there,) = sources["line"]
    flat = dataclasses.replace(there, loss=1 + 0.01 * there.loss, test_loss=None)
    before = {"loss": (1 + 100 * there.x**2).tolist(), "barrier": {"loss": {"height": 40.0, "at": 0.5}}}
    network = {"label": "b", "moved": 3, "units": 4, "distances": {"before": 2.0, "after": 1.0}, "held": []}
    surface = flat.described(aligned={"to": "a", "networks": [network], "before": before})
    drawing = draw_figure([surface], FigureOptions())
    (ax,) = (ax for ax in drawing.figure.axes if ax.get_ylabel())
    assert ax.get_yscale() == "log"
    assert [line.get_linewidth() for line in ax.lines if line.get_ydata()[0] == before["loss"][0]] == [0.5]
    assert "b is aligned to a by weight matching: 3 of 4 hidden units change places" in drawing.caption
    assert "Barrier of the loss before aligning 40 at t = 0.5, the thin line." in drawing.caption
    assert not [warning for warning in recwarn if "log" in str(warning.message)]
    damaged = surface.described(aligned={**surface.meta["aligned"], "before": {**before, "loss": [1.0]}})
    assert draw_figure([damaged], FigureOptions()).figure.axes[0].get_yscale() == "linear"
