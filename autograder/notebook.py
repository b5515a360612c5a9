"""What a student calls in a notebook: ``check``, ``hint``, ``solution``, ``stand_in``, ``mine`` and the rest.

Nothing here decides a grade. While a submission is graded these functions are silent: the judge runs the same
checks from outside, on the other side of a border.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autograder import progress_view
from autograder.cards import Card, code_card, note_card, report_card
from autograder.class_settings import solutions_shown
from autograder.dependencies import point_to_the_cause
from autograder.exercise import Chapter, Exercise, load_chapter
from autograder.forbid import forbid_mode
from autograder.progress_store import ProgressStore, note_check, note_time, travelling
from autograder.run import Outcome, Report, run_exercise
from autograder.student import LocalBackend


class CheckNotPassed(AssertionError):
    """Raised by ``check(..., strict=True)``, and wherever nbgrader runs a notebook to validate it."""


@dataclass
class _Session:
    chapter: Chapter | None = None
    # The function objects that passed their exercise's public checks in this kernel, by exercise.
    passed: dict[str, tuple] = field(default_factory=dict)
    store: ProgressStore = field(default_factory=ProgressStore)
    clock: Callable[[], float] = time.monotonic
    last: float | None = None  # when the chapter was opened, or the last check or hint came back

    def lap(self) -> float:
        """Seconds since the last lap; the first has none."""
        before, self.last = self.last, self.clock()
        return 0.0 if before is None else self.last - before


_session = _Session()


def in_judge() -> bool:
    """Whether this process runs a submission for the judge."""
    return os.environ.get("COURSE_JUDGE") == "1"


def scale() -> str:
    """How large the experiments are: ``quick``, ``full`` or ``gpu``, from ``COURSE_SCALE`` or the device."""
    chosen = os.environ.get("COURSE_SCALE", "").strip().lower()
    if chosen in ("quick", "full", "gpu"):
        return chosen
    if chosen:
        raise ValueError(f"COURSE_SCALE: expected quick, full or gpu, got {chosen!r}")
    import torch

    return "gpu" if torch.cuda.is_available() else "quick"


def open_chapter(chapter_id: str) -> None:
    """Say which chapter this notebook is: the first thing its set-up cell does."""
    if in_judge():
        return
    _session.chapter = load_chapter(chapter_id, with_hidden=False)
    _session.passed.clear()
    _session.lap()
    _one_thread()
    _remember_setup(chapter_id)
    records = _records(chapter_id)
    names = [e.id for e in _session.chapter.exercises.values() if e.kind == "code"]
    done = sum(bool(records.get(name, {}).get("passed_at")) for name in names)
    count = f"{len(names)} exercise{'s' if len(names) != 1 else ''}"
    text = f"Chapter {chapter_id} is open: {count}, {done} solved so far. Experiment size: {scale()}."
    _show(note_card(text, "▶"))


def check(*functions: Callable | str, strict: bool | None = None) -> None:
    """Run the public checks of the exercise these functions belong to and show what came of them.

    Functions are given themselves or by name. Nothing is raised unless ``strict=True`` or nbgrader validates the
    notebook: then :class:`CheckNotPassed` says which exercise did not pass. The card carries how many checks and
    hints it took so far, and the time: whoever is sent the notebook can read that, and it never changes a grade.
    """
    if in_judge():
        return
    exercise, namespace = _find(functions)
    report, source = _run_public(exercise, namespace)
    written = tuple(namespace.get(name) for name in exercise.functions if callable(namespace.get(name)))
    if exercise.kind == "code":
        again = functools.partial(_run_public_now, namespace=namespace)
        point_to_the_cause(_chapter(), exercise, written, report, again)
    first = report.first_problem
    attempted = report.outcome is not Outcome.NOT_ATTEMPTED  # running all cells of a new chapter is no attempt
    spent = _session.lap() if attempted else 0.0

    def note(record: dict) -> None:
        if attempted:
            note_check(
                record,
                passed=report.passed,
                earned=report.earned,
                points=_chapter().points(exercise.id),
                source=source,
                mistake=first.mistake if first else "",
                seconds=spent,
            )

    record = _session.store.update(_chapter().id, exercise.id, note)
    lines = _footer(exercise, report, record)
    if attempted and not report.passed and exercise.kind == "code":
        from autograder.examples import first_broken  # doctest brings a debugger along, which grading never needs

        lines = [line for line in (first_broken(written, namespace), *lines) if line]
    _show(report_card(report, exercise.title, lines), travelling(exercise.id, record))
    strict = bool(os.environ.get("NBGRADER_EXECUTION")) if strict is None else strict
    if strict and not report.passed:
        raise CheckNotPassed(f"{exercise.id}: {first.title}: {first.message}" if first else exercise.id)


def hint(function: Callable | str, tier: int | None = None) -> None:
    """Show the next hint of an exercise, or the first ``tier`` of its three; how many you used is kept."""
    if in_judge():
        return
    exercise, _ = _find((function,))
    used = _session.store.record(_chapter().id, exercise.id).get("hints", 0)
    shown = min(used + 1, len(exercise.hints)) if tier is None else tier
    if not 1 <= shown <= len(exercise.hints):
        raise ValueError(f"tier: expected a number from 1 to {len(exercise.hints)}, got {tier!r}")
    spent = _session.lap()

    def note(record: dict) -> None:
        note_time(record, spent)
        record["hints"] = max(shown, used)

    record = _session.store.update(_chapter().id, exercise.id, note)
    for number, text in enumerate(exercise.hints[:shown], 1):
        card = note_card(f"Hint {number} of {len(exercise.hints)} for “{exercise.title}”: {text}", "💡")
        _show(card, travelling(exercise.id, record))


def solution(function: Callable | str, confirm: bool = False) -> None:
    """Show the reference solution, after a confirmation, unless the class goes without."""
    if in_judge():
        return
    exercise, _ = _find((function,))
    if not solutions_shown():
        _show(note_card("Solutions are switched off in this class. Ask for a hint, or ask your teacher.", "🔒"))
        return
    if not confirm:
        used = _session.store.record(_chapter().id, exercise.id).get("hints", 0)
        left = f" You have {len(exercise.hints) - used} of {len(exercise.hints)} hints left." if exercise.hints else ""
        name = exercise.functions[-1]
        _show(note_card(f"This shows the whole solution.{left} To see it, run: solution({name}, confirm=True)", "⚠"))
        return
    _session.store.update(_chapter().id, exercise.id, lambda r: r.update(solution_seen=True))
    if exercise.kind == "quiz":
        code = "\n".join(f"{name} = {value!r}" for name, value in exercise.solution().items())
    else:
        code = "\n\n".join(inspect.getsource(getattr(exercise.reference, name)) for name in exercise.functions)
    _show(code_card(code))


def stand_in(function: Callable | str) -> Callable:
    """The student's function once its public checks pass; until then the reference, with a note that says so."""
    if in_judge():
        if isinstance(function, str) and function not in _user_namespace():
            raise NameError(f"name {function!r} is not defined")  # as for any name: the judge then looks further down
        return _user_namespace()[function] if isinstance(function, str) else function
    exercise, namespace = _find((function,))
    name = function if isinstance(function, str) else function.__name__
    written = tuple(namespace.get(n) for n in exercise.functions)
    if _session.passed.get(exercise.id) != written:
        report, _ = _run_public(exercise, namespace)
        if not report.passed:
            _show(note_card(f"Using the course's {name} here: yours does not pass its checks yet.", "↺"))
            return getattr(exercise.reference, name)
    return namespace[name]


