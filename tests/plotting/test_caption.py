from landscape.plotting import caption
from landscape.plotting.caption import tex


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
