"""Headers and pixels of FITS files, without a Butler."""

from ._ast_rules import *
from ._counts import *
from .component_archive import *
from .header import *
from .image_file import *
from .layout import *
from .layout_cache import *
from .placing import *
from .plain_fits import *
from .raw_fits import *
from .reader import *
from .sources import *
from .wcs import *
from .writer import *
