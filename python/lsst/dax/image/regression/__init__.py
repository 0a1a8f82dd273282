"""Compare two images of the same sky and detector, plane by plane, and say what differs.

`compare_images` gives a `Comparison`, which prints, plots, goes to JSON, and
raises what a release manager understands (`Comparison.assert_equivalent`).
"""

from ._from_butler import *
from .comparison import *
from .planes import *
from .quantisation import *
from .tolerance import *
