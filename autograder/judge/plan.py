"""Decides what of a notebook is run, in which order, and when each exercise can be graded.

Run are the released set-up, and of the student's cells, in the notebook's order: the set-up cell if it was changed,
the solution cells, and of every other cell those definitions and assignments on which a solution depends. A solution
is found by its grade id, by its cell's id, or by the functions it defines; stubs that were left beside a written
version are skipped. Where a cell stands, and how many copies there are, costs nobody anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from autograder.exercise import Chapter, Exercise
from autograder.judge.launcher import Limits
from autograder.judge.remote import Cell
from autograder.judge.statements import ANY_NAME, Source, Statement, parse
from autograder.judge.submission import SubmittedCell

MAX_TRIES = 4  # at how many points of a notebook an exercise is graded, at most


@dataclass
class PlannedExercise:
    """When to grade an exercise: after these cells (indices into the plan), until it has passed."""

    points: list[int] = field(default_factory=list)
    # The code it consists of, one text per cell, its own cell first.
    sources: list[str] = field(default_factory=list)
    parts: tuple[str, ...] = ()  # the same in the notebook's order
    uses: frozenset[str] = frozenset()
    at_once: frozenset[str] = frozenset()  # those of them that are looked up when its cells run, not only in calls
    written: bool = False  # whether there is more than a stub
    notes: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """What to run, and when to grade what."""

    cells: list[Cell]
    exercises: dict[str, PlannedExercise]


@dataclass
class _Piece:
    """A cell of the submission that may be run, and what of it is."""

    number: int
    source: Source | None
    text: str
    role: str  # release, setup, solution or extra
    exercise: str = ""
    kept: list[Statement] = field(default_factory=list)
    binds: frozenset[str] = frozenset()  # by what is kept, when that is settled

    def changes(self, names: set[str]) -> bool:
        """Whether it gives one of the names another meaning; importing the same thing again does not."""
        return any(s.binds & names and not s.is_import for s in self.kept)


def make_plan(chapter: Chapter, submitted: list[SubmittedCell], released: list[SubmittedCell], limits: Limits) -> Plan:
    """The plan for a submission; ``released`` are the cells of the chapter as it was handed out."""
    pieces = _pieces(chapter, submitted, released)
    owner = {name: exercise.id for exercise in chapter.exercises.values() for name in exercise.functions}
    _drop_superfluous_stubs(pieces, set(owner))
    _keep_what_is_needed(pieces, set(owner))
    pieces = [p for p in pieces if p.kept or p.source is None]
    for piece in pieces:
        piece.binds = frozenset().union(*(s.binds for s in piece.kept))
    cells = [_cell(p, owner, chapter, limits) for p in pieces]
    planned = {e.id: _plan_exercise(e, pieces, owner) for e in chapter.exercises.values()}
    return Plan(cells, planned)


def _pieces(chapter: Chapter, submitted: list[SubmittedCell], released: list[SubmittedCell]) -> list[_Piece]:
    setup = [cell for cell in released if cell.kind == "code" and "setup" in cell.tags]
    known_setup = {cell.source.strip() for cell in setup}
    setup_ids = {cell.cell_id for cell in setup if cell.cell_id}
    pieces = [_Piece(0, parse(cell.source), cell.source, "release") for cell in setup]
    for cell in submitted:
        exercise = next((i for i in (cell.grade_id, cell.cell_id) if i in chapter.exercises), "")
        if cell.is_check or not cell.source.strip() or (cell.kind != "code" and not exercise):
            continue
        if exercise:
            role = "solution"
        elif "setup" in cell.tags or cell.cell_id in setup_ids:
            role = "setup"
        else:
            role = "extra"
        if role == "setup" and cell.source.strip() in known_setup:
            continue
        source = parse(cell.source)
        if source is None and role == "extra":
            continue
        pieces.append(_Piece(cell.number, source, cell.source, role, exercise))
    functions = {name for exercise in chapter.exercises.values() for name in exercise.functions}
    handed_out = {cell.source.strip() for cell in released}
    for piece in pieces:
        piece.kept = list(piece.source.statements) if piece.source else []
        # An experiment as it was handed out may say `encode = stand_in(encode)`: that is nobody's solution.
        if piece.role == "extra" and piece.text.strip() in handed_out:
            piece.kept = [s for s in piece.kept if not s.binds & functions]
    return pieces


def _drop_superfluous_stubs(pieces: list[_Piece], functions: set[str]) -> None:
    statements = [s for p in pieces for s in p.kept]
    written = {name for s in statements if not s.is_stub for name in s.binds} & functions
    for piece in pieces:
        piece.kept = [s for s in piece.kept if not (s.is_stub and s.binds & written)]


def _keep_what_is_needed(pieces: list[_Piece], functions: set[str]) -> None:
    """Of cells that are no solutions keep the statements that solutions depend on, directly or not."""
    always = [p for p in pieces if p.role != "extra"]
    extras = [p for p in pieces if p.role == "extra"]
    needed = set(functions).union(*(s.uses for p in always for s in p.kept))
    candidates = [(p, s) for p in extras for s in p.kept if not s.is_expression]
    kept: set[int] = set()
    growing = True
    while growing:
        growing = False
        for number, (_, statement) in enumerate(candidates):
            if number not in kept and (statement.binds & needed or ANY_NAME in statement.binds):
                kept.add(number)
                needed |= statement.uses
                growing = True
    for piece in extras:
        piece.kept = [s for n, (p, s) in enumerate(candidates) if p is piece and n in kept]


def _cell(piece: _Piece, owner: dict[str, str], chapter: Chapter, limits: Limits) -> Cell:
    own = chapter.exercises[piece.exercise].functions if piece.exercise else ()
    if piece.source is None:
        # Not Python: running it says why, and where.
        return Cell(piece.number, (piece.text,), limits.cell_seconds, frozenset(own))
    seconds = limits.extra_cell_seconds if piece.role == "extra" else limits.cell_seconds
    parts = piece.source.parts(piece.kept)
    if len(parts) > 200:
        parts = (piece.source.only(piece.kept),)
    return Cell(piece.number, parts, seconds, frozenset(piece.binds & owner.keys() | set(own)))


def _plan_exercise(exercise: Exercise, pieces: list[_Piece], owner: dict[str, str]) -> PlannedExercise:
    own = set(exercise.functions)
    names, closure = _closure(exercise, pieces, owner)
    at_once = frozenset().union(*(s.at_once for kept in closure.values() for s in kept))
    planned = PlannedExercise(uses=frozenset(names - own), at_once=at_once - own)
    homes = [n for n, p in enumerate(pieces) if _defines(p, own) or p.exercise == exercise.id]
    # The first point at which all is there; later ones where something that it uses is bound anew.
    first_bound = [next((n for n, p in enumerate(pieces) if name in p.binds), 0) for name in names | own]
    start = max([*first_bound, *homes[:1]], default=0)
    later = [n for n, p in enumerate(pieces) if n > start and p.changes(names | own)]
    points = [start, *later]
    planned.points = points if len(points) <= MAX_TRIES else [*points[: MAX_TRIES - 1], points[-1]]
    home = homes[-1] if homes else None
    ordered = sorted(closure, key=lambda n: n != home)
    imports = [
        pieces[n].source.only([s for s in closure[n] if s.is_import]).strip()  # type: ignore[union-attr]
        for n in ordered
    ]
    planned.sources = [
        "\n".join([pieces[n].source.only(closure[n]), *imports])  # type: ignore[union-attr]
        for n in ordered
        if any(not s.is_import for s in closure[n]) or n == home
    ]
    planned.parts = tuple(pieces[n].source.only(closure[n]) for n in sorted(closure))  # type: ignore[union-attr]
    planned.written = any(s.binds & own and not s.is_stub for p in pieces for s in p.kept)
    planned.notes = _notes(exercise, pieces, homes)
    return planned


def _closure(
    exercise: Exercise, pieces: list[_Piece], owner: dict[str, str]
) -> tuple[set[str], dict[int, list[Statement]]]:
    """The global names that an exercise's code uses, and its statements by piece, helpers included."""
    names = set(exercise.functions)
    closure: dict[int, list[Statement]] = {}
    growing = True
    while growing:
        growing = False
        for number, piece in enumerate(pieces):
            for statement in piece.kept:
                others = any(owner.get(name, exercise.id) != exercise.id for name in statement.binds)
                if others or not statement.binds & names or statement in closure.get(number, []):
                    continue
                closure.setdefault(number, []).append(statement)
                names |= statement.uses
                growing = True
    for statements in closure.values():
        statements.sort(key=lambda s: s.first)
    return names, closure


def _defines(piece: _Piece, names: Iterable[str]) -> bool:
    return bool(piece.binds & set(names)) and piece.role != "release"


def _notes(exercise: Exercise, pieces: list[_Piece], homes: list[int]) -> list[str]:
    """What a person who looks at the notebook should know about where the solution was found."""
    found = [pieces[n] for n in homes]
    written = [p for p in found if any(not s.is_stub and s.binds & set(exercise.functions) for s in p.kept)]
    in_its_place = len(written) == 1 and written[0].exercise == exercise.id
    if not written or in_its_place:
        return []
    numbers = ", ".join(str(p.number) for p in written)
    return [f"found in cell{'s' if len(written) > 1 else ''} {numbers}"]
