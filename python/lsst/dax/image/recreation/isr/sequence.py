"""The steps of instrument signature removal, put in order.

A sequence is a value: an ordered tuple of named steps with their parameters.
The steps themselves are plain functions, one per file.
"""

from __future__ import annotations

__all__ = ("IsrSequence", "Step", "run_isr", "run_steps")

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pydantic

from lsst.images import MaskedImage

from ...errors import CalibrationMismatchError, MissingCalibrationError, RequestError
from ._steps import STEPS
from .calibrations import IsrCalibrations
from .exposure import IsrExposure


class Step(pydantic.BaseModel, frozen=True, extra="forbid"):
    """One step: the name of its function, and parameters other than calibrations."""

    name: str
    """Name of the function."""
    parameters: dict[str, Any] = pydantic.Field(default_factory=dict)
    """Keyword arguments."""
    by_detector: dict[str, dict[str, Any]] = pydantic.Field(default_factory=dict)
    """Keyword arguments that replace others for some detectors, by detector name."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Step:
        function = STEPS.get(self.name)
        if function is None:
            raise ValueError(f"No step is called {self.name!r}; there are {', '.join(STEPS)}.")
        known = set(_keywords(function)) - _CALIBRATIONS
        given = set(self.parameters).union(*self.by_detector.values())
        if unknown := given - known:
            raise ValueError(f"{self.name} takes {sorted(known)}, not {sorted(unknown)}.")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """Calibrations that the step takes, by their names in `IsrCalibrations`."""
        return tuple(name for name in _keywords(STEPS[self.name]) if name in _CALIBRATIONS)

    @property
    def requires(self) -> tuple[str, ...]:
        """Those of `needs` without which it fails."""
        keywords = _keywords(STEPS[self.name])
        return tuple(name for name in self.needs if keywords[name].default is inspect.Parameter.empty)


class IsrSequence(pydantic.BaseModel, frozen=True, extra="forbid"):
    """An ordered sequence of steps, for one instrument and release."""

    name: str
    """Name, such as ``"LSSTCam DP2"``."""
    description: str = ""
    """What it is, and how it differs from others."""
    steps: tuple[Step, ...]
    """The steps, in order."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Calibrations that the steps take, each once, in order of use."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step.needs))

    @property
    def requires(self) -> tuple[str, ...]:
        """Calibrations without which a step fails, in order of use."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step.requires))

    def without(self, *names: str) -> IsrSequence:
        """Return the sequence without the steps of these names.

        Raises
        ------
        RequestError
            Raised if there is no such step.
        """
        present = {step.name for step in self.steps}
        if missing := set(names) - present:
            raise RequestError(f"{self.name} has no step {sorted(missing)}; it has {sorted(present)}.")
        kept = tuple(step for step in self.steps if step.name not in names)
        return self.model_copy(update={"name": f"{self.name} without {', '.join(names)}", "steps": kept})


def run_isr(
    raw: IsrExposure, calibrations: IsrCalibrations, *, sequence: IsrSequence, threads: int = 1
) -> MaskedImage:
    """Remove the instrument signature from a raw exposure.

    Parameters
    ----------
    raw
        Untrimmed exposure in adu (see `read_raw`).
    calibrations
        Calibrations of the exposure.
    sequence
        Steps to run.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    image
        Image with variance (in its unit squared) and mask, at 0-based pixels of the trimmed detector.

    Raises
    ------
    MissingCalibrationError
        Raised, before any pixel is touched, if a step needs a calibration that is not there.
    CalibrationMismatchError
        Raised if a calibration is for another detector, instrument or filter, or has another shape.
    InputDataError
        Raised if the raw is unusable, such as when no good amplifier is left.

    See Also
    --------
    run_steps : The same, with a look at the exposure after each step.
    """
    exposure = raw
    for _, after in run_steps(raw, calibrations, sequence=sequence, threads=threads):
        exposure = after
    return exposure.to_masked_image()


def run_steps(
    raw: IsrExposure, calibrations: IsrCalibrations, *, sequence: IsrSequence, threads: int = 1
) -> Iterator[tuple[Step, IsrExposure]]:
    """Run the steps of a sequence one by one.

    Parameters
    ----------
    raw, calibrations, sequence, threads
        As for `run_isr`.

    Yields
    ------
    step, exposure
        Each step and the exposure after it.
    """
    check_calibrations(raw, calibrations, sequence)
    if threads < 1:
        raise RequestError(f"At least one thread must run, not {threads}.")
    exposure = raw
    for step in sequence.steps:
        function = STEPS[step.name]
        arguments = step.parameters | step.by_detector.get(raw.detector.name, {})
        arguments |= {
            name: value for name in step.needs if (value := getattr(calibrations, name)) is not None
        }
        if "threads" in _keywords(function):
            arguments["threads"] = threads
        exposure = function(exposure, **arguments)
        yield step, exposure


def check_calibrations(raw: IsrExposure, calibrations: IsrCalibrations, sequence: IsrSequence) -> None:
    """Check that every calibration that the steps need is there, and is for this exposure.

    Raises
    ------
    MissingCalibrationError
        Raised if one is missing.
    CalibrationMismatchError
        Raised if one is for another detector, instrument, filter or time.
    """
    info = raw.info
    what = f"exposure {info.exposure}, detector {info.detector} of {info.instrument}"
    for step in sequence.steps:
        for name in step.requires:
            if getattr(calibrations, name) is None:
                raise MissingCalibrationError(f"Step {step.name!r} needs {name!r} for {what}.")
    for name in sequence.needs:
        its = getattr(getattr(calibrations, name), "info", None)
        if its is None:
            continue
        expected = (info.instrument, info.detector, info.physical_filter)
        found = (its.instrument or info.instrument, its.detector, its.physical_filter)
        for asked, there in zip(expected, found, strict=True):
            if there is not None and there != asked:
                raise CalibrationMismatchError(
                    f"{name!r} {its.source} is for {there!r}, but {what} (filter {info.physical_filter!r}) "
                    f"needs {asked!r}."
                )
        begin, end, moment = its.valid_begin, its.valid_end, info.begin
        if moment is not None and ((begin and moment < begin) or (end and moment >= end)):
            raise CalibrationMismatchError(
                f"{name!r} {its.source} is valid from {begin and begin.tai.isot} to "
                f"{end and end.tai.isot} TAI, but {what} began at {moment.tai.isot}."
            )


@functools.cache
def _keywords(function: Callable[..., IsrExposure]) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a step."""
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


_CALIBRATIONS = {item.name for item in dataclasses.fields(IsrCalibrations)}
