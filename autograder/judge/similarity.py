"""Who wrote code that is alike where few others in the class wrote the same: a list to look at, no verdict.

A solution is a set of pieces (:mod:`autograder.judge.pieces`). Pieces that the course gives, or that many in the
class have, say nothing and are dropped. Of what remains MinHash makes a short signature whose entries agree for two
sets as often as their Jaccard similarity says (A. Broder, "On the resemblance and containment of documents", 1997);
sets that agree in a whole band of it are compared exactly. So the work grows with the class, not with its pairs.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from autograder.exercise import Chapter, Exercise
from autograder.judge.pieces import from_text, parsed, pieces_of
from autograder.judge.submission import SubmissionError, read_cells

THRESHOLD = 0.6  # Jaccard similarity of what two solutions have beyond the class
MIN_SHARED = 30  # pieces, some eight lines; shorter agreement happens by itself
BANDS, ROWS = 32, 3  # two sets at the threshold share a band with probability 1 - (1 - 0.6**3)**32 > 0.999
MOST_SHARING = 50  # what more people have is not rare in any class: it also bounds the pairs to compare


@dataclass(frozen=True)
class Pair:
    """Two students, the similarity of their rare pieces, and how many of these both have."""

    one: str
    other: str
    score: float
    shared: int


@dataclass(frozen=True)
class Group:
    """Students connected by pairs in one exercise; in a chain the ends may be less alike than the neighbours."""

    exercise: str
    students: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def score(self) -> float:
        return max(pair.score for pair in self.pairs)

    @property
    def shared(self) -> int:
        return max(pair.shared for pair in self.pairs)


def similar_submissions(chapter: Chapter, graded: Sequence[Any], released: bytes | None = None) -> list[Group]:
    """The groups of all code exercises, the most alike first; ``graded`` have ``student`` and ``result``."""
    found: list[Group] = []
    handed_out = _handed_out(released)
    for exercise in chapter.exercises.values():
        if exercise.kind == "code":
            entries = {g.student: g.result["exercises"].get(exercise.id, {}) for g in graded if g.result}
            written = {student: from_text(entry.get("pieces")) for student, entry in entries.items()}
            given = np.union1d(handed_out, given_pieces(exercise))
            found += groups(exercise.id, alike(written, given))
    return sorted(found, key=lambda group: (-group.score, -group.shared, group.exercise, group.students))


def alike(written: Mapping[str, np.ndarray], given: np.ndarray | Sequence[int] = ()) -> list[Pair]:
    """The pairs whose rare pieces are alike, in order of the students' names.

    >>> copy, other = np.arange(40, dtype=np.uint32), np.arange(100, 140, dtype=np.uint32)
    >>> alike({"ada": copy, "ben": copy, "chen": other, "dana": other + 50})
    [Pair(one='ada', other='ben', score=1.0, shared=40)]
    """
    students = sorted(student for student, pieces in written.items() if len(pieces))
    if len(students) < 2:
        return []
    kept = _rare(written, students, np.asarray(given, dtype=np.uint32))
    sets = {student: frozenset(pieces.tolist()) for student, pieces in kept.items()}
    found = []
    for one, other in sorted(_candidates(kept)):
        shared = len(sets[one] & sets[other])
        score = shared / (len(sets[one]) + len(sets[other]) - shared)
        if shared >= MIN_SHARED and score >= THRESHOLD:
            found.append(Pair(one, other, round(score, 3), shared))
    return found


def _rare(written: Mapping[str, np.ndarray], students: Sequence[str], given: np.ndarray) -> dict[str, np.ndarray]:
    """Of everybody's pieces those that few have and the course does not give; who has too few is left out."""
    together = np.concatenate([written[student] for student in students])
    pieces, places, counts = np.unique(together, return_inverse=True, return_counts=True)
    is_rare = (counts <= most_sharing(len(students))) & ~np.isin(pieces, given)
    ends = np.cumsum([len(written[student]) for student in students])[:-1]
    kept = (part[rare] for part, rare in zip(np.split(together, ends), np.split(is_rare[places], ends), strict=True))
    return {student: part for student, part in zip(students, kept, strict=True) if len(part) >= MIN_SHARED}


