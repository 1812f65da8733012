"""Loggers for runs behind one small protocol; one that fails never stops a run."""

from landscape.tracking.logger import Ending as Ending
from landscape.tracking.logger import Guarded as Guarded
from landscape.tracking.logger import Logger as Logger
from landscape.tracking.table import TRACKERS as TRACKERS
