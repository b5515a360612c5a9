"""A JupyterLab of its own and a browser that works in it as a student would: by menu, mouse and keyboard."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from re import Pattern
from typing import TYPE_CHECKING

import nbformat

from autograder import lab

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox",  # chromium refuses to run as root with it, and containers often are root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SERVER_START = 90  # seconds
CELLS_RUN = 540_000  # milliseconds, as playwright counts: a whole chapter on a busy machine
KERNEL_IDLE = "| Idle"  # in the status bar, behind the kernel's name
LOOPBACK = "127.0.0.1"

# What a first visit would ask or fetch from the network, and a rendering that keeps every cell in the page.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


class LabServer:
    """The course's JupyterLab on a free port, with a home of its own: nothing of the user's is read or written."""

    def __init__(self, root: Path, home: Path):
        self.root, self.home, self.token = root, home, secrets.token_hex(16)
        self.log = home / "server.log"
        self.settings = home / "lab-settings"
        for name, values in SETTINGS.items():
            path = self.settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")

    def start(self) -> None:
        self.port = _free_port()
        settings = [f"--ServerApp.ip={LOOPBACK}", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"]
        settings += ["--no-browser", f"--IdentityProvider.token={self.token}"]
        command = lab.command(settings, self.root, os.getuid())  # as `course lab` starts it
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.root, env=self._environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        self.process.terminate()  # shuts the kernels down too; one that is left ends itself without its server
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)

    def url(self, path: str) -> str:
        return f"http://{LOOPBACK}:{self.port}/{path}?token={self.token}"

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "COURSE_", "NBGRADER", "PYTEST"))}
        own = {
            "HOME": self.home,
            "COURSE_HOME": self.home / "course",
            "COURSE_SCALE": "quick",
            "JUPYTER_CONFIG_DIR": self.home / "jupyter-config",
            "JUPYTER_DATA_DIR": self.home / "jupyter-data",
            "JUPYTER_RUNTIME_DIR": self.home / "jupyter-runtime",
            "JUPYTERLAB_SETTINGS_DIR": self.settings,
            "JUPYTERLAB_WORKSPACES_DIR": self.home / "lab-workspaces",
            "IPYTHONDIR": self.home / "ipython",
            "MPLCONFIGDIR": self.home / "matplotlib",
            "OMP_NUM_THREADS": "1",
            "NO_PROXY": "*",
        }
        return lab.surroundings(kept | {name: str(value) for name, value in own.items()})

    def _wait_until_it_answers(self) -> None:
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{self.port}/api/status", headers={"Authorization": f"token {self.token}"}
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        end = time.monotonic() + SERVER_START
        while True:
            try:
                direct.open(request, timeout=5).read()
                return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"JupyterLab did not start: {error}\n{self.log.read_text()[-3000:]}") from error
                time.sleep(0.1)


class NotebookPage:
    """One notebook open in the browser. Cells are numbered as in the file, from 0."""

    def __init__(self, page: Page, file: Path):
        self.page, self.file = page, file
        self.cells = nbformat.read(file, as_version=4).cells
        self._panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def wait_until_ready(self) -> None:
        """Until every cell stands in the page and its kernel is connected and idle."""
        self.cell(len(self.cells) - 1).wait_for(state="attached")
        # The round sign beside the kernel's name is also shown as idle before there is any kernel.
        self._wait_until_idle()

    def cell(self, index: int) -> Locator:
        return self._panel.locator(".jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-Cell-outputArea")

    def index(self, grade_id: str) -> int:
        """Which cell nbgrader knows by this id."""
        return self.grade_ids()[grade_id]

    def grade_ids(self) -> dict[str, int]:
        known = ((c.metadata.get("nbgrader", {}).get("grade_id"), i) for i, c in enumerate(self.cells))
        return {grade_id: i for grade_id, i in known if grade_id}

    def containing(self, text: str) -> int:
        """The first code cell whose source contains this text."""
        return next(i for i, c in enumerate(self.cells) if c.cell_type == "code" and text in c.source)

    def run_all(self) -> None:
        """Choose Run All Cells in the menu; wait until no cell waits any more, because all ran or one failed."""
        self.menu("Run", "Run All Cells")
        self.page.wait_for_function(
            """() => {
                const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.innerText);
                return !prompts.some(p => p.includes('*')) && prompts.some(p => /[0-9]/.test(p));
            }""",
            timeout=CELLS_RUN,
        )
        self._wait_until_idle()

    def run(self, index: int) -> None:
        """Run a cell from the keyboard and wait for its new number."""
        prompt = self.cell(index).locator(".jp-InputPrompt")
        before = prompt.inner_text()
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_function(
            "([prompt, before]) => /[0-9]/.test(prompt.innerText) && prompt.innerText !== before",
            arg=[prompt.element_handle(), before],
            timeout=CELLS_RUN,
        )
        self._wait_until_idle()

    def write(self, index: int, source: str) -> None:
        """Paste over everything that a cell holds."""
        self.page.evaluate("text => navigator.clipboard.writeText(text)", source)
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.press("Control+v")

    def expect(self, index: int, text: str | Pattern[str]) -> None:
        """The output of a cell contains this text, or does so soon."""
        from playwright.sync_api import expect

        expect(self.output(index)).to_contain_text(text)

    def expect_described(self, index: int, words: str) -> None:
        """The output of a cell holds a picture whose text for screen readers contains these words."""
        from playwright.sync_api import expect

        expect(self.output(index).get_by_role("img", name=words)).to_be_visible()

    def expect_not(self, index: int, text: str) -> None:
        from playwright.sync_api import expect

        expect(self.output(index)).not_to_contain_text(text)

    def numbers(self) -> list[str]:
        """What stands before each code cell, such as ``[3]:``; ``[ ]:`` for one that has not been run."""
        return self._panel.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()

    def errors(self) -> list[str]:
        """The tracebacks in the notebook."""
        return self._panel.locator('[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()

    def menu(self, *entries: str) -> None:
        """Click through a menu and its submenus."""
        self.page.locator("#jp-MainMenu").get_by_role("menuitem", name=entries[0], exact=True).click()
        for entry in entries[1:]:
            self.page.locator(".lm-Menu .lm-Menu-itemLabel").get_by_text(entry, exact=True).click()

    def choose_theme(self, name: str) -> None:
        self.menu("Settings", "Theme", name)
        self.page.locator(f"body[data-jp-theme-name='{name}']").wait_for(state="attached")

    def save(self) -> None:
        """Save by keyboard and wait until the tab says that nothing is left to save."""
        self.page.keyboard.press("Control+s")
        self.page.locator(".lm-DockPanel .lm-TabBar-tab.lm-mod-current:not(.jp-mod-dirty)").first.wait_for()

    def _wait_until_idle(self) -> None:
        self.page.locator("#jp-bottom-panel").get_by_text(KERNEL_IDLE).wait_for(timeout=CELLS_RUN)


def complaints(page: Page) -> list[str]:
    """What the page says from now on in its console as an error, or raises: a list that grows by itself."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


@contextmanager
def chromium(executable: str, user_data: Path, scale: float = 1.0) -> Iterator[BrowserContext]:
    """A headless browser with its own profile that can reach nothing but the loopback."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(user_data),
            executable_path=executable,
            headless=True,
            args=CHROMIUM_FLAGS,
            viewport={"width": 1150, "height": 900},
            device_scale_factor=scale,
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(60_000)
        try:
            yield context
        finally:
            context.close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return sock.getsockname()[1]
