"""What a virtual coadd is made of and how: a value that a file or a request carries."""

from __future__ import annotations

__all__ = ("RECIPE_SCHEMA_VERSION", "Recipe", "parse_recipe")

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Self

import pydantic
from pydantic import Field

from ..errors import RequestError
from ..resampling import Kernel
from ._model import RecipePart
from .rules import (
    ArtifactRules,
    CellRules,
    ClipRules,
    MaskRules,
    PsfMatching,
    Statistic,
    Weighting,
)
from .selection_rules import Criterion, Selection

RECIPE_SCHEMA_VERSION = 1
"""Version of the form of recipes that this library writes and reads."""

_NOT_LINEAR = (Statistic.MEDIAN, Statistic.MIN, Statistic.MAX, Statistic.CHI_SQUARED)


class Recipe(RecipePart):
    """Which images become one, and how.  The same recipe and region give the same pixels.

    Raises
    ------
    RequestError
        Raised if a field is unknown, or a value or a combination of values
        makes no sense.

    Notes
    -----
    `with_` and `with_selection` return changed copies, and check them.
    """

    schema_version: int = RECIPE_SCHEMA_VERSION
    """Version of the form of the recipe; always `RECIPE_SCHEMA_VERSION`."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """What to call it."""

    dataset_type: Annotated[str, Field(min_length=1)] = "visit_image"
    """Dataset type of the images that go in."""

    selection: Selection = Selection()
    """Which images go in."""

    kernel: Kernel = Kernel.LANCZOS3_MOMENTS
    """How images are brought to the pixels of the coadd."""

    weighting: Weighting = Weighting.INVERSE_VARIANCE
    """How much each image counts."""

    statistic: Statistic = Statistic.ARTIFACT_FREE_MEAN
    """How the values of a pixel become one."""

    clip: ClipRules = ClipRules()
    """What `Statistic.CLIPPED_MEAN` leaves out."""

    artifacts: ArtifactRules = ArtifactRules()
    """What `Statistic.ARTIFACT_FREE_MEAN` takes for an artifact."""

    masks: MaskRules = MaskRules()
    """What masked pixels of the images do."""

    psf_matching: PsfMatching = PsfMatching()
    """Whether all images are brought to one PSF first."""

    cells: CellRules = CellRules()
    """The cells that have one set of images and one PSF."""

    noise_realizations: Annotated[int, Field(ge=0, le=10)] = 0
    """Number of images of pure noise that are made with the coadd, in the same way."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the noise realizations."""

    @pydantic.field_validator("schema_version")
    @classmethod
    def _check_version(cls, value: int) -> int:
        if value != RECIPE_SCHEMA_VERSION:
            raise ValueError(f"version {value} is not known, {RECIPE_SCHEMA_VERSION} is")
        return value

    @pydantic.model_validator(mode="after")
    def _check_combination(self) -> Self:
        if "." in self.dataset_type:
            raise ValueError(
                f"dataset_type: {self.dataset_type!r} is a component; a coadd needs image, mask, "
                f"variance and PSF"
            )
        if self.noise_realizations and self.statistic in _NOT_LINEAR:
            raise ValueError(
                f"noise_realizations is {self.noise_realizations}: noise that goes through the statistic "
                f"{self.statistic.value} alone is not the noise of the coadd"
            )
        self._check_padding()
        self._check_proper()
        if self.weighting is Weighting.EFFECTIVE_TIME and self.statistic is Statistic.CHI_SQUARED:
            raise ValueError(
                "the statistic chi_squared is in units of the noise, so its weights are not times"
            )
        return self

    def _check_padding(self) -> None:
        """Raise if something that looks beyond a pixel looks beyond its padded cell."""
        padding = self.cells.padding_px
        if self.psf_matching.target is not None and padding < self.psf_matching.kernel_px // 2:
            raise ValueError(
                f"cells.padding_px is {padding}: a matching kernel of {self.psf_matching.kernel_px} pixels "
                f"needs {self.psf_matching.kernel_px // 2}"
            )
        if self.statistic is Statistic.ARTIFACT_FREE_MEAN and padding < self.artifacts.grow_px:
            raise ValueError(
                f"cells.padding_px is {padding}: artifacts that are grown by {self.artifacts.grow_px} pixels "
                f"need as many"
            )

    def _check_proper(self) -> None:
        """Raise if the optimal coadd for point sources is asked for where it does not exist."""
        if self.statistic is not Statistic.PROPER:
            return
        if self.psf_matching.target is not None:
            raise ValueError(
                "the statistic proper needs the PSFs as they are, but psf_matching.target is given"
            )
        if not self.cells.is_edge_free:
            raise ValueError("the statistic proper has no gaps, so cells.is_edge_free must be true")
        if self.weighting is not Weighting.INVERSE_VARIANCE:
            raise ValueError(
                f"the statistic proper has weights of its own, not weighting {self.weighting.value}"
            )

    def with_selection(self, **changes: Any) -> Self:
        """Return a copy with some fields of the selection changed, and checked.

        Parameters
        ----------
        **changes
            Fields of `Selection` and their new values.

        Returns
        -------
        changed
            The copy.

        Raises
        ------
        RequestError
            Raised if a field is unknown, or the result makes no sense.
        """
        return self.with_(selection=self.selection.with_(**changes))

    @property
    def criterion(self) -> Criterion | None:
        """What the best visits are the best in; `None` if all are taken."""
        return None if self.selection.best is None else self.selection.best.criterion

    @property
    def fingerprint(self) -> str:
        """Thirty-two hexadecimal digits that are equal for equal recipes, in any process.

        It is a hash of the JSON text with all fields spelled out and sorted.
        """
        canonical = json.dumps(
            _without_negative_zeros(self.model_dump(mode="json")), sort_keys=True, separators=(",", ":")
        )
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the recipe as JSON text, with all fields spelled out.

        Parameters
        ----------
        indent
            Spaces per level; everything in one line if `None`.

        Returns
        -------
        text
            What `from_json` reads.
        """
        return self.model_dump_json(indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a recipe.

        Parameters
        ----------
        text
            JSON text; fields that are missing have their defaults, but
            ``schema_version`` and ``name`` must be there.

        Returns
        -------
        recipe
            The recipe.

        Raises
        ------
        RequestError
            Raised if the text is not JSON, of another schema version, or has
            unknown fields or values that make no sense.
        """
        values = _parse_object(text)
        found = values.get("schema_version")
        if type(found) is not int or found != RECIPE_SCHEMA_VERSION:
            said = f"is of schema version {found!r}" if found is not None else "says no schema_version"
            raise RequestError(f"The recipe {said}; this library reads version {RECIPE_SCHEMA_VERSION}.")
        return cls(**values)


def parse_recipe(recipe: Recipe | str | bytes) -> Recipe:
    """Return a recipe that is given as itself or as JSON text.

    Parameters
    ----------
    recipe
        Recipe or its text.

    Returns
    -------
    recipe
        The recipe.

    Raises
    ------
    RequestError
        Raised if it is something else, or a text that is no recipe.
    """
    if not isinstance(recipe, Recipe | str | bytes):
        raise RequestError(f"A recipe is a Recipe or its JSON text, not a {type(recipe).__name__}.")
    return recipe if isinstance(recipe, Recipe) else Recipe.from_json(recipe)


def _parse_object(text: str | bytes) -> dict[str, Any]:
    """Return the object of a JSON text, or raise."""
    try:
        values = json.loads(text, object_pairs_hook=_make_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The recipe is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise RequestError(f"The recipe is a JSON {type(values).__name__}; an object with fields is needed.")
    return values


def _make_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, none of whose fields may be there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"field {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _without_negative_zeros(value: Any) -> Any:
    """Return a tree of values in which zero is positive, as equal recipes must look equal."""
    if isinstance(value, dict):
        return {name: _without_negative_zeros(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_negative_zeros(inner) for inner in value]
    return value + 0.0 if isinstance(value, float) else value
