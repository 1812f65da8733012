"""One renderer of tables: neutral cells to text, Markdown, LaTeX and CSV, with strangers' text escaped."""

from landscape.tables.grid import Content as Content
from landscape.tables.grid import Grid as Grid
from landscape.tables.grid import Number as Number
from landscape.tables.grid import json_text as json_text
from landscape.tables.typesetting import WIDTH as WIDTH
from landscape.tables.typesetting import folded as folded
from landscape.tables.typesetting import rounded as rounded
