"""Loggers for runs behind one small protocol; one that fails never stops a run."""

from landscape.tracking.table import TRACKERS as TRACKERS
from landscape.tracking.tracker import Ending as Ending
from landscape.tracking.tracker import Guarded as Guarded
from landscape.tracking.tracker import Tracker as Tracker
