"""Pictures: a cutout with sky axes, a gallery of stamps, a colour image, a comparison.

The functions need the extra ``plot`` (matplotlib and pillow), which they import
when they are called.  They make figures of their own and never touch the state
of ``pyplot``, so they work without a display and leave no open figure behind.
"""

from ._closeup import *
from ._coadd import *
from ._color import *
from ._comparison import *
from ._cutout import *
from ._gallery import *
from ._light_curve import *
from ._mask import *
from ._mosaic import *
from ._png import *
from ._stretch import *
