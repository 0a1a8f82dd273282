"""One detector resampled onto a turned and an unturned grid: ourselves, SWarp and reproject.

The source is a detector with distortion of some pixels (TAN-SIP), filled with
stars of known places and fluxes on a pedestal.  SWarp reads no SIP, so it gets
the same pixels and the same distortion as TPV.  The tools interpolate
differently, so their pixels cannot be equal: what is checked is that each of
them puts every star where it belongs, with its flux.

Processor time includes that of child processes.  SWarp reads and writes files,
in memory where the system has such a folder; it is compared with ourselves in
memory and with ourselves from file to file.
"""

from __future__ import annotations

__all__ = ("Case", "Files", "check_stars", "compare_warps", "fit_stars", "make_case", "time_in_turn")

import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from _harness import Benchmark, UnequalResultsError
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from lsst.images import Box, GeneralFrame, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import FluxConvention, Kernel, resample

SCHEMA = MaskSchema([MaskPlane(name, name) for name in ("NO_DATA", "BAD", "DETECTION_EDGE", "SATURATED")])
SCALE = 0.1999  # arcsec of a source pixel; target pixels have 0.2
FLUX, PEDESTAL, SIGMA = 1e5, 100.0, 0.706 / np.sqrt(8.0 * np.log(2.0)) / 0.2
SWARP = shutil.which("SWarp") or shutil.which("swarp") or ""
MEMORY = Path("/dev/shm")  # noqa: S108  # folders in it have names of their own
KEEP = FluxConvention.SURFACE_BRIGHTNESS

# Distortion in pixels at half of the larger side: powers of u and v, for x and for y.
DISTORTION = (
    {(2, 0): 4.0, (1, 1): 1.2, (3, 0): 0.08},
    {(0, 2): -4.0, (2, 0): 1.6, (1, 2): 0.16},
)
# Powers of the coordinate itself and of the other one, in the order of TPV.
TPV_TERMS = ((0, 0), (1, 0), (0, 1), None, (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))


@dataclass(frozen=True)
class Case:
    """A source, a target, and where the stars of the target are."""

    image: MaskedImage
    sip: WCS
    tpv: fits.Header
    grid: TargetGrid
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Accuracy:
    """What became of the stars."""

    centroid_mpix: float
    """Median distance from the true place, in thousandths of a pixel."""

    largest_mpix: float
    aperture_error: float
    """Largest of the medians of the relative error of the sum over 23 by 23 pixels."""

    n_stars: int


def make_headers(shape: tuple[int, int]) -> tuple[WCS, fits.Header]:
    """Return the distorted projection as SIP and as TPV."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    step = SCALE / 3600.0
    wcs.wcs.cd = step * np.array([[-1.0, 0.0], [0.0, 1.0]])
    tpv, sip = wcs.to_header(), wcs.to_header()
    for header in (tpv, sip):
        for key in ("PC1_1", "PC2_2", "CDELT1", "CDELT2"):
            header.remove(key, ignore_missing=True)
        header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -step, 0.0, 0.0, step
    sip["CTYPE1"], sip["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    sip["A_ORDER"] = sip["B_ORDER"] = 3
    tpv["CTYPE1"], tpv["CTYPE2"] = "RA---TPV", "DEC--TPV"
    size = max(shape) / 2
    for axis, (name, terms) in enumerate(zip("AB", DISTORTION, strict=True)):
        tpv[f"PV{axis + 1}_1"] = 1.0
        for (p, q), pixels in terms.items():
            value = pixels / size ** (p + q)
            sip[f"{name}_{p}_{q}"] = value
            # x = -step u and y = step v, in degrees.
            sign = (-1.0) ** p * (-1.0 if axis == 0 else 1.0)
            place = TPV_TERMS.index((p, q) if axis == 0 else (q, p))
            tpv[f"PV{axis + 1}_{place}"] = sign * value * step ** (1 - p - q)
    return WCS(sip), tpv


def make_case(rotation_deg: float, shape: tuple[int, int], side: int, n_stars: int) -> Case:
    """Return a detector and a TAN grid of 0.2 arcsec; stars are profiles in the target's pixels."""
    rng = np.random.default_rng(1)
    sip, tpv = make_headers(shape)
    projection = SkyProjection.from_fits_wcs(sip, GeneralFrame(unit=u.pix))
    grid = TargetGrid.from_center(
        SkyCoord(150.0, 2.0, unit=u.deg),
        pixel_scale=0.2 * u.arcsec,
        shape=(side, side),
        rotation=rotation_deg * u.deg,
    )
    places = np.linspace(0.15 * side, 0.85 * side, round(np.sqrt(n_stars)))
    x, y = (values.ravel() for values in np.meshgrid(places, places))
    x, y = x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, y.size)
    pixels = np.full(shape, PEDESTAL)
    centers = projection.sky_to_pixel(grid.sky_projection.pixel_to_sky(x=x, y=y))
    reach = 8 * int(np.ceil(SIGMA))
    for column, row, x_star, y_star in zip(np.rint(centers.x), np.rint(centers.y), x, y, strict=True):
        rows = slice(max(0, int(row) - reach), max(0, int(row) + reach + 1))
        columns = slice(max(0, int(column) - reach), max(0, int(column) + reach + 1))
        stamp = pixels[rows, columns]
        if stamp.size:
            j, i = np.indices(stamp.shape, dtype=float)
            sky = projection.pixel_to_sky(x=i + columns.start, y=j + rows.start)
            here = grid.sky_projection.sky_to_pixel(sky)
            distance = np.hypot(here.x - x_star, here.y - y_star)
            stamp += FLUX / (2 * np.pi * SIGMA**2) * np.exp(-0.5 * (distance / SIGMA) ** 2)
    box = Box.from_shape(shape)
    mask = Mask(schema=SCHEMA, bbox=box)
    mask.set("BAD", rng.random(shape) < 1e-4)
    edge = np.zeros(shape, bool)
    edge[:, :16] = True
    mask.set("DETECTION_EDGE", edge)
    image = MaskedImage(
        Image(pixels.astype(np.float32), bbox=box, unit=u.nJy, sky_projection=projection),
        mask=mask,
        variance=Image(np.full(shape, PEDESTAL, np.float32), bbox=box, unit=u.nJy**2),
    )
    return Case(image, sip, tpv, grid, x, y)


