"""Hidden checks of exercise 6, and other ways to solve it."""

from __future__ import annotations

from autograder.compare import equal, expect_error
from autograder.exercise import check, variant
from autograder.exercises.tokenization import special as public
from autograder.exercises.tokenization.special import count_and_bytes
from autograder.rng import Rng
from autograder.student import Student

# Strings that models use, and some in which every sign means something to a regular expression.
STRINGS = ["</s>", "[INST]", "<|a.b|>", "(?)", "$^", "{2}", "a+", "\\n", "<|a.b|><|a.b|>", "[INST]]"]


def assemble(parts: list[str], special: dict[str, int], allowed: set[str]) -> list[int]:
    """The expected ids, from the parts a text was made of: text collects until an allowed string comes."""
    ids: list[int] = []
    waiting = ""
    for part in parts:
        if part in allowed:
            ids += [*count_and_bytes(waiting), special[part]]
            waiting = ""
        else:
            waiting += part
    return ids + count_and_bytes(waiting)


class EncodeWithSpecial(public.EncodeWithSpecial):
    @check(
        points=2, hint="Special strings can hold any character, also such that mean something to regular expressions."
    )
    def handles_any_special_strings(self, student: Student, rng: Rng) -> None:
        special = {string: 500 + i for i, string in enumerate(STRINGS)}
        opening = [" x ", "<|a.b|><|a.b|>", " y", "[INST]", " ", "[INST]]", "z"]
        texts, allowed_sets, wanted = [], [], []
        for turn in range(8):
            allowed = {*rng.sample(STRINGS[:8], rng.randint(4, 8)), *STRINGS[8:]} if turn else set(STRINGS)
            # Between two special strings stands a space, so that no third one arises where they meet.
            parts = [*opening]
            for string in rng.choices(STRINGS, k=6):
                parts += [string, rng.choice((" ", "\n", f" {rng.word(letters='xyz')} ", " é→ "))]
            texts.append("".join(parts))
            allowed_sets.append(allowed)
            wanted.append(assemble(parts, special, allowed))
        found = student.encode_with_special.map(texts, [count_and_bytes] * 8, [special] * 8, allowed_sets)
        for ids, want in zip(found, wanted, strict=True):
            equal(ids, want)

    @check(
        hint="A string that is special for other models but not here cannot be allowed: ValueError, even in empty text."
    )
    def checks_allowed_against_special(self, student: Student, rng: Rng) -> None:
        special = {"</s>": 2, "<s>": 1}
        for text, unknown in (("", "<pad>"), (rng.word(), "s>"), ("<s>", "<S>"), ("a </s>", " </s>")):
            expect_error(ValueError, student.encode_with_special, text, count_and_bytes, special, {"<s>", unknown}, 1)
        equal(
            student.encode_with_special("a</s>", count_and_bytes, special, {"<s>", "</s>"}, 1),
            [1, *count_and_bytes("a"), 2],
        )

    @check(hint="What a user types is encoded with nothing allowed: it must come out exactly as encode(text) gives it.")
    def users_control_nothing(self, student: Student, rng: Rng) -> None:
        special = {f"<|{word}|>": 600 + i for i, word in enumerate(rng.words(4, shortest=3))}
        typed = "".join(f"{rng.word()} {rng.choice([*special])}" for _ in range(5)) + " ok "
        equal(student.encode_with_special(typed, count_and_bytes, special, allowed=set()), count_and_bytes(typed))
        equal(student.encode_with_special(typed, count_and_bytes, special, bos_id=7), [7, *count_and_bytes(typed)])
        equal(student.encode_with_special(typed, count_and_bytes, {}), count_and_bytes(typed))

    @check(hint="No text at all, or nothing but special strings, one next to the other: BOS is still there, once.")
    def handles_texts_without_text(self, student: Student, rng: Rng) -> None:
        special = {"<|pad|>": 0, "<|bos|>": rng.randint(1, 9), "<|pad|>!": 10}
        bos = special["<|bos|>"]
        everything = set(special)
        equal(
            student.encode_with_special("<|pad|>!<|pad|><|pad|>", count_and_bytes, special, everything, bos),
            [bos, 10, 0, 0],
        )
        equal(student.encode_with_special("", count_and_bytes, special, everything), [])
        equal(student.encode_with_special("", count_and_bytes, special, everything, bos_id=0), [0])
        equal(student.encode_with_special("<|bos|>", count_and_bytes, special, everything), [bos])

    @variant
    class Scanning:
        """From place to place: does an allowed string begin here?"""

        def encode_with_special(text, encode, special, allowed=(), bos_id=None):
            if any(string not in special for string in allowed):
                raise ValueError(f"not special: {[*allowed]}")
            ids = []
            if bos_id is not None:
                ids.append(bos_id)
            start = here = 0
            while here < len(text):
                fitting = [string for string in allowed if text.startswith(string, here)]
                if fitting:
                    longest = max(fitting, key=len)
                    if here > start:
                        ids.extend(encode(text[start:here]))
                    ids.append(special[longest])
                    start = here = here + len(longest)
                else:
                    here += 1
            return ids + (encode(text[start:]) if start < len(text) else [])

    @variant
    class Recursive:
        """The first place where any allowed string stands, and then the same for what follows."""

        def encode_with_special(text, encode, special, allowed=(), bos_id=None):
            for string in allowed:
                if string not in special:
                    raise ValueError(string)

            def rest(text):
                if not text:
                    return []
                found = [(text.find(string), -len(string), string) for string in allowed if string in text]
                if not found:
                    return list(encode(text))
                at, _, string = min(found)
                before = list(encode(text[:at])) if at else []
                return [*before, special[string], *rest(text[at + len(string) :])]

            return rest(text) if bos_id is None else [bos_id, *rest(text)]
