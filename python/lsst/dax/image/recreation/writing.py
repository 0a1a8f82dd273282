"""Write a re-created image as a file."""

from __future__ import annotations

__all__ = ("write_visit_image",)

import astropy.io.fits

from lsst.images import VisitImage
from lsst.resources import ResourcePath, ResourcePathExpression

from ..container import Compression, write_fits


def write_visit_image(
    image: VisitImage,
    uri: ResourcePathExpression,
    *,
    compression: Compression = Compression.GZIP,
    overwrite: bool = False,
    temporary_root: ResourcePathExpression | None = None,
) -> ResourcePath:
    """Write a visit image with all its components, and its recipe, as an `lsst.images` FITS file.

    Parameters
    ----------
    image
        Visit image.
    uri
        Where to write it: a local path or a URI that `lsst.resources` can
        write to.  The extension must be ``.fits``.
    compression
        How to store the pixels; both ways keep every bit, and
        `Compression.NONE` is many times faster.
    overwrite
        Whether a file of that name may be replaced.
    temporary_root
        Local folder in which the file is made; beside the target if `None`,
        or in the system's own for a remote one.

    Returns
    -------
    uri
        Where the file is now; `recreate_from` makes the image again from it.

    Raises
    ------
    RequestError
        Raised if the name does not end in ``.fits``.
    OutputError
        Raised if the file cannot be written, or exists and may not be
        replaced.  There is no partial file then.
    """
    return write_fits(
        image,
        uri,
        header=astropy.io.fits.Header(),
        compression=compression,
        overwrite=overwrite,
        temporary_root=temporary_root,
    )
