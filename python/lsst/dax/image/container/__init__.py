"""Headers and pixels of FITS files, without a Butler."""

from .header import *
from .plain_fits import *
from .wcs import *
