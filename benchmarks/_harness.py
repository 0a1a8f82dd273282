"""Time ourselves and our peers, one after the other, on the same work.

A script makes its inputs, calls `Benchmark.compare` once per figure and ends
with `Benchmark.finish`.  What a figure rests on stands in the JSON file beside
it: the raw seconds of both sides and a digest of what both of them computed.
"""

from __future__ import annotations

__all__ = ("Benchmark", "Figure", "Side", "UnequalResultsError", "digest_arrays")

import argparse
import gc
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

VERSIONS = ("lsst-dax-image", "lsst-images", "lsst-daf-butler", "astropy", "numpy")


class UnequalResultsError(Exception):
    """Two sides did not compute the same thing, so their times say nothing."""


@dataclass(frozen=True)
class Side:
    """One way to do the work of a figure."""

    label: str
    """Short name, for the table and as part of a JSON key."""

    run: Callable[[], Any]
    """The timed work."""

    arrays: Callable[[Any], Mapping[str, np.ndarray]]
    """Turns what ``run`` returned into named arrays; not timed."""

    before: Callable[[], None] | None = None
    """What is done before each run, not timed: empty a cache, remove a file."""


@dataclass
class Timing:
    """The raw seconds of one side."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Of all threads of this process."""


@dataclass(frozen=True)
class Figure:
    """One line of the table: ourselves against one peer."""

    name: str
    peer: str
    seconds_ours: float
    """Median wall time."""

    seconds_peer: float
    cpu_seconds_ours: float
    """Median processor time, of all threads of this process."""

    cpu_seconds_peer: float

    @property
    def ratio(self) -> float:
        """How many times as long the peer takes."""
        return self.seconds_peer / self.seconds_ours

    @property
    def cpu_ratio(self) -> float:
        """How many times the processor time the peer takes.

        Named figures are made of it: on a busy machine the wall time is that
        of its other work.
        """
        return self.cpu_seconds_peer / self.cpu_seconds_ours


def digest_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Return a digest of names, types, shapes and values; of NaN, the place alone."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        if native.dtype.kind == "f":
            native = np.where(np.isnan(native), native.dtype.type(np.nan), native)
        digest.update(f"{name} {native.dtype.str} {native.shape} ".encode())
        digest.update(native.tobytes())
    return digest.hexdigest()


