"""The IPython shell in which a submission's cells run: no history, no prompts, nothing is shown, magics are harmless.

Cells are written for a notebook. Here they find everything that they expect of one (``display``, ``%matplotlib``,
``!pip``, a widget) and none of it can fail or do anything outside.
"""

from __future__ import annotations

from typing import Any

from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


class _Nowhere(DisplayPublisher):
    def publish(self, *args: Any, **kwargs: Any) -> None:
        """Swallow what a cell displays."""

    def clear_output(self, wait: bool = False) -> None:
        """Nothing was shown."""


class GradingShell(InteractiveShell):
    """An InteractiveShell that keeps quiet; ``run`` is what the judge calls."""

    def run(self, source: str) -> BaseException | None:
        """Run a cell and return what it raised, if it did."""
        # What is Python as it stands needs nothing of what IPython does for a cell that somebody has typed, and that
        # takes ten times as long as defining a function. The compiler is IPython's: it remembers `from __future__`.
        try:
            code = self.compile(source, self.compile.cache(source), "exec")
        except Exception:  # a magic, a shell line, `await` outside of a function, or no Python at all
            result = self.run_cell(source, store_history=False, silent=True)
            return result.error_before_exec or result.error_in_exec
        with self.builtin_trap:
            self.events.trigger("pre_execute")
            try:
                exec(code, self.user_global_ns, self.user_ns)
            except BaseException as error:  # SystemExit and an alarm, too
                return error
            finally:
                self.events.trigger("post_execute")
        return None

    def init_display_pub(self) -> None:
        self.display_pub = _Nowhere(parent=self, shell=self)

    def init_display_formatter(self) -> None:
        super().init_display_formatter()
        # Rendering a figure that nobody will see costs more than all checks of an exercise.
        self.display_formatter.format = lambda *args, **kwargs: ({}, {})  # type: ignore[method-assign]

    def showtraceback(self, *args: Any, **kwargs: Any) -> None:
        """The error is reported as data; a formatted traceback is not needed."""

    showsyntaxerror = showindentationerror = showtraceback

    def enable_gui(self, gui: Any = None) -> None:
        """There is no event loop to hook into."""

    def system(self, cmd: str) -> None:
        print("shell commands do not run while a submission is graded")

    system_raw = system_piped = system

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        return [] if split else ""

    def ask_exit(self) -> None:
        """``exit`` in a cell ends that cell only."""


def make_shell(directory: str) -> GradingShell:
    """The shell of this process; made once, before the fork, because that takes longer than many submissions."""
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryAccessor.enabled = False
    config.InteractiveShell.cache_size = 0
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.autoindent = False
    config.InteractiveShell.history_length = 0
    config.InteractiveShell.ipython_dir = directory
    return GradingShell.instance(config=config)
