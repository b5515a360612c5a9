"""Start JupyterLab on the course's start page, with the course's own quiet defaults."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

START_PAGE = Path("chapters", "00_start_here", "00_start_here.ipynb")
# Defaults only: what a person has set in their own JupyterLab goes before these.
DEFAULTS = Path(__file__).resolve().parent / "jupyter"


def start(root: Path, args: Sequence[str] = ()) -> None:
    """Become JupyterLab in ``root``, opened on the start page; ``args`` are its own and win over the course's."""
    uid = os.getuid() if hasattr(os, "getuid") else None
    line, environment = command(args, root, uid), surroundings(os.environ)
    if os.name == "nt":  # exec would give the prompt back while the server still runs
        sys.exit(subprocess.call(line, env=environment, cwd=root))
    os.chdir(root)  # nbgrader's menu entries look for nbgrader_config.py where the server was started
    sys.stdout.flush()
    os.execve(line[0], line, environment)


def command(args: Sequence[str], root: Path, uid: int | None) -> list[str]:
    """The command line that starts JupyterLab in ``root``; ``uid`` is the user's number, None where there is none.

    >>> command(["--no-browser"], Path("course"), uid=1000)[3:]
    ['--ServerApp.root_dir=course', '--LabApp.default_url=/lab/tree/chapters', '--no-browser']
    """
    page = START_PAGE if (root / START_PAGE).is_file() else START_PAGE.parent.parent
    line = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    line.append(f"--LabApp.default_url=/lab/tree/{page.as_posix()}")
    if uid == 0 and "--allow-root" not in args:
        line.append("--allow-root")  # containers have no other user; Jupyter refuses to start without the flag
    return [*line, *args]


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the server and its kernels: this Python's programs and kernel, the course's defaults."""
    found = dict(environment)
    paths = [str(Path(sys.executable).parent), *found.get("PATH", os.defpath).split(os.pathsep)]
    found["PATH"] = os.pathsep.join(dict.fromkeys(paths))
    # A kernel called python3 in the user's home folder would otherwise hide the one that has the course's packages.
    found["JUPYTER_PREFER_ENV_PATH"] = "1"
    config = [*found.get("JUPYTER_CONFIG_PATH", "").split(os.pathsep), str(DEFAULTS)]
    found["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, config))
    return found
