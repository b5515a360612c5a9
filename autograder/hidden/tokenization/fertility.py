"""Hidden part of exercise 12."""

import re
from itertools import groupby, pairwise

from autograder.compare import close, equal, expect_error, true
from autograder.exercise import check, variant
from autograder.exercises.tokenization import fertility as public
from autograder.exercises.tokenization.fertility import ZEROS, encode_bytes
from autograder.rng import Rng
from autograder.student import Student, short


def encode_words(text: str) -> list[int]:
    """A tokenizer with a token for every word, every white space and every mark."""
    return [sum(map(ord, piece)) for piece in re.findall(r"\w+|\s|[^\w\s]", text)]


class Fertility(public.Fertility):
    @check(points=2, hint="Think of an empty text, of digits only, of digits at both ends, and of many scripts.")
    def cuts_any_text_at_its_digits(self, student: Student, rng: Rng) -> None:
        equal(student.split_digits(""), [], what="an empty text")
        number = str(rng.randint(10**6, 10**9))
        equal(student.split_digits(number), list(number), what="a number alone")
        signs = rng.word(2) + rng.choice("½¼¾") + rng.word(2) + rng.choice("²³¹")
        equal(student.split_digits(signs), [signs], what="a text with signs that are no digits")
        texts: list[str] = []
        for _ in range(8):
            strange = rng.unicode(12) + rng.choice("²³¹") + rng.choice("½¼¾") + "\n "
            digits = [chr(rng.choice((ord("0"), *ZEROS)) + rng.randint(0, 9)) for _ in range(5)]
            texts.append("".join(rng.sample([*strange, *digits], len(strange) + 5)))
        for text, got in zip(texts, student.split_digits.map(texts), strict=True):
            right_type = isinstance(got, list) and all(isinstance(piece, str) and piece for piece in got)
            true(right_type, f"it returned {short(got)}, expected a list of texts that are not empty")
            equal("".join(got), text, what="joining the pieces")
            alone = [len(piece) == 1 for piece in got if any(c.isdecimal() for c in piece)]
            true(all(alone), f"in {short(got)} a digit does not stand alone")
            between = [any(c.isdecimal() for c in piece) for piece in got]
            true(all(a or b for a, b in pairwise(between)), f"{short(got)} cuts between no digits")

    @check(points=1, hint="The order of the texts, or reading them all twice, changes nothing.")
    def depends_on_the_words_only(self, student: Student, rng: Rng) -> None:
        texts = [" ".join(rng.words(rng.randint(1, 12))) + rng.choice((".", "?!", "")) for _ in range(5)]
        tokens = sum(len(re.findall(r"\w+|\s|[^\w\s]", text)) for text in texts)
        words = sum(len(list(re.finditer(r"\S+", text))) for text in texts)
        close(student.fertility(encode_words, texts), tokens / words, what="five texts")
        close(student.fertility(encode_words, texts[::-1]), tokens / words, what="the texts in reverse order")
        close(student.fertility(encode_words, texts * 2), tokens / words, what="every text twice")

    @check(
        points=1,
        hint="A text may hold no word at all; its tokens count all the same. If none holds a word, raise ValueError.",
    )
    def bears_texts_without_words(self, student: Student, rng: Rng) -> None:
        word, gap = rng.word(3, 8), " \n" * rng.randint(2, 6)
        got = student.fertility(encode_bytes, ["año ñandú→", word])
        close(got, (len(word) + 15) / 3, what=f"three words with {len(word) + 15} bytes")
        want = float(len(word) + len(gap))
        close(student.fertility(encode_bytes, [gap, word, ""]), want, what="one word between texts without words")
        close(student.fertility(encode_words, ["x", "y"]), 1.0, what="two words in two texts")
        expect_error(ValueError, student.fertility, encode_words, [])
        expect_error(ValueError, student.fertility, encode_words, ["", gap])

    @variant
    class CharacterByCharacter:
        """Loops with running sums; words are counted where one starts."""

        def split_digits(text):
            pieces = []
            for i, char in enumerate(text):
                if i == 0 or char.isdecimal() or text[i - 1].isdecimal():
                    pieces.append(char)
                else:
                    pieces[-1] += char
            return pieces

        def fertility(encode, texts):
            tokens, words = 0, 0
            for text in texts:
                for _ in encode(text):
                    tokens += 1
                previous = " "
                for char in text:
                    words += previous.isspace() and not char.isspace()
                    previous = char
            if words == 0:
                raise ValueError("texts: no words")
            return tokens / words

    @variant
    class Groups:
        """Stretches with groupby; the ratio as a mean that is weighted by words."""

        def split_digits(text):
            pieces = []
            for is_digit, stretch in groupby(text, key=str.isdecimal):
                chars = list(stretch)
                pieces.extend(chars if is_digit else ["".join(chars)])
            return pieces

        def fertility(encode, texts):
            counts = [(len(encode(text)), len(re.findall(r"\S+", text))) for text in texts]
            total = sum(words for _, words in counts)
            if not total:
                raise ValueError(f"texts: expected words, got {texts}")
            return sum(tokens / total for tokens, _ in counts)

    @variant
    class SplitAndFilter:
        """re.split with a group, empty pieces dropped; all words in one list."""

        def split_digits(text):
            return list(filter(None, re.split(r"(\d)", text)))

        def fertility(encode, texts):
            try:
                return sum(map(len, map(encode, texts))) / len("\n".join(texts).split())
            except ZeroDivisionError:
                raise ValueError("texts: no words") from None
