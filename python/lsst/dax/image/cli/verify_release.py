"""Verify that the products of a release are what the library makes of their inputs."""

from __future__ import annotations

__all__ = ("add_verify_release_parser", "run_verify_release")

import argparse
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, RequestError

if TYPE_CHECKING:
    from ..regression import ReleaseCheck, ReleaseReport, ReleaseSettings

_WORST = 10
"""Rows of the printed table."""


def add_verify_release_parser(commands: Any) -> None:
    """Add the subcommand ``verify-release`` to a parser.

    Parameters
    ----------
    commands
        What ``add_subparsers`` returned.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "verify-release",
        help="make a sample of all products of a release again, and compare them",
        description="Draw datasets of a release, make each again from its inputs, and compare it with what "
        "is persisted. The exit status is 1 if one is beyond its tolerance, or nothing was checked.",
    )
    parser.add_argument("repo", help="repository: a path, a URI or an alias")
    parser.add_argument("collection", nargs="+", help="collections to search, in order")
    parser.add_argument(
        "--products",
        type=_names,
        metavar="NAME,...",
        help="what to check (default: visit_image, difference_image, deep_coadd, mosaic, cutout, "
        "object_forced_source and dia_object_forced_source, as far as the repository has them)",
    )
    parser.add_argument(
        "--sample", type=_count, default=10, help="datasets to draw per product (default: %(default)s)"
    )
    parser.add_argument("--all", action="store_true", help="check all datasets, and draw none")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: %(default)s)")
    parser.add_argument(
        "--where",
        nargs=2,
        action="append",
        default=[],
        metavar=("PRODUCT", "EXPRESSION"),
        help="which datasets of a product to draw from, in the Butler's expression language",
    )
    parser.add_argument("--sequence", default="LSSTCam DP2", help="steps of the ISR (default: %(default)s)")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="recipe of the coadds, as JSON")
    parser.add_argument(
        "--lossless",
        choices=("single", "identical"),
        default="identical",
        help="limits for what is stored without loss: single precision or the bit (default: %(default)s)",
    )
    parser.add_argument("--processes", type=_count, default=1, help="processes to use (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for all comparisons")
    parser.add_argument("--html", type=Path, metavar="FILE", help="page with pictures of the worst")
    parser.set_defaults(run=run_verify_release)


def run_verify_release(options: argparse.Namespace) -> int:
    """Run the subcommand.

    Parameters
    ----------
    options
        Parsed command line.

    Returns
    -------
    status
        0 if all that was checked is within its tolerance, 1 if something is
        not, or nothing was checked.
    """
    # Imports of the stack cost seconds, which "--help" need not wait for.
    from lsst.daf.butler import Butler  # noqa: PLC0415
    from lsst.daf.butler.cli.progress import ClickProgressHandler  # noqa: PLC0415
    from lsst.daf.butler.progress import Progress  # noqa: PLC0415

    from ..regression import plan_release, verify_release  # noqa: PLC0415

    settings = _read_settings(options)
    with ExitStack() as stack:
        try:
            butler = stack.enter_context(Butler.from_config(options.repo, collections=options.collection))
        except FileNotFoundError as error:
            raise RequestError(f"There is no repository {options.repo!r}: {error}") from error
        executor = (
            stack.enter_context(ProcessPoolExecutor(options.processes)) if options.processes > 1 else None
        )
        plan = plan_release(butler, settings)
        Progress.set_handler(ClickProgressHandler())
        found = verify_release(butler, plan, executor=executor)
        progress = Progress("lsst.dax.image.cli")
        checks = list(progress.wrap(found, desc="Verifying", total=len(plan.items)))
    return _report(options, checks, dict(plan.left_out))


def _report(options: argparse.Namespace, checks: list[ReleaseCheck], left_out: dict[str, str]) -> int:
    """Print and write what was found, and return the exit status."""
    from ..regression import ReleaseReport  # noqa: PLC0415
    from .verify_release_page import render_release_page  # noqa: PLC0415

    report = ReleaseReport(
        repository=options.repo,
        collections=tuple(options.collection),
        left_out=left_out,
        checks=tuple(check.reported for check in checks),
    )
    if options.json is not None:
        _write(options.json, report.model_dump_json(indent=1))
    if options.html is not None:
        _write(options.html, render_release_page(report, checks))
    print(format_report(report))
    return 0 if report.passed else 1


def format_report(report: ReleaseReport) -> str:
    """Return a report as text.

    Parameters
    ----------
    report
        What was found.

    Returns
    -------
    text
        One line per product, then the failures, at most ten.
    """
    lines = [
        f"{product:25s} {total:5d} checked, {failed:5d} failed"
        for product, (total, failed) in report.counts.items()
    ]
    lines += [f"{product:25s} left out: {reason}" for product, reason in report.left_out.items()]
    failures = [check for check in report.checks if not check.passed]
    for check in failures[:_WORST]:
        data_id = ", ".join(f"{name} {value}" for name, value in check.data_id.items())
        lines.append(f"FAILED {check.product} of {check.dataset_type} {data_id}:")
        lines += [f"    {text}" for text in check.failures]
    total = len(report.checks)
    lines.append(f"{total - len(failures)} of {total} checks passed; {len(failures)} did not.")
    return "\n".join(lines)


def _read_settings(options: argparse.Namespace) -> ReleaseSettings:
    """Return what the command line asks for."""
    from ..coadds import DEEP, parse_recipe  # noqa: PLC0415
    from ..recreation.isr import find_preset  # noqa: PLC0415
    from ..regression import BIT_IDENTICAL, SINGLE_PRECISION, ReleaseSettings  # noqa: PLC0415

    recipe = DEEP
    if options.recipe is not None:
        try:
            recipe = parse_recipe(options.recipe.read_bytes())
        except OSError as error:
            raise RequestError(f"The recipe {options.recipe} cannot be read: {error}") from error
    return ReleaseSettings(
        products=options.products,
        sample=None if options.all else options.sample,
        seed=options.seed,
        where=dict(options.where),
        sequence=find_preset(options.sequence),
        recipe=recipe,
        lossless=BIT_IDENTICAL if options.lossless == "identical" else SINGLE_PRECISION,
    )


def _write(path: Path, text: str) -> None:
    """Write a file: complete, or not at all."""
    staged = path.with_name(f".{path.name}.part")
    try:
        try:
            staged.write_text(text, encoding="utf-8")
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def _names(text: str) -> tuple[str, ...]:
    """Return the names of a list on the command line."""
    return tuple(name.strip() for name in text.split(","))


def _count(text: str) -> int:
    """Return a positive number of the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)