def fit_stars(pixels: np.ndarray, case: Case) -> Accuracy:
    """Fit the true profile to every star, and sum up its pixels."""
    errors = []
    for x, y in zip(case.x, case.y, strict=True):
        column, row = round(x), round(y)
        wide = pixels[row - 11 : row + 12, column - 11 : column + 12].astype(float) - PEDESTAL
        if not np.isfinite(wide).all() or (wide == -PEDESTAL).any():
            continue
        stamp = wide[4:-4, 4:-4].ravel()
        v, w = (values.ravel() for values in np.mgrid[row - 7 : row + 8, column - 7 : column + 8])
        place = np.array([x, y, FLUX])
        for _ in range(4):
            dx, dy = w - place[0], v - place[1]
            profile = np.exp(-0.5 * (dx**2 + dy**2) / SIGMA**2) / (2 * np.pi * SIGMA**2)
            slopes = place[2] * profile / SIGMA**2
            design = np.stack([slopes * dx, slopes * dy, profile], axis=1)
            place += np.linalg.lstsq(design, stamp - place[2] * profile, rcond=None)[0]
        errors.append((np.hypot(place[0] - x, place[1] - y), wide.sum() / FLUX - 1.0))
    found = np.array(errors)
    return Accuracy(
        centroid_mpix=1e3 * float(np.median(found[:, 0])),
        largest_mpix=1e3 * float(found[:, 0].max()),
        aperture_error=abs(float(np.median(found[:, 1]))),
        n_stars=len(found),
    )


