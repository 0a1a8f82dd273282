"""Re-creation of processed images from raws and what the original processing persisted.

`recreate_visit_image` makes a visit image again; `stitch_visit_image` is the
same on images in memory.  `recreate_difference_image` and `subtract_template`
are those for difference images.  Instrument signature removal is in
`lsst.dax.image.recreation.isr`.
"""

from ._components_from_butler import *
from ._difference_from_butler import *
from ._from_butler import *
from ._inputs_from_butler import *
from .background_file import *
from .calibration_cache import *
from .components import *
from .convolution import convolve as convolve
from .decorrelation import *
from .difference_image import *
from .difference_recipe import *
from .fields import *
from .matching import *
from .recipe import *
from .stitching import *
from .template import *
from .visit_summary import *
from .writing import *
