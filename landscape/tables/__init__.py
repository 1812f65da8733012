"""Columns of text, numbers with their doubt, and text of others, as they are set on a screen and on paper."""

from landscape.tables.typesetting import aligned as aligned
from landscape.tables.typesetting import rounded as rounded
