"""The repository of a mini survey: queries, contents, size."""

from __future__ import annotations

import numpy as np


def test_everything_reads_back(mini_survey, mini_butler):
    for name in ("visit_image", "difference_image", "deep_coadd", "template_coadd"):
        refs = mini_butler.query_datasets(name)
        for ref in refs:
            image = mini_butler.get(ref)
            assert (
                np.nansum(image.psf.compute_kernel_image(x=image.bbox.x.center, y=image.bbox.y.center).array)
                > 0.99
            )
