"""The thin Butler layer: find datasets, read parts of them, keep provenance.

Only `find` and `fetch` call methods of a Butler.  Everything else in the
library hands the Butler on, or works on `lsst.images` objects.
"""

from .components import *
from .fetch import *
from .find import *
from .fits_image import *
from .image_summary import *
from .protocol import *
from .provenance import *
from .reader import *
from .skymap import *
from .workers import *
