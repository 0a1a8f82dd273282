"""Damaged files: each gives an InputDataError or the pixels of lsst.images.

Every seed chooses a sound file (visit image, difference image, coadd and plain
FITS, stored in all ways), damages it (bits, bytes, length, cards, tile tables,
the JSON tree), cuts from it and has the same damaged file read by lsst.images,
or by astropy if it is plain.  A crash, a hang, other pixels or any other
exception is a violation and ends the script with exit code 1.

Where compiled code of another package kills the reference reader, after this
library gave a clean answer, the file is counted as ``dies_too``.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
import time
from pathlib import Path

from lsst.dax.image.simulation import make_mini_survey

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the support of the tests
from tests.support.fuzz_runner import run_seeds
from tests.support.fuzzing import Verdict


def main() -> int:
    """Run the fuzz test; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="200 files instead of 10000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="first seed; 0 by default")
    parser.add_argument("--count", type=int, metavar="N", help="number of files")
    parser.add_argument(
        "--compare-refused",
        action="store_true",
        help="have refused files read too: tells stricter from refused",
    )
    arguments = parser.parse_args()
    count = arguments.count or (200 if arguments.quick else 10_000)
    begin = time.monotonic()
    tables: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="dax-image-fuzz-") as name:
        root = Path(name) / "survey"
        make_mini_survey(root)
        seeds = range(arguments.first, arguments.first + count)
        for result in run_seeds(root, seeds, always_compare=arguments.compare_refused):
            tables[result.source][result.verdict] += 1
            if result.verdict in (Verdict.VIOLATION, Verdict.DIES_TOO):
                print(f"seed {result.seed}: {result.verdict}: {result.source}: {result.damage}:")
                print(f"    {result.explanation}", flush=True)
            else:
                slowest = max(slowest, result.seconds)
    total: collections.Counter[str] = sum(tables.values(), collections.Counter())
    print(f"\n{'file':28}" + "".join(f"{verdict:>11}" for verdict in Verdict))
    for source, counts in [*sorted(tables.items()), ("all", total)]:
        print(f"{source:28}" + "".join(f"{counts[verdict]:11}" for verdict in Verdict))
    seconds = time.monotonic() - begin
    print(f"{count} files from seed {arguments.first} in {seconds:.0f} s; the slowest took {slowest:.2f} s")
    if arguments.json is not None:
        values = {
            "files": count,
            "first_seed": arguments.first,
            "seconds": seconds,
            "slowest_seconds": slowest,
        }
        values |= {verdict.value: total[verdict] for verdict in Verdict}
        arguments.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 1 if total[Verdict.VIOLATION] else 0


if __name__ == "__main__":
    sys.exit(main())
