"""Hidden checks of exercise 5, and other ways to solve it."""

from __future__ import annotations

import codecs
from functools import lru_cache
from itertools import chain

import regex

from autograder.compare import equal, true
from autograder.exercise import check, variant
from autograder.exercises.tokenization import encoding as public
from autograder.exercises.tokenization.encoding import BYTES, SIX_MERGES, draw_merges, encoded, vocab_of
from autograder.rng import Rng
from autograder.student import Student, short
from course_lib.tokenization import CL100K_PATTERN, GPT2_PATTERN, merge


class Encode(public.Encode):
    @check(
        points=2, hint="In every pre-token: the lowest rank of all neighbours, merged; and again, until none is left."
    )
    def encodes_by_rank(self, student: Student, rng: Rng) -> None:
        for letters in ("efg", "ef", "eious"):
            merges = draw_merges(rng, [*letters.encode()], 25, SIX_MERGES)
            words = ["abc", " dbbc", " bbc", *(" " + word for word in rng.words(12, longest=14, letters=letters))]
            equal(student.encode("".join(words), merges), encoded(words, merges))

    @check(hint="Equal neighbours: in a run of five, two pairs are merged and one is left over.")
    def encodes_runs(self, student: Student, rng: Rng) -> None:
        merges = [(97, 97), (98, 98), (256, 256), (257, 257), (256, 97), (258, 97)]
        lengths = [(3, 2), *((rng.randint(1, 20), rng.randint(1, 9)) for _ in range(6))]
        texts = ["a" * left + "b" * right for left, right in lengths]
        for text, ids in zip(texts, student.encode.map(texts, [merges] * len(texts)), strict=True):
            equal(ids, encoded([text], merges))

    @check(hint="There is no unknown token: every text has bytes, and the tokens of its ids spell exactly these.")
    def spells_any_text(self, student: Student, rng: Rng) -> None:
        digits = f"{rng.choice('xyz')} {''.join(rng.sample('0123456789', 6))}"
        crossing = [(ord(digits[0]), 32), (32, ord(digits[2])), (ord(digits[4]), ord(digits[5]))]
        equal(student.encode(digits, crossing, CL100K_PATTERN), list(digits.encode()))
        for pattern in (GPT2_PATTERN, CL100K_PATTERN):
            text = " ".join(["abc dbbc bbc", rng.unicode(20), rng.word(letters="xyz"), "\t\n ", rng.unicode(20)])
            start = [byte for byte in text.encode() if not 97 <= byte <= 100]
            merges = draw_merges(rng, start, 20, SIX_MERGES)
            ids = student.encode(text, merges, pattern)
            true(isinstance(ids, list), f"it returned {short(ids)}, expected a list of ids")
            equal(ids, encoded(regex.findall(pattern, text), merges))
            equal(student.decode(ids, vocab_of(merges)), text)

    @check(hint="Join the bytes of all ids and decode once. A model can be cut off in the middle of a character.")
    def decodes_any_ids(self, student: Student, rng: Rng) -> None:
        equal(student.decode([0xF0, 0x9F, 0x99, 0x61, 0xE2, 0x86], BYTES), "�a�")
        vocab = vocab_of(draw_merges(rng, rng.ids(12, 0, 255), 30))
        rows = [rng.choices([*vocab], k=20) + rng.ids(10, 128, 255) for _ in range(10)]
        for ids, text in zip(rows, student.decode.map(rows, [vocab] * 10), strict=True):
            raw = b"".join(vocab[i] for i in ids)
            reader = codecs.getincrementaldecoder("utf-8")(errors="replace")
            equal(text, reader.decode(raw) + reader.decode(b"", final=True))

    @variant
    class Replaying:
        """All merges in the order of learning: a merge only ever makes room for later ones."""

        def encode(text, merges, pattern=GPT2_PATTERN):
            @lru_cache(None)
            def encode_piece(piece):
                ids = list(piece.encode())
                for rank, pair in enumerate(merges):
                    ids = merge(ids, pair, 256 + rank)
                return tuple(ids)

            return [i for found in regex.finditer(pattern, text) for i in encode_piece(found.group())]

        def decode(ids, vocab):
            reader = codecs.getincrementaldecoder("utf-8")(errors="replace")
            return "".join(reader.decode(vocab[i]) for i in ids) + reader.decode(b"", final=True)

    @variant
    class OneAtATime:
        """One occurrence at a time, the leftmost of the lowest rank, in a list that shrinks."""

        def encode(text, merges, pattern=GPT2_PATTERN):
            out = []
            for piece in regex.findall(pattern, text):
                ids = [*piece.encode("utf-8")]
                while True:
                    options = [(merges.index((a, b)), i) for i, (a, b) in places(ids) if (a, b) in merges]
                    if not options:
                        break
                    rank, i = sorted(options)[0]
                    ids[i] = rank + 256
                    del ids[i + 1]
                out.extend(ids)
            return out

        def decode(ids, vocab):
            raw = bytearray()
            for i in ids:
                raw += vocab[i]
            return str(bytes(raw), "utf-8", "replace")

    @variant
    class Recursive:
        """Cut a piece at the occurrences of its best pair; between them nothing of that rank is left."""

        def encode(text, merges, pattern=GPT2_PATTERN):
            rank_of = dict(zip(merges, range(len(merges)), strict=True))

            def shrink(ids):
                ranked = {rank_of[pair]: pair for _, pair in places(ids) if pair in rank_of}
                if not ranked:
                    return ids
                rank = min(ranked)
                joined, skip = [], False
                for i, current in enumerate(ids):
                    if skip:
                        skip = False
                    elif tuple(ids[i : i + 2]) == ranked[rank]:
                        joined.append(256 + rank)
                        skip = True
                    else:
                        joined.append(current)
                return shrink(joined)

            pieces = regex.findall(pattern, text)
            return list(chain.from_iterable(shrink(list(piece.encode())) for piece in pieces))

        def decode(ids, vocab):
            return bytes(byte for i in ids for byte in vocab[i]).decode(errors="replace")


def places(ids):
    return [(i, (ids[i], ids[i + 1])) for i in range(len(ids) - 1)]
