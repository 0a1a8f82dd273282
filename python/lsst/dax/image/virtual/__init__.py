"""A Butler that makes datasets that were never stored, when they are asked for.

`VirtualButler` goes around another Butler; the products say what can be made,
and how.
"""

from .coadd import *
from .difference_image import *
from .handle import *
from .mosaic import *
from .product import *
from .virtual_butler import *
from .visit_image import *
