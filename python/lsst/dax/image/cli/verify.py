"""Verify that visit images of a repository can be re-created as they were."""

from __future__ import annotations

__all__ = ("add_verify_parser", "run_verify")

import argparse
import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RequestError

if TYPE_CHECKING:
    from ..regression import Verification

_WORST = 10
"""Rows of the table of the worst."""


def add_verify_parser(commands: Any) -> None:
    """Add the subcommand ``verify-recreation`` to a parser.

    Parameters
    ----------
    commands
        What ``add_subparsers`` returned.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "verify-recreation",
        help="re-create visit images, and compare each with its original",
        description="Re-create visit images of a Butler repository, compare each with its original, and "
        "print those that differ most. The exit status is 1 if one is beyond the tolerance.",
    )
    parser.add_argument("repo", help="repository: a path, a URI or an alias")
    parser.add_argument("collection", nargs="+", help="collections to search, in order")
    parser.add_argument("--where", default="", help="which visit images, in the Butler's expression language")
    parser.add_argument("--sequence", default="LSSTCam DP2", help="steps to run (default: %(default)s)")
    parser.add_argument(
        "--tolerance",
        choices=("lossy", "single", "identical"),
        default="lossy",
        help="within the quantisation, in single precision, or to the bit (default: %(default)s)",
    )
    parser.add_argument("--processes", type=_count, default=1, help="processes to use (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for all comparisons")
    parser.set_defaults(run=run_verify)


def run_verify(options: argparse.Namespace) -> int:
    """Run the subcommand.

    Parameters
    ----------
    options
        Parsed command line.

    Returns
    -------
    status
        0 if all images are within the tolerance, 1 if one is not or there is
        none.
    """
    # Imports of the stack cost seconds, which "--help" need not wait for.
    from lsst.daf.butler import Butler  # noqa: PLC0415
    from lsst.daf.butler.cli.progress import ClickProgressHandler  # noqa: PLC0415
    from lsst.daf.butler.progress import Progress  # noqa: PLC0415

    from ..recreation.isr import find_preset  # noqa: PLC0415
    from ..regression import BIT_IDENTICAL, LOSSY, SINGLE_PRECISION, verify_recreation  # noqa: PLC0415
    from ..repository import find_datasets  # noqa: PLC0415

    tolerance = {"lossy": LOSSY, "single": SINGLE_PRECISION, "identical": BIT_IDENTICAL}[options.tolerance]
    sequence = find_preset(options.sequence)
    with ExitStack() as stack:
        try:
            butler = stack.enter_context(Butler.from_config(options.repo, collections=options.collection))
        except FileNotFoundError as error:
            raise RequestError(f"There is no repository {options.repo!r}: {error}") from error
        refs = find_datasets(butler, "visit_image", where=options.where)
        executor = (
            stack.enter_context(ProcessPoolExecutor(options.processes)) if options.processes > 1 else None
        )
        Progress.set_handler(ClickProgressHandler())
        found = verify_recreation(butler, refs, sequence=sequence, tolerance=tolerance, executor=executor)
        progress = Progress("lsst.dax.image.cli")
        results = list(progress.wrap(found, desc="Verifying", total=len(refs)))
    if options.json is not None:
        options.json.write_text(json.dumps([_to_json(result) for result in results], indent=1))
    print(format_table(results))
    failed = sum(not result.passed for result in results)
    print(f"{len(results) - failed} of {len(results)} visit images are {tolerance.name}; {failed} are not.")
    return 1 if failed or not results else 0


def _count(text: str) -> int:
    """Return a positive number of the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def format_table(results: Sequence[Verification]) -> str:
    """Return the worst images as a table, those that failed first.

    Parameters
    ----------
    results
        Verifications.

    Returns
    -------
    text
        One line for each, with its first failure.
    """
    lines = [f"{'visit':>14s} {'detector':>8s} {'max/step':>9s} {'max/sigma':>9s} {'mask':>8s}  result"]
    for result in sorted(results, key=_badness, reverse=True)[:_WORST]:
        data_id = result.ref.dataId
        steps, sigma, mask = _worst_values(result)
        verdict = "ok" if result.passed else f"{result.failures[0]} ({len(result.failures)} failures)"
        lines.append(
            f"{data_id['visit']:>14} {data_id['detector']:>8} {steps:9.4f} {sigma:9.4f} {mask:8d}  {verdict}"
        )
    return "\n".join(lines)


def _badness(result: Verification) -> tuple[bool, float]:
    steps, sigma, _ = _worst_values(result)
    return not result.passed, next((value for value in (steps, sigma) if not math.isnan(value)), math.inf)


def _worst_values(result: Verification) -> tuple[float, float, int]:
    """Return the largest difference in steps and in sigma, and of how many mask bits."""
    if result.comparison is None:
        return math.nan, math.nan, 0
    image = result.comparison.planes[0]
    steps = math.nan if image.max_steps is None else image.max_steps
    sigma = math.nan if image.max_sigma is None else image.max_sigma
    return steps, sigma, sum(mask.n_different for mask in result.comparison.masks)


def _to_json(result: Verification) -> dict[str, Any]:
    comparison = None if result.comparison is None else result.comparison.model_dump(mode="json")
    return {
        "dataset": {"id": str(result.ref.id), **result.ref.dataId.required},
        "failures": list(result.failures),
        "comparison": comparison,
    }