def mine(name: str) -> Callable:
    """Your own function from any chapter, as it was when it last passed; the reference, with a note, otherwise."""
    from autograder.rebuild import rebuild

    function, note = rebuild(name, _session.store)
    if note and not in_judge():
        _show(note_card(note, "↺"))
    return function


def progress() -> None:
    """Show what you have done in all chapters: a picture and a table."""
    if not in_judge():
        _show(progress_view.overview(_session.store.load()))


def quiz() -> None:
    """Show the chapter's quiz; answers count through the variable in the cell below it."""
    if in_judge():
        return
    from autograder.questions import QuizExercise, quiz_html, quiz_widget
    from course_lib.display import show_widget

    exercise = next((e for e in _chapter().exercises.values() if isinstance(e, QuizExercise)), None)
    if exercise is None:
        raise ValueError(f"chapter {_chapter().id} has no quiz")
    show_widget(quiz_widget(exercise.questions), quiz_html(exercise.questions))


def _find(functions: tuple[Callable | str, ...]) -> tuple[Exercise, dict[str, Any]]:
    """The exercise that the functions belong to, and the names a check may look up."""
    if not functions:
        raise ValueError("say what to check, for example check(merge)")
    namespace = dict(_user_namespace())
    names = []
    for function in functions:
        name = function if isinstance(function, str) else getattr(function, "__name__", None)
        if name is None:
            raise ValueError(f"expected a function or its name, got {function!r:.60}")
        if not isinstance(function, str):
            namespace[name] = function
        names.append(name)
    try:
        return _chapter().find(names[-1]), namespace
    except KeyError as error:
        raise ValueError(error.args[0]) from None


