"""Personal data in text: e-mail addresses, public IP addresses and telephone numbers, found and replaced.

What looks like personal data often is none: a version number, a matrix product in Python, an address that is reserved
for documentation. So every pattern is checked once more, and `precision_recall` says how well it works on labelled
text. Names, street addresses and numbers of documents are beyond patterns, and are not looked for.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from course_lib.pretraining._arguments import require_text

PLACEHOLDERS = {"email": "<EMAIL>", "ip": "<IP_ADDRESS>", "phone": "<PHONE>"}

# The last part of a domain: any two letters (countries), or one of the frequent longer ones. There are over a thousand;
# the list keeps `x@model.weight` in a program from being a person.
_LONG_DOMAIN = re.compile(
    r"com|org|net|edu|gov|mil|int|info|biz|name|pro|aero|coop|museum|mobi|travel|jobs|app|dev|blog|shop|store|site"
    r"|online|tech|cloud|email|live|news|wiki|club|agency|example|test|invalid",
    re.IGNORECASE,
)
_EMAIL = re.compile(
    r"(?<![\w.+%-])"  # not in the middle of something longer
    r"[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+([A-Za-z]{2,24})"
    r"(?![\w-]|\.\w|[(\[]|@)"  # a call or an index: Python's matrix product
)
_IPV4 = re.compile(r"(?<![\w.])(?<![A-Za-z]-)\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\w|-\w*[A-Za-z])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){3,7}(?![\w:]|\.\w)")
_VERSION = re.compile(r"(?:\b(?:version|release|revision|section|chapter|firmware|build|oid)s?\b|\bv\.)\W{0,3}$", re.I)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all that is given out so far: dead:beef:: is hexadecimal fun
_PHONE = re.compile(
    r"(?<![\w.+-])"
    r"(?:\+[1-9]\d{0,2}(?:[ .-]?(?:\d{1,4}|\(\d{1,4}\))){1,4}[ .-]?\d{2,4}"  # +44 20 7946 0958, +44 (0)20 7946 0958
    r"|(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4})"  # (555) 010-9999, as in North America
    r"(?![\w(]|[.-]\d| \d+\.\d+(?![\d.]))"  # nor the beginning of a row of digits that ends in a decimal number
)
_FORMULA = re.compile(r"(?:[\w)\]]|[=*/^%+<>] ?)\($")  # the bracket of a call or of a calculation, not of a sentence
_LOOK_BACK = 16  # characters in which "version" may stand


class PII(NamedTuple):
    """A find: its kind (email, ip or phone), and where it is, text[start:end]."""

    kind: str
    start: int
    end: int


class PrecisionRecall(NamedTuple):
    """How much of what was found is right, how much of what is there was found, and the counts behind the two."""

    precision: float
    recall: float
    right: int
    found: int
    there: int


def find_pii(text: str, kinds: Iterable[str] = tuple(PLACEHOLDERS)) -> list[PII]:
    """Return e-mail addresses, public IP addresses and telephone numbers in `text`, in their order, not overlapping.

    IP addresses are found where they are public (`ipaddress.is_global`), whole, and do not follow a word such as
    "version"; IPv6 where it has at least three colons. A telephone number has its country code with a plus, or is
    written as in North America, (555) 010-9999. With a single point it is a decimal number; right behind the bracket of
    a call or calculation it needs a space in it. An e-mail address ends in two letters or in a frequent longer domain.
    Each rule gives up some recall for precision. ValueError for an unknown kind.

    >>> find_pii("Ask ada@example.org, not x@w.T, at 8.8.8.8 or 127.0.0.1.")
    [PII(kind='email', start=4, end=19), PII(kind='ip', start=35, end=42)]
    """
    require_text("text", text)
    kinds = tuple(kinds)
    if not set(kinds) <= set(PLACEHOLDERS):
        raise ValueError(f"kinds: expected some of {', '.join(PLACEHOLDERS)}, got {kinds!r}")
    found = [
        PII(kind, match.start(), match.end())
        for kind, pattern, holds in _RULES
        if kind in kinds
        for match in pattern.finditer(text)
        if holds(match)
    ]
    found.sort(key=lambda pii: (pii.start, -pii.end))
    kept: list[PII] = []
    for pii in found:
        if not kept or pii.start >= kept[-1].end:
            kept.append(pii)
    return kept


def redact_pii(text: str, kinds: Iterable[str] = tuple(PLACEHOLDERS)) -> str:
    """Replace what `find_pii` finds by <EMAIL>, <IP_ADDRESS> or <PHONE>; the rest stays as it is.

    >>> redact_pii("Write to ada@example.org or call +44 20 7946 0958.")
    'Write to <EMAIL> or call <PHONE>.'
    """
    parts, end = [], 0
    for pii in find_pii(text, kinds):
        parts += [text[end : pii.start], PLACEHOLDERS[pii.kind]]
        end = pii.end
    return "".join([*parts, text[end:]])


def precision_recall(
    cases: Iterable[tuple[str, Iterable[tuple[str, str]]]], find: Callable[[str], Iterable[PII]] = find_pii
) -> PrecisionRecall:
    """Score `find` on labelled text: cases of (text, [(kind, string that is to be found), ...]).

    A find is right if kind and string are those of a label, each label once. Precision without finds and recall
    without labels are 1.

    >>> precision_recall([("at 8.8.8.8", [("ip", "8.8.8.8")]), ("no one", [("email", "a@b.org")])])
    PrecisionRecall(precision=1.0, recall=0.5, right=1, found=1, there=2)
    """
    right = found = there = 0
    for text, labels in cases:
        left = list(labels)
        there += len(left)
        for pii in find(text):
            found += 1
            label = (pii.kind, text[pii.start : pii.end])
            if label in left:
                left.remove(label)
                right += 1
    return PrecisionRecall(right / found if found else 1.0, right / there if there else 1.0, right, found, there)


def _is_email(match: re.Match[str]) -> bool:
    top = match[1]
    if ".." in match[0]:
        return False
    if match[0].startswith("git@") and match.string[match.end() : match.end() + 1] == ":":
        return False  # git@host:path is where a repository is, not a person
    two_letters = len(top) == 2 and (top.islower() or top.isupper())  # not the mT of x@w.mT
    return two_letters or _LONG_DOMAIN.fullmatch(top) is not None


def _is_public_ipv4(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - _LOOK_BACK) : match.start()]
    return _is_global(match[0]) and not _VERSION.search(before)


def _is_public_ipv6(match: re.Match[str]) -> bool:
    return _is_global(match[0]) and ipaddress.ip_address(match[0]) in _GLOBAL_UNICAST


def _is_global(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
        return parsed.is_global and not parsed.is_multicast  # a multicast group is public, but no one's
    except ValueError:
        return False


def _is_phone(match: re.Match[str]) -> bool:
    number, before = match[0], match.string[max(0, match.start() - _LOOK_BACK) : match.start()]
    if " " not in number and _FORMULA.search(before):
        return False
    if number.count(".") == 1 and "(" not in number:
        return False  # a decimal number with its sign; telephone numbers have no point, or more of them
    digits = sum(map(str.isdigit, number))
    return 8 <= digits <= 15 if number.startswith("+") else digits == 10  # ITU-T E.164: at most 15


_RULES: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], bool]], ...] = (
    ("email", _EMAIL, _is_email),
    ("ip", _IPV4, _is_public_ipv4),
    ("ip", _IPV6, _is_public_ipv6),
    ("phone", _PHONE, _is_phone),
)
