"""Images on other pixel grids.

`resample` takes one image onto a `TargetGrid`, with its variance, mask and
coverage; `ResampledPsf` is the PSF of the result.
"""

from .coordinates import *
from .kernels import *
from .local_maps import *
from .psf import *
from .resample import *
