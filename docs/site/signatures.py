"""The true signatures of optimizers, whose constructors Python makes from the attributes of their classes.

mkdocstrings reads source without running it, and knows nothing of parameters that are made when a class is.
"""

import importlib
import inspect
import types
import typing
from typing import Any

import griffe

PACKAGE = "landscape.optim"
KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
}


class Signatures(griffe.Extension):
    """Gives every optimizer the ``__init__`` that ``inspect.signature`` finds."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called for each class that is read."""
        if cls.module.package.path == "landscape" and cls.path.startswith(f"{PACKAGE}."):
            found = getattr(importlib.import_module(cls.module.path), cls.name, None)
            base = importlib.import_module(PACKAGE).SharpnessAware
            if inspect.isclass(found) and issubclass(found, base) and "__init__" not in cls.members:
                cls.set_member("__init__", _constructor(cls, inspect.signature(found)))


def _constructor(cls: griffe.Class, signature: inspect.Signature) -> griffe.Function:
    own = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    parameters = [
        griffe.Parameter(
            name,
            annotation=_plain(parameter.annotation),
            kind=KINDS[parameter.kind],
            default=None if parameter.default is parameter.empty else repr(parameter.default),
        )
        for name, parameter in signature.parameters.items()
    ]
    lines = {"lineno": cls.lineno, "endlineno": cls.lineno}
    return griffe.Function("__init__", parameters=griffe.Parameters(own, *parameters), **lines)


def _plain(annotation: Any) -> str:
    """The annotation without the bounds of a number."""
    if hasattr(annotation, "__metadata__"):
        return _plain(annotation.__origin__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " | ".join(map(_plain, typing.get_args(annotation)))
    return (
        "None"
        if annotation is types.NoneType
        else inspect.formatannotation(annotation)
        .removeprefix("torch.optim.optimizer.")
        .removeprefix("torch.nn.modules.module.")
    )
