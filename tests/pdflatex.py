"""Typesets LaTeX for a page as wide as a venue's, and reads what the log says of the widths."""

import re
import shutil
import subprocess

import pytest

from landscape.registry.venues import VENUES

needs_latex = pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no LaTeX here")


def typeset(bodies, venue, folder):
    """The log of a document with these bodies; fails if it does not compile."""
    page = VENUES[venue]
    columns = "twocolumn" if page.column < page.text else "onecolumn"
    gap = page.text - 2 * page.column if page.column < page.text else 0
    head = [
        rf"\documentclass[10pt,{columns}]{{article}}",
        rf"\usepackage[textwidth={page.text:.4f}in,columnsep={gap:.4f}in]{{geometry}}",
        r"\usepackage{booktabs}",
        r"\begin{document}",
    ]
    # Every tabular is set in a box first, whose width is written to the log.
    boxed = "\n\\clearpage\n".join(bodies)
    boxed = boxed.replace(r"\begin{tabular}", r"\setbox0\hbox\bgroup\begin{tabular}")
    boxed = boxed.replace(r"\end{tabular}", r"\end{tabular}\egroup\typeout{WIDTH \the\wd0}\box0")
    (folder / "t.tex").write_text("\n".join([*head, boxed, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, encoding="utf-8", errors="replace"
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "t.pdf").stat().st_size > 1000
    return done.stdout


def widths(log):
    """Widths of the tabulars in points."""
    return [float(width) for width in re.findall(r"WIDTH ([\d.]+)pt", log)]
