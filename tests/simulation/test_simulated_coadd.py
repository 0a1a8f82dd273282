"""The simulated coadds against their truth."""

from __future__ import annotations

import itertools

import astropy.units as u
import numpy as np
import pytest
from lsst.images.cells import CellIJ
from lsst.sphgeom import UnitVector3d

from lsst.dax.image.simulation._coadd import covered_patches, make_deep_coadd
from lsst.dax.image.simulation._config import SurveyConfig
from lsst.dax.image.simulation._psf import MoffatField
from lsst.dax.image.simulation._visit_plan import detector_region, detector_sky_projection

KINDS = ("deep_coadd", "template_coadd")


@pytest.fixture(scope="module")
def coadds(mini_survey):
    found = {}
    with mini_survey.open() as butler:
        for kind, patch, band in itertools.product(KINDS, mini_survey.patches, "gri"):
            key = {"skymap": mini_survey.skymap, "tract": mini_survey.tract, "patch": patch, "band": band}
            found[kind, patch, band] = butler.get(kind, key)
    return found


def aperture_fluxes(coadd, point, *, radius=12):
    """Return the flux and its variance within a circle about each whole aperture."""
    y, x = np.mgrid[coadd.bbox.y.start : coadd.bbox.y.stop, coadd.bbox.x.start : coadd.bbox.x.stop]
    for row, (px, py) in enumerate(zip(point.x, point.y, strict=True)):
        inside = (x - px) ** 2 + (y - py) ** 2 < radius**2
        whole = coadd.bbox.padded(-radius - 1).contains(x=float(px), y=float(py))
        if whole and not np.any(coadd.mask.get("NO_DATA")[inside]):
            yield row, np.sum(coadd.image.array[inside]), np.sum(coadd.variance.array[inside])


def isolated(survey, time):
    """Return which sources have no neighbour within 28 pixels."""
    sky = survey.truth_positions(time)
    _, nearest, _ = sky.match_to_catalog_sky(sky, nthneighbor=2)
    return nearest.to_value(u.arcsec) > 28 * 0.2


def test_both_patches_at_the_field_centre_have_coadds(mini_survey, coadds):
    assert mini_survey.patches == (60, 61)
    for (_, patch, band), coadd in coadds.items():
        assert coadd.patch == mini_survey.config.sky_map.patch_definition(patch)
        assert coadd.bbox == mini_survey.config.sky_map.patch_bbox(patch)
        assert coadd.bbox.shape == (300, 300)
        assert (coadd.band, coadd.tract, coadd.skymap) == (band, mini_survey.tract, mini_survey.skymap)
        projection = mini_survey.config.sky_map.tract_sky_projection(mini_survey.tract)
        assert coadd.sky_projection == projection


def test_covered_patches_follow_the_centre():
    default = SurveyConfig()
    sky_map = default.sky_map
    projection = sky_map.tract_sky_projection(default.tract)
    # A corner between four patches, and the middle of one.
    for x, y, expected in ((1199.5, 1199.5, 4), (1099.5, 1099.5, 1)):
        sky = projection.pixel_to_sky(x=x, y=y)
        config = SurveyConfig(center=(sky.ra.deg, sky.dec.deg))
        assert len(covered_patches(config)) == expected


def test_constant_sources_have_their_flux(mini_survey, coadds):
    truth, time = mini_survey.truth, mini_survey.visits[0].mid
    usable = isolated(mini_survey, time) & (truth["kind"] == "star")
    sky = mini_survey.truth_positions(time)[usable]
    for kind in KINDS:
        pulls = []
        for (found, _, band), coadd in coadds.items():
            if found != kind:
                continue
            flux = mini_survey.truth_fluxes(band, time).to_value(u.nJy)[usable]
            point = coadd.sky_projection.sky_to_pixel(sky)
            for row, measured, variance in aperture_fluxes(coadd, point):
                x, y = float(point.x[row]), float(point.y[row])
                enclosed = enclosed_fraction(coadd, x=x, y=y)
                assert 0.97 < enclosed < 1.0
                pulls.append((measured - flux[row] * enclosed) / np.sqrt(variance + (2e-4 * flux[row]) ** 2))
        assert len(pulls) > 30
        assert np.mean(pulls) == pytest.approx(0.0, abs=4 / np.sqrt(len(pulls)))
        assert np.std(pulls) == pytest.approx(1.0, abs=0.35)


def enclosed_fraction(coadd, *, x, y, radius=12):
    """Return the flux fraction in a circle, from the width of the cell's PSF kernel."""
    kernel = coadd.psf.compute_kernel_image(x=x, y=y).array
    # (1 + d**2 / r0**2)**-4 along the row through the centre gives r0.
    ratio = kernel[12, 14] / kernel[12, 12]
    scale_radius = 2.0 / np.sqrt(ratio**-0.25 - 1.0)
    return 1.0 - (1.0 + (radius / scale_radius) ** 2) ** -3


