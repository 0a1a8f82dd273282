"""Coadds of cells, drawn from the truth."""

from __future__ import annotations

__all__ = ("covered_patches", "make_deep_coadd", "make_template_coadd", "patch_polygon_in_detector")

import dataclasses
import math
from collections.abc import Sequence

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable
from astropy.time import Time

from lsst.images import (
    BackgroundMap,
    Box,
    DetectorFrame,
    Image,
    Mask,
    MaskPlane,
    MaskSchema,
    Polygon,
    SkyProjection,
    TractFrame,
    get_legacy_deep_coadd_mask_planes,
)
from lsst.images.cells import (
    CellCoadd,
    CellField,
    CellGridBounds,
    CellIJ,
    CellPointSpreadFunction,
    CoaddProvenance,
    PatchDefinition,
)

from ._camera import READ_NOISE_ELECTRONS
from ._config import BANDS, INSTRUMENT, SurveyConfig
from ._difference import template_psf
from ._draw import Sources, draw_sources, locate_sources
from ._psf import GRID_SIZE, MoffatField, make_psf_picture
from ._scene import TIME_DEPENDENT, template_time
from ._truth import evaluate_fluxes, evaluate_positions
from ._visit_plan import VisitPlan, detector_bbox, detector_sky_projection

type FloatArray = npt.NDArray[np.float64]

TEMPLATE_DEPTH = 20.0
"""A template is as deep as this many typical visits."""

_NOISE_KEYS = {"deep_coadd": 7, "template_coadd": 8}


@dataclasses.dataclass(frozen=True)
class Contribution:
    """One detector of one visit, in tract pixels."""

    plan: VisitPlan
    """The visit."""

    detector: int
    """The detector."""

    polygon: Polygon
    """Outline in tract pixels."""

    variance: float
    """Variance of blank sky, in nJy**2 per pixel; its inverse is the weight."""


@dataclasses.dataclass(frozen=True)
class _CellInput:
    """One contribution to one cell."""

    contribution: Contribution
    weight: float
    overlap_fraction: float


def covered_patches(config: SurveyConfig) -> tuple[int, ...]:
    """Return the patches that get coadds.

    These are the patches whose inner boxes meet the disc that all visits
    cover whatever their rotation, shrunk to three quarters.
    """
    center = config.sky_map.tract_sky_projection(config.tract).sky_to_pixel(config.center_position)
    rows, columns = config.detector_grid
    radius = 0.375 * min(rows * config.detector_shape[0], columns * config.detector_shape[1])
    patches = []
    for patch in range(config.sky_map.patches_per_side**2):
        box = config.sky_map.patch_bbox(patch, outer=False)
        dx = max(box.x.start - 0.5 - center.x, 0.0, center.x - (box.x.stop - 0.5))
        dy = max(box.y.start - 0.5 - center.y, 0.0, center.y - (box.y.stop - 0.5))
        if math.hypot(dx, dy) < radius:
            patches.append(patch)
    return tuple(patches)


def make_contributions(config: SurveyConfig, plans: Sequence[VisitPlan]) -> list[Contribution]:
    """Return the outlines and weights of all detectors of some visits."""
    tract = config.sky_map.tract_sky_projection(config.tract)
    result = []
    for plan in plans:
        scale = BANDS[plan.band].nanojansky_per_electron / plan.transparency
        # Poisson noise of the sky alone, as a real weight neglects sources.
        variance = plan.sky * config.pixel_scale**2 * scale + (READ_NOISE_ELECTRONS * scale) ** 2
        for detector in range(config.detector_count):
            outline = Polygon.from_box(detector_bbox(config))
            sky = detector_sky_projection(config, plan, detector).pixel_to_sky(
                x=outline.x_vertices, y=outline.y_vertices
            )
            point = tract.sky_to_pixel(sky)
            polygon = Polygon(x_vertices=point.x, y_vertices=point.y)
            result.append(Contribution(plan, detector, polygon, variance))
    return result