def cpu_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def time_in_turn(sides: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """Time sides in turn, after one run of each that is not counted; return medians of CPU and wall time."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for repeat in range(-1, repeats):
        for name, run in sides.items():
            cpu, wall = cpu_seconds(), time.perf_counter()
            run()
            if repeat >= 0:
                runs[name].append((cpu_seconds() - cpu, time.perf_counter() - wall))
    return {
        name: (statistics.median(run[0] for run in found), statistics.median(run[1] for run in found))
        for name, found in runs.items()
    }


class Files:
    """The files of SWarp, and those of ourselves.

    Parameters
    ----------
    folder
        Where they are.
    case
        What they hold.
    """

    def __init__(self, folder: Path, case: Case) -> None:
        self.folder, self.case = folder, case
        self.image, self.weight = folder / "source.fits", folder / "source.weight.fits"
        self.resampled, self.ours = folder / "source.resamp.fits", folder / "ours.fits"
        fits.writeto(self.image, case.image.image.array, case.tpv, overwrite=True)
        weight = (1.0 / case.image.variance.array).astype(np.float32)
        fits.writeto(self.weight, weight, case.tpv, overwrite=True)
        wcs = case.grid.sky_projection.as_fits_wcs(case.grid.bbox)
        if wcs is None:
            raise ValueError("The grid is a TAN projection, which FITS has words for.")
        self.header = wcs.to_header()
        # Nothing else: SWarp takes the poles that are repeated as PV for distortion.
        head = fits.Header([("NAXIS1", case.grid.bbox.x.size), ("NAXIS2", case.grid.bbox.y.size)])
        head.update(EQUINOX=2000.0, RADESYS="ICRS")
        for axis in (1, 2):
            for key in (f"CTYPE{axis}", f"CRVAL{axis}", f"CRPIX{axis}"):
                head[key] = self.header[key]
            for other in (1, 2):
                head[f"CD{axis}_{other}"] = wcs.pixel_scale_matrix[axis - 1, other - 1]
        text = head.tostring(sep="\n", endcard=True, padding=False)
        (folder / "coadd.head").write_text(text + "\n")

    def run_swarp(self, *, combine: bool) -> None:
        """Resample image and weight with SWarp, in one thread.

        Only what it combines has the grid that was asked for; without that it
        writes the part with pixels alone.
        """
        options = {
            "IMAGEOUT_NAME": "coadd.fits",
            "WEIGHT_TYPE": "MAP_WEIGHT",
            "WEIGHT_IMAGE": self.weight.name,
            "RESAMPLING_TYPE": "LANCZOS3",
            "COMBINE": "Y" if combine else "N",
            "COMBINE_TYPE": "WEIGHTED",
            "DELETE_TMPFILES": "N",
            "SUBTRACT_BACK": "N",
            "FSCALASTRO_TYPE": "NONE",
            "WRITE_XML": "N",
            "VERBOSE_TYPE": "QUIET",
            "NTHREADS": "1",
        }
        words = [word for key, value in options.items() for word in (f"-{key}", value)]
        subprocess.run(
            [SWARP, self.image.name, "-c", "/dev/null", *words],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )

    def read_swarp(self) -> np.ndarray:
        """Return SWarp's pixels on the whole grid, NaN where it has none."""
        pixels, header = fits.getdata(self.resampled, header=True)
        whole = np.full(tuple(self.case.grid.shape), np.nan, np.float32)
        x = round(self.header["CRPIX1"] - header["CRPIX1"])
        y = round(self.header["CRPIX2"] - header["CRPIX2"])
        whole[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
        return whole

    def run_ours(self) -> None:
        """Read image and weight, resample them, write both."""
        source = self.case.image
        weight = fits.getdata(self.weight)
        image = MaskedImage(
            Image(fits.getdata(self.image), bbox=source.bbox, unit=u.nJy),
            mask=Mask(schema=SCHEMA, bbox=source.bbox),
            variance=Image(np.float32(1.0) / weight, bbox=source.bbox, unit=u.nJy**2),
            sky_projection=source.sky_projection,
        )
        found = resample(image, self.case.grid, flux_convention=KEEP).masked_image
        fits.writeto(self.ours, found.image.array, self.header, overwrite=True)
        back = np.float32(1.0) / found.variance.array
        fits.writeto(self.folder / "ours.weight.fits", back, self.header, overwrite=True)


def check_stars(tool: str, accuracy: Accuracy, *, most_mpix: float, most_flux: float) -> None:
    """Refuse a tool that puts stars elsewhere: its time would say nothing."""
    print(
        f"    {tool:34} {accuracy.n_stars:4} stars   centroid {accuracy.centroid_mpix:7.3f} "
        f"(largest {accuracy.largest_mpix:.3f}) mpix   aperture flux {100 * accuracy.aperture_error:.4f} %"
    )
    if accuracy.centroid_mpix > most_mpix or accuracy.aperture_error > most_flux:
        raise UnequalResultsError(f"{tool} puts stars elsewhere or changes their flux: {accuracy}")


def _compare_swarp(bench: Benchmark, case: Case, label: str, repeats: int, n_valid: int) -> None:
    """Time ourselves in memory and between files, and SWarp where it is."""
    sides: dict[str, Callable[[], Any]] = {
        "memory": lambda: resample(case.image, case.grid, flux_convention=KEEP)
    }
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        files = Files(Path(name), case)
        sides["files"] = files.run_ours
        if SWARP:
            sides["swarp"] = lambda: files.run_swarp(combine=True)
            sides["swarp_alone"] = lambda: files.run_swarp(combine=False)
        else:
            print("SWarp is not installed")
        times = time_in_turn(sides, repeats)
        suffix = "" if label == "turned" else f"_{label}"
        cpu, wall = times["memory"]
        bench.note(**{f"warp_{key}_{label}_cpu_seconds": value[0] for key, value in times.items()})
        bench.name_figure(f"warp_mpix_per_second{suffix}", 1e-6 * n_valid / cpu, 1e-6 * n_valid / wall)
        if SWARP:
            most = 0.5 if label == "turned" else 16.0
            check_stars(
                f"SWarp, {label}", fit_stars(files.read_swarp(), case), most_mpix=most, most_flux=1e-3
            )
            peer = times["swarp"]
            bench.name_figure(f"warp_vs_swarp{suffix}", peer[0] / cpu, peer[1] / wall)
            ours = times["files"]
            bench.name_figure(f"warp_vs_swarp_files{suffix}", peer[0] / ours[0], peer[1] / ours[1])
            peer = times["swarp_alone"]
            bench.name_figure(f"warp_vs_swarp_without_combination{suffix}", peer[0] / cpu, peer[1] / wall)


def _compare_reproject(bench: Benchmark, case: Case, small: Case) -> None:
    """Time one plane by the fastest method of spline quality, and a smaller one by the slower methods."""
    if not bench.has("reproject"):
        return
    import reproject  # noqa: PLC0415  # a peer that may be absent

    def run(case: Case, function: Callable[..., Any], **options: Any) -> np.ndarray:
        target = case.grid.sky_projection.as_fits_wcs(case.grid.bbox)
        shape = tuple(case.grid.shape)
        pixels: np.ndarray = function(
            (case.image.image.array, case.sip), target, shape_out=shape, return_footprint=False, **options
        )
        return pixels

    methods: dict[str, tuple[Case, Callable[[], np.ndarray]]] = {
        "reproject": (
            case,
            lambda: run(case, reproject.reproject_interp, order="bicubic", roundtrip_coords=False),
        ),
        "reproject_adaptive": (
            small,
            lambda: run(small, reproject.reproject_adaptive, kernel="gaussian", boundary_mode="strict"),
        ),
        "reproject_exact": (small, lambda: run(small, reproject.reproject_exact)),
    }
    for name, (work, method) in methods.items():
        results: dict[str, np.ndarray] = {}
        sides = {
            "ours": lambda work=work: resample(work.image, work.grid, flux_convention=KEEP),
            name: lambda method=method, results=results: results.update(pixels=method()),
        }
        times = time_in_turn(sides, 2 if name == "reproject" else 1)
        check_stars(f"{name}, turned", fit_stars(results["pixels"], work), most_mpix=5.0, most_flux=1e-3)
        ours, peer = times["ours"], times[name]
        bench.name_figure(f"warp_vs_{name}", peer[0] / ours[0], peer[1] / ours[1])


def compare_warps(bench: Benchmark) -> None:
    """Time one detector on a grid, and measure what becomes of its stars.

    Parameters
    ----------
    bench
        Figures are printed and recorded there: ``warp_mpix_per_second`` (target
        pixels with a value per second of processor time, for image, variance
        and mask), ``warp_vs_swarp``, ``warp_vs_swarp_files``,
        ``warp_vs_swarp_without_combination``, ``warp_vs_reproject``,
        ``centroid_error_mpix`` and ``flux_error``.

    Raises
    ------
    UnequalResultsError
        Raised if a tool does not put the stars where they belong.
    """
    shape, side, n_stars = ((1000, 1018), 1050, 100) if bench.quick else ((4000, 4072), 4200, 484)
    limits = {"turned": (30.0, 0.5, 0.5), "unturned": (0.0, 16.0, 2.5)}
    cases = {}
    for label, (rotation, plain, moments) in limits.items():
        case = cases[label] = make_case(rotation, shape, side, n_stars)
        for kernel, most in (
            (Kernel.LANCZOS3, plain),
            (Kernel.LANCZOS3_MOMENTS, moments),
            (Kernel.LANCZOS5, 1.0),
        ):
            found = resample(case.image, case.grid, kernel=kernel, flux_convention=KEEP)
            accuracy = fit_stars(found.masked_image.image.array, case)
            check_stars(f"ours, {kernel.value}, {label}", accuracy, most_mpix=most, most_flux=1e-4)
            if kernel is Kernel.LANCZOS3:
                n_valid = int(np.isfinite(found.masked_image.image.array).sum())
                if label == "turned":
                    bench.name_figure("centroid_error_mpix", accuracy.centroid_mpix)
                    bench.name_figure("flux_error", accuracy.aperture_error)
        _compare_swarp(bench, case, label, 2 if bench.quick else 5, n_valid)
    small = cases["turned"] if bench.quick else make_case(30.0, (1000, 1018), 1050, 100)
    _compare_reproject(bench, cases["turned"], small)
