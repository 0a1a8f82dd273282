"""The largest resident memory of this process."""

from __future__ import annotations

__all__ = ("find_peak_bytes",)

import re
import resource
from pathlib import Path


def find_peak_bytes() -> int:
    """Return it since this program began, libraries included.

    ``ru_maxrss`` begins with the size of the process that started this one, so
    Linux is asked for its own high-water mark where it tells.
    """
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    kilobytes = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * kilobytes