def most_sharing(students: int) -> int:
    """How many of so many students may have a piece that still counts as rare.

    >>> [most_sharing(n) for n in (2, 6, 12, 100, 400, 5000)]
    [2, 3, 4, 5, 20, 50]
    """
    return min(max(2, min(4, students // 2), students // 20), MOST_SHARING)


def groups(exercise: str, pairs: Sequence[Pair]) -> list[Group]:
    """Students connected by pairs, directly or not."""
    leader: dict[str, str] = {}

    def find(student: str) -> str:
        while leader.setdefault(student, student) != student:
            leader[student] = leader[leader[student]]
            student = leader[student]
        return student

    for pair in pairs:
        leader[find(pair.one)] = find(pair.other)
    members: dict[str, set[str]] = defaultdict(set)
    links: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        members[find(pair.one)] |= {pair.one, pair.other}
        links[find(pair.one)].append(pair)
    return [Group(exercise, tuple(sorted(members[head])), tuple(links[head])) for head in members]


def _candidates(kept: Mapping[str, np.ndarray]) -> set[tuple[str, str]]:
    """Pairs that agree in at least one band of their signatures."""
    students = list(kept)
    if len(students) < 2:
        return set()
    signatures = np.stack([_signature(pieces) for pieces in kept.values()]).reshape(len(students), BANDS, ROWS)
    found = set()
    for band in range(BANDS):
        same: dict[bytes, list[int]] = defaultdict(list)
        for number in range(len(students)):
            same[signatures[number, band].tobytes()].append(number)
        for bucket in same.values():
            found |= {(students[i], students[j]) for k, i in enumerate(bucket) for j in bucket[k + 1 :]}
    return found


def _signature(pieces: np.ndarray) -> np.ndarray:
    """MinHash: the smallest value of each of BANDS * ROWS hash functions, multiply and keep the upper half."""
    factors, offsets = _hash_functions()
    values = factors[:, None] * pieces.astype(np.uint64)[None, :] + offsets[:, None]  # modulo 2**64
    return (values >> np.uint64(32)).min(axis=1).astype(np.uint32)


@cache
def _hash_functions() -> tuple[np.ndarray, np.ndarray]:
    """The same on every machine and with every version of numpy: from SHA-256, not from a random stream."""
    digests = [hashlib.sha256(f"minhash {number}".encode()).digest() for number in range(BANDS * ROWS)]
    numbers = np.array([[int.from_bytes(d[:8], "little"), int.from_bytes(d[8:16], "little")] for d in digests])
    numbers = numbers.astype(np.uint64)
    return numbers[:, 0] | np.uint64(1), numbers[:, 1]


def given_pieces(exercise: Exercise) -> np.ndarray:
    """The pieces of all code that the course has for an exercise: its solution, other right ones, known mistakes."""
    functions = {name: getattr(exercise.reference, name, None) for name in exercise.functions}
    written = [list(functions.values())]
    written += [[*variant.code.values()] for variant in exercise.variants]
    written += [[mistake.code] for mistake in exercise.mistakes]
    texts = ["\n\n".join(_source(function) for function in together if function) for together in written]
    # Alone and together: a student's cell may hold one of several functions.
    texts += [_source(function) for function in functions.values() if function]
    return np.unique(np.concatenate([pieces_of([text]) for text in texts])) if texts else np.array([], np.uint32)


def _source(function: Any) -> str:
    """The text of a function, its module's imports before it, so that names mean what they mean in a notebook."""
    try:
        module, text = inspect.getmodule(function), textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return ""
    return "\n".join([*(_imports(module) if module else ()), text])


@cache
def _imports(module: ModuleType) -> tuple[str, ...]:
    tree = parsed(inspect.getsource(module))
    nodes = tree.body if tree else ()
    return tuple(ast.unparse(node) for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))


def _handed_out(released: bytes | None) -> np.ndarray:
    """The pieces of the cells of the released notebook: set-up, signatures, experiments."""
    return np.unique(np.concatenate([np.array([], np.uint32), *_cells(released)]))


def _cells(released: bytes | None) -> Iterator[np.ndarray]:
    try:
        cells = read_cells(released) if released else []
    except SubmissionError:
        return
    for cell in cells:
        if cell.kind == "code":
            yield pieces_of([cell.source])
