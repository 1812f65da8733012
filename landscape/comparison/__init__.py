"""Comparison of runs: a row per optimizer, means over seeds, differences paired by seed."""

from landscape.comparison.alike import COMPARABLE as COMPARABLE
from landscape.comparison.alike import REPEATED as REPEATED
from landscape.comparison.alike import belongs_to as belongs_to
from landscape.comparison.alike import refuse_unlike as refuse_unlike
from landscape.comparison.alike import setting_labels as setting_labels
from landscape.comparison.cell import Cell as Cell
from landscape.comparison.compare import compare as compare
from landscape.comparison.granulated import granulated as granulated
from landscape.comparison.granulated import partial_rank_correlation as partial_rank_correlation
from landscape.comparison.intervals import Interval as Interval
from landscape.comparison.intervals import mean_interval as mean_interval
from landscape.comparison.paired import paired_difference as paired_difference
from landscape.comparison.paired import verdict as verdict
from landscape.comparison.rank_correlation import RankCorrelation as RankCorrelation
from landscape.comparison.rank_correlation import rank_correlation as rank_correlation
from landscape.comparison.table import Table as Table
