"""Stencils on the sky and their pixels.

A stencil is a shape that is cut out of an image: a circle, a simple polygon,
a range of right ascension and declination, or a box of pixels.
`Stencil.to_pixels` finds which pixels of an image belong to it.
"""

from .circle import *
from .parsing import *
from .pixel_box import *
from .pixel_stencil import *
from .polygon import *
from .positions import *
from .range_box import *
from .stencils import *
from .target_grid import *