def make_deep_coadd(
    config: SurveyConfig, truth: QTable, *, band: str, patch: int, plans: Sequence[VisitPlan]
) -> CellCoadd:
    """Make the deep coadd of one band of a patch.

    Parameters
    ----------
    config, truth
        The survey.
    band, patch
        Which coadd.
    plans
        Visits of the survey; those of other bands are ignored.

    Notes
    -----
    A cell takes every detector that covers its centre, weighted by the
    inverse variance of blank sky.  Its PSF is round with the weighted mean
    FWHM of its visits, and constant within the cell: a source on an edge is
    drawn with one PSF on each side.  Sources that change have their weighted
    mean flux and leave one image per visit at the position of that time.  The
    noise is white with the variance of the plane, and that of a cell is the
    same in every patch that has it.

    Where a contribution to a cell does not reach a pixel, the pixel has the
    noise and the flux of a full one, but REJECTED and INEXACT_PSF are set and
    ``mask_fractions`` tells the lost weight.  Pixels that none reaches and
    cells without a contribution are NaN and NO_DATA.
    """
    definition = config.sky_map.patch_definition(patch)
    contributions = make_contributions(config, [plan for plan in plans if plan.band == band])
    inputs = _find_cell_inputs(definition, contributions)
    missing = frozenset(cell for cell, items in inputs.items() if not items)
    canvas = _Canvas.empty(config, definition, missing, kind="deep_coadd", band=band)
    static, dynamic = _split(truth)
    locate = _Locator(config, band, definition)
    still = locate(static, plans[0].mid)
    moving = {plan.visit: locate(dynamic, plan.mid) for plan in plans if plan.band == band}
    rejected = np.zeros(definition.outer_bbox.shape)
    for cell, items in inputs.items():
        if not items:
            continue
        total = sum(item.weight for item in items)
        fwhm = sum(item.weight * item.contribution.plan.fwhm for item in items) / total
        psf = MoffatField(fwhm_px=fwhm / config.pixel_scale)
        bbox = definition.cells.bbox_of(cell)
        model = draw_sources(still, psf=psf, bbox=bbox)
        lost = np.zeros(bbox.shape)
        for item in items:
            share = item.weight / total
            sources = moving[item.contribution.plan.visit]
            model += share * draw_sources(sources, psf=psf, bbox=bbox)
            lost += share * ~_inside(item.contribution.polygon, bbox)
        rejected[bbox.slice_within(definition.outer_bbox)] = lost
        # The shares add up to 1 to rounding: no contribution reaches these.
        model[lost > 1.0 - 1e-9] = np.nan
        gain = BANDS[band].nanojansky_per_electron / len(items)
        canvas.fill(cell, model=model, variance=1.0 / total + gain * model, psf=psf)
    planes = {"REJECTED": rejected > 0, "INEXACT_PSF": rejected > 0}
    return canvas.finish(
        planes=planes,
        mask_fractions={"rejected": rejected},
        provenance=_make_provenance(definition, inputs, pixel_scale=config.pixel_scale),
    )


def make_template_coadd(config: SurveyConfig, truth: QTable, *, band: str, patch: int) -> CellCoadd:
    """Make the template of one band of a patch.

    The template shows the sky before the survey, at `template_time`, sharper
    and deeper than any visit.  It was made from visits that are not in the
    repository, so it has no provenance; no cell is missing.
    """
    definition = config.sky_map.patch_definition(patch)
    canvas = _Canvas.empty(config, definition, frozenset(), kind="template_coadd", band=band)
    sources = _Locator(config, band, definition)(truth, template_time())
    psf = template_psf(config)
    properties = BANDS[band]
    scale = properties.nanojansky_per_electron
    sky_variance = properties.sky * config.pixel_scale**2 * scale + (READ_NOISE_ELECTRONS * scale) ** 2
    for i in range(definition.cells.grid_size.i):
        for j in range(definition.cells.grid_size.j):
            cell = CellIJ(i=i, j=j)
            model = draw_sources(sources, psf=psf, bbox=definition.cells.bbox_of(cell))
            variance = (sky_variance + scale * model) / TEMPLATE_DEPTH
            canvas.fill(cell, model=model, variance=variance, psf=psf)
    return canvas.finish(planes={}, mask_fractions={}, provenance=None)


def patch_polygon_in_detector(
    config: SurveyConfig, patch: int, sky_projection: SkyProjection[DetectorFrame]
) -> Polygon:
    """Return the outline of a patch's outer box in a detector's pixels."""
    outline = Polygon.from_box(config.sky_map.patch_bbox(patch))
    tract = config.sky_map.tract_sky_projection(config.tract)
    point = sky_projection.sky_to_pixel(tract.pixel_to_sky(x=outline.x_vertices, y=outline.y_vertices))
    return Polygon(x_vertices=point.x, y_vertices=point.y)


