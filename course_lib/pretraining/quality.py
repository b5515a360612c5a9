"""Rules that tell prose from what is left when a web page is stripped: short, transparent, and never quite right.

They were made for English web text. On anything else, source code for one, most of them say the wrong thing.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from course_lib.pretraining._arguments import require_fraction, require_text

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
BULLETS = ("•", "‣", "▪", "●", "◦", "-", "*")  # the paper says "a bullet point"; these are the usual ones
ELLIPSES = ("...", "…")

# Share of characters that the most frequent n-gram of words covers, and that all repeated n-grams cover.
TOP_NGRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

C4_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_CITATION = re.compile(r"\[\d+\]|\[edit\]|\[citation needed\]", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)]*(?=\s|$)")


def gopher_quality(text: str) -> list[str]:
    """Return the quality rules of Gopher that a document breaks, each as a short phrase; none for a good one.

    Kept are documents of 50 to 100,000 words, 3 to 10 letters a word on average, at most one "#" or ellipsis to ten
    words, at most 90% of lines that begin with a bullet, at most 30% that end with an ellipsis, at least 80% of words
    with a letter in them, and at least two of the, be, to, of, and, that, have, with. Words are separated by white
    space; what has neither letter nor digit is no word, except in the share of words with a letter.
    Source: Rae et al. 2021, appendix A.1.1.

    >>> gopher_quality("The cat that sat on the mat.")
    ['fewer than 50 words']
    """
    pieces = require_text("text", text).split()
    words = [piece for piece in pieces if any(map(str.isalnum, piece))]
    if not words:
        return ["no words"]
    problems = []
    if len(words) < 50:
        problems.append("fewer than 50 words")
    if len(words) > 100_000:
        problems.append("more than 100,000 words")
    length = sum(map(len, words)) / len(words)
    if not 3 <= length <= 10:
        problems.append(f"{length:.1f} characters a word")
    if text.count("#") > 0.1 * len(words):
        problems.append("too many #")
    if text.count("...") + text.count("…") > 0.1 * len(words):
        problems.append("too many ellipses")
    lines = _lines(text)
    if sum(line.startswith(BULLETS) for line in lines) > 0.9 * len(lines):
        problems.append("nearly all lines are bullet points")
    if sum(line.endswith(ELLIPSES) for line in lines) > 0.3 * len(lines):
        problems.append("too many lines end with an ellipsis")
    if sum(any(map(str.isalpha, piece)) for piece in pieces) < 0.8 * len(pieces):
        problems.append("too many words without a letter")
    if len(STOP_WORDS & {word.strip(".,;:!?\"'()").lower() for word in words}) < 2:
        problems.append("fewer than two of the most common English words")
    return problems


def gopher_repetition(text: str) -> list[str]:
    """Return the repetition rules of Gopher that a document breaks, each as a short phrase; none for a good one.

    Too much is: 30% of lines or paragraphs that are copies of earlier ones, or 20% of the characters in them; 20%, 18%
    or 16% of the characters in the most frequent 2-, 3- or 4-gram of words; 15% down to 10% of the characters in
    repeated 5- to 10-grams. The paper gives the limits and leaves open how to count: here, a character in several
    n-grams counts once, and all occurrences of a repeated n-gram count. Source: Rae et al. 2021, table A1.

    >>> gopher_repetition("Buy now! It is cheap.\\n" * 3)[0]
    '67% of lines are copies'
    """
    require_text("text", text)
    problems = []
    for name, parts in (("lines", _lines(text)), ("paragraphs", _paragraphs(text))):
        seen: set[str] = set()
        copies = [part for part in parts if part in seen or seen.add(part)]
        if len(copies) > 0.3 * len(parts):
            problems.append(f"{len(copies) / len(parts):.0%} of {name} are copies")
        characters, copied = sum(map(len, parts)), sum(map(len, copies))
        if copied > 0.2 * characters:
            problems.append(f"{copied / characters:.0%} of characters in copied {name}")
    words = text.split()
    total = sum(map(len, words))
    for n, limit in TOP_NGRAMS.items():
        counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        gram, count = max(counts.items(), key=lambda item: (item[1], sum(map(len, item[0]))), default=((), 0))
        share = _covered(words, {gram}, n) / total if count > 1 else 0
        if share > limit:
            problems.append(f"{share:.0%} of characters in the most frequent {n}-gram")
    for n, limit in REPEATED_NGRAMS.items():
        counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        repeated = {gram for gram, count in counts.items() if count > 1}
        share = _covered(words, repeated, n) / total if repeated else 0
        if share > limit:
            problems.append(f"{share:.0%} of characters in repeated {n}-grams")
    return problems


def c4_clean(text: str) -> str | None:
    """Return what the rules of C4 leave of a document, or None where they drop it.

    Lines stay that end in a full stop, exclamation mark, question mark or closing quotation mark, have at least five
    words, and mention neither JavaScript nor cookies and terms of use; marks like [3] are taken out. A document goes
    that has "lorem ipsum" or a curly bracket in it, or fewer than three sentences left. The list of bad words and the
    removal of repeated three-sentence spans, which the paper has too, are not here.
    Source: Raffel et al. 2020, section 2.2.

    >>> c4_clean("Home | About\\nThis is a sentence. Here is one more. And this is it.[1]\\nThree words here.")
    'This is a sentence. Here is one more. And this is it.'
    """
    lowered = require_text("text", text).lower()
    if "lorem ipsum" in lowered or "{" in text:
        return None
    kept = []
    for line in text.splitlines():
        line = _CITATION.sub("", line).strip()
        low = line.lower()
        if not line.endswith((".", "!", "?", '"', "”")) or line.endswith(ELLIPSES) or len(line.split()) < 5:
            continue
        if "javascript" not in low and not any(policy in low for policy in C4_POLICIES):
            kept.append(line)
    cleaned = "\n".join(kept)
    return cleaned if len(_SENTENCE_END.findall(cleaned)) >= 3 else None


def quality_filter(
    docs: Sequence[Any], scorer: Callable[[str], float], q: float, reference: Sequence[Any] | None = None
) -> list[Any]:
    """Return the documents whose score is at least the q-quantile of the scores, in their order.

    Documents are str or have a `text`. The quantile is that of `reference`, by default the documents themselves:
    give the training documents there when you filter others, or what is kept depends on what you test with.
    ValueError for q outside 0 to 1 and for no reference.

    >>> quality_filter(["a", "long", "longest"], len, 0.5)
    ['long', 'longest']
    """
    require_fraction("q", q)
    if not docs:
        return []
    scores = [scorer(_text(doc)) for doc in docs]
    known = scores if reference is None else [scorer(_text(doc)) for doc in reference]
    if not known:
        raise ValueError("reference: expected at least one document, got none")
    threshold = np.quantile(known, q, method="inverted_cdf")  # one of the scores, not something in between
    return [doc for doc, score in zip(docs, scores, strict=True) if score >= threshold]


def _text(doc: Any) -> str:
    return doc if isinstance(doc, str) else doc.text


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _covered(words: Sequence[str], grams: set[tuple[str, ...]], n: int) -> int:
    """Count the characters of the words that lie in an occurrence of one of the n-grams."""
    starts = [i for i in range(len(words) - n + 1) if tuple(words[i : i + n]) in grams]
    # An occurrence adds the words that the one before it did not reach.
    ends = [(max(0, before + n - start), start) for before, start in pairwise([-n, *starts])]
    return sum(len(word) for skip, start in ends for word in words[start + skip : start + n])
