"""A mini survey that exists: its repository and the truth behind it."""

from __future__ import annotations

__all__ = ("COLLECTION", "CONFIG_FILE", "TRUTH_FILE", "MiniSurvey")

import dataclasses
import functools
import json
from pathlib import Path

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.time import Time

from lsst.daf.butler import Butler

from ..errors import DatasetNotFoundError, InputNotFoundError
from ._coadd import covered_patches
from ._config import INSTRUMENT, SurveyConfig
from ._scene import template_time
from ._truth import evaluate_fluxes, evaluate_positions
from ._visit_plan import VisitPlan, make_visit_plans

TRUTH_FILE = "truth.ecsv"
"""Name of the truth table in the root of the repository."""

CONFIG_FILE = "mini_survey.json"
"""Name of the file with the configuration in the root of the repository."""

COLLECTION = f"{INSTRUMENT}/defaults"
"""Chained collection with everything."""


@dataclasses.dataclass(frozen=True, eq=False)
class MiniSurvey:
    """A mini survey on disk and its truth."""

    root: Path
    """Root of the Butler repository."""

    config: SurveyConfig
    """What it was made from."""

    truth: QTable
    """The truth catalogue; see `lsst.dax.image.simulation` for its columns."""

    @property
    def collections(self) -> str:
        """Chained collection with all datasets."""
        return COLLECTION

    @property
    def instrument(self) -> str:
        """Name of the instrument."""
        return INSTRUMENT

    @property
    def skymap(self) -> str:
        """Name of the sky map."""
        return self.config.sky_map.name

    @property
    def tract(self) -> int:
        """The tract of the coadds."""
        return self.config.tract

    @functools.cached_property
    def patches(self) -> tuple[int, ...]:
        """The patches that have coadds."""
        return covered_patches(self.config)

    @functools.cached_property
    def visits(self) -> tuple[VisitPlan, ...]:
        """All visits, in order of time."""
        return make_visit_plans(self.config)

    @property
    def template_time(self) -> Time:
        """Time of everything that is in the templates."""
        return template_time()

    def truth_positions(self, time: Time) -> SkyCoord:
        """Return the true ICRS position of every row of `truth` at a time."""
        return evaluate_positions(self.truth, time)

    def truth_fluxes(self, band: str, time: Time) -> u.Quantity:
        """Return the true total flux of every row of `truth` at a time, in nJy."""
        return evaluate_fluxes(self.truth, band, time)

    def find_target(self, kind: str) -> SkyCoord:
        """Return the first source of a kind, as a target to ask for.

        Parameters
        ----------
        kind
            Value of the column ``kind`` of `truth`, such as ``transient``.

        Returns
        -------
        target
            ICRS position at its ``obstime``, with its proper motion.

        Raises
        ------
        InputNotFoundError
            Raised if there is no such source.
        """
        rows = self.truth[self.truth["kind"] == kind]
        if not len(rows):
            raise InputNotFoundError(f"No source is a {kind!r}; there are {sorted(set(self.truth['kind']))}.")
        row = rows[0]
        return SkyCoord(
            ra=row["ra"],
            dec=row["dec"],
            pm_ra_cosdec=row["pm_ra_cosdec"],
            pm_dec=row["pm_dec"],
            obstime=row["epoch"],
            frame="icrs",
        )

    def open(self) -> Butler:
        """Return a read-only Butler that looks in all collections of the survey."""
        return Butler.from_config(str(self.root), collections=self.collections, writeable=False)

    @classmethod
    def load(cls, root: Path | str) -> MiniSurvey:
        """Read a survey that `make_mini_survey` made.

        Raises
        ------
        DatasetNotFoundError
            Raised if there is no mini survey at ``root``.
        """
        root = Path(root)
        config_path, truth_path = root / CONFIG_FILE, root / TRUTH_FILE
        if not (config_path.is_file() and truth_path.is_file()):
            raise DatasetNotFoundError(f"{root} is no mini survey: it lacks {CONFIG_FILE} or {TRUTH_FILE}.")
        config = SurveyConfig.from_json(json.loads(config_path.read_text(encoding="utf-8")))
        truth = QTable.read(truth_path, format="ascii.ecsv")
        return cls(root=root, config=config, truth=truth)
