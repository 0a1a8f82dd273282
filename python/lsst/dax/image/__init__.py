"""Make the Rubin image pixels that a user asks for and that nobody stored.

Plain functions over a Butler-like data access protocol.  The rooms of the
library are subpackages; import the one that is needed:

`lsst.dax.image.cutouts`
    Cutouts of one image, and stamps of many positions in many images.
`lsst.dax.image.recreation`
    Visit images made again from their raws, and difference images; instrument
    signature removal is in the subpackage ``isr``.
`lsst.dax.image.regression`
    Compare two images, and verify that a release can be made again.
`lsst.dax.image.forced`
    Forced photometry of positions on an image.
`lsst.dax.image.mosaics`
    Many images on one grid.
`lsst.dax.image.coadds`
    Coadds of a recipe, for a region, that nobody stored.
`lsst.dax.image.virtual`
    A Butler that makes what is not stored when it is asked for.
`lsst.dax.image.resampling`
    One image onto another grid.
`lsst.dax.image.psfs`
    Pictures of many stars at once.
`lsst.dax.image.geometry`
    Stencils on the sky and their pixels.
`lsst.dax.image.repository`
    Find datasets and read parts of them.
`lsst.dax.image.plotting`
    Quick looks (needs the extra ``plot``).
`lsst.dax.image.simulation`
    The mini survey, a small repository with a known truth (needs the extra
    ``demo``).

Importing this package imports neither numba nor matplotlib.
"""

from .errors import *
from .recreate import *
from .version import __version__ as __version__