def _run_public(exercise: Exercise, namespace: dict[str, Any]) -> tuple[Report, str]:
    written = tuple(namespace.get(name) for name in exercise.functions)
    source = _source_of(written)
    backend = LocalBackend(namespace, guard=functools.partial(forbid_mode, exercise.forbid))
    report = run_exercise(exercise, backend, source=source)
    if report.passed:
        _session.passed[exercise.id] = written
    return report, source


def _run_public_now(exercise: Exercise, namespace: dict[str, Any]) -> Report:
    """The checks on what the names stand for at this moment; says nothing about what passed in this kernel."""
    written = tuple(namespace.get(name) for name in exercise.functions)
    if _session.passed.get(exercise.id) == written:
        return Report(exercise.id)
    return run_exercise(exercise, LocalBackend(namespace), source=_source_of(written))


def _source_of(functions: tuple) -> str:
    """The cells in which these functions stand, each once."""
    cells: dict[str, str] = {}
    for function in functions:
        code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
        if code is None and isinstance(function, type):
            code = next((m.__code__ for m in vars(function).values() if hasattr(m, "__code__")), None)
        if code is not None:
            cells[code.co_filename] = "".join(linecache.getlines(code.co_filename))
    return "\n\n".join(cells.values())


def _failing(exercise: Exercise, report: Report) -> str:
    """The function that the first failing check called; the exercise's first one if that says nothing."""
    called = report.first_problem.called.partition("(")[0] if report.first_problem else ""
    return called if called in exercise.functions else exercise.functions[0]


def _footer(exercise: Exercise, report: Report, record: dict) -> list[str]:
    chapter = _chapter()
    hidden = chapter.hidden_counts.get(exercise.id, {})
    count = len(report.results)
    lines = [f"{count} public check{'s' if count != 1 else ''}: {report.earned} of {report.points} points."]
    if hidden.get("checks"):
        many = "s" if hidden["checks"] != 1 else ""
        lines[0] += f" The other {hidden['points']} points come from {hidden['checks']} hidden check{many} at grading."
    if not report.passed and exercise.hints:
        used = record.get("hints", 0)
        if used < len(exercise.hints):
            lines.append(f"Stuck? hint({_failing(exercise, report)}) shows hint {used + 1} of {len(exercise.hints)}.")
        elif solutions_shown():
            lines.append(f"All hints used. solution({exercise.functions[-1]}) shows how the course wrote it.")
    return lines


def _remember_setup(chapter_id: str) -> None:
    """Keep the cell that opened the chapter: code rebuilt by :func:`mine` needs its imports."""
    shell = _shell()
    cells = shell.user_ns.get("In", []) if shell is not None else []
    if cells and "open_chapter" in cells[-1]:
        _session.store.update(chapter_id, "setup", lambda record: record.update(source=cells[-1]))


def _records(chapter_id: str) -> dict[str, dict]:
    return _session.store.load()["chapters"].get(chapter_id, {})


def _chapter() -> Chapter:
    if _session.chapter is None:
        raise RuntimeError('run the set-up cell at the top first: it calls open_chapter("...")')
    return _session.chapter


def _user_namespace() -> dict[str, Any]:
    shell = _shell()
    return shell.user_ns if shell is not None else vars(sys.modules["__main__"])


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()


def _show(card: Card, metadata: dict[str, Any] | None = None) -> None:
    if _shell() is None:
        print(card)
        return
    from IPython.display import display

    display(card, metadata=metadata)


def _one_thread() -> None:
    # On small shared machines two torch threads are slower than one; experiments are sized for one.
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)
