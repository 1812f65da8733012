"""Columns of text, and numbers with their doubt, as they are set on a screen and on paper."""

from landscape.tables.typesetting import aligned as aligned
from landscape.tables.typesetting import rounded as rounded