@dataclasses.dataclass(frozen=True)
class _Locator:
    """Finds sources in the pixels of a patch."""

    config: SurveyConfig
    band: str
    definition: PatchDefinition

    def __call__(self, rows: QTable, time: Time) -> Sources:
        return locate_sources(
            rows,
            evaluate_positions(rows, time),
            evaluate_fluxes(rows, self.band, time),
            sky_projection=self.config.sky_map.tract_sky_projection(self.config.tract),
            bbox=self.definition.outer_bbox,
        )


@dataclasses.dataclass(frozen=True)
class _Canvas:
    """Planes of a coadd under construction; `fill` writes one cell."""

    definition: PatchDefinition
    projection: SkyProjection[TractFrame]
    bounds: CellGridBounds
    band: str
    noise_key: tuple[int, ...]
    image: FloatArray
    noise: FloatArray
    variance: FloatArray
    detected: npt.NDArray[np.bool_]
    psf: FloatArray
    aperture_correction: FloatArray

    @classmethod
    def empty(
        cls,
        config: SurveyConfig,
        definition: PatchDefinition,
        missing: frozenset[CellIJ],
        *,
        kind: str,
        band: str,
    ) -> _Canvas:
        grid = definition.cells.grid_size
        shape = definition.outer_bbox.shape
        return cls(
            definition=definition,
            projection=config.sky_map.tract_sky_projection(config.tract),
            bounds=CellGridBounds(grid=definition.cells, bbox=definition.outer_bbox, missing=missing),
            band=band,
            noise_key=(config.seed, _NOISE_KEYS[kind], list(BANDS).index(band)),
            image=np.full(shape, np.nan),
            noise=np.full(shape, np.nan),
            variance=np.full(shape, np.nan),
            detected=np.zeros(shape, dtype=bool),
            psf=np.full((grid.i, grid.j, GRID_SIZE, GRID_SIZE), np.nan),
            aperture_correction=np.full((grid.i, grid.j), np.nan),
        )

    def fill(self, cell: CellIJ, *, model: FloatArray, variance: FloatArray, psf: MoffatField) -> None:
        """Write one cell, with its noise; NaN in ``model`` and ``variance`` is no data.

        The noise is seeded by the place of the cell in the tract: a cell in
        the border of a patch is the same pixels as in the next patch.
        """
        bbox = self.definition.cells.bbox_of(cell)
        where = bbox.slice_within(self.definition.outer_bbox)
        # Cells in the border of the first patches have negative places.
        place = (bbox.y.start // bbox.y.size + 1000, bbox.x.start // bbox.x.size + 1000)
        rng = np.random.default_rng([*self.noise_key, *place])
        noise = np.sqrt(variance) * rng.standard_normal((2, *bbox.shape))
        self.image[where] = model + noise[0]
        self.noise[where] = noise[1]
        self.variance[where] = variance
        self.detected[where] = model > 3.0 * math.sqrt(float(np.nanmedian(variance)))
        picture = make_psf_picture(psf, x=0.0, y=0.0, size=GRID_SIZE)
        self.psf[cell.i, cell.j] = picture / np.sum(picture)
        self.aperture_correction[cell.i, cell.j] = 1.0 / np.sum(picture)

    def finish(
        self,
        *,
        planes: dict[str, npt.NDArray[np.bool_]],
        mask_fractions: dict[str, FloatArray],
        provenance: CoaddProvenance | None,
    ) -> CellCoadd:
        """Put the coadd together."""
        bbox = self.definition.outer_bbox
        empty = np.isnan(self.image)
        schema_planes: list[MaskPlane | None] = list(get_legacy_deep_coadd_mask_planes().values())
        mask = Mask(schema=MaskSchema(schema_planes), bbox=bbox)
        mask.set("NO_DATA", empty)
        mask.set("DETECTED", self.detected)
        for plane, where in planes.items():
            mask.set(plane, where & ~empty)
        correction = CellField(self.bounds, self.aperture_correction)
        error = CellField(self.bounds, np.where(np.isnan(self.aperture_correction), np.nan, 0.0))
        return CellCoadd(
            _image(self.image, bbox, u.nJy, self.projection),
            mask=mask,
            variance=_image(self.variance, bbox, u.nJy**2),
            mask_fractions={name: _image(array, bbox) for name, array in mask_fractions.items()},
            noise_realizations=[_image(self.noise, bbox, u.nJy)],
            band=self.band,
            psf=CellPointSpreadFunction(self.psf, self.bounds),
            aperture_corrections={
                "base_PsfFlux_instFlux": correction,
                "base_PsfFlux_instFluxErr": error,
                "modelfit_CModel_instFlux": correction,
                "modelfit_CModel_instFluxErr": error,
            },
            patch=self.definition,
            provenance=provenance,
            backgrounds=BackgroundMap(),
        )


def _image(
    array: FloatArray,
    bbox: Box,
    unit: u.UnitBase | None = None,
    projection: SkyProjection[TractFrame] | None = None,
) -> Image:
    return Image(array.astype(np.float32), bbox=bbox, unit=unit, sky_projection=projection)


def _split(truth: QTable) -> tuple[QTable, QTable]:
    """Return the sources that never change and those that do."""
    changing = np.isin(truth["kind"], TIME_DEPENDENT)
    return truth[~changing], truth[changing]


def _find_cell_inputs(
    definition: PatchDefinition, contributions: Sequence[Contribution]
) -> dict[CellIJ, list[_CellInput]]:
    """Return the contributions to each cell of a patch: those that cover its centre."""
    result: dict[CellIJ, list[_CellInput]] = {}
    for cell in CellGridBounds(grid=definition.cells, bbox=definition.outer_bbox).cell_indices():
        box = definition.cells.bbox_of(cell)
        outline = Polygon.from_box(box)
        result[cell] = [
            _CellInput(
                contribution=item,
                weight=1.0 / item.variance,
                overlap_fraction=item.polygon.intersection(outline).area / outline.area,
            )
            for item in contributions
            if item.polygon.contains(x=box.x.center, y=box.y.center)
        ]
    return result


def _inside(polygon: Polygon, bbox: Box) -> npt.NDArray[np.bool_]:
    """Return which pixel centres of a box are within a polygon."""
    x, y = np.meshgrid(bbox.x.arange.astype(float), bbox.y.arange.astype(float))
    return np.asarray(polygon.contains(x=x, y=y))


def _make_provenance(
    definition: PatchDefinition, inputs: dict[CellIJ, list[_CellInput]], *, pixel_scale: float
) -> CoaddProvenance | None:
    """Return the two provenance tables, or None where nothing contributed."""
    rows = [(cell, item) for cell, items in inputs.items() for item in items]
    if not rows:
        return None
    unique: dict[tuple[int, int], Contribution] = {}
    for _, item in rows:
        unique[item.contribution.plan.visit, item.contribution.detector] = item.contribution
    table = CoaddProvenance.make_empty_input_table(len(unique))
    outline = Polygon.from_box(definition.outer_bbox)
    for n, contribution in enumerate(unique.values()):
        plan = contribution.plan
        table["instrument"][n], table["physical_filter"][n] = INSTRUMENT, plan.physical_filter
        table["visit"][n], table["detector"][n] = plan.visit, contribution.detector
        table["day_obs"][n] = plan.day_obs
        table["polygon"][n] = contribution.polygon.intersection(outline)
    detail = CoaddProvenance.make_empty_contribution_table(len(rows))
    for n, (cell, item) in enumerate(rows):
        plan = item.contribution.plan
        detail["cell_i"][n], detail["cell_j"][n] = cell.i, cell.j
        detail["instrument"][n] = INSTRUMENT
        detail["visit"][n], detail["detector"][n] = plan.visit, item.contribution.detector
        detail["overlaps_center"][n] = True
        detail["overlap_fraction"][n] = item.overlap_fraction
        detail["unmasked_fraction"][n] = item.overlap_fraction
        detail["weight"][n] = item.weight
        xx, yy, xy = MoffatField(fwhm_px=plan.fwhm / pixel_scale).moments(x=0.0, y=0.0)
        detail["psf_shape_xx"][n], detail["psf_shape_yy"][n], detail["psf_shape_xy"][n] = xx, yy, xy
        detail["psf_shape_flag"][n] = False
    return CoaddProvenance(table, detail)
