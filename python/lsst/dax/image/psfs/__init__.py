"""Images of point sources: many positions in one call."""

from ._psfex import make_psfex_tables as make_psfex_tables
from .evaluator import *
from .lanczos import *
from .making import *
from .stamps import *
from .tables import *
