"""Make products of a release again, and compare each with what is persisted."""

from __future__ import annotations

__all__ = ("ReleaseSettings",)

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table, vstack

from lsst.daf.butler import DatasetRef
from lsst.images import Box, Image, Mask, MaskedImage, VisitImage
from lsst.images.cells import CellCoadd

from ..coadds import DEEP, Recipe, fetch_coadd, make_from_record, read_coadd_record
from ..cutouts import fetch_cutout
from ..errors import DatasetNotFoundError, InputDataError, UnsupportedProductError
from ..forced import fetch_light_curves, to_sdm
from ..geometry import CircleStencil, TargetGrid
from ..mosaics import fetch_mosaic
from ..recreation import CalibrationCache, recreate_difference_image, recreate_visit_image
from ..recreation.isr import LSSTCAM_DP2, IsrSequence
from ..repository import (
    ButlerLike,
    fetch_dataset,
    fetch_geometry,
    fetch_sky_map,
    fetch_uri,
    find_dataset,
    find_datasets,
    name_dataset,
    read_metadata,
)
from .comparison import Comparison, compare_images
from .quantisation import read_steps
from .release import Closeup, make_closeup
from .statistical import WITHIN_NOISE, StatisticalComparison, StatisticalTolerance, compare_statistically
from .tables import SAME_MEASUREMENTS, TableComparison, TableTolerance, compare_tables
from .tolerance import BIT_IDENTICAL, LOSSY, Tolerance

_CALIBRATIONS = CalibrationCache(1_000_000_000)
"""Calibrations that this process read last; all its tasks share them."""

_DIFFERENCE = Tolerance(name="equal within 0.15 of the noise", max_sigma=0.15, max_mask_fraction=1e-5)
_CUTOUT_RADIUS = 8 * u.arcsec
_MOSAIC_PX = 512
_IGNORED_COLUMNS = ("parentObjectId", "coord_ra", "coord_dec", "tract", "patch")
"""Columns of a table of forced sources that say where was measured, not what."""


@dataclass(frozen=True, kw_only=True)
class ReleaseSettings:
    """What to check of a release, and how much may differ."""

    products: tuple[str, ...] | None = None
    """Products to check, of `RELEASE_PRODUCTS`; if `None`, all whose dataset
    types the repository has."""
    sample: int | None = 10
    """Number of datasets of each type that are drawn; all if `None`."""
    seed: int = 0
    """Seed of the draw."""
    where: Mapping[str, str] = field(default_factory=dict)
    """By product, which datasets to draw from, in the Butler's expression language."""
    sequence: IsrSequence = LSSTCAM_DP2
    """Steps of the instrument signature removal."""
    recipe: Recipe = DEEP
    """How coadds are made whose files do not say it; their bands and visits are
    those of the persisted coadd."""
    images_per_table: int = 5
    """Number of images of each table of forced sources that are measured on again."""
    lossy: Tolerance = LOSSY
    """Limits for planes that are stored with lossy compression."""
    lossless: Tolerance = BIT_IDENTICAL
    """Limits for planes that are stored without loss."""
    difference: Tolerance = _DIFFERENCE
    """Limits for difference images: those of the simulated survey, whose templates
    and visit images are stored with loss, agree within 0.09."""
    statistical: StatisticalTolerance = WITHIN_NOISE
    """Limits for coadds whose files do not say how they were made."""
    table: TableTolerance = SAME_MEASUREMENTS
    """Limits for tables of measurements."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    comparison: Comparison | StatisticalComparison | TableComparison
    """What differs."""
    failures: tuple[str, ...]
    """What is beyond the tolerance."""
    tolerance: str
    """What was asked for."""
    closeup: Closeup | None = None
    """Pixels around the largest difference."""


def check_visit_image(butler: ButlerLike, ref: DatasetRef, settings: ReleaseSettings) -> Finding:
    """Make a visit image again from its raw."""
    original = fetch_dataset(butler, ref)
    if not isinstance(original, VisitImage):
        raise InputDataError(f"{name_dataset(ref)} is a {type(original).__name__}, not a VisitImage.")
    candidate = recreate_visit_image(
        butler,
        dict(ref.dataId.required),
        sequence=settings.sequence,
        inputs={"visit_image": ref},
        cache=_CALIBRATIONS,
    )
    return _judge_as_stored(butler, ref, candidate, original, settings)


def check_difference_image(butler: ButlerLike, ref: DatasetRef, settings: ReleaseSettings) -> Finding:
    """Subtract the templates from a visit image again."""
    original = fetch_dataset(butler, ref)
    candidate = recreate_difference_image(butler, dict(ref.dataId.required))
    steps = read_steps(fetch_uri(butler, ref))
    name = name_dataset(ref)
    comparison = compare_images(candidate, original, steps=steps, excluded_planes=(), name=name)
    failures = comparison.find_failures(settings.difference)
    return _find(comparison, candidate, original, failures, settings.difference.name)


def check_deep_coadd(butler: ButlerLike, ref: DatasetRef, settings: ReleaseSettings) -> Finding:
    """Make a coadd again: from what its file says, or else by the recipe of the settings."""
    original = fetch_dataset(butler, ref)
    if not isinstance(original, MaskedImage):
        raise InputDataError(f"{name_dataset(ref)} is a {type(original).__name__}, not a MaskedImage.")
    try:
        record = read_coadd_record(read_metadata(fetch_uri(butler, ref)))
    except UnsupportedProductError:
        candidate = _make_coadd(butler, ref, original, settings)
        comparison = compare_statistically(candidate, original, name=name_dataset(ref))
        closeup = make_closeup(candidate, original, comparison.max_at)
        failures = tuple(comparison.find_failures(settings.statistical))
        return Finding(comparison, failures, settings.statistical.name, closeup)
    return _judge_as_stored(butler, ref, make_from_record(butler, record).image, original, settings)


def check_cutout(butler: ButlerLike, ref: DatasetRef, settings: ReleaseSettings) -> Finding:
    """Cut a circle at a place that is drawn, and compare it with the whole dataset's pixels."""
    geometry = fetch_geometry(butler, ref)
    box = geometry.bbox
    rng = np.random.default_rng([settings.seed, ref.id.int])
    x, y = (float(rng.uniform(side.min, side.max)) for side in (box.x, box.y))
    circle = CircleStencil(geometry.sky_projection.pixel_to_sky(x=x, y=y), _CUTOUT_RADIUS)
    cutout = fetch_cutout(butler, ref, circle)
    whole = fetch_dataset(butler, ref)
    return _judge_pixels(cutout.image, _cut(whole, cutout.image.bbox), name_dataset(ref))


