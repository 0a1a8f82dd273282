"""Headers and pixels of FITS files, without a Butler."""

from ._counts import check_primary_counts
from .header import *
from .layout import ContainerLayout, LayoutCache, read_layout
from .plain_fits import *
from .reader import ContainerReader, open_container
from .sources import ByteSource, LocalSource, MemorySource, UnsupportedContainerError, open_source
from .wcs import *
from .writer import *
