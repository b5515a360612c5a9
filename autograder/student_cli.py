"""The student edition's ``course``: ``lab`` and ``doctor``. The whole course's command line has them too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer
from rich.console import Console

from autograder.checkout import project_root

console = Console()
errors = Console(stderr=True)
EXPECTED = (ValueError, FileNotFoundError, PermissionError)


def doctor() -> None:
    """Say what this machine has, what is missing, and what to do about it."""
    from autograder import doctor as check_up

    raise typer.Exit(check_up.run(console))


def lab(context: typer.Context) -> None:
    """Open JupyterLab on the start page; further arguments go to JupyterLab."""
    from autograder import lab as launcher

    launcher.start(project_root(), context.args)


def make_app(help: str) -> typer.Typer:
    """A command line with these two commands."""
    made = typer.Typer(help=help, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    made.command()(doctor)
    made.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(lab)
    return made


def run(app: typer.Typer, expected: tuple[type[Exception], ...] = EXPECTED) -> None:
    """Run a command line; every expected error is one line."""
    # nbgrader starts the alembic program by its name: the environment's programs must be on PATH even when the
    # environment has not been activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        app()
    except expected as error:
        if os.environ.get("COURSE_DEBUG"):
            raise
        errors.print(f"course: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)


def main() -> None:
    """Entry point of the student edition."""
    run(make_app("Tokens to Thought: open the notebooks, look at this machine."))


if __name__ == "__main__":
    main()