def check_mosaic(butler: ButlerLike, ref: DatasetRef, settings: ReleaseSettings) -> Finding:
    """Put two patches together on their own pixels, across the seam."""
    del settings  # the pixels must be the same, whatever is asked for
    refs = [ref, *_find_neighbours(butler, ref)]
    sky_map = fetch_sky_map(butler, str(ref.dataId["skymap"]))
    inner = [sky_map.patch_bbox(int(str(item.dataId["patch"])), outer=False) for item in refs]
    x, y, width, height = _find_seam(inner)
    box = Box.factory[y : y + height, x : x + width]
    mosaic = fetch_mosaic(butler, refs, TargetGrid(fetch_geometry(butler, ref).sky_projection, box))
    pieces = [
        _cut(fetch_dataset(butler, item), box.intersection(part))
        for item, part in zip(refs, inner, strict=True)
    ]
    return _judge_pixels(mosaic.masked_image, _join(pieces, box), name_dataset(ref))


def check_object_forced_source(butler: ButlerLike, ref: DatasetRef, settings: ReleaseSettings) -> Finding:
    """Measure forced sources at the positions of objects again."""
    return _check_forced_source(butler, ref, settings, id_name="objectId")


def check_dia_object_forced_source(butler: ButlerLike, ref: DatasetRef, settings: ReleaseSettings) -> Finding:
    """Measure forced sources at the positions of objects of difference images again."""
    return _check_forced_source(butler, ref, settings, id_name="diaObjectId")


def _judge_as_stored(
    butler: ButlerLike,
    ref: DatasetRef,
    candidate: MaskedImage,
    original: MaskedImage,
    settings: ReleaseSettings,
) -> Finding:
    """Compare an image with a stored one, plane by plane as each is stored."""
    steps = read_steps(fetch_uri(butler, ref))
    comparison = compare_images(candidate, original, steps=steps, name=name_dataset(ref))
    failures: list[str] = []
    limits = []
    for plane in comparison.planes:
        tolerance = settings.lossless if plane.step is None else settings.lossy
        limits.append(tolerance.name)
        failures += comparison.model_copy(update={"planes": (plane,)}).find_failures(tolerance)
    return _find(comparison, candidate, original, failures, " and ".join(dict.fromkeys(limits)))


def _judge_pixels(candidate: Image | Mask | MaskedImage, original: MaskedImage, name: str) -> Finding:
    """Compare pixels that must be the same to the bit."""
    if not isinstance(candidate, MaskedImage):
        raise InputDataError(f"{name} gives a {type(candidate).__name__}, not a MaskedImage.")
    comparison = compare_images(candidate, original, excluded_planes=(), name=name)
    # The projection of a part is the same function, written in other terms.
    tolerance = BIT_IDENTICAL.model_copy(update={"max_wcs_offset_mas": 1e-3})
    return _find(comparison, candidate, original, comparison.find_failures(tolerance), tolerance.name)


def _find(
    comparison: Comparison, candidate: MaskedImage, original: MaskedImage, failures: list[str], name: str
) -> Finding:
    closeup = make_closeup(candidate, original, comparison.planes[0].max_at)
    return Finding(comparison, tuple(dict.fromkeys(failures)), name, closeup)


def _make_coadd(
    butler: ButlerLike, ref: DatasetRef, original: MaskedImage, settings: ReleaseSettings
) -> MaskedImage:
    """Make a coadd of the visits that went into another one."""
    selection: dict[str, Any] = {"bands": (str(ref.dataId["band"]),)}
    if isinstance(original, CellCoadd) and original.provenance is not None:
        selection["visits"] = tuple(int(visit) for visit in original.provenance.inputs["visit"])
    recipe = settings.recipe.with_selection(**selection)
    patch = {name: ref.dataId[name] for name in ("skymap", "tract", "patch")}
    return fetch_coadd(butler, recipe, patch, max_pixels=original.bbox.area).image