def test_sources_are_at_their_place(mini_survey, coadds):
    truth, time = mini_survey.truth, mini_survey.visits[0].mid
    bright = isolated(mini_survey, time) & (truth["kind"] == "star") & (truth["flux_r"] > 20e3 * u.nJy)
    offsets = []
    for coadd in coadds.values():
        point = coadd.sky_projection.sky_to_pixel(mini_survey.truth_positions(time)[bright])
        y, x = np.mgrid[coadd.bbox.y.start : coadd.bbox.y.stop, coadd.bbox.x.start : coadd.bbox.x.stop]
        for row, *_ in aperture_fluxes(coadd, point):
            px, py = point.x[row], point.y[row]
            weight = coadd.image.array * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 2.0**2))
            # A matched Gaussian window halves the offset of a round source.
            offsets.append([np.nansum(weight * (x - px)), np.nansum(weight * (y - py))] / np.nansum(weight))
    assert len(offsets) > 20
    assert np.max(np.abs(np.mean(offsets, axis=0))) < 0.02
    assert np.max(np.abs(offsets)) < 0.1


def test_noise_has_the_variance_of_the_plane(coadds):
    for coadd in coadds.values():
        good = ~coadd.mask.get("NO_DATA")
        (noise,) = coadd.noise_realizations
        pull = noise.array[good] / np.sqrt(coadd.variance.array[good])
        assert np.std(pull) == pytest.approx(1.0, abs=0.015)
        blank = good & ~coadd.mask.get("DETECTED")
        sky = coadd.image.array[blank] / np.sqrt(coadd.variance.array[blank])
        # Faint wings and sources below the threshold broaden it a little.
        assert np.std(sky) == pytest.approx(1.0, abs=0.1)
        # The realization is not the noise of the image.
        assert abs(np.corrcoef(pull[: blank.sum()], sky[: pull.size])[0, 1]) < 0.02


def test_missing_cells_are_missing_everywhere(coadds):
    missing = 0
    for (kind, _, _), coadd in coadds.items():
        no_data = coadd.mask.get("NO_DATA")
        for plane in (coadd.image, coadd.variance, coadd.noise_realizations[0]):
            assert np.array_equal(np.isnan(plane.array), no_data)
        for cell in all_cells(coadd):
            gone = cell in coadd.bounds.missing
            missing += gone
            here = no_data[coadd.grid.bbox_of(cell).slice_within(coadd.bbox)]
            assert np.all(here) if gone else not here[25, 25]
        assert kind == "deep_coadd" or not np.any(no_data)
    assert missing > 0


def all_cells(coadd):
    size = coadd.grid.grid_size
    return [CellIJ(i=i, j=j) for i in range(size.i) for j in range(size.j)]


def test_provenance_is_what_covers_the_cell(mini_survey, coadds):
    plans = {plan.visit: plan for plan in mini_survey.visits}
    regions = {
        (plan.visit, detector): detector_region(mini_survey.config, plan, detector)
        for plan in mini_survey.visits
        for detector in (0, 1)
    }
    for (kind, _, band), coadd in coadds.items():
        if kind != "deep_coadd":
            continue
        table = coadd.provenance.contributions
        assert {plans[int(v)].band for v in table["visit"]} == {band}
        listed = {(int(r["cell_i"]), int(r["cell_j"]), int(r["visit"]), int(r["detector"])) for r in table}
        expected = set()
        for cell in all_cells(coadd):
            box = coadd.grid.bbox_of(cell)
            sky = coadd.sky_projection.pixel_to_sky(x=box.x.center, y=box.y.center)
            vector = UnitVector3d(*sky.cartesian.xyz.value)
            for plan in mini_survey.visits:
                for detector in (0, 1):
                    if plan.band == band and regions[plan.visit, detector].contains(vector):
                        expected.add((cell.i, cell.j, plan.visit, detector))
        # The region has a pixel of padding, so a centre at an edge may differ.
        assert len(listed ^ expected) <= 3
        assert np.all((table["overlap_fraction"] > 0.2) & (table["overlap_fraction"] < 1 + 1e-9))


def test_psf_and_depth_follow_the_inputs(mini_survey, coadds):
    plans = {plan.visit: plan for plan in mini_survey.visits}
    coadd = coadds["deep_coadd", 60, "i"]
    for cell in list(coadd.bounds.cell_indices())[::5]:
        table = coadd.provenance[cell].contributions
        fwhm = np.average([plans[int(v)].fwhm for v in table["visit"]], weights=table["weight"])
        box = coadd.grid.bbox_of(cell)
        kernel = coadd.psf.compute_kernel_image(x=box.x.center, y=box.y.center).array
        assert np.sum(kernel) == pytest.approx(1.0, abs=1e-6)
        ratio = kernel[12, 14] / kernel[12, 12]
        radius = 2.0 / np.sqrt(ratio**-0.25 - 1.0)
        assert 2 * radius * np.sqrt(2**0.25 - 1) == pytest.approx(fwhm / 0.2, rel=1e-5)
        variance = coadd.variance.array[box.slice_within(coadd.bbox)]
        assert np.nanmin(variance) == pytest.approx(1.0 / np.sum(table["weight"]), rel=0.01)
        moment = MoffatField(fwhm_px=float(plans[int(table["visit"][0])].fwhm) / 0.2).moments(x=0, y=0)[0]
        assert table["psf_shape_xx"][0] == pytest.approx(moment)


