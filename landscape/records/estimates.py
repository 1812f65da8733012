"""Several estimates: a list that is also read by name, and shows itself as a table in a notebook."""

from typing import SupportsIndex, overload

from landscape.records.estimate import Estimate, html_table


class Estimates(list[Estimate]):
    """Estimates in order; ``found["hessian-trace"]`` is the one of that measure.

    Of several of one measure, options tell which: ``found["surrogate-gap:rho=0.1"]``.

    Raises:
        KeyError: None has that name, or several have.
    """

    @overload
    def __getitem__(self, key: SupportsIndex | str) -> Estimate: ...
    @overload
    def __getitem__(self, key: slice) -> list[Estimate]: ...
    def __getitem__(self, key: SupportsIndex | slice | str) -> Estimate | list[Estimate]:
        if not isinstance(key, str):
            return super().__getitem__(key)
        fitting = [estimate for estimate in self if _fits(estimate, key)]
        if len(fitting) != 1:
            known = ", ".join(dict.fromkeys(estimate.measure for estimate in self)) or "none"
            several = (
                f"{len(fitting)} estimates are of it; an option tells which, such as '{key}:option=value'"
            )
            raise KeyError(f"'{key}': {several if fitting else f'there are {known}'}")
        return fitting[0]

    def _repr_html_(self) -> str:
        return html_table(self)


def _fits(estimate: Estimate, key: str) -> bool:
    name, _, text = key.partition(":")
    options = [part.partition("=") for part in text.split(",") if part]
    return estimate.measure == name and all(
        option in estimate.settings and _is_value(estimate.settings[option], value)
        for option, _, value in options
    )


def _is_value(value: object, text: str) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text.lower() == str(value).lower()
