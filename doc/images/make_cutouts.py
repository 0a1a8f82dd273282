"""Make the picture of README.md from what its examples make.

Run it in an empty folder: ``python .../doc/images/make_cutouts.py``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).resolve().parent
MARGIN = 12


def main() -> None:
    """Run the examples and put their pictures side by side."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (HERE.parents[1] / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102  # our own README
    names_of_files = ("cutout.png", "star.png", "color.png")
    cutout, star, color = (Image.open(name).convert("RGB") for name in names_of_files)
    # The gallery has nine stamps in rows of six: the colour picture goes below
    # the second half of its first row.
    left, top = cutout.width + round(0.47 * star.width), star.height // 2 + MARGIN
    side = cutout.height - top
    color = color.resize((side, side), Image.Resampling.NEAREST)
    sheet = Image.new("RGB", (cutout.width + MARGIN + star.width, cutout.height), "white")
    sheet.paste(cutout, (0, 0))
    sheet.paste(star, (cutout.width + MARGIN, 0))
    sheet.paste(color, (left, top))
    sheet.quantize(256).save(HERE / "cutouts.png", optimize=True)
    names["butler"].close()


if __name__ == "__main__":
    main()
