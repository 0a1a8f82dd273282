"""The HTML page of the demo: one file, which needs nothing from elsewhere."""

from __future__ import annotations

__all__ = ("render_page",)

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from .chapters import Chapter, Picture, Step
from .checks import FitsSummary

# Pixels of a picture below which it is enlarged.
_SMALL = 300
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { margin-top: 2rem; }
p { max-width: 46rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
figure { margin: 0; flex: 0 1 auto; max-width: 100%; }
figure img { max-width: 100%; max-height: 26rem; border: 1px solid var(--line); background: white; }
figure img { width: auto; height: auto; } figure img.wide { max-height: none; }
figure img.small { width: 26rem; image-rendering: pixelated; }
figcaption { font-size: .875rem; max-width: 34rem; }
pre { font: .8125rem/1.45 ui-monospace, monospace; background: var(--soft); padding: .75rem;
  overflow-x: auto; }
.files { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--line); }
.files .cut td { white-space: nowrap; } td.number { text-align: right; }
summary { cursor: pointer; margin: .5rem 0; }
.absent { border-left: .3rem solid #e69f00; padding: .3rem .8rem; background: var(--soft); }
"""


def render_page(
    chapters: Sequence[Chapter],
    *,
    facts: Mapping[str, str],
    summaries: Mapping[str, FitsSummary],
    sizes: Mapping[str, tuple[int, int]],
) -> str:
    """Return the page of the demo.

    Parameters
    ----------
    chapters
        The chapters, in order.
    facts
        What the reader should know of the run, by name.
    summaries
        What each FITS file holds, by its path relative to the page.
    sizes
        Width and height of each picture, by its path relative to the page.

    Returns
    -------
    document
        HTML with relative links to the pictures and FITS files.
    """
    contents = "\n".join(
        f'<li><a href="#chapter-{number}">{escape(chapter.title)}</a>'
        f"{' (no data)' if chapter.absent else ''}</li>"
        for number, chapter in enumerate(chapters, start=1)
    )
    terms = "\n".join(
        f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts.items()
    )
    body = "\n".join(
        _render_chapter(chapter, number, summaries, sizes) for number, chapter in enumerate(chapters, start=1)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lsst.dax.image: demo</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>lsst.dax.image: demo</h1>
<p>Cutouts of simulated and real images, and images made again from raws. The code on this page is the
code that made its pictures and files.
Each picture opens in full size.</p>
<div class="files"><table>
{terms}
</table></div>
<ol>
{contents}
</ol>
{body}
</body>
</html>
"""


def _render_chapter(
    chapter: Chapter, number: int, summaries: Mapping[str, FitsSummary], sizes: Mapping[str, tuple[int, int]]
) -> str:
    """Return the section of a chapter."""
    absent = f'<p class="absent">{escape(chapter.absent)}</p>\n' if chapter.absent else ""
    steps = "\n".join(_render_step(step, summaries, sizes) for step in chapter.steps)
    return f"""<section id="chapter-{number}">
<h2>{number}. {escape(chapter.title)}</h2>
<p>{escape(chapter.text)}</p>
{absent}{steps}
</section>"""


def _render_step(
    step: Step, summaries: Mapping[str, FitsSummary], sizes: Mapping[str, tuple[int, int]]
) -> str:
    """Return heading, code, pictures and files of a step."""
    pictures = "\n".join(_render_picture(picture, sizes[picture.file]) for picture in step.pictures)
    files = _render_files({file: summaries[file] for file in step.files}) if step.files else ""
    return f"""<h3>{escape(step.title)}</h3>
<p>{escape(step.text)}</p>
<pre><code>{escape(step.code)}</code></pre>
<div class="pictures">
{pictures}
</div>
{files}"""


def _render_picture(picture: Picture, size: tuple[int, int]) -> str:
    """Return a picture that leads to its file."""
    width, height = size
    link = escape(quote(picture.file))
    kind = _picture_class(width, height)
    return (
        f'<figure><a href="{link}"><img src="{link}"{kind} width="{width}" height="{height}" '
        f'loading="lazy" alt="{escape(picture.alt)}"></a>\n'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _picture_class(width: int, height: int) -> str:
    """Return the attribute of a picture that is not to have its own size."""
    if max(width, height) < _SMALL:
        return ' class="small"'
    return ' class="wide"' if width > 1.5 * height else ""


def _render_files(files: Mapping[str, FitsSummary]) -> str:
    """Return a table of FITS files; a long one is folded."""
    rows = "\n".join(
        f'<tr><td><a href="{escape(quote(file))}">{escape(file)}</a></td><td>{escape(summary.kind)}</td>'
        f'<td class="number">{summary.shape[1]} × {summary.shape[0]}</td>'  # noqa: RUF001  # the sign for "by"
        f"<td>{escape(summary.source or 'image in memory')}</td>"
        f'<td class="number">{summary.size / 1000:.0f} kB</td></tr>'
        for file, summary in files.items()
    )
    count = f"{len(files)} FITS file{'s' if len(files) > 1 else ''}"
    return f"""<details{" open" if len(files) <= 4 else ""}>
<summary>{count}</summary>
<div class="files"><table class="cut">
<tr><th>File</th><th>Holds</th><th>Pixels</th><th>Cut from</th><th>Size</th></tr>
{rows}
</table></div>
</details>"""
