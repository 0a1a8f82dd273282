"""Instrument signature removal: from raw counts to electrons on a clean detector.

Each step is a plain function in a file of its own: it takes an exposure and
returns a new one.  A sequence (`IsrSequence`) says which run, in which order
and with which parameters; `run_isr` runs them.
"""

from .amplifier_offsets import *
from .amplifiers import *
from .assembly import *
from .bad_regions import *
from .bias import *
from .brighter_fatter import *
from .calibration_files import *
from .calibrations import *
from .camera_files import *
from .crosstalk import *
from .dark import *
from .defects import *
from .deferred_charge import *
from .dither import *
from .edge_bleed import *
from .exposure import *
from .flat import *
from .interpolation import *
from .itl_dip import *
from .itl_saturation import *
from .linearity import *
from .mask_growth import *
from .nan_mask import *
from .overscan import *
from .presets import *
from .raw import *
from .raw_geometry import *
from .raw_header import *
from .saturation import *
from .saturation_trails import *
from .sequence import *
from .variance import *
