"""The code of README and docs: what is tested is what is shown."""

import re
import shlex
from pathlib import Path
from typing import Any

import torch
from torch import nn

README = Path(__file__).parents[1] / "README.md"
PAGES = [
    README,
    *(README.with_name(f"{name}.md") for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY")),
    *sorted((README.parent / "docs").rglob("*.md")),
    *(README.parent / folder / "README.md" for folder in ("figures", "benchmarks")),
]
EXAMPLES = [
    code
    for page in PAGES
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]
_LIBRARY = re.compile(r"\b(lightning|timm|transformers)\b")
PLAIN = [example for example in EXAMPLES if not _LIBRARY.search(example)]
WITH_A_LIBRARY = [example for example in EXAMPLES if _LIBRARY.search(example)]
"""They run in tests/integrations, in the worker that has imported the library."""


def commands_of(page: Path) -> list[list[str]]:
    """The words of each command of landscape in the shell blocks of a page, also those that another program starts."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in "".join(blocks).splitlines()]
    lines += [shlex.split(word) for words in lines for word in words if word.startswith("landscape ")]
    starts = [words[words.index("landscape") + 1 :] for words in lines if "landscape" in words]
    return [words[: words.index("|")] if "|" in words else words for words in starts]


def run_code(code: str) -> dict[str, Any]:
    """The names that an example defines."""
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, "documentation", "exec"), names)
    return names


def run_example(word: str) -> dict[str, Any]:
    """The names that the one example with this word defines."""
    (code,) = [example for example in EXAMPLES if word in example]
    return run_code(code)


def sam_step(
    model: nn.Module, loss: Any, base: torch.optim.Optimizer, *, rho: float, limit: float | None = None
) -> None:
    """A step of SAM as the paper prints it, on a model whose loss has no randomness."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    norm = torch.sqrt(sum((g**2).sum() for g in gradients))
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p.add_(rho * g / norm)
    base.zero_grad()
    loss().backward()
    with torch.no_grad():
        for p, w in zip(parameters, before, strict=True):
            p.copy_(w)
    if limit is not None:
        nn.utils.clip_grad_norm_(parameters, limit)
    base.step()
