"""Headers and pixels of FITS files, without a Butler."""

from ._counts import check_primary_counts
from .header import *
from .plain_fits import *
from .wcs import *
from .writer import *
