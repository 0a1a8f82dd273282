"""Instrument signature removal: from raw counts to electrons on a clean detector.

Each step is a plain function in a file of its own: it takes an exposure and
returns a new one.  A sequence (`IsrSequence`) says which run, in which order
and with which parameters; `run_isr` runs them.
"""

from ._threads import *
from .calibrations import *
from .exposure import *
from .sequence import *
