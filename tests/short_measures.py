"""Options with which every measure is quick, for tests of what all measures share."""

OPTIONS = {
    "top-eigenvalues": "k=2",
    "layer-eigenvalues": "tolerance=0.01",
    "hessian-trace": "max_probes=8",
    "layer-traces": "max_probes=8",
    "normalized-trace": "max_probes=8",
    "approximation-ratio": "steps=3",
    "adaptive-sharpness": "steps=3",
    "geodesic-sharpness": "steps=3",
    "average-sharpness": "max_pairs=4",
    "spectral-density": "probes=2,steps=4",
    "block-spectra": "probes=2,steps=3",
    "relative-flatness": "max_probes=8",
    "pacbayes-sigma": "quantity=loss,draws=3",
    "basin-width": "max_directions=3",
}


def short(name: str) -> str:
    """The measure of that name, with its options."""
    return f"{name}:{OPTIONS.get(name, '')}".rstrip(":")
