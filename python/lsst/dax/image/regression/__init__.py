"""Compare two images of the same sky and detector, plane by plane, and say what differs.

`compare_images` gives a `Comparison`, which prints, plots, goes to JSON, and
raises what a release manager understands (`Comparison.assert_equivalent`).
`compare_statistically` and `compare_tables` do so for images that need only
agree within their noise and for tables of measurements.  `plan_release` and
`verify_release` compare a sample of all products of a release with what the
library makes of their inputs.
"""

from ._from_butler import *
from ._release_checks_from_butler import *
from ._release_from_butler import *
from .comparison import *
from .planes import *
from .quantisation import *
from .release import *
from .statistical import *
from .tables import *
from .tolerance import *
