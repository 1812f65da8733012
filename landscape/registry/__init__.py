"""Names that a user can type, the bounds of their options, and the user's own functions behind a name."""

from landscape.registry.names import NameTable, Option, Row, Specification, Value, split

__all__ = ["NameTable", "Option", "Row", "Specification", "Value", "split"]
