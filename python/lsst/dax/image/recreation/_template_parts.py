"""Which part of a coadd a science image needs, and how a coadd is described as a template."""

from __future__ import annotations

__all__ = ("describe_template", "find_part", "find_psf_moments", "find_sample_boxes")

import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import BoundsError, Box, DifferenceImageTemplateInfo, NoOverlapError, Polygon, SkyProjection

_MARGIN = 8
"""Pixels around a part for the interpolation's kernel and the curvature of edges."""

_EDGE_POINTS = 9

_SAMPLES = 4
_SAMPLE_SIDE = 64
"""The noise is measured in 4 by 4 boxes of this side, so that it does not depend on the part that is made."""

_MOMENT_ROUNDS = 100


def find_sample_boxes(bbox: Box) -> list[Box]:
    """Return boxes spread over an image, in which its noise is measured; a small image is one box."""
    if max(bbox.shape) <= _SAMPLES * _SAMPLE_SIDE:
        return [bbox]
    side_y, side_x = (min(_SAMPLE_SIDE, size) for size in bbox.shape)
    starts_y = np.linspace(bbox.y.start, bbox.y.stop - side_y, _SAMPLES).astype(int)
    starts_x = np.linspace(bbox.x.start, bbox.x.stop - side_x, _SAMPLES).astype(int)
    corners = {(int(y), int(x)) for y in starts_y for x in starts_x}
    return [Box.factory[y : y + side_y, x : x + side_x] for y, x in sorted(corners)]


def find_part(box: Box, projection: SkyProjection[Any], coadd: SkyProjection[Any], limits: Box) -> Box | None:
    """Return the pixels of a coadd that some pixels of a science image are made from; `None` if none are."""
    points = find_edge(box, projection, coadd)
    x, y = (np.array([np.min(axis) - _MARGIN, np.max(axis) + _MARGIN]) for axis in points)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    (x0, x1), (y0, y1) = np.floor(x).astype(int).tolist(), np.floor(y).astype(int).tolist()
    try:
        return Box.factory[y0 : y1 + 1, x0 : x1 + 1].intersection(limits)
    except NoOverlapError:
        return None


def find_edge(
    box: Box, projection: SkyProjection[Any], other: SkyProjection[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points around the edge of a box, in the pixels of another projection, in order."""
    step = np.linspace(0.0, 1.0, _EDGE_POINTS)[:-1]
    zero, one = np.zeros_like(step), np.ones_like(step)
    x = box.x.min - 0.5 + box.x.size * np.concatenate([step, one, 1.0 - step, zero])
    y = box.y.min - 0.5 + box.y.size * np.concatenate([zero, step, one, 1.0 - step])
    point = other.sky_to_pixel(projection.pixel_to_sky(x=x, y=y))
    return np.asarray(point.x, float), np.asarray(point.y, float)


def describe_template(
    dataset: tuple[uuid.UUID, str],
    data_id: dict[str, int | str],
    coadd: Any,
    bbox: Box,
    science: tuple[Box, SkyProjection[Any]],
) -> DifferenceImageTemplateInfo:
    """Describe a coadd as `lsst.images` stores it with a difference image.

    Parameters
    ----------
    dataset
        UUID and run.
    data_id
        Sky map, tract and patch.
    coadd
        The coadd, or a part of it that has its PSF.
    bbox
        Pixels of the whole coadd.
    science
        Pixels and projection of the science image.
    """
    box, projection = science
    x, y = find_edge(bbox, coadd.sky_projection, projection)
    overlap = Polygon(x_vertices=x, y_vertices=y).intersection(Polygon.from_box(box))
    moments = find_psf_moments(coadd)
    xx, yy, xy = (np.nan,) * 3 if moments is None else moments
    return DifferenceImageTemplateInfo(
        skymap=str(data_id["skymap"]),
        tract=int(data_id["tract"]),
        patch=int(data_id["patch"]),
        dataset_id=dataset[0],
        dataset_run=dataset[1],
        bounds=overlap if isinstance(overlap, Polygon) else Polygon.from_box(overlap.bbox),
        psf_shape_xx=xx,
        psf_shape_yy=yy,
        psf_shape_xy=xy,
        psf_shape_flag=moments is None,
    )


def find_psf_moments(image: Any) -> tuple[float, float, float] | None:
    """Return the adaptive moments xx, yy, xy of an image's PSF in its middle; `None` if it has none there."""
    box = image.bbox
    try:
        picture = image.psf.compute_kernel_image(x=box.x.center, y=box.y.center)
    except BoundsError:
        return None
    grid = picture.bbox.meshgrid()
    offsets = np.stack([grid.x.ravel(), grid.y.ravel()]).astype(float)
    pixels = np.asarray(picture.array, float).ravel()
    moments = np.eye(2) * 2.0
    # A Gaussian weight halves the moments of what it fits.
    for _ in range(_MOMENT_ROUNDS):
        weight = pixels * np.exp(-0.5 * np.einsum("in,ij,jn->n", offsets, np.linalg.inv(moments), offsets))
        found = 2.0 * (offsets * weight) @ offsets.T / np.sum(weight)
        if not (np.isfinite(found).all() and np.linalg.det(found) > 0.0):
            return None
        if np.allclose(found, moments, rtol=1e-8):
            return float(found[0, 0]), float(found[1, 1]), float(found[0, 1])
        moments = found
    return None
