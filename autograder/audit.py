"""Checks the checks: every mistake must be caught and named, every correct solution accepted.

``course audit`` prints the table; its exit code is 1 when an exercise falls short of what the course promises.
"""

from __future__ import annotations

import gc
import time
from dataclasses import asdict, dataclass, field

import torch

from autograder.exercise import Chapter, Check, Exercise, load_chapter
from autograder.run import LocalBackend, Outcome, Report, run_exercise

MIN_MISTAKES = 3
MIN_VARIANTS = 2
# All checks of an exercise together with the reference, public and hidden: a student waits for the public half at every
# press of Run, and a class of hundreds for all of them.
MAX_SECONDS = 0.5
# Processor time is not the same everywhere either: beside a busy neighbour the same work takes twice as much of it. So
# the limit is stretched by how much slower than this a small loop is, right then and there.
LOOP, LOOP_SECONDS = 200_000, 0.0125  # on the two-core machine of the benchmarks, with nothing beside it
# A check draws its inputs from a seed; an exercise must hold up under other draws too.
SEEDS = (0, 1, 2)


@dataclass
class Audited:
    """What was found out about one exercise; ``problems`` is empty when all is well."""

    chapter: str
    exercise: str
    kind: str
    public_checks: int
    hidden_checks: int
    points: int
    mistakes: int = 0
    caught: int = 0
    named: int = 0
    variants: int = 0
    accepted: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict:
        return asdict(self)


def audit_chapter(chapter_id: str) -> list[Audited]:
    """Audit all exercises of a chapter, in reading order."""
    chapter: Chapter = load_chapter(chapter_id)
    return [audit_exercise(chapter_id, exercise) for exercise in chapter.exercises.values()]


def audit_exercise(chapter_id: str, exercise: Exercise) -> Audited:
    """Run reference, stub, variants and mistakes of one exercise through all its checks, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as when grading; on a busy machine a second thread mostly waits, and waiting costs
    try:
        return _audit(chapter_id, exercise)
    finally:
        torch.set_num_threads(threads)


def _audit(chapter_id: str, exercise: Exercise) -> Audited:
    found = Audited(
        chapter_id,
        exercise.id,
        exercise.kind,
        len(exercise.public_checks),
        len(exercise.hidden_checks),
        exercise.points,
        mistakes=len(exercise.mistakes),
        variants=len(exercise.variants),
    )
    say = found.problems.append
    if len(exercise.hints) != 3:
        say(f"has {len(exercise.hints)} hints instead of 3")
    if not exercise.public_checks or (exercise.kind == "code" and not exercise.hidden_checks):
        say("needs at least one public and one hidden check")
    _audit_reference(exercise, found)
    _audit_stub(exercise, say)
    if exercise.kind == "code":
        if found.mistakes < MIN_MISTAKES:
            say(f"has {found.mistakes} mistakes, fewer than {MIN_MISTAKES}")
        if found.variants < MIN_VARIANTS:
            say(f"has {found.variants} variants, fewer than {MIN_VARIANTS}")
    _audit_variants(exercise, found)
    _audit_mistakes(exercise, found)
    return found


def _audit_reference(exercise: Exercise, found: Audited) -> None:
    # The best of all draws: the first one still imports, and on a busy machine any of them may be slowed down.
    found.seconds = float("inf")
    for seed in SEEDS:
        report, seconds = _timed(exercise, seed)
        found.seconds = min(found.seconds, seconds)
        for result in report.results:
            if result.outcome is not Outcome.PASSED:
                found.problems.append(f"the reference fails {result.check!r}: {result.message}")
    if found.seconds > MAX_SECONDS:
        found.problems.append(
            f"its checks take {found.seconds:.2f} s of processor time with the reference, more than {MAX_SECONDS} s"
        )


def _timed(exercise: Exercise, seed: int) -> tuple[Report, float]:
    """All checks with the reference, and their processor time as it would be on a machine of the usual speed."""
    before = _slowness()
    gc.collect()
    gc.freeze()  # what others have left in this process is not to be gone through again and again in that time
    start = time.process_time()
    report = _run(exercise, exercise.solution(), seed)
    seconds = time.process_time() - start
    gc.unfreeze()
    return report, seconds / max(1.0, before, _slowness())


def _slowness() -> float:
    start, value = time.process_time(), 0
    for number in range(LOOP):
        value = (31 * value + number) % 1_000_003
    return (time.process_time() - start) / LOOP_SECONDS


def _audit_stub(exercise: Exercise, say) -> None:
    report = _run(exercise, exercise.stub())
    for result in report.results:
        if result.outcome is not Outcome.NOT_ATTEMPTED:
            say(f"the unsolved stub is {result.outcome!r} in {result.check!r} instead of 'not attempted'")


def _audit_variants(exercise: Exercise, found: Audited) -> None:
    for variant in exercise.variants:
        reports = [_run(exercise, exercise.solution(**variant.code), seed) for seed in SEEDS]
        wrong = next((report.first_problem for report in reports if not report.passed), None)
        if wrong is None:
            found.accepted += 1
        else:
            found.problems.append(f"variant {variant.name} fails {wrong.check!r}: {wrong.message}")


def _audit_mistakes(exercise: Exercise, found: Audited) -> None:
    for mistake in exercise.mistakes:
        report = _run(exercise, exercise.solution(**{mistake.function: mistake.code}))
        failed = [r for r in report.results if r.outcome is not Outcome.PASSED]
        misnamed = [r for r in failed if r.mistake not in ("", mistake.name)]
        if not failed:
            found.problems.append(f"mistake {mistake.name} passes every check")
            continue
        found.caught += 1
        first = failed[0]
        if misnamed:
            found.problems.append(f"mistake {mistake.name} is taken for {misnamed[0].mistake} in {misnamed[0].check!r}")
        elif first.mistake != mistake.name:
            found.problems.append(f"mistake {mistake.name} is not named by {first.check!r}: {first.message}")
        elif first.hidden:
            found.problems.append(f"mistake {mistake.name} is caught by hidden checks only")
        else:
            found.named += 1


def _run(exercise: Exercise, code: dict, seed: int | None = None, checks: list[Check] | None = None) -> Report:
    def seed_of_check(check: Check) -> int:
        return (seed or 0) * 1_000_003 + len(check.name)

    return run_exercise(
        exercise, LocalBackend(code), checks=checks or exercise.checks, seed=None if seed is None else seed_of_check
    )


def markdown_table(audited: list[Audited]) -> str:
    """The table as it stands in docs/; no timings, so that it is the same on every machine."""
    lines = [
        "| chapter | exercise | points | public checks | hidden checks | mistakes named | variants accepted |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for a in audited:
        named = f"{a.named} of {a.mistakes}" if a.kind == "code" else "–"
        accepted = f"{a.accepted} of {a.variants}" if a.kind == "code" else "–"
        cells = (a.chapter, a.exercise, a.points, a.public_checks, a.hidden_checks, named, accepted)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    for chapter_name in sys.argv[1:]:
        for item in audit_chapter(chapter_name):
            print(item)
