"""The suggestion in a message about an unknown name: ``(did you mean 'gsam'?)``."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """The text that suggests the most similar known name, after ``prefix``; empty if none is similar."""
    # Below 0.5 difflib suggests unrelated words, at its default of 0.6 it misses transposed short names. Upper case is
    # that of papers: SAM.
    by_lower_case = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.5)
    return f" (did you mean '{prefix}{by_lower_case[close[0]]}'?)" if close else ""
