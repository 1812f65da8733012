"""Pretrained weights by name instead of a file: ``timm:resnet18.a1_in1k``, ``hf:google-bert/bert-base-uncased``."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from landscape.models.huggingface import huggingface_folder
from landscape.models.timm_models import timm_weights
from landscape.registry.names import Specification, split


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights, resolved from their name.

    Attributes:
        model: The network, as the argument of ``-m``.
        folder: Where the weights are read, unless they are in ``state``.
        state: The weights.
        path: The name as a file of the current folder, where records of weights from a cache go.
    """

    model: str
    folder: Path = Path()
    state: dict[str, Tensor] = field(default_factory=dict)
    path: Path | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """The source of the weights, for the reader; nothing for a folder."""
        if self.path is None:
            return ()
        return (
            f"pretrained weights of {self.model.partition(':num_classes')[0]}, from the cache or the hub",
        )


def pretrained(text: str) -> Pretrained | None:
    """The pretrained weights of a name; ``None`` for any other text, or if a file of that name exists."""
    scheme, colon, rest = text.partition(":")
    if not colon or not rest or scheme not in ("timm", "hf") or Path(text).exists():
        return None
    specification = split(text)
    if scheme == "timm":
        state, classes = timm_weights(specification.name)
        options = {"num_classes": str(classes), **specification.options}
        return Pretrained(str(Specification(specification.name, options)), state=state, path=Path(text))
    name = specification.name.removeprefix("hf:")
    folder = huggingface_folder(name, weights=True)
    local = folder == Path(name).expanduser()
    return Pretrained(text, folder, path=None if local else Path(text.replace("/", "--")))
