"""Hidden part of exercise 7."""

import re
from functools import cache

from autograder.compare import close, equal, true
from autograder.exercise import check, variant
from autograder.exercises.tokenization import wordpiece as public
from autograder.exercises.tokenization.wordpiece import longest_pieces, random_vocab
from autograder.rng import Rng
from autograder.student import Student


class WordpieceEncode(public.WordpieceEncode):
    @check(points=1, hint="Try your score on very large and on very small counts.")
    def ranks_rare_but_bound_pairs_first(self, student: Student, rng: Rng) -> None:
        # A pair that is always together beats a frequent pair of frequent parts.
        rare, common = rng.randint(2, 5), rng.randint(200, 400)
        bound = student.wordpiece_score(rare, rare, rare)
        loose = student.wordpiece_score(common, 50 * common, 70 * common)
        close(bound, 1 / rare, what="a pair that only occurs together")
        close(loose * 3500 * common, 1.0, what="a loosely bound pair")
        large = rng.randint(10**8, 10**9)
        close(student.wordpiece_score(large, large, 3 * large) * (3 * large), 1.0, what="a score of large counts")
        close(student.wordpiece_score(0, 3, 4), 0.0, what="a pair that never occurs")

    @check(points=2, hint="Follow your code by hand on a word of four letters with overlapping pieces.")
    def finds_the_longest_pieces_in_random_vocabularies(self, student: Student, rng: Rng) -> None:
        equal(student.wordpiece_encode("ab", ["a", "##b"]), ["a", "##b"], what="'ab'")
        vocabs = [random_vocab(rng, "abc", rng.randint(6, 14), 4) for _ in range(40)]
        words = rng.words(40, longest=9, letters="abc")
        for word, vocab, got in zip(words, vocabs, student.wordpiece_encode.map(words, vocabs), strict=True):
            equal(got, longest_pieces(word, vocab), what=f"{word!r}")
        # With all single letters there is no dead end.
        single = {"x", "y", "z", "##x", "##y", "##z"}
        vocabs = [{*single, *random_vocab(rng, "xyz", 12, 5)} for _ in range(20)]
        words = rng.words(20, longest=12, letters="xyz")
        for word, vocab, got in zip(words, vocabs, student.wordpiece_encode.map(words, vocabs), strict=True):
            true(isinstance(got, list), "it did not return a list")
            true(set(got) <= vocab, f"{word!r} was cut into pieces that are not in the vocabulary")
            equal("".join(piece.removeprefix("##") for piece in got), word, what="joining the pieces")
            equal(got, longest_pieces(word, vocab), what=f"{word!r}")

    @check(points=1, hint="Both unk and max_chars are arguments: use them instead of fixed values.")
    def uses_its_own_settings(self, student: Student, rng: Rng) -> None:
        n = rng.randint(3, 6)
        word = "é→" * n  # 2 n characters, 5 n bytes
        vocab = ["é", "##→", "##é", "é→é"]
        equal(student.wordpiece_encode("é→", vocab, unk="<?>"), ["é", "##→"], what="'é→'")
        cut = ["é→é"] + ["##→", "##é"] * (n - 2) + ["##→"]
        got = student.wordpiece_encode(word, vocab, unk="<?>", max_chars=2 * n)
        equal(got, cut, what="a word of max_chars letters")
        got = student.wordpiece_encode(word, vocab, unk="<?>", max_chars=2 * n - 1)
        equal(got, ["<?>"], what="a word that is one character too long")
        equal(student.wordpiece_encode("éx", vocab, "<none>"), ["<none>"], what="a word with an unknown letter")
        equal(student.wordpiece_encode("é" * 101, vocab), ["[UNK]"], what="a word of 101 letters, without max_chars,")
        equal(len(student.wordpiece_encode("é" * 100, vocab)), 100, what="a word of 100 letters, without max_chars,")

    @check(points=1, hint="The vocabulary is only asked for membership; the arguments stay as they were.")
    def leaves_the_vocabulary_alone(self, student: Student, rng: Rng) -> None:
        word = "abb" + rng.word(2, 6, "ab")
        vocab = {piece: i for i, piece in enumerate(["a", "##b", "##a", "ab", "##ba"])}
        got, after = student.wordpiece_encode.with_arguments(word, vocab)
        equal(got, longest_pieces(word, vocab), what=f"{word!r}, with a vocabulary that is a dict,")
        equal(after[1], vocab, what="the vocabulary after the call")

    @variant
    class RegularExpression:
        """One atomic alternation per position: the first alternative that fits is final."""

        def wordpiece_score(pair_count, left_count, right_count):
            return pair_count / left_count / right_count

        def wordpiece_encode(word, vocab, unk="[UNK]", max_chars=100):
            if len(word) > max_chars:
                return [unk]
            ordered = sorted(vocab, key=len, reverse=True)
            first = re.compile("|".join(re.escape(p) for p in ordered if not p.startswith("##")) or "(?!)")
            later = re.compile("|".join(re.escape(p[2:]) for p in ordered if p.startswith("##")) or "(?!)")
            pieces, place = [], 0
            while place < len(word):
                found = (later if place else first).match(word, place)
                if not found:
                    return [unk]
                pieces.append("##" * (place > 0) + found.group())
                place = found.end()
            return pieces

    @variant
    class Trie:
        """Walks down a tree of characters and remembers the last place where a piece ended."""

        def wordpiece_encode(word, vocab, unk="[UNK]", max_chars=100):
            root = {}
            for piece in vocab:
                node = root
                for char in piece:
                    node = node.setdefault(char, {})
                node["end"] = True  # no single character is three letters long
            if len(word) > max_chars:
                return [unk]
            pieces, start = [], 0
            while start != len(word):
                node = root if start == 0 else root.get("#", {}).get("#", {})
                best, place = None, start
                while place < len(word) and word[place] in node:
                    node = node[word[place]]
                    place += 1
                    best = place if "end" in node else best
                if best is None:
                    return [unk]
                pieces += [("##" if start else "") + word[start:best]]
                start = best
            return pieces

    @variant
    class Recursion:
        """Cuts off one piece and leaves the rest to itself; an empty result means a dead end."""

        def wordpiece_score(pair_count, left_count, right_count):
            return (left_count * right_count) ** -1 * pair_count

        def wordpiece_encode(word, vocab, unk="[UNK]", max_chars=100):
            known = frozenset(vocab)

            @cache
            def cut(rest, mark):
                if not rest:
                    return ()
                length = next((n for n in range(len(rest), 0, -1) if mark + rest[:n] in known), 0)
                tail = cut(rest[length:], "##") if length else None
                return None if tail is None else (mark + rest[:length], *tail)

            pieces = cut(word, "") if len(word) <= max_chars else None
            return [unk] if pieces is None else list(pieces)
