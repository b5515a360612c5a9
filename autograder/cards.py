"""What a check looks like: the same content as HTML for a notebook and as text for everything else.

Colours come from JupyterLab's own variables, so a card is readable in a dark theme; every state also has a sign
and a word. What can be unfolded is a ``<details>`` element: it works from the keyboard and with a screen reader.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from autograder.run import Outcome, Report, Result

SIGNS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.ERROR: "✗",
    Outcome.TIMEOUT: "⧗",
    Outcome.NOT_ATTEMPTED: "○",
    Outcome.GRADER_ERROR: "⚠",
}
# White text on each of these has a contrast of at least 4.5 : 1, whatever the theme around it.
_COLOURS = {Outcome.PASSED: "#2e7d32", Outcome.NOT_ATTEMPTED: "#616161", Outcome.GRADER_ERROR: "#8a6d00"}
_RED = "#c62828"
_ROW = "margin:3px 0"
_PLAIN_ROW = f"{_ROW};padding-left:1.1em"  # as wide as the triangle before a row that can be unfolded
_PRE = (
    "margin:4px 0;padding:6px 10px;max-height:12em;overflow:auto;white-space:pre;border-radius:3px;"
    "background:var(--jp-layout-color2,#eee);color:var(--jp-ui-font-color1,#212121)"
)


@dataclass
class Card:
    """Something to show: displays itself in a notebook, prints itself elsewhere."""

    html: str
    text: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}

    def __str__(self) -> str:
        return self.text


def report_card(report: Report, title: str, footer: list[str]) -> Card:
    """The card of one exercise: a line per public check, the first problem opened, hidden checks only counted."""
    return Card(report_html(report, title, footer), report_text(report, title, footer))


def report_html(report: Report, title: str, footer: list[str]) -> str:
    colour = _COLOURS.get(report.outcome, _RED)
    head = headline(report, title)
    first = report.first_problem
    rows = "".join(_row(r, opened=r is first) for r in report.results if not r.hidden)
    hidden = hidden_line(report)
    if hidden:
        rows += f"<li style='{_PLAIN_ROW}'>{html.escape(hidden)}{_hidden_details(report)}</li>"
    foot = "".join(f"<div>{html.escape(line)}</div>" for line in footer)
    return (
        f"<section role='region' aria-label='{html.escape(head, quote=True)}' style='border:1px solid "
        f"var(--jp-border-color1,#bdbdbd);border-left:6px solid {colour};border-radius:6px;padding:8px 14px;"
        "margin:4px 0;max-width:56em;overflow-wrap:anywhere;font-family:var(--jp-ui-font-family,sans-serif);"
        "color:var(--jp-ui-font-color1,#212121);background:var(--jp-layout-color1,#fff)'>"
        f"<div style='font-weight:600'>{_badge(report.outcome)} {html.escape(head)}</div>"
        f"<ul style='list-style:none;margin:6px 0;padding-left:0'>{rows}</ul>"
        f"<div style='font-size:90%;color:var(--jp-ui-font-color2,#616161)'>{foot}</div></section>"
    )


def _row(result: Result, opened: bool) -> str:
    points = f"{result.earned}/{result.points}"
    state = "" if result.outcome is Outcome.PASSED else f" <i>{result.outcome.value}</i>"
    title = f"{_badge(result.outcome)} {html.escape(result.title)}{state} <span style='opacity:.8'>({points})</span>"
    if result.outcome is Outcome.PASSED:
        return f"<li style='{_PLAIN_ROW}'>{title}</li>"
    body = []
    if result.mistake_text:
        body.append(
            "<div style='border-left:4px solid #b26a00;background:rgba(178,106,0,.12);padding:4px 10px;margin:4px 0'>"
            f"<b>Recognised:</b> your code {html.escape(_sentence(result.mistake_text))}</div>"
        )
    if result.called and result.outcome is not Outcome.NOT_ATTEMPTED:
        body.append(f"<div>Called: <code>{html.escape(result.called)}</code></div>")
    body.append(f"<div>{html.escape(_message(result))}</div>")
    if result.source:
        where = f"line {result.line}: " if result.line else ""
        body.append(f"<div>In {where}<code>{html.escape(result.source)}</code></div>")
    if result.printed.strip():
        body.append(f"<div>Printed:</div><pre style='{_PRE}'>{html.escape(_tail(result.printed))}</pre>")
    if result.hint and result.outcome is not Outcome.NOT_ATTEMPTED:
        body.append(f"<div><b>Hint:</b> {html.escape(result.hint)}</div>")
    is_open = " open" if opened else ""
    return (
        f"<li style='{_ROW}'><details{is_open}><summary style='cursor:pointer;display:list-item'>{title}</summary>"
        f"<div style='margin:4px 0 8px 2.9em'>{''.join(body)}</div></details></li>"
    )


def _badge(outcome: Outcome) -> str:
    return (
        f"<span style='display:inline-block;min-width:1.4em;text-align:center;border-radius:3px;font-weight:700;"
        f"color:#fff;background:{_COLOURS.get(outcome, _RED)}'>{SIGNS[outcome]}</span>"
    )


def _hidden_details(report: Report) -> str:
    told = hidden_help(report)
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in told)}</ul>" if told else ""


def report_text(report: Report, title: str, footer: list[str]) -> str:
    lines = [f"{SIGNS[report.outcome]} {headline(report, title)}"]
    first = report.first_problem
    for result in report.results:
        if result.hidden:
            continue
        state = "" if result.outcome is Outcome.PASSED else f" - {result.outcome.value}"
        lines.append(f"  {SIGNS[result.outcome]} {result.title}{state} ({result.earned}/{result.points})")
        if result is first:
            lines += [f"      {line}" for line in _explanation(result)]
    hidden = hidden_line(report)
    lines += [f"  {hidden}"] if hidden else []
    lines += [f"      {line}" for line in hidden_help(report)]
    return "\n".join([*lines, *(f"  {line}" for line in footer)])


def _explanation(result: Result) -> list[str]:
    lines = [f"Recognised: your code {_sentence(result.mistake_text)}"] if result.mistake_text else []
    if result.called and result.outcome is not Outcome.NOT_ATTEMPTED:
        lines.append(f"Called: {result.called}")
    lines.append(_message(result))
    if result.source:
        lines.append(f"In line {result.line}: {result.source}" if result.line else f"In: {result.source}")
    if result.printed.strip():
        lines += ["Printed:", *_tail(result.printed).splitlines()]
    if result.hint and result.outcome is not Outcome.NOT_ATTEMPTED:
        lines.append(f"Hint: {result.hint}")
    return lines


def headline(report: Report, title: str) -> str:
    """One sentence: what was checked and how it went."""
    shown = [r for r in report.results if not r.hidden] or report.results
    good = sum(r.outcome is Outcome.PASSED for r in shown)
    if report.outcome is Outcome.NOT_ATTEMPTED:
        return f"{title}: not attempted yet"
    return f"{title}: {good} of {len(shown)} checks passed"


def hidden_line(report: Report) -> str:
    """How many hidden checks passed, and the points they gave; nothing when none were run."""
    hidden = [r for r in report.results if r.hidden]
    if not hidden:
        return ""
    good = sum(r.outcome is Outcome.PASSED for r in hidden)
    earned, points = sum(r.earned for r in hidden), sum(r.points for r in hidden)
    return f"{good} of {len(hidden)} hidden checks passed ({earned}/{points})"


def hidden_help(report: Report) -> list[str]:
    """What may be said about failed hidden checks: known mistakes and hints, never an input or an expected value."""
    told = []
    for r in report.results:
        if r.hidden and r.outcome is not Outcome.PASSED:
            if r.mistake_text:
                told.append(f"Recognised: your code {_sentence(r.mistake_text)}")
            elif r.outcome is Outcome.TIMEOUT:
                told.append("One hidden check ran out of time.")
            elif r.hint:
                told.append(f"Hint: {r.hint}")
    return list(dict.fromkeys(told))


def code_card(code: str) -> Card:
    """Source code to read, with its lines as long as they are."""
    return Card(f"<pre style='{_PRE.replace('max-height:12em;', '')}'>{html.escape(code)}</pre>", code)


def note_card(text: str, sign: str = "ℹ") -> Card:
    """A short note, such as the one that a stand-in is used."""
    body = (
        "<div role='note' style='border-left:4px solid #1565c0;padding:4px 12px;margin:4px 0;max-width:56em;"
        f"color:var(--jp-ui-font-color1,#212121)'>{sign} {html.escape(text)}</div>"
    )
    return Card(body, f"{sign} {text}")


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?", "`", ")")) else text + "."


def _message(result: Result) -> str:
    """The message as a sentence; a word of code at its beginning keeps its small letter."""
    text = _sentence(result.message)
    first = re.match(r"[a-z]+(?= )", text)
    return text if not first or result.called.startswith(f"{first[0]}(") else text[:1].upper() + text[1:]


def _tail(printed: str, lines: int = 20) -> str:
    return "\n".join(printed.strip().splitlines()[-lines:])