def _find_neighbours(butler: ButlerLike, ref: DatasetRef) -> list[DatasetRef]:
    """Return a coadd of a patch beside, if there is one."""
    data_id = dict(ref.dataId.required)
    sky_map = fetch_sky_map(butler, str(data_id["skymap"]))
    patch, side = int(str(data_id["patch"])), sky_map.patches_per_side
    beside = [*([patch + 1] if patch % side < side - 1 else []), *([patch - 1] if patch % side else [])]
    for neighbour in beside:
        try:
            return [find_dataset(butler, ref.datasetType.name, {**data_id, "patch": neighbour})]
        except DatasetNotFoundError:
            continue
    return []


def _find_seam(boxes: list[Box]) -> tuple[int, int, int, int]:
    """Return x, y, width and height of the pixels in the middle of boxes side by side."""
    left, right = min(box.x.start for box in boxes), max(box.x.stop for box in boxes)
    width, height = min(_MOSAIC_PX, right - left), min(_MOSAIC_PX, boxes[0].y.size)
    return (left + right - width) // 2, boxes[0].y.start + (boxes[0].y.size - height) // 2, width, height


def _cut(image: MaskedImage, box: Box) -> MaskedImage:
    """Return image, mask and variance within a box."""
    if not isinstance(image, MaskedImage):
        raise InputDataError(f"What is persisted is a {type(image).__name__}, not a MaskedImage.")
    projection = image.sky_projection
    return MaskedImage(
        image.image[box].view(sky_projection=projection),
        mask=image.mask[box].view(sky_projection=projection),
        variance=image.variance[box].view(sky_projection=projection),
    )


def _join(pieces: list[MaskedImage], box: Box) -> MaskedImage:
    """Return images side by side as one; by slices, as an oracle should."""
    first = pieces[0]
    planes = {name: np.empty(box.shape, getattr(first, name).array.dtype) for name in ("image", "variance")}
    bits = np.zeros((*box.shape, *first.mask.array.shape[2:]), first.mask.array.dtype)
    for piece in pieces:
        where = piece.bbox.slice_within(box)
        for name, array in planes.items():
            array[where] = getattr(piece, name).array
        bits[where] = piece.mask.array
    image = Image(planes["image"], bbox=box, unit=first.unit, sky_projection=first.sky_projection)
    return MaskedImage(
        image,
        mask=Mask(bits, schema=first.mask.schema, bbox=box),
        variance=Image(planes["variance"], bbox=box, unit=first.variance.unit),
    )


def _check_forced_source(
    butler: ButlerLike, ref: DatasetRef, settings: ReleaseSettings, *, id_name: str
) -> Finding:
    """Measure a table's fluxes on some of its images again."""
    table: Table = fetch_dataset(butler, ref.overrideStorageClass("ArrowAstropy"))
    needed = {id_name, "coord_ra", "coord_dec", "visit", "detector"}
    if missing := sorted(needed - set(table.colnames)):
        raise InputDataError(f"{name_dataset(ref)} has no columns {missing}, but {table.colnames}.")
    images, place = np.unique(
        np.column_stack([np.asarray(table[name], np.int64) for name in ("visit", "detector")]),
        axis=0,
        return_inverse=True,
    )
    rng = np.random.default_rng([settings.seed, ref.id.int])
    drawn = np.sort(rng.permutation(len(images))[: settings.images_per_table])
    rows = np.isin(place.reshape(-1), drawn)
    found = [
        _measure_again(butler, table[place.reshape(-1) == number], images[number].tolist(), id_name)
        for number in drawn
    ]
    if not found:
        raise InputDataError(f"{name_dataset(ref)} has no rows.")
    comparison = compare_tables(
        vstack(found, metadata_conflicts="silent"),
        table[rows],
        keys=(id_name, "visit", "detector"),
        ignored=_IGNORED_COLUMNS,
        name=name_dataset(ref),
    )
    failures = tuple(comparison.find_failures(settings.table))
    return Finding(comparison, failures, settings.table.name)


def _measure_again(butler: ButlerLike, rows: Table, image: list[int], id_name: str) -> Table:
    """Measure the fluxes of some rows of one visit and detector."""
    data_id = dict(zip(("visit", "detector"), image, strict=True))
    refs = find_datasets(butler, "visit_image", data_id=data_id)
    if "psfDiffFlux" in rows.colnames:
        refs += find_datasets(butler, "difference_image", data_id=data_id)
    if not refs:
        raise InputDataError(f"The table has fluxes on the image {data_id}, which is not there.")
    positions = Table(
        {
            "id": np.asarray(rows[id_name], np.int64),
            "ra": np.asarray(rows["coord_ra"], np.float64),
            "dec": np.asarray(rows["coord_dec"], np.float64),
        }
    )
    return to_sdm(fetch_light_curves(butler, positions, images=refs), id_name=id_name)
