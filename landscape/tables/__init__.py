"""Records to a comparison table: one row an optimizer (or any recipe field), mean ± spread over seeds."""

from landscape.tables.comparison import COMPARABLE as COMPARABLE
from landscape.tables.comparison import REPEATED as REPEATED
from landscape.tables.comparison import compare as compare
from landscape.tables.comparison import refuse_unlike as refuse_unlike
from landscape.tables.comparison import setting_labels as setting_labels
from landscape.tables.table import Cell as Cell
from landscape.tables.table import Table as Table
from landscape.tables.typesetting import aligned as aligned
from landscape.tables.typesetting import rounded as rounded
