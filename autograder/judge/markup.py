"""What the report's page is made of: text, tables, a bar chart and one style sheet for screen and paper."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Container, Sequence


def escape(text: object) -> str:
    """Text as HTML, also inside an attribute.

    >>> escape("<b> & 'c'")
    '&lt;b&gt; &amp; &#x27;c&#x27;'
    """
    return html.escape(str(text), quote=True)


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Container[int] = ()) -> str:
    """Rows of HTML; the first cell of each names it, the columns in ``numbers`` stand to the right."""
    side = ["class='n'" if column in numbers else "" for column in range(len(head))]
    columns = "".join(f"<th scope='col' {side[k]}>{escape(name)}</th>" for k, name in enumerate(head))
    body = "".join(
        f"<tr><th scope='row'>{row[0]}</th>"
        + "".join(f"<td {side[k]}>{cell}</td>" for k, cell in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    # A region that scrolls sideways can be reached by keyboard, too.
    name = escape(caption)
    return (
        f"<div class='wide' tabindex='0' role='region' aria-label='{name}'><table><caption>{name}</caption>"
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def histogram(shares: Sequence[float]) -> str:
    """Bars in tenths, each with its number; the same is said to a screen reader."""
    bins = Counter(min(9, int(share * 10)) for share in shares)
    top, step, height = max(bins.values(), default=1), 62, 130
    bars = []
    for k in range(10):
        tall = height * bins[k] / top
        x, y = 10 + k * step, 20 + height - tall
        bars.append(
            f"<rect x='{x}' y='{y:.1f}' width='{step - 8}' height='{tall:.1f}' class='bar'/>"
            f"<text x='{x + (step - 8) / 2}' y='{y - 4:.1f}' text-anchor='middle'>{bins[k] or ''}</text>"
            f"<text x='{x + (step - 8) / 2}' y='{height + 36}' text-anchor='middle'>{10 * k}–{10 * k + 10}%</text>"
        )
    spoken = ", ".join(f"{bins[k]} with {10 * k} to {10 * k + 10} percent" for k in range(10) if bins[k])
    return (
        "<figure><svg role='img' "
        f"aria-label='Students by share of points: {escape(spoken) or 'none'}' "
        f"viewBox='0 0 {20 + 10 * step} {height + 46}' class='chart'>"
        f"<path d='M10 {height + 20.5}H{2 + 10 * step}' class='axis'/>{''.join(bars)}</svg>"
        "<figcaption>How many students have which share of the points.</figcaption></figure>"
    )


STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--quiet:#595959;--line:#c9c9c9;--bar:#2b6a99;--ground:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#eee;--quiet:#b5b5b5;--line:#555;--bar:#6fb1e0;--ground:#161616}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);margin:0}
main{max-width:68rem;margin:0 auto;padding:1.5rem}h1{font-size:1.7rem}h2{font-size:1.2rem;margin:2.2rem 0 .4rem}
table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;color:var(--quiet);padding:.2rem .6rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
thead th{white-space:nowrap;vertical-align:bottom}tbody th{font-weight:600}td.n,th.n{text-align:right}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}.wide{overflow-x:auto}td ul{margin:0;padding-left:1.1rem}
.short li{white-space:nowrap}
.note{color:var(--quiet);font-size:.88rem;max-width:52rem}figure{margin:0}
figcaption{color:var(--quiet);font-size:.92rem}
.chart{width:100%;max-width:40rem}.chart text{font-size:12px;fill:var(--ink)}.axis{stroke:var(--quiet)}
.bar{fill:var(--bar)}.track{display:inline-block;width:5rem;height:.7rem;border:1px solid var(--quiet)}
.fill{display:block;height:100%;background:var(--bar)}
@media print{:root{color-scheme:light;--ink:#000;--quiet:#444;--line:#999;--bar:#2b6a99;--ground:#fff}
@page{margin:1.2cm}html{font-size:8.5pt}body{font-size:1rem}main{max-width:none;padding:0}
.track{width:3rem}th,td{padding:.25rem .4rem}.wide{overflow:visible}h2,caption{break-after:avoid}
tr,figure{break-inside:avoid}thead{display:table-header-group}.fill,.bar{print-color-adjust:exact}}
"""
