"""One detector resampled onto a turned grid by Montage, from file to file.

``mProjectPP`` maps between tangent planes, SIP distortion included, and
``mProject`` by way of the sky.  Both share out the flux of each pixel by areas;
they carry one plane and the area that was covered, and say of SIP files without
inverse polynomials that these cannot be read.  Ourselves read and write
image and weight.
"""

from __future__ import annotations

__all__ = ("compare_montage",)

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Benchmark
from _warp import MEMORY, Case, Files, check_stars, fit_stars, make_case, time_in_turn
from astropy.io import fits


class MontageFiles:
    """The files of Montage.

    Parameters
    ----------
    folder
        Where they are.
    case
        What they hold.
    """

    def __init__(self, folder: Path, case: Case) -> None:
        self.source, self.target = folder / "montage.fits", folder / "montage.hdr"
        self.out = folder / "montage_out.fits"
        fits.writeto(self.source, case.image.image.array, case.sip.to_header(relax=True))
        # The projection alone is no header that Montage takes.
        rows, columns = case.grid.shape
        head = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2)])
        head.update(NAXIS1=columns, NAXIS2=rows)
        known = ("CTYPE", "CRVAL", "CRPIX", "CD", "EQUINOX")
        cards = [line for line in (folder / "coadd.head").read_text().splitlines() if line.startswith(known)]
        cards = [*head.tostring("\n", endcard=False, padding=False).splitlines(), *cards, "END"]
        self.target.write_text("".join(f"{card.rstrip()}\n" for card in cards))

    def run(self, function: Callable[..., dict[str, Any]]) -> None:
        """Resample with one of the programs."""
        found = function(str(self.source), str(self.out), str(self.target), fullRegion=True)
        if int(found["status"]):
            raise OSError(f"Montage has not resampled {self.source}: {found['msg']!r}.")

    def read(self) -> np.ndarray:
        """Return the pixels, NaN where there are none."""
        pixels: np.ndarray = fits.getdata(self.out)
        return pixels


def compare_montage(bench: Benchmark) -> None:
    """Time one plane by Montage, and image and weight by ourselves.

    Parameters
    ----------
    bench
        ``warp_vs_montage_pp`` and, unless it is quick, ``warp_vs_montage`` are
        printed and recorded there.

    Raises
    ------
    UnequalResultsError
        Raised if Montage does not put the stars where they belong.
    """
    if not bench.has("MontagePy"):
        return
    from MontagePy.main import mProject, mProjectPP  # noqa: PLC0415  # a peer that may be absent

    programs = {"montage_pp": mProjectPP}
    if not bench.quick:
        programs["montage"] = mProject
    case = make_case(30.0, (1000, 1018), 1050, 100)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        ours, montage = Files(folder, case), MontageFiles(folder, case)
        for label, program in programs.items():
            sides: dict[str, Callable[[], Any]] = {
                "ours": ours.run_ours,
                label: lambda program=program: montage.run(program),
            }
            times = time_in_turn(sides, 3 if label == "montage_pp" else 1)
            check_stars(f"{label}, turned", fit_stars(montage.read(), case), most_mpix=1.0, most_flux=1e-3)
            mine, peer = times["ours"], times[label]
            bench.name_figure(f"warp_vs_{label}", peer[0] / mine[0], peer[1] / mine[1])
