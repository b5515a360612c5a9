"""What may be kept of the words of a submission's process: plain text, cut to size, under the names that are known.

Nothing in here believes anything: a reply is a stranger's, and its texts end up in messages, pages and terminals.
"""

from __future__ import annotations

import re
import signal
from typing import Any

from autograder.judge.protocol import Message

# Half surrogate pairs cannot be written to a file; control characters and changes of the writing direction can make
# a terminal or a page show something else than what is there.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def exit_text(code: int | None) -> str:
    if code is None or code >= 0:
        return f" (exit code {code})" if code else ""
    try:
        return f" ({signal.Signals(-code).name})"
    except ValueError:
        return f" (signal {-code})"


def clean_reply(reply: Message) -> dict[str, Any]:
    """What a check may see of a reply: values under their names, everything else checked and cut to size."""
    cleaned: dict[str, Any] = {key: reply.values[key] for key in ("ok", "args_after") if key in reply.values}
    body = reply.body
    if "missing" in body:
        cleaned["missing"] = plain_text(body["missing"], 80)
    if "timeout" in body:
        cleaned["timeout"] = None
    if "error" in body:
        cleaned["error"] = clean_error(body["error"])
    cleaned["printed"] = plain_text(body.get("printed"), 4000)
    return cleaned


def clean_replies(reply: Message) -> list[dict[str, Any]]:
    """The same for a map: a reply for each of its calls; there may be too few of them, or too many."""
    parts = reply.body.get("replies")
    return [
        clean_reply(Message("reply", part, {"ok": reply.values[str(k)]} if str(k) in reply.values else {}))
        for k, part in enumerate(parts if isinstance(parts, list) else [])
        if isinstance(part, dict)
    ]


def clean_error(details: Any) -> dict[str, Any]:
    details = details if isinstance(details, dict) else {}
    bases = details.get("bases") if isinstance(details.get("bases"), list) else []
    line = details.get("line")
    return {
        "type": plain_text(details.get("type"), 80) or "an error",
        "bases": [plain_text(base, 80) for base in bases[:10]] or [plain_text(details.get("type"), 80)],
        "message": plain_text(details.get("message"), 600),
        "line": line if type(line) is int and 0 < line < 10**6 else None,
        "source": plain_text(details.get("source"), 200) or None,
    }


def plain_text(value: Any, limit: int) -> str:
    """A text that can be written, shown and printed anywhere; empty when it is none.

    >>> plain_text("\\ud800 \\x1b[2J", 9), plain_text(["x"], 9)
    ('� �[2J', '')
    """
    return _UNSAFE.sub("\ufffd", value[:limit]) if isinstance(value, str) else ""