class Benchmark:
    """The command line, the figures and the JSON file of one script.

    Parameters
    ----------
    description
        First line of the table, and the help text.
    argv
        Command line without the script's name; that of the process if `None`.
    versions
        Distributions whose versions are printed, besides the usual ones.
    add_options
        Adds options of the script's own, which are then in `options`.
    """

    def __init__(
        self,
        description: str,
        argv: Sequence[str] | None = None,
        *,
        versions: Sequence[str] = (),
        add_options: Callable[[argparse.ArgumentParser], None] | None = None,
    ) -> None:
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--quick", action="store_true", help="small inputs, few repeats: under a minute")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and raw timings")
        if add_options is not None:
            add_options(parser)
        self.options = parser.parse_args(argv)
        self.quick: bool = self.options.quick
        self._json: Path | None = self.options.json
        self._absent: set[str] = set()
        self._values: dict[str, Any] = {"quick": self.quick, "cores": os.cpu_count() or 0}
        self._values["python"] = platform.python_version()
        for name in (*VERSIONS, *versions):
            self._values[f"version_{name}"] = _version(name)
        print(description.strip().splitlines()[0])
        print("; ".join(f"{key.removeprefix('version_')} {value}" for key, value in self._values.items()))
        print(f"load average {os.getloadavg()[0]:.1f} at the start\n", flush=True)
        self._print_row("figure", "peer", "ours/ms", "peer/ms", "ratio", "CPU ratio", "repeats")

    def note(self, **values: str | float) -> None:
        """Record sizes and other facts in the JSON file."""
        for name, value in values.items():
            if name in self._values:
                raise ValueError(f"{name} = {self._values[name]} is recorded already; got {value}.")
            self._values[name] = value

    def has(self, module: str) -> bool:
        """Tell whether a peer is installed; the first time, say if it is not."""
        found = importlib.util.find_spec(module) is not None
        if not found and module not in self._absent:
            self._absent.add(module)
            print(f"{module} is not installed")
        return found

    def name_figure(self, name: str, value: float, wall: float | None = None) -> None:
        """Print and record a figure that has a name of its own.

        Parameters
        ----------
        name
            Name.
        value
            Value: a count, or made of medians of processor time.
        wall
            The same of wall time, for what is made of times.
        """
        self.note(**{name: value}, **({} if wall is None else {f"{name}_wall": wall}))
        beside = "" if wall is None else f"  (wall time: {wall:.4g})"
        print(f"    {name} = {value:.4g}{beside}", flush=True)

    def measure(self, name: str, run: Callable[[], Any], *, repeats: int) -> tuple[float, float]:
        """Time work that nobody else does, and record the raw seconds.

        Parameters
        ----------
        name
            Name of the figure: lower case, with underscores.
        run
            The timed work; runs once for warm-up, which is not counted.
        repeats
            Number of counted runs.

        Returns
        -------
        cpu, wall
            Median processor time and wall time in seconds.
        """
        run()
        timing = Timing()
        for _ in range(repeats):
            _time(Side(name, run, dict), timing)
        self.note(**{f"{name}_runs": timing.cpu, f"{name}_wall_runs": timing.wall})  # type: ignore[arg-type]
        return statistics.median(timing.cpu), statistics.median(timing.wall)

    def compare(self, name: str, ours: Side, peers: Sequence[Side], *, repeats: int) -> list[Figure]:
        """Time one piece of work, the sides in turn, and print a line per peer.

        Parameters
        ----------
        name
            Name of the figure: lower case, with underscores.
        ours, peers
            The sides.  Each runs once for warm-up, which is not counted.
        repeats
            Number of counted runs of each side.

        Returns
        -------
        figures
            One per peer.

        Raises
        ------
        UnequalResultsError
            Raised if a run of a peer gives other arrays than ours: in those
            that it gives at all, of which there must be one.
        """
        sides = [ours, *peers]
        timings = {side.label: Timing() for side in sides}
        if len(timings) < len(sides):
            raise ValueError(f"Labels must differ; got {[side.label for side in sides]}.")
        digests: dict[str, tuple[str, str]] = {}
        for repeat in range(-1, repeats):
            # Each repeat begins with another side, so that no side always runs
            # after the same one.
            shift = repeat % len(sides)
            results = {
                side.label: _time(side, timings[side.label]) for side in (*sides[shift:], *sides[:shift])
            }
            digests = _check_equal(name, ours, peers, results)
            if repeat < 0:
                timings = {label: Timing() for label in timings}
        return [self._record(name, ours, peer, timings, digests[peer.label]) for peer in peers]

    def finish(self) -> None:
        """Write the JSON file, complete or not at all."""
        if self._json is None:
            return
        text = json.dumps(self._values, indent=1, allow_nan=False) + "\n"
        folder = self._json.absolute().parent
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False) as stream:
            stream.write(text)
        Path(stream.name).replace(self._json)

    def _record(
        self, name: str, ours: Side, peer: Side, timings: Mapping[str, Timing], digests: tuple[str, str]
    ) -> Figure:
        """Compute a figure from raw timings, keep both, print the line."""
        a, b = timings[ours.label], timings[peer.label]
        figure = Figure(
            name,
            peer.label,
            statistics.median(a.wall),
            statistics.median(b.wall),
            statistics.median(a.cpu),
            statistics.median(b.cpu),
        )
        key = f"{name}_vs_{peer.label}"
        self.note(
            **{
                f"{key}_seconds_ours": a.wall,
                f"{key}_seconds_peer": b.wall,
                f"{key}_cpu_seconds_ours": a.cpu,
                f"{key}_cpu_seconds_peer": b.cpu,
                f"{key}_repeats": len(a.wall),
                f"{key}_digest_ours": digests[0],
                f"{key}_digest_peer": digests[1],
                f"{key}_ratio": figure.ratio,
                f"{key}_cpu_ratio": figure.cpu_ratio,
            }  # type: ignore[arg-type]
        )
        milliseconds = [f"{1e3 * value:.1f}" for value in (figure.seconds_ours, figure.seconds_peer)]
        ratios = [f"{value:.2f}" for value in (figure.ratio, figure.cpu_ratio)]
        self._print_row(name, peer.label, *milliseconds, *ratios, str(len(a.wall)))
        return figure

    def _print_row(self, name: str, peer: str, *cells: str) -> None:
        print(f"{name:34} {peer:14}" + "".join(f"{cell:>10}" for cell in cells), flush=True)


def _time(side: Side, timing: Timing) -> Any:
    """Run a side once and note how long it took."""
    if side.before is not None:
        side.before()
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    result = side.run()
    timing.wall.append(time.perf_counter() - wall)
    timing.cpu.append(time.process_time() - cpu)
    return result


def _check_equal(
    name: str, ours: Side, peers: Sequence[Side], results: Mapping[str, Any]
) -> dict[str, tuple[str, str]]:
    """Return the digests of both sides, by peer, or raise if they differ."""
    digests = {}
    our_arrays = ours.arrays(results[ours.label])
    for peer in peers:
        arrays = peer.arrays(results[peer.label])
        common = sorted(set(our_arrays) & set(arrays))
        if not common:
            raise UnequalResultsError(
                f"{name}: {peer.label} gives {sorted(arrays)}, we {sorted(our_arrays)}."
            )
        sides = tuple(digest_arrays({key: given[key] for key in common}) for given in (our_arrays, arrays))
        if sides[0] != sides[1]:
            raise UnequalResultsError(
                f"{name}: {peer.label} computed something else than {ours.label} in one of {common}: "
                + "; ".join(_describe_difference(key, our_arrays[key], arrays[key]) for key in common)
            )
        digests[peer.label] = (sides[0], sides[1])
    return digests


def _describe_difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> str:
    if ours.shape != theirs.shape or ours.dtype.newbyteorder("=") != theirs.dtype.newbyteorder("="):
        return f"{name}: {ours.dtype} {ours.shape} against {theirs.dtype} {theirs.shape}"
    same = (ours == theirs) | ((ours != ours) & (theirs != theirs))  # NaN
    return f"{name}: {np.count_nonzero(~same)} of {ours.size} differ"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
