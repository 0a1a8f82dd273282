"""Judge many damaged files in a process of its own, which may die of one."""

from __future__ import annotations

__all__ = ("run_seeds",)

import dataclasses
import multiprocessing
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from .fuzz_sources import Source, make_sources
from .fuzzing import Result, Verdict, check_seed

MEMORY = 2 * 1024**3
"""Bytes of address space that a damaged file may make a reader ask for."""

START_SECONDS = 300.0
FILE_SECONDS = 60.0
"""One damaged file takes some 50 ms; longer than this is a hang."""

READY = "ready"


@dataclasses.dataclass(frozen=True)
class Begun:
    """A damaged file that is read next."""

    source: str
    damage: str


@dataclasses.dataclass(frozen=True)
class Answered:
    """What we made of it, before the reference reader has its turn."""

    text: str


def run_seeds(root: Path, seeds: Sequence[int], *, always_compare: bool = False) -> Iterator[Result]:
    """Judge one damaged file per seed.

    Parameters
    ----------
    root
        Root of a mini survey, which is only read.
    seeds
        Seeds, each of which is one damaged file.
    always_compare
        Passed to `check_seed`.

    Yields
    ------
    result
        One per seed.  If the process dies, by a signal or by the time limit,
        it is the fault of the reader that had its turn; a new process goes on
        with the next seed.
    """
    remaining = list(seeds)
    while remaining:
        with _start(_judge_all, root, remaining, always_compare) as (connection, process):
            while remaining:
                result, is_alive = _follow(connection, process, remaining.pop(0))
                yield result
                if not is_alive:
                    break


def _follow(connection: Connection, process: SpawnProcess, seed: int) -> tuple[Result, bool]:
    """Return the result of one seed, and whether the process lives on."""
    begun = _receive(connection, process)
    if not isinstance(begun, Begun):
        raise RuntimeError(f"The fuzzing process died between two files: {begun}.")
    answer = _receive(connection, process)
    if isinstance(answer, Result):
        return answer, True
    if not isinstance(answer, Answered):
        return Result(seed, begun.source, begun.damage, Verdict.VIOLATION, answer, FILE_SECONDS), False
    try:
        result = _receive(connection, process)
    except RuntimeError as error:
        # AST at times leaves Python in a state that ends with SystemError.
        result = str(error)
    if isinstance(result, Result):
        return result, True
    text = f"The reference reader: {result}; ours: {answer.text}"
    return Result(seed, begun.source, begun.damage, Verdict.DIES_TOO, text, FILE_SECONDS), False


@contextmanager
def _start(target: Callable[..., None], *args: Any) -> Iterator[tuple[Connection, SpawnProcess]]:
    """Run a function in a process of its own until it is ready."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    # The folder is ours, because a process that is killed does not tidy up.
    with tempfile.TemporaryDirectory(prefix="dax-image-fuzz-") as folder:
        process = context.Process(target=target, args=(theirs, Path(folder), *args), daemon=True)
        process.start()
        theirs.close()
        try:
            if not ours.poll(START_SECONDS) or ours.recv() != READY:
                raise RuntimeError("The fuzzing process did not start.")
            yield ours, process
        finally:
            process.kill()
            process.join()
            ours.close()


def _receive(connection: Connection, process: SpawnProcess) -> Any:
    """Return the next answer or, if the process dies first, how: a `str`.

    Raises
    ------
    RuntimeError
        Raised if the process ends by an exception: a fault of this test.
    """
    try:
        if connection.poll(FILE_SECONDS):
            return connection.recv()
        return f"no answer within {FILE_SECONDS} s"
    except (EOFError, ConnectionResetError):
        process.join()
        if process.exitcode is None or process.exitcode >= 0:
            raise RuntimeError(f"The fuzzing process ended with exit code {process.exitcode}.") from None
        return signal.Signals(-process.exitcode).name


def _judge_all(
    connection: Connection, folder: Path, root: Path, seeds: Sequence[int], always_compare: bool
) -> None:
    """Judge seeds until there are none, and send each result."""
    with _sources(root, folder) as sources:
        connection.send(READY)
        for seed in seeds:
            result = check_seed(
                sources,
                seed,
                folder,
                always_compare=always_compare,
                begin=lambda source, damage: connection.send(Begun(source, damage)),
                answered=lambda text: connection.send(Answered(text)),
            )
            connection.send(result)


@contextmanager
def _sources(root: Path, folder: Path) -> Iterator[list[Source]]:
    """Make the sound files, then limit the memory."""
    from lsst.dax.image.simulation import MiniSurvey

    with MiniSurvey.load(root).open() as butler, make_sources(butler, folder) as sources:
        _limit_memory()
        yield sources


def _limit_memory() -> None:
    """Make an absurd allocation fail here, and not take the machine along."""
    status = Path("/proc/self/status")
    if not status.exists():  # where there is no /proc, the limit does not hold either
        return
    used = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (1024 * used + MEMORY, resource.RLIM_INFINITY))
