"""The HTML page of a release test: one file with its pictures in it."""

from __future__ import annotations

__all__ = ("render_release_page",)

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..regression import ReleaseCheck, ReleaseReport, ReportedCheck

_PICTURES_PER_PRODUCT = 3
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #d55e00; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--line); }
td.number { text-align: right; } .failed { color: var(--bad); font-weight: 600; }
figure { margin: 1rem 0; } figure img { max-width: 100%; background: white; }
figcaption { font-size: .875rem; } .wide { overflow-x: auto; }
"""


def render_release_page(report: ReleaseReport, checks: Sequence[ReleaseCheck]) -> str:
    """Return the page of a release test.

    Parameters
    ----------
    report
        What was found.
    checks
        The same with the pixels of the largest differences.

    Returns
    -------
    document
        HTML that needs nothing from elsewhere.  Of each product the three
        worst are shown, those that failed first.

    Raises
    ------
    RequestError
        Raised if matplotlib is not installed.
    """
    sections = "\n".join(
        _render_product(product, [check for check in checks if check.reported.product == product])
        for product in report.counts
    )
    left_out = "".join(
        f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in report.left_out.items()
    )
    absent = f"<h2>Left out</h2>\n<ul>{left_out}</ul>" if left_out else ""
    verdict = "passed" if report.passed else '<span class="failed">failed</span>'
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Release test</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Release test: {verdict}</h1>
<p>{escape(report.repository)}, {escape(", ".join(report.collections))}; {escape(report.software)}</p>
{_render_counts(report)}
{absent}
{sections}
</body>
</html>
"""


def _render_counts(report: ReleaseReport) -> str:
    rows = "\n".join(
        f'<tr><td>{escape(product)}</td><td class="number">{total}</td>'
        f'<td class="number{" failed" if failed else ""}">{failed}</td></tr>'
        for product, (total, failed) in report.counts.items()
    )
    return f"<table><tr><th>Product</th><th>Checked</th><th>Failed</th></tr>\n{rows}\n</table>"


def _render_product(product: str, checks: Sequence[ReleaseCheck]) -> str:
    """Return pictures of the worst and a table of all checks of a product."""
    ordered = sorted(checks, key=lambda check: _badness(check.reported), reverse=True)
    figures = "\n".join(_render_figure(check) for check in ordered[:_PICTURES_PER_PRODUCT])
    rows = "\n".join(_render_row(check.reported) for check in ordered)
    return f"""<h2>{escape(product)}</h2>
{figures}
<div class="wide"><table>
<tr><th>Dataset</th><th>Data ID</th><th>Largest difference</th><th>Result</th></tr>
{rows}
</table></div>"""


def _badness(check: ReportedCheck) -> tuple[bool, float]:
    sigma = check.max_sigma
    return not check.passed, math.inf if sigma is None else sigma


def _render_figure(check: ReleaseCheck) -> str:
    """Return the picture of a check, where it has one."""
    from ..plotting import plot_closeup  # noqa: PLC0415  # the extra "plot"

    if check.closeup is None:
        return ""
    stream = io.BytesIO()
    plot_closeup(check.closeup).savefig(stream, format="png", dpi=90)
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    x, y = check.closeup.center
    caption = escape(f"{check.reported.dataset_type} {_name(check.reported)}, around pixel ({x}, {y})")
    return (
        f'<figure><img alt="Candidate, reference and difference." src="data:image/png;base64,{text}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _render_row(check: ReportedCheck) -> str:
    sigma = "" if check.max_sigma is None else f"{check.max_sigma:.4g} sigma"
    result = escape(check.tolerance)
    if not check.passed:
        result = '<span class="failed">failed</span>: ' + "<br>".join(map(escape, check.failures))
    return (
        f"<tr><td>{escape(check.dataset_type)}</td><td>{escape(_name(check))}</td>"
        f'<td class="number">{sigma}</td><td>{result}</td></tr>'
    )


def _name(check: ReportedCheck) -> str:
    return ", ".join(f"{name} {value}" for name, value in check.data_id.items())
