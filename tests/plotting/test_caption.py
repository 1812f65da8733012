"""Captions say what is needed to check and reproduce a figure of surfaces, and axes have names."""

import dataclasses

import numpy as np

from landscape.plotting import caption
from landscape.plotting.caption import quantity, tex
from landscape.records.landmarks import Landmarks


def test_caption_says_everything_that_is_needed_to_make_the_figure_again(bowl):
    text = caption(bowl(loss="cross-entropy", command="landscape surface a.pt -o fig.pdf"))
    for fact in (
        "Cross-entropy of resnet20 on cifar10, train split, n = 5000",
        "normalisation filter, seed 0",
        "cosine −0.0123",
        "Not moved: 4 biases and gains (conv.bias, bn.weight, bn.bias, …)",
        "Grid of 21 × 21 points, −1 to 1 by −1 to 1",
        "Loss of the checkpoint 0.01",
        "Batch norm: stored statistics",
        "Checkpoint 3f2a3f2a3f2a",
        "`landscape surface a.pt -o fig.pdf`",
    ):
        assert fact in text


def test_caption_counts_what_is_hatched(bowl):
    assert "Hatched: 21 points where the loss is not finite, 1 that were not computed" in caption(
        bowl(holes=True)
    )
    assert "Hatched" not in caption(bowl())


def test_caption_of_a_preview_says_so(bowl):
    assert "Preview of a run that is not finished" in caption(bowl(preview={"points": [51, 51]}))


def test_captions_of_panels_say_once_what_they_share(bowl):
    other = {**bowl().meta["provenance"], "checkpoint": "beef" * 16}
    text = caption(bowl(), bowl(provenance=other), titles=["SGD", "SAM"])
    assert text.count("resnet20") == 1
    assert text.index("SGD: Checkpoint 3f2a3f2a3f2a.") < text.index("SAM: Checkpoint beefbeefbeef.")


def test_panels_without_titles_are_lettered(bowl):
    other = {**bowl().meta["provenance"], "split": "test"}
    assert "(b): Loss of resnet20 on cifar10, test split" in caption(bowl(), bowl(provenance=other))


def test_caption_of_a_surface_of_unknown_origin_is_still_true(bowl):
    surface = bowl(plane=None, provenance=None, centre=None)
    assert caption(surface) == (
        "Loss of the network on the data. Grid of 21 × 21 points, −1 to 1 by −1 to 1; the dot is the checkpoint."
    )


def test_tex_escapes_what_tex_would_eat():
    assert tex(r"50% of a_b & c\d ~ {x} #1 $ ^ −1 × 2") == (
        r"50\% of a\_b \& c\textbackslash{}d \textasciitilde{} \{x\} \#1 \$ \textasciicircum{} $-$1 $\times$ 2"
    )
    assert tex("`landscape surface a.pt --points 5 ---x`") == (
        r"\texttt{landscape surface a.pt -{}-points 5 -{}-{}-x}"
    )


def _line(bowl, **meta):
    plane = bowl()
    given = {**plane.meta, "plane": {**plane.meta["plane"], "norms": [0.5], "cosine": None}, **meta}
    return dataclasses.replace(
        plane, y=np.zeros(1), loss=plane.loss[:1], computed=plane.computed[:1], meta=given
    )


def test_caption_of_a_line_between_checkpoints_has_both_splits_and_their_barriers(bowl):
    heights = {"loss": {"height": 0.25, "at": 0.5}, "test_loss": {"height": 0.3, "at": 0.45}}
    text = caption(_line(bowl, barrier=heights, test={"split": "test", "num_examples": 360}))
    for fact in (
        "train split, n = 5000, and test split, n = 360.",
        "Direction of length 0.5.",
        "21 points from −1 to 1.",
        "Barrier of the loss 0.25 at t = 0.5.",
        "Barrier of the test loss 0.3 at t = 0.45.",
    ):
        assert fact in text
    assert "cosine" not in text
    assert "dot" not in text


def test_caption_of_a_trajectory_says_how_much_its_plane_shows(bowl):
    details = {"explained_variance": [0.9, 0.06], "explained_variance_of_a_random_walk": [0.61, 0.15]}
    path = Landmarks(np.zeros((3, 2)), np.array([0.0, 2.5, 1.0]), ("epoch 0", "epoch 1", "epoch 2"))
    surface = dataclasses.replace(bowl(plane={**bowl().meta["plane"], **details}), trajectory=path)
    text = caption(surface)
    assert "explain 90.0% and 6.0% of the path's variance, of a random walk's 61.0% and 15.0%" in text
    assert "Furthest from the plane is epoch 1, at 2.5." in text


def test_caption_says_eigenvalues_and_the_barrier_on_a_curve(bowl):
    plane = bowl().meta["plane"]
    assert "Eigenvalues 15.4 and −2, not converged." in caption(
        bowl(plane={**plane, "eigenvalues": [15.4, -2.0], "converged": False})
    )
    curve = {"barrier": {"height": 0.02, "at": 0.3}}
    assert "Barrier on the curve 0.02 at t = 0.3." in caption(bowl(plane={**plane, "curve": curve}))


def _check(label, surface, own, agree):
    return {
        "label": label,
        "distance": 0.0,
        "surface": {"loss": surface},
        "own": {"loss": own},
        "agree": agree,
    }


def test_caption_has_the_loss_of_each_checkpoint_beside_its_own(bowl):
    near, far = _check("epoch 1", 2.0, 1.9, None), _check("epoch 2", 2.0, 0.5, None)
    text = caption(bowl(checkpoints=[near, far, _check("epoch 3", 0.25, 0.2501, True)]))
    assert "Loss at the checkpoints: 0.25 at epoch 3 (its own 0.2501), 2 beside the plane" in text
    assert "such as 2 for epoch 2 (0.5)." in text


def test_caption_of_a_surface_that_is_not_that_of_a_checkpoint_says_so(bowl):
    text = caption(bowl(checkpoints=[_check("b", 15.7, 0.242, False)], disagreement="of frozen weights"))
    assert "Loss at the checkpoints: 15.7 at b (its own 0.242)." in text
    assert "Not a surface of all its checkpoints, and no barrier is given: of frozen weights." in text


def test_caption_says_where_batch_norm_statistics_come_from(bowl):
    text = caption(bowl(batch_norm="interpolated between the checkpoints"))
    assert "Batch norm: stored statistics, interpolated between the checkpoints." in text


def test_the_axis_of_a_loss_in_a_file_has_no_path(bowl):
    named = {
        "./my_loss.py:smooth_ce": "smooth ce",
        "l/a.py:f:k=2": "f",
        "mse": "mse",
        "my.losses:f": "my.losses:f",
    }
    assert [quantity([bowl(loss=name)]) for name in named] == list(named.values())
    assert quantity([bowl(loss="a.py:f"), bowl(loss="mse")]) == "loss"
