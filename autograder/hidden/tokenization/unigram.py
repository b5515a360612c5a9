"""Hidden part of exercise 8."""

import re
from functools import cache
from math import inf

from autograder.compare import close, equal, true
from autograder.exercise import check, variant
from autograder.exercises.tokenization import unigram as public
from autograder.exercises.tokenization.unigram import SPACE, brute_force, expect_best, parts_of, random_logp
from autograder.rng import Rng
from autograder.student import Student, short

# In xyzw the longest piece and the most probable piece both lead astray.
TEMPTING = dict.fromkeys("xyzw", -3.0) | {"xy": -4.0, "zw": -4.0, "xyz": -6.0}


def text_of(pieces: list[str]) -> str:
    """The text that pieces and byte tokens spell."""
    raw = b"".join(
        bytes([int(piece[3:5], 16)]) if re.fullmatch("<0x[0-9A-F]{2}>", piece) else piece.encode() for piece in pieces
    )
    return raw.decode("utf-8", errors="replace")


class UnigramViterbi(public.UnigramViterbi):
    @check(points=1, hint="Think of an empty text, of nothing but spaces, and of spaces at both ends.")
    def escaping_loses_nothing(self, student: Student, rng: Rng) -> None:
        texts = ["", " ", "    ", rng.unicode(12), f"  {rng.unicode(5)}   {rng.unicode(5)}  ", "a\u00a0b\tc \n d"]
        found = []
        for text, escaped in zip(texts, student.sp_escape.map(texts), strict=True):
            true(isinstance(escaped, str) and " " not in escaped, f"sp_escape({text!r}) returned {escaped!r}")
            equal(escaped.count(SPACE), text.count(" ") + 1, what=f"the number of ▁ in sp_escape({text!r})")
            found.append(escaped)
        for text, back in zip(texts, student.sp_unescape.map(found), strict=True):
            equal(back, text, what=f"the way there and back of {text!r}")

    @check(points=1, hint="Try characters of one, two, three and four bytes, and several characters at once.")
    def spells_any_text(self, student: Student, rng: Rng) -> None:
        text = rng.unicode(10) + chr(rng.randint(1, 15)) + chr(0x1F600 + rng.randint(0, 50))
        spelled = student.byte_fallback(text)
        true(isinstance(spelled, list), f"byte_fallback returned {short(spelled)}, expected a list")
        equal(len(spelled), len(text.encode()), what="the number of byte tokens")
        true(all(re.fullmatch("<0x[0-9A-F]{2}>", token) for token in spelled), f"it returned {spelled[:6]}")
        equal(text_of(spelled), text, what="the text that the byte tokens spell")
        equal(student.byte_fallback(""), [], what="byte_fallback of an empty text")

    @check(points=2, hint="Compare with all ways to cut a short text.")
    def agrees_with_all_ways_to_cut(self, student: Student, rng: Rng) -> None:
        equal(tuple(parts_of(student.unigram_viterbi("", {"x": -1.0}))), ([], 0.0), what="an empty text")
        texts, tables = [], []
        for letters, longest in (("ab", 5), ("xyz", 3), ("éßø", 4), ("▁lo", 6)):
            tables.append(random_logp(rng, letters, 9, longest))
            texts.append(rng.word(10, 11, letters))
        for text, logp, found in zip(texts, tables, student.unigram_viterbi.map(texts, tables), strict=True):
            expect_best(found, text, logp, brute_force(text, logp))
        # Without two of the four letters: cut as if these were pieces at the price of an unknown character.
        logp = {piece: value for piece, value in random_logp(rng, "abcd", 12, 3).items() if piece not in ("a", "b")}
        logp |= TEMPTING
        text = "xyzwa" + rng.word(6, 7, "abcd")
        pieces, score = parts_of(student.unigram_viterbi(text, logp))
        equal(text_of(pieces), text, what="the text that the pieces spell")
        best = brute_force(text, logp | dict.fromkeys("ab", min(logp.values()) - 10))[1]
        close(score, best, what=f"the log-probability of {text!r}, where a and b are no pieces,")
        for length in (1, 2):
            text = rng.word(length, length, "ab")
            logp = {"a": -3.0, "b": -2.0, text: -1.0, "abababab": -0.5}
            expect_best(student.unigram_viterbi(text, logp), text, logp, ([text], -1.0))

    @check(points=2, hint="Join the pieces and turn the byte tokens back into bytes: it must be the text again.")
    def brings_back_any_text(self, student: Student, rng: Rng) -> None:
        letters = "▁abc"
        logp = random_logp(rng, letters, 12) | TEMPTING
        unknown = min(logp.values()) - 10
        strange = [rng.choice("é→𝄞Ω中") for _ in range(6)]
        text = "xyzw" + "".join(rng.word(1, 4, "abc ") + char for char in strange) + "  "
        escaped = SPACE + text.replace(" ", SPACE)
        pieces, score = parts_of(student.unigram_viterbi(escaped, logp))
        equal(text_of(pieces), escaped, what="the text that the pieces spell")
        # Nothing joins across an unknown character, so the stretches between them are cut on their own.
        known = [stretch for stretch in re.split("[^▁abcxyzw]", escaped) if stretch]
        total = sum(brute_force(stretch, logp)[1] for stretch in known) + len(strange) * unknown
        close(score, total, what=f"the log-probability of a text with {len(strange)} unknown characters")

    @variant
    class Forward:
        """Pushes from every start to the ends it can reach, and carries whole segmentations along."""

        def sp_escape(text):
            return "".join(SPACE if char == " " else char for char in " " + text)

        def sp_unescape(escaped):
            return escaped[1:].replace(SPACE, " ")

        def byte_fallback(piece):
            digits = piece.encode("utf-8").hex().upper()
            return ["<0x" + digits[i : i + 2] + ">" for i in range(0, len(digits), 2)]

        def unigram_viterbi(text, logp):
            reached = {0: (0.0, ())}
            unknown = min(logp.values()) - 10
            for start in range(len(text)):
                if start not in reached:
                    continue
                total, chain = reached[start]
                steps = [(len(p), (p,), value) for p, value in logp.items() if text.startswith(p, start)]
                if text[start] not in logp:
                    spelled = tuple(f"<0x{byte:02X}>" for byte in text[start].encode())
                    steps.append((1, spelled, unknown))
                for length, pieces, value in steps:
                    old = reached.get(start + length, (-inf, ()))
                    if total + value > old[0]:
                        reached[start + length] = (total + value, (chain, pieces))
            total, chain = reached[len(text)]
            parts = []
            while chain:
                chain, pieces = chain
                parts[:0] = pieces
            return parts, total

    @variant
    class BackToFront:
        """Fills the table from the end of the text, so that reading it off runs forwards."""

        def sp_unescape(escaped):
            return " ".join(escaped.split(SPACE))[1:]

        def byte_fallback(piece):
            return list(map("<0x{:02X}>".format, bytes(piece, "utf-8")))

        def unigram_viterbi(text, logp):
            n = len(text)
            unknown = min(logp.values()) - 10
            table = [(-inf, 0)] * n + [(0.0, n)]
            for start in reversed(range(n)):
                ends = [end for end in range(start + 1, n + 1) if text[start:end] in logp]
                choices = [(logp[text[start:end]] + table[end][0], end) for end in ends]
                if text[start] not in logp:
                    choices.append((unknown + table[start + 1][0], start + 1))
                table[start] = max(choices)
            pieces, place = [], 0
            while place < n:
                end = table[place][1]
                word = text[place:end]
                pieces += [word] if word in logp else [f"<0x{byte:02X}>" for byte in word.encode()]
                place = end
            return pieces, table[0][0]

    @variant
    class Memo:
        """The best segmentation of a beginning, defined by itself; the cache makes it fast."""

        def sp_escape(text):
            return SPACE + SPACE.join(text.split(" "))

        def unigram_viterbi(text, logp):
            longest = max(map(len, logp))
            lowest = min(logp.values())

            @cache
            def best(end):
                if end == 0:
                    return 0.0, 0
                starts = range(max(0, end - longest), end)
                scores = {start: best(start)[0] + logp[text[start:end]] for start in starts if text[start:end] in logp}
                if text[end - 1] not in logp:
                    scores.setdefault(end - 1, best(end - 1)[0] + lowest - 10)
                start = max(scores, key=scores.get, default=0)
                return scores.get(start, -inf), start

            for end in range(len(text)):  # from short to long, so that the recursion stays shallow
                best(end)
            pieces, end = [], len(text)
            while end > 0:
                start = best(end)[1]
                unit = text[start:end]
                pieces = ([unit] if unit in logp else [f"<0x{b:02X}>" for b in unit.encode()]) + pieces
                end = start
            return pieces, best(len(text))[0]
