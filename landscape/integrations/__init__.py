"""Geometry in the loops of other libraries, each imported only where it is used."""
