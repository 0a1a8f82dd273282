"""Cutouts: part of an image, with its mask, variance and provenance.

`make_cutout` and `make_stamps` work on an image in memory, `fetch_cutout` and
`fetch_stamps` on datasets in a repository.  `factory` has the interface that
service wrappers program against.
"""

from ..container import Compression
from ..geometry import EdgePolicy
from ._cutout import *
from ._detail import *
from ._from_butler import *
from ._stamps import *
from ._stamps_from_butler import *
