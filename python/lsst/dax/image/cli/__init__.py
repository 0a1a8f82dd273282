"""The command line: ``python -m lsst.dax.image.cli`` or ``dax-image``.

It parses arguments and calls public functions of the library; there is no
science here.
"""

from __future__ import annotations

__all__ = ("main",)

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import DaxImageError, RequestError
from ..version import __version__
from .verify import add_verify_parser
from .verify_release import add_verify_release_parser

DATA_VARIABLE = "DAX_IMAGE_TESTDATA"
"""Environment variable that names the folder of real data."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments
        Words of the command line after the program's name; those of this
        process if `None`.

    Returns
    -------
    status
        Exit status: 0, or 1 for an error of this library, which is printed, or
        for a check that did not pass.
        The parser itself exits with 2 for a command line that it cannot read.
    """
    options = make_parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except DaxImageError as error:
        print(f"dax-image: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return status


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Returns
    -------
    parser
        Parser with one subcommand per task.
    """
    parser = argparse.ArgumentParser(
        prog="dax-image", description="Image pixels of Rubin Observatory data on demand."
    )
    parser.add_argument("--version", action="version", version=f"lsst-dax-image {__version__}")
    commands = parser.add_subparsers(title="commands", required=True)
    demo = commands.add_parser(
        "demo",
        help="make cutouts of simulated and real data, and a page that shows them",
        description="Make cutouts of a simulated survey and of real data, as FITS files and pictures, and an "
        "HTML page that shows them.",
    )
    demo.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the results; new, empty, or made by an earlier run, which is replaced",
    )
    named = os.environ.get(DATA_VARIABLE)
    demo.add_argument(
        "--data",
        type=_existing_folder,
        default=Path(named) if named else None,
        metavar="DIR",
        help=f"folder of real data (default: ${DATA_VARIABLE}); what is absent there is left out, and said",
    )
    demo.set_defaults(run=_run_demo)
    add_verify_parser(commands)
    add_verify_release_parser(commands)
    return parser


def _run_demo(options: argparse.Namespace) -> int:
    """Run the demo."""
    _require_demo_extra()
    # Imports of the stack cost seconds, which "--help" need not wait for.
    from .demo import run_demo  # noqa: PLC0415

    run_demo(options.output, data=options.data)
    return 0


def _existing_folder(text: str) -> Path:
    """Return a folder that is named on the command line and so must be there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}")
    return path


def _require_demo_extra() -> None:
    """Raise unless the packages of the extra ``demo`` are there."""
    if missing := [name for name in ("galsim", "matplotlib", "PIL") if find_spec(name) is None]:
        raise RequestError(
            f"The demo needs packages that are not installed: {', '.join(missing)}; install the extra: "
            f"pip install 'lsst-dax-image[demo]'."
        )
