"""Forced photometry: fluxes at positions that are given, not found.

`measure` is the whole: positions and an image in, a table of calibrated fluxes
out; `fetch_light_curves` does it for the images of a repository.  The
functions behind it take plain arrays and stand alone: `fit_psf_flux`,
`measure_apertures`, `measure_local_background`, `fit_jointly`,
`find_calibration` and `correct_aperture`.
"""

from ._light_curves_from_butler import *
from ._search_from_butler import *
from .analysis import *
from .aperture_flux import *
from .background import *
from .calibration import *
from .components import *
from .error_scale import *
from .joint_fit import *
from .light_curve_files import *
from .light_curve_store import *
from .measure import *
from .options import *
from .pixels import *
from .psf_flux import *
from .residuals import *
from .schema import *
from .sersic import *
from .targets import *
