"""Hidden checks of exercise 4, and other ways to solve it."""

from __future__ import annotations

from collections import Counter, defaultdict
from heapq import heapify, heappop, heappush
from itertools import groupby, pairwise

import regex

from autograder.compare import equal, true
from autograder.exercise import check, variant
from autograder.exercises.tokenization import byte_bpe as public
from autograder.exercises.tokenization.byte_bpe import BYTES, judge_training
from autograder.rng import Rng
from autograder.student import Student, short
from course_lib.tokenization import CL100K_PATTERN, GPT2_PATTERN, pretokenize

WORDS_OF_THE_WORLD = ["λόγος", "слово", "言葉", "คำ", "naïve", "Straße", "mot", "🙂", "🙃"]


class TrainByteBpe(public.TrainByteBpe):
    @check(hint="Try a text with tabs, several line breaks, digits, apostrophes and other scripts, with both patterns.")
    def pretokens_of_any_text_join_to_it(self, student: Student, rng: Rng) -> None:
        texts, patterns = [], [GPT2_PATTERN] * 4 + [CL100K_PATTERN] * 4
        for _ in patterns:
            parts = [*rng.words(5), *rng.sample(WORDS_OF_THE_WORLD, 4), rng.unicode(12), str(rng.randint(0, 10**7))]
            rng.shuffle(parts)
            texts.append("".join(rng.choice((" ", "  ", "\n", "\t\n", "'s ", " 's")) + part for part in parts))
        for text, pattern, pieces in zip(texts, patterns, student.pretokenize.map(texts, patterns), strict=True):
            true(isinstance(pieces, list), f"it returned {short(pieces)}, expected a list of strings")
            equal("".join(map(str, pieces)), text, what="joining the pre-tokens")
            equal(pieces, [found.group() for found in regex.finditer(pattern, text)])
        equal(student.pretokenize(""), [])
        text = " ".join(rng.words(6, longest=3)) + "\n \t" + rng.word()
        pieces = ["".join(group) for _, group in groupby(text, str.isspace)]
        for found in student.pretokenize.map([text] * 3, [r"\s+|\S+", r"\s+", r"\S+"]):  # they cut at the same places
            equal(found, pieces)

    @check(hint="256 bytes, 256 different characters, and only 68 of the bytes get a new one.")
    def the_table_can_be_read_backwards(self, student: Student, rng: Rng) -> None:
        table = student.bytes_to_unicode()
        true(isinstance(table, dict), f"it returned {short(table)}, expected a dict from bytes to characters")
        # Bytes 0-32 move by 256, 127-160 by 162, and 173 alone by 150: each to the next free place.
        moved = {b: chr(b + (256 if b < 33 else 162 if b < 161 else 150)) for b in [*range(33), *range(127, 161), 173]}
        equal(table, {byte: moved.get(byte, chr(byte)) for byte in range(256)})

    @check(points=2, hint="Every character beyond ASCII begins as two to four bytes, and they merge like any others.")
    def learns_from_any_text(self, student: Student, rng: Rng) -> None:
        for turn in range(2):
            words = rng.sample(WORDS_OF_THE_WORLD, 5) + rng.words(4, longest=5, letters="abc")
            # In every text the merges of these three come first, and show which of equals is taken.
            pieces = [" NM", " ZY", " BA"] * 30 + rng.choices([" " + word for word in words], k=40)
            number = rng.randint(14, 22) + turn
            text = "".join(pieces)
            pieces = regex.findall(GPT2_PATTERN, text)
            judge_training(student.train_byte_bpe(text, 256 + number), pieces, 256 + number)

    @check(
        hint="An empty text, a text of single characters, one long run, and a vocabulary larger than the text allows."
    )
    def knows_when_to_stop(self, student: Student, rng: Rng) -> None:
        run = rng.randint(5, 11)
        cuts: list[list[str]] = [[], ["nm", " zy", " ba"], ["a", "!", "1"], ["a" * run], ["xyz", "\n"]]
        for pieces, trained in zip(cuts, student.train_byte_bpe.map(map("".join, cuts), [290] * 5), strict=True):
            judge_training(trained, pieces, 290)
        vocab, merges = student.train_byte_bpe(rng.word() + " " + rng.word(), 256)
        equal((vocab, merges), (BYTES, []))

    @check(hint="train_byte_bpe hands its pattern on to pretokenize; another pattern sets other borders.")
    def trains_with_the_given_pattern(self, student: Student, rng: Rng) -> None:
        text = "".join(rng.choices(["the-cat ", "the-dog ", "a-cat ", "12345 "], k=25))
        for pattern in (r"[^ ]+ ", r"[a-z]+-|[a-z]+|[0-9]{1,2}| ", r"(?s)."):
            pieces = [found.group() for found in regex.finditer(pattern, text)]
            judge_training(student.train_byte_bpe(text, 268, pattern), pieces, 268)
        pieces = [part for word in rng.choices(["ab", "abc", "cab"], k=20) for part in (word, "-->")]
        judge_training(student.train_byte_bpe("".join(pieces), 263, "[a-z]+"), pieces, 263)

    @variant
    class WordByWord:
        """Pre-tokens with their frequencies, tokens as bytes, ids only at the end."""

        def pretokenize(text, pattern=GPT2_PATTERN):
            pieces, waiting, at = [], "", 0
            compiled = regex.compile(pattern)
            while at < len(text):
                found = compiled.match(text, at)
                if found and found[0]:
                    pieces += [waiting, found[0]]
                    waiting, at = "", found.end()
                else:
                    waiting += text[at]
                    at += 1
            return [piece for piece in [*pieces, waiting] if piece]

        def bytes_to_unicode():
            keep = [b for b in range(256) if chr(b).isprintable() and chr(b) != " "]
            table = {b: chr(b) for b in keep}
            free = iter(range(256, 512))
            table.update((b, chr(next(free))) for b in range(256) if b not in table)
            return table

        def train_byte_bpe(text, vocab_size, pattern=GPT2_PATTERN):
            frequencies = Counter(pretokenize(text, pattern))
            words = {word: [bytes([b]) for b in word.encode()] for word in frequencies}
            tokens = [bytes([b]) for b in range(256)]
            pairs = []
            while len(tokens) < vocab_size:
                counts = Counter()
                for word, symbols in words.items():
                    for left, right in pairwise(symbols):
                        counts[left, right] += frequencies[word]
                if not counts:
                    break
                most = max(counts.values())
                candidates = [pair for pair in counts if counts[pair] == most]
                left, right = min(candidates, key=lambda pair: (tokens.index(pair[0]), tokens.index(pair[1])))
                pairs.append((left, right))
                tokens.append(left + right)
                for symbols in words.values():
                    i = 0
                    while i < len(symbols) - 1:
                        if symbols[i] == left and symbols[i + 1] == right:
                            symbols[i : i + 2] = [left + right]
                        i += 1
            return dict(enumerate(tokens)), [(tokens.index(a), tokens.index(b)) for a, b in pairs]

    @variant
    class WithHeap:
        """Counts kept up to date, the next pair from a heap whose stale entries are skipped."""

        def pretokenize(text, pattern=GPT2_PATTERN):
            borders = {0, len(text)}
            for found in regex.finditer(pattern, text):
                borders |= {*found.span()} if found.group() else set()
            return [text[start:end] for start, end in pairwise(sorted(borders))]

        def bytes_to_unicode():
            hidden = sorted({*range(33), *range(127, 161), 173})
            return {b: chr(256 + hidden.index(b)) if b in hidden else chr(b) for b in range(256)}

        def train_byte_bpe(text, vocab_size, pattern=GPT2_PATTERN):
            words = [list(piece.encode()) for piece in pretokenize(text, pattern)]
            counts, where = defaultdict(int), defaultdict(set)
            for number, ids in enumerate(words):
                for i in range(len(ids) - 1):
                    counts[ids[i], ids[i + 1]] += 1
                    where[ids[i], ids[i + 1]].add(number)
            heap = [(-count, pair) for pair, count in counts.items()]
            heapify(heap)
            vocab = [bytes([b]) for b in range(256)]
            merges = []
            while heap and len(vocab) < vocab_size:
                negative, pair = heappop(heap)
                if counts[pair] != -negative or not counts[pair]:
                    continue
                new_id = len(vocab)
                vocab.append(vocab[pair[0]] + vocab[pair[1]])
                merges.append(pair)
                touched = set()
                for number in where.pop(pair):
                    old, new = words[number], []
                    for current in old:
                        if new and (new[-1], current) == pair:
                            new[-1] = new_id
                        else:
                            new.append(current)
                    words[number] = new
                    for ids, sign in ((old, -1), (new, +1)):
                        for both in pairwise(ids):
                            counts[both] += sign
                            where[both].add(number)
                            touched.add(both)
                for both in touched:
                    if counts[both]:
                        heappush(heap, (-counts[both], both))
            return dict(enumerate(vocab)), merges