def test_deep_coadd_has_the_mean_of_what_changes(mini_survey, coadds):
    """The transient is in one visit of three; the template has nothing of it."""
    row = int(np.flatnonzero(mini_survey.truth["kind"] == "transient")[0])
    for band in "gri":
        deep, template = (coadds[kind, 60, band] for kind in KINDS)
        sky = mini_survey.truth_positions(mini_survey.template_time)[row : row + 1]
        point = deep.sky_projection.sky_to_pixel(sky)
        x, y = float(point.x[0]), float(point.y[0])
        cell = deep.grid.index_of(x=round(x), y=round(y))
        table = deep.provenance[cell].contributions
        plans = {plan.visit: plan for plan in mini_survey.visits}
        each = [
            mini_survey.truth_fluxes(band, plans[int(v)].mid)[row].to_value(u.nJy) for v in table["visit"]
        ]
        expected = np.average(each, weights=table["weight"])
        assert 0 < expected < 0.6 * max(each)
        ((_, flux, variance),) = aperture_fluxes(deep, point)
        assert flux == pytest.approx(
            expected * enclosed_fraction(deep, x=x, y=y), abs=5 * float(np.sqrt(variance))
        )
        ((_, flux, variance),) = aperture_fluxes(template, point)
        assert flux == pytest.approx(0.0, abs=5 * float(np.sqrt(variance)))


def test_moving_star_leaves_one_image_per_visit(mini_survey, coadds):
    row = int(np.flatnonzero(mini_survey.truth["kind"] == "proper_motion")[0])
    coadd = coadds["deep_coadd", 60, "r"]
    for plan in mini_survey.visits:
        if plan.band == "r":
            point = coadd.sky_projection.sky_to_pixel(mini_survey.truth_positions(plan.mid)[row : row + 1])
            y = round(float(point.y[0])) - coadd.bbox.y.start
            x = round(float(point.x[0])) - coadd.bbox.x.start
            assert coadd.image.array[y, x] > 20 * np.sqrt(coadd.variance.array[y, x])


def test_cells_in_two_patches_are_the_same(coadds):
    for kind in KINDS:
        left, right = coadds[kind, 60, "g"], coadds[kind, 61, "g"]
        common = left.bbox.intersection(right.bbox)
        assert common.shape == (300, 100)
        np.testing.assert_allclose(left.variance[common].array, right.variance[common].array, rtol=0.01)
        # Quantization is by tile and differs.
        step = np.sqrt(np.nanmax(left.variance[common].array)) / 16
        difference = left.image[common].array - right.image[common].array
        assert np.nanmax(np.abs(difference)) < 2 * step
        assert np.array_equal(left.mask[common].array, right.mask[common].array)


def test_rejected_weight_is_what_inputs_do_not_reach(mini_survey, coadds):
    coadd = coadds["deep_coadd", 60, "r"]
    fraction = coadd.mask_fractions["rejected"].array
    good = ~coadd.mask.get("NO_DATA")
    assert np.array_equal(coadd.mask.get("REJECTED"), (fraction > 0) & good)
    assert np.array_equal(coadd.mask.get("INEXACT_PSF"), coadd.mask.get("REJECTED"))
    plans = {plan.visit: plan for plan in mini_survey.visits}
    expected = np.zeros(coadd.bbox.shape)
    for cell in coadd.bounds.cell_indices():
        box = coadd.grid.bbox_of(cell)
        x, y = np.meshgrid(box.x.arange.astype(float), box.y.arange.astype(float))
        sky = coadd.sky_projection.pixel_to_sky(x=x.ravel(), y=y.ravel())
        table = coadd.provenance[cell].contributions
        for record in table:
            projection = detector_sky_projection(
                mini_survey.config, plans[int(record["visit"])], int(record["detector"])
            )
            point = projection.sky_to_pixel(sky)
            lost = ~((abs(point.x - 127.5) <= 128) & (abs(point.y - 119.5) <= 120))
            share = record["weight"] / np.sum(table["weight"])
            expected[box.slice_within(coadd.bbox)] += share * lost.reshape(box.shape)
    # Outlines are straight, the true edges are bowed by half a pixel.
    assert np.count_nonzero(np.abs(fraction - expected)[good] > 0.01) < 0.005 * fraction.size
    assert 0.3 < np.max(fraction[good]) < 0.999


def test_coadd_is_the_same_again(mini_survey):
    arguments = {"band": "r", "patch": 60, "plans": mini_survey.visits}
    one = make_deep_coadd(mini_survey.config, mini_survey.truth, **arguments)
    two = make_deep_coadd(mini_survey.config, mini_survey.truth, **arguments)
    assert np.array_equal(one.image.array, two.image.array, equal_nan=True)
