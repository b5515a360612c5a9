"""The command line ``course``: thin commands over the packages that do the work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from autograder.checkout import project_root
from autograder.student_cli import EXPECTED, console, errors, make_app, run

app = make_app("Tokens to Thought: build, check, grade.")

Chapters = Annotated[list[str] | None, typer.Argument(help="Chapter ids, such as 01_tokenization; all when left out.")]


@app.command()
def build(
    chapters: Chapters = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what is stale, leaks or is malformed.")] = False,
    from_notebook: Annotated[Path | None, typer.Option(help="Carry edits of a source notebook back.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over notebooks in which somebody has worked.")] = False,
) -> None:
    """Build the students' notebooks from solutions/."""
    from autograder import build as builder

    root = project_root()
    if from_notebook:
        console.print(f"wrote {builder.from_notebook(from_notebook, root, force=force)}")
        return
    if check:
        problems = builder.check(root)
        for problem in problems:
            typer.echo(str(problem))
        typer.echo(f"{len(problems)} problems" if problems else "chapters are current and clean")
        raise typer.Exit(1 if problems else 0)
    for path in builder.build(chapters, root, force=force):
        typer.echo(f"built {path.relative_to(root)}")


@app.command()
def release(
    chapters: Annotated[list[str], typer.Argument(help="Chapter ids, such as 01_tokenization.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to make; it must not exist yet, or be empty.")],
    no_solutions_shown: Annotated[
        bool, typer.Option("--no-solutions-shown", help="Switch solution() off for this class.")
    ] = False,
) -> None:
    """Make the student edition: chapters and tools, without hidden checks, solutions and tests."""
    from autograder import build as builder
    from autograder.authoring.student_edition import make_edition

    root = project_root()
    if problems := builder.check(root):
        raise builder.BuildError(problems)
    made = make_edition(chapters, to, root, solutions_shown=not no_solutions_shown)
    console.print(f"made {made}: try it with `make lab` there, then hand it out", highlight=False, soft_wrap=True)


@app.command()
def audit(
    chapters: Chapters = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    write: Annotated[bool, typer.Option(help="Write the table to docs/audit.md.")] = False,
) -> None:
    """Check the checks: mistakes caught and named, correct variants accepted."""
    from autograder.audit import audit_chapter, markdown_table
    from autograder.exercise import chapter_ids

    found = [item for chapter in chapters or chapter_ids() for item in audit_chapter(chapter)]
    if as_json:
        typer.echo(json.dumps([item.as_dict() for item in found], indent=1))
    else:
        _print_audit(found)
    if write:
        (project_root() / "docs" / "audit.md").write_text(AUDIT_INTRODUCTION + markdown_table(found), encoding="utf-8")
    raise typer.Exit(1 if any(item.problems for item in found) else 0)


AUDIT_INTRODUCTION = """# What the checks are worth

Every exercise declares plausible mistakes and other correct solutions. `course audit` runs all of them through the
exercise's checks: each mistake must be caught and named, each correct solution accepted. `course audit --write`
writes this page.

"""


def _print_audit(found: list) -> None:
    table = Table(title="Audit of the checks")
    for name in ("exercise", "points", "checks", "mistakes", "caught, named", "variants", "s"):
        table.add_column(name, justify="left" if name == "exercise" else "right", no_wrap=True)
    for a in found:
        checks = f"{a.public_checks} + {a.hidden_checks} hidden"
        accepted = f"{a.accepted} of {a.variants} pass"
        cells = (a.points, checks, a.mistakes, f"{a.caught}, {a.named}", accepted)
        table.add_row(("✗ " if a.problems else "") + a.exercise, *map(str, cells), f"{a.seconds:.2f}")
    code = [a for a in found if a.kind == "code"]
    totals = [sum(getattr(a, k) for a in code) for k in ("mistakes", "caught", "named", "variants", "accepted")]
    console.print(table)
    console.print(
        f"{len(code)} exercises, {totals[0]} mistakes: {totals[1]} caught, {totals[2]} named; "
        f"{totals[3]} variants: {totals[4]} accepted"
    )
    for a in found:
        for problem in a.problems:
            errors.print(f"{a.exercise}: {problem}", style="red", highlight=False, markup=False, soft_wrap=True)


