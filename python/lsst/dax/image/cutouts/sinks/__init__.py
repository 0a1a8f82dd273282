"""Sinks: where stamps go, and what is recorded of each target.

A sink takes stamps one by one and is a context manager.  `save_stamps` sends
the stamps of a request to a sink.  Every stamp, with pixels or without, becomes
one row of a table of targets with its status.

What is written becomes the output when the sink is closed.  Until then it is
in a hidden folder next to it, ``.<name>.part``, from which a run that was
interrupted goes on.
"""

from ._fits_directory import *
from ._from_butler import *
from ._multi_extension import *
from ._sink import *
from ._stamp_list import *
from ._stamp_stack import *
from ._stamp_table import *
from ._stamp_zip import *
from ._targets import *
