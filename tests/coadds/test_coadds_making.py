"""Coadds of images in memory, and of images in different units."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema, VisitImage
from lsst.images.fields import ChebyshevField
from lsst.images.psfs import GaussianPointSpreadFunction
from tests.support.coadd_survey import (
    BAND,
    FLUX,
    PLAIN_CONFIG,
    make_plain_image,
    make_repository,
    make_star_grid,
    make_star_positions,
)
from tests.support.scenes import make_sky_projection

from lsst.dax.image.coadds import (
    InputKey,
    Recipe,
    Statistic,
    Warp,
    fetch_coadd,
    find_inputs,
    make_coadd,
    warp_image,
)
from lsst.dax.image.errors import (
    InconsistentUnitsError,
    InputDataError,
    MissingPsfError,
    NoCoverageError,
    RequestError,
)
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.psfs import make_psf_evaluator

BOX = Box.factory[0:120, 0:130]
GRID = TargetGrid(make_sky_projection(bbox=BOX), BOX)
MEAN = Recipe(name="mean", statistic=Statistic.MEAN)
KEY = InputKey("Camera", 7, 1, uuid.UUID(int=7))
PSF = make_psf_evaluator(GaussianPointSpreadFunction(1.8, bounds=BOX, stamp_size=25))


def make_image(
    *, unit: u.UnitBase = u.nJy, value: float = 3.0, bbox: Box = BOX, has_sky: bool = True
) -> MaskedImage:
    mask = Mask(schema=MaskSchema([MaskPlane("GHOST", "A plane of this camera.")]), bbox=bbox)
    mask.set("GHOST", np.arange(bbox.area).reshape(bbox.shape) == 60 * bbox.x.size + 50)
    return MaskedImage(
        Image(np.full(bbox.shape, value, np.float32), bbox=bbox, unit=unit),
        mask=mask,
        variance=Image(np.full(bbox.shape, 4.0, np.float32), bbox=bbox, unit=unit**2),
        sky_projection=GRID.sky_projection if has_sky else None,
    )


def make_warps(*values: float) -> list[Warp]:
    return [
        warp_image(
            make_image(value=value), GRID, key=replace(KEY, visit=number), weight=1.0 + number, psf=PSF
        )
        for number, value in enumerate(values)
    ]


def test_images_of_one_pixel_grid_are_averaged_as_they_are() -> None:
    warps = make_warps(2.0, 5.0)
    times = [30.0, 60.0] * u.s
    coadd = make_coadd(warps, GRID.sky_projection, recipe=MEAN, effective_times=times)
    inner = np.s_[10:-10, 10:-10]
    np.testing.assert_allclose(coadd.image.image.array[inner], (2.0 + 2 * 5.0) / 3, rtol=1e-6)
    np.testing.assert_allclose(coadd.image.variance.array[inner], (4.0 + 4 * 4.0) / 9, rtol=1e-6)
    assert (coadd.n_inputs.array[inner] == 2).all()
    np.testing.assert_allclose(coadd.effective_time.array[inner], 90.0)
    np.testing.assert_allclose(coadd.inputs["share"], [1 / 3, 2 / 3])
    assert coadd.record is None
    assert coadd.provenance is None
    psf = coadd.psf.compute_kernel_image(x=60.0, y=60.0).array
    r2 = np.sum((np.indices(psf.shape) - psf.shape[0] // 2) ** 2, axis=0)
    np.testing.assert_allclose((psf * r2).sum() / psf.sum(), 2 * 1.8**2, rtol=0.01)


def test_units_of_flux_become_nanojansky_and_planes_are_kept_by_name() -> None:
    image = make_image(unit=u.uJy)
    warp = warp_image(image, GRID, key=KEY, weight=1.0, psf=PSF, planes=("GHOST",))
    np.testing.assert_allclose(warp.image[60, 60], 3000.0, rtol=1e-6)
    np.testing.assert_allclose(warp.variance[60, 60], 4.0e6, rtol=1e-6)
    bit = np.uint32(1 << warp.planes.index("GHOST"))
    assert warp.mask[60, 50] & bit
    assert not warp.mask[20, 20] & bit
    assert "GHOST" not in warp_image(image, GRID, key=KEY, weight=1.0, psf=PSF).planes


def test_images_that_cannot_be_warped() -> None:
    def warp(image: MaskedImage, psf: object = PSF) -> Warp:
        return warp_image(image, GRID, key=KEY, weight=1.0, psf=psf)  # type: ignore[arg-type]

    with pytest.raises(InconsistentUnitsError, match="has the unit electron; a coadd is made in nJy"):
        warp(make_image(unit=u.electron))
    with pytest.raises(InputDataError, match="has no sky projection"):
        warp(make_image(has_sky=False))
    with pytest.raises(NoCoverageError, match="gives no pixel of"):
        warp(make_image(bbox=Box.factory[500:600, 0:100]))
    far = GaussianPointSpreadFunction(1.8, bounds=Box.factory[500:600, 0:100], stamp_size=25)
    with pytest.raises(MissingPsfError, match="not defined at the middle"):
        warp(make_image(), make_psf_evaluator(far))


def test_warps_that_cannot_be_combined() -> None:
    one, two = make_warps(1.0, 2.0)
    sky = GRID.sky_projection
    with pytest.raises(InputDataError, match="one warp or more, not of none"):
        make_coadd([], sky, recipe=MEAN)
    with pytest.raises(RequestError, match="2 warps, 1 bands and 2 effective times"):
        make_coadd([one, two], sky, recipe=MEAN, bands=["r"])
    with pytest.raises(RequestError, match="1 realisations of the noise are asked for; warps have none"):
        make_coadd([one, two], sky, recipe=MEAN.with_(noise_realizations=1))
    with pytest.raises(InputDataError, match="and the planes"):
        make_coadd([one, replace(two, planes=two.planes[:-1])], sky, recipe=MEAN)
    with pytest.raises(RequestError, match="does not contain"):
        make_coadd([one, two], sky, recipe=MEAN, bbox=BOX.padded(1))
    with pytest.raises(MissingPsfError, match="has no PSF"):
        make_coadd([one, replace(two, psf=None)], sky, recipe=MEAN)


def test_images_in_counts_and_in_nanojansky_are_averaged_in_nanojansky(tmp_path: Path) -> None:
    positions = make_star_positions(PLAIN_CONFIG)
    in_counts, without_scaling = [], []

    def draw(plan: object, detector: int) -> VisitImage:
        image = make_plain_image(PLAIN_CONFIG, plan, detector, positions, noise=0.0)  # type: ignore[arg-type]
        kind = len(in_counts) + len(without_scaling)
        if kind >= 8:
            return image
        # Half of these visits say what a count is.
        scaling = ChebyshevField(image.bbox, np.array([[4.0]]), unit=u.nJy / u.electron)
        (in_counts if kind < 4 else without_scaling).append(plan.visit)  # type: ignore[attr-defined]
        return VisitImage(
            Image(
                image.image.array / 4, bbox=image.bbox, unit=u.electron, sky_projection=image.sky_projection
            ),
            mask=image.mask,
            variance=Image(image.variance.array / 16, bbox=image.bbox, unit=u.electron**2),
            obs_info=image.obs_info,
            summary_stats=image.summary_stats,
            photometric_scaling=scaling if kind < 4 else None,
            psf=image.psf,
            detector=image.detector,
            aperture_corrections=image.aperture_corrections,
            backgrounds=image.backgrounds,
            band=image.band,
        )

    recipe = MEAN.with_selection(bands=(BAND,))
    with make_repository(tmp_path, PLAIN_CONFIG, draw, bands=(BAND,)).open() as butler:
        rejected = find_inputs(butler, recipe, make_star_grid()).rejected
        coadd = fetch_coadd(butler, recipe, make_star_grid())
    assert rejected["visit"].tolist() == without_scaling
    assert all("there is no photometric scaling" in text for text in rejected["detail"])
    assert set(in_counts) < set(coadd.inputs["visit"].tolist())
    assert len(coadd.inputs) == 8
    # A star that lies whole in a quarter of the field.
    peak = np.nanmax(coadd.image.image.array)
    psf = coadd.psf.compute_kernel_image(x=coadd.bbox.x.start + 80.0, y=coadd.bbox.y.start + 80.0).array
    assert peak == pytest.approx(FLUX * psf.max(), rel=0.01)
    np.testing.assert_allclose(np.nanmedian(coadd.image.variance.array) * 8, 100.0 * 0.795, rtol=0.08)
