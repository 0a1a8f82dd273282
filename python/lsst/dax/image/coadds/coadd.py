"""The coadd that is made, with everything that a stored one has."""

from __future__ import annotations

__all__ = ("Coadd", "CoaddDifference", "subtract_images")

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.time import Time

from lsst.images import Box, Image, Mask, MaskedImage, SkyProjection
from lsst.images.cells import CellCoadd, CellField, CellPointSpreadFunction, CoaddProvenance
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import InternalError, RequestError
from .recipe import Recipe
from .record import CoaddRecord


@dataclass(frozen=True, eq=False)
class Coadd:
    """A coadd of a region."""

    image: CellCoadd | MaskedImage
    """Image in nJy, variance in nJy**2 and mask.

    A `~lsst.images.cells.CellCoadd` where the region lies in one patch of a
    sky map with cells; else a `~lsst.images.MaskedImage`, as is each
    chi-squared image, which has no unit and no PSF of its own.  The variance
    is that of each pixel by itself: see ``noise_correlation``.
    """

    psf: CellPointSpreadFunction
    """PSF of each cell; of a chi-squared image the mean of those of the bands."""

    n_inputs: Image
    """Number of inputs behind each pixel."""

    effective_time: Image
    """Effective exposure time in seconds: that of the inputs whose pixels were not masked.

    Where values were clipped, the mean time of those inputs times the number
    of values that are left.  NaN where the file of one of them does not say its time.
    """

    rejected: Image
    """Share of the weight that was left out, 0 to 1."""

    noise_correlation: CellField
    """Variance of a sum over many pixels of blank sky, over the sum of their variances, per cell."""

    noise_realizations: tuple[Image, ...]
    """Images of noise alone, made as the coadd was."""

    aperture_corrections: Mapping[str, CellField]
    """Aperture corrections by algorithm, per cell."""

    inputs: QTable
    """One row per input, in order: ``uuid``, ``instrument``, ``visit``, ``detector``, ``band``,
    ``weight``, ``effective_time``, the ``n_cells`` that it contributes to, and the ``share`` of all
    weights of the coadd that it has."""

    provenance: CoaddProvenance | None
    """Contributions cell by cell, as persisted coadds have them; `None` for a region beyond one patch."""

    recipe: Recipe
    """What was asked for."""

    record: CoaddRecord | None
    """Everything that it was made from; `None` for a coadd of warps in memory."""

    @property
    def bbox(self) -> Box:
        """Pixels."""
        return self.image.bbox

    @property
    def sky_projection(self) -> SkyProjection[Any]:
        """Projection."""
        if self.image.sky_projection is None:
            raise InternalError(f"The coadd of {self.bbox} has lost its projection.")
        return self.image.sky_projection

    def write(
        self, uri: ResourcePathExpression, *, overwrite: bool = False, created: Time | None = None
    ) -> ResourcePath:
        """Write the coadd as an `lsst.images` FITS file: complete, or not at all.

        Parameters
        ----------
        uri
            Where to write it: a local path or a URI that `lsst.resources` can
            write to, ending in ``.fits``.
        overwrite
            Whether a file of that name may be replaced.
        created
            Time that the file says it was written at; now if `None`.

        Returns
        -------
        uri
            Where the file is now; `recreate_from` makes the coadd again from it.

        Raises
        ------
        RequestError
            Raised if the name does not end in ``.fits``.
        OutputError
            Raised if the file cannot be written, or exists and may not be
            replaced.  There is no partial file then.

        Notes
        -----
        `lsst.images` reads the image back, with its PSF and provenance where
        it is a `~lsst.images.cells.CellCoadd`.  Further HDUs follow: the
        images ``N_INPUTS``, ``EFFECTIVE_TIME`` and ``REJECTED``, the tables
        ``INPUTS``, ``CELLS`` with one row per cell, and ``RECIPE``, and for
        what is no cell coadd the realisations of the noise, ``NOISE``.
        `read_coadd` returns all of it.
        """
        from ._writing import write_coadd  # noqa: PLC0415  # which imports this module

        return write_coadd(self, uri, overwrite=overwrite, created=created)

    def plot(self, **kwargs: Any) -> Any:
        """Show the coadd, its PSF and its inputs; see `lsst.dax.image.plotting.plot_coadd`.

        Parameters
        ----------
        **kwargs
            Options of that function.

        Returns
        -------
        figure
            The matplotlib figure.
        """
        from ..plotting import plot_coadd  # noqa: PLC0415  # matplotlib is an extra

        return plot_coadd(self, **kwargs)


@dataclass(frozen=True, eq=False)
class CoaddDifference:
    """One coadd minus another on the same pixels."""

    image: MaskedImage
    """First minus second in nJy; variances are added, masks joined.

    NaN where either has no value.
    """

    first: Coadd
    """What is subtracted from."""

    second: Coadd
    """What is subtracted."""


def subtract_images(first: Coadd, second: Coadd) -> CoaddDifference:
    """Subtract one coadd from another.

    Parameters
    ----------
    first
        What is subtracted from.
    second
        What is subtracted; it has the same pixels.

    Returns
    -------
    difference
        First minus second.

    Raises
    ------
    RequestError
        Raised if the pixels or the mask planes differ.
    """
    transforms = [coadd.sky_projection.pixel_to_sky_transform for coadd in (first, second)]
    if first.bbox != second.bbox or transforms[0] != transforms[1]:
        raise RequestError(f"Coadds of {first.bbox} and {second.bbox} are not on the same pixels.")
    one, two = first.image, second.image
    if one.mask.schema != two.mask.schema:
        raise RequestError(
            f"The mask planes {sorted(one.mask.schema.names)} and {sorted(two.mask.schema.names)} differ."
        )
    values = one.image.array - two.image.array
    mask = Mask(one.mask.array | two.mask.array, schema=one.mask.schema, bbox=first.bbox)
    mask.set("NO_DATA", np.isnan(values))
    image = MaskedImage(
        Image(values, bbox=first.bbox, unit=u.nJy, sky_projection=first.sky_projection),
        mask=mask,
        variance=Image(one.variance.array + two.variance.array, bbox=first.bbox, unit=u.nJy**2),
    )
    return CoaddDifference(image, first, second)
