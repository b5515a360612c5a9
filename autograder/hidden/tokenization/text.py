"""Hidden checks of exercise 1, and other ways to solve it."""

from __future__ import annotations

import codecs

from autograder.compare import equal
from autograder.exercise import check, variant
from autograder.exercises.tokenization import text as public
from autograder.exercises.tokenization.text import TABLES, misread, utf8_by_hand
from autograder.rng import Rng
from autograder.student import Student


class RepairMojibake(public.RepairMojibake):
    @check(hint="One character has one to four bytes. Accents and emoji may be several characters.")
    def spells_any_text(self, student: Student, rng: Rng) -> None:
        # The last and first code points of each length, a combining accent, and one emoji made of three characters.
        edges = "\x00\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
        texts = [edges, "e\u0301 is not \u00e9", "\U0001f469\u200d\U0001f680", ""]
        texts += [rng.unicode(rng.randint(1, 40)) for _ in range(20)]
        for text, spelled in zip(texts, student.utf8_bytes.map(texts), strict=True):
            equal(spelled, utf8_by_hand(text))

    @check(points=2, hint="Whatever the text was: misreading it and repairing it must give it back.")
    def undoes_every_misreading(self, student: Student, rng: Rng) -> None:
        texts = ["é" + rng.unicode(rng.randint(0, 30)) for _ in range(60)]
        tables = [TABLES[turn % len(TABLES)] for turn in range(60)]
        repaired = student.repair_mojibake.map(map(misread, texts, tables), wrong=tables)
        for text, got in zip(texts, repaired, strict=True):
            equal(got, text)
        text = rng.unicode(300)
        equal(student.repair_mojibake(misread(text, "mac_roman")), text)

    @check(hint="Two things show that a text was not misread: a character without a byte, or bytes that are not UTF-8.")
    def leaves_right_text_alone(self, student: Student, rng: Rng) -> None:
        texts: list[str] = []
        for _ in range(10):
            not_in_the_table = "".join(rng.choices("日本語とかな漢字ん", k=4)) + rng.word()
            # Their bytes in the table only continue a character in UTF-8, so they cannot begin one.
            not_utf8 = rng.word() + "".join(rng.choices("äåçéèêëíñóö", k=3)) + rng.word()
            misread_in_part = misread(not_utf8, "mac_roman") + " " + not_in_the_table
            texts += [misread_in_part, not_in_the_table, not_utf8]
        for text, got in zip(texts, student.repair_mojibake.map(texts), strict=True):
            equal(got, text)

    @variant
    class FromTheBits:
        def utf8_bytes(text):
            found = []
            for code in map(ord, text):
                length = 1 + (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF)
                found.append((None, 0, 192, 224, 240)[length] + (code >> 6 * (length - 1)))
                found += [128 + (code >> 6 * k) % 64 for k in reversed(range(length - 1))]
            return found

        def repair_mojibake(text, wrong="mac_roman"):
            byte_of = {}
            for byte in range(256):
                character = bytes([byte]).decode(wrong, errors="ignore")
                byte_of.setdefault(character, byte)
            if not all(character in byte_of for character in text):
                return text
            try:
                return bytes(byte_of[character] for character in text).decode()
            except UnicodeDecodeError:
                return text

    @variant
    class WithCodecs:
        def utf8_bytes(text):
            return [*bytearray(text, "utf-8")]

        def repair_mojibake(text, wrong="mac_roman"):
            try:
                raw, _ = codecs.lookup(wrong).encode(text, "strict")
            except UnicodeEncodeError:
                return text
            reader = codecs.getincrementaldecoder("utf-8")()
            try:
                return "".join([*(reader.decode(bytes([byte])) for byte in raw), reader.decode(b"", final=True)])
            except UnicodeDecodeError:
                return text
