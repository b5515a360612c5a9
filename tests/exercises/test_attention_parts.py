"""Chapter 2 can be done on several days: what a part's first note tells to run is all that the part's cells need.

And whoever reads an exercise's docstring knows what is forbidden in it.
"""

from __future__ import annotations

import builtins
import re
import symtable
from pathlib import Path

import pytest

from autograder.authoring.script import Cell, parse
from autograder.exercise import load_chapter

SOURCE = Path(__file__).parents[2] / "solutions" / "02_attention.py"
CELLS = parse(SOURCE.read_text(encoding="utf-8"), SOURCE.name).cells
CODE_EXERCISES = [e for e in load_chapter("02_attention").exercises.values() if e.kind == "code"]
# The note of part II says so: the playground shows the copying model, which a part of its own trains.
OF_THE_COPYING_MODEL = {"SYMBOLS", "copier", "queries_and_keys"}
PARTS = ("I", "II", "III", "IV", "V")


def names(source: str) -> tuple[set[str], set[str]]:
    """The global names that a cell makes, and those it reads, in its functions and classes, too."""
    made, read = set(), set()

    def walk(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            if table.get_type() == "module" and (symbol.is_assigned() or symbol.is_imported()):
                made.add(symbol.get_name())
            if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
                read.add(symbol.get_name())
        for inner in table.get_children():
            walk(inner)

    # Annotations are not looked at: here they name types only, which the set-up cell imports.
    walk(symtable.symtable(source, "cell", "exec"))
    return made, read - set(dir(builtins))


def part_of(number: str) -> list[Cell]:
    first = next(n for n, cell in enumerate(CELLS) if f"# Part {number} · " in cell.source)
    later = (n for n, cell in enumerate(CELLS) if n > first and re.search(r"^(# Part |## Quiz)", cell.source, re.M))
    return CELLS[first : next(later)]


def told_to_run(note: str) -> list[Cell]:
    """The set-up, the text, and the solution cells of the exercises that a note names."""
    chosen: set[int] = set()
    for first, last in re.findall(r"\b(\d+)(?: to (\d+))?", re.sub(r".*your\s+solutions?\s+of", "", note, flags=re.S)):
        chosen |= set(range(int(first), int(last or first) + 1))
    if "your solution" not in note:
        chosen = set()
    solutions = {CODE_EXERCISES[n - 1].id for n in chosen}
    cells = [cell for cell in CELLS if cell.kind == "code"]
    begin = [cell for cell in cells if cell.header.get("tags") == ["setup"] or "CHARACTERS = {" in cell.source]
    assert len(begin) == 2
    return begin + [cell for cell in cells if cell.header.get("exercise") in solutions]


@pytest.mark.parametrize("number", PARTS)
def test_the_note_of_a_part_names_all_that_its_cells_need(number: str) -> None:
    note, *cells = part_of(number)
    assert "**To begin here" in note.source
    known = set().union(*(names(cell.source)[0] for cell in told_to_run(note.source.partition("Only the")[0])))
    for cell in cells:
        if cell.kind == "code":
            made, read = names(cell.source)
            lacking = read - made - known - (OF_THE_COPYING_MODEL if "attention_playground(" in cell.source else set())
            assert not lacking, f"line {cell.line}: {sorted(lacking)}"
            known |= made


def test_a_part_without_its_note_would_lack_something() -> None:
    known = set().union(*(names(cell.source)[0] for cell in told_to_run("")))
    for number in PARTS[1:]:
        read = set().union(*(names(cell.source)[1] for cell in part_of(number) if cell.kind == "code"))
        assert read & {"MultiHeadAttention", "scaled_dot_product_attention"} - known, number


@pytest.mark.parametrize("exercise", CODE_EXERCISES, ids=lambda exercise: exercise.id)
def test_a_docstring_says_what_is_forbidden(exercise) -> None:
    (cell,) = (cell for cell in CELLS if cell.header.get("exercise") == exercise.id)
    assert ("Not allowed" in cell.source) == bool(exercise.forbid)