@app.command()
def collect(
    source: Annotated[Path, typer.Argument(help="A folder, a zip, or an export of Moodle or Canvas.")],
    names: Annotated[Path | None, typer.Option(help="CSV: student id, then names that the export may use.")] = None,
    chapter: Annotated[str | None, typer.Option(help="The chapter all of it belongs to, if notebooks differ.")] = None,
) -> None:
    """Take submissions in, and name everything that could not be taken."""
    from autograder.exercise import chapter_ids
    from autograder.judge.grade import only_one
    from autograder.judge.gradebook import Course
    from autograder.judge.intake import collect as take

    root = project_root()
    with only_one(root / "classroom"):  # nobody should be grading what is being replaced
        done = take(source, Course(root).folder("submitted"), chapter_ids(), chapter=chapter, names=names)
    for line in [f"late: {line}" for line in done.late] + done.problems:
        errors.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    taken = f"{len(done.new)} new, {len(done.changed)} changed, {len(done.unchanged)} as before"
    console.print(f"{taken}, {len(done.problems)} to look at", highlight=False)
    raise typer.Exit(1 if done.problems else 0)


@app.command()
def grade(
    chapter: Annotated[str, typer.Argument(help="Chapter id, such as 01_tokenization.")],
    submissions: Annotated[Path | None, typer.Option(help="Folder of submissions to take in first.")] = None,
    regrade: Annotated[bool, typer.Option(help="Grade again what has been graded already.")] = False,
    workers: Annotated[int, typer.Option(help="Submissions graded at the same time.")] = 2,
    student: Annotated[list[str] | None, typer.Option(help="Only this student; may be given again.")] = None,
    since: Annotated[str | None, typer.Option(help="Only what came in since: 2026-05-01T18:00, or 36h, 2d.")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: only compute and store the i-th of n shares.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Grade on a Dask cluster: tcp://host:8786.")] = None,
    gradebook: Annotated[str | None, typer.Option(help="The gradebook's address, as COURSE_GRADEBOOK.")] = None,
    gradescope: Annotated[Path | None, typer.Option(help="Write STUDENT/results.json for Gradescope there.")] = None,
    json_lines: Annotated[bool, typer.Option("--json-lines", help="Print a line of JSON per submission.")] = False,
    unsafe_no_sandbox: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="Grade even where no sandbox can be built.")
    ] = False,
) -> None:
    """Grade everything new of a chapter, write feedback and a table of grades."""
    from autograder.judge import sandbox
    from autograder.judge.grade import grade_chapter
    from autograder.judge.selection import Selection

    if gradebook:
        os.environ["COURSE_GRADEBOOK"] = gradebook
    if unsafe_no_sandbox:
        os.environ[sandbox.UNSAFE] = "1"
        if sandbox.strongest_level() == "process":
            errors.print(f"Warning: {sandbox.GIVES_UP}", style="yellow")
    grade_chapter(
        chapter,
        project_root(),
        submissions=submissions,
        regrade=regrade,
        workers=workers,
        console=errors if json_lines else None,
        selection=Selection.parse(student or (), since, shard),
        scheduler=scheduler,
        gradescope=gradescope,
        on_graded=(lambda graded: typer.echo(json.dumps(graded.as_dict()))) if json_lines else None,
    )


@app.command()
def report(
    chapter: Annotated[str, typer.Argument(help="Chapter id, such as 01_tokenization.")],
    csv: Annotated[Path | None, typer.Option(help="Also a table: a row per student and exercise.")] = None,
    nbgrader: Annotated[Path | None, typer.Option(help="Also the grades, by nbgrader's own exporter.")] = None,
    gradebook: Annotated[str | None, typer.Option(help="The gradebook's address, as COURSE_GRADEBOOK.")] = None,
) -> None:
    """Write the report of a chapter again from stored results, without grading."""
    from autograder.judge.stored import report_chapter

    if gradebook:
        os.environ["COURSE_GRADEBOOK"] = gradebook
    for path in report_chapter(chapter, project_root(), csv=csv, nbgrader=nbgrader):
        typer.echo(path)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def pretrain(context: typer.Context) -> None:
    """Pretrain a language model: `course pretrain --depth 2 --out FOLDER`; --help lists the options."""
    from course_lib.pretraining.cli import main as pretraining

    pretraining(context.args)


@app.command()
def demo() -> None:
    """Build a sample class of twelve submissions, grade it and name the report."""
    from autograder.demo import run_demo

    run_demo(project_root(), console)


def main() -> None:
    """Entry point; every expected error is one line."""
    from autograder.authoring.problems import BuildError
    from autograder.judge.launcher import JudgeError

    run(app, (*EXPECTED, BuildError, JudgeError))


if __name__ == "__main__":
    main()
