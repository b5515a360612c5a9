"""Write requirements.lock: what pip chooses today for pyproject.toml with its extras `peers` and `test`.

Run with the oldest Python that the course supports: what installs there installs on newer ones too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Pinned versions for Python 3.11 to 3.13, written by `make lock` from pyproject.toml.
# torch's own CUDA packages are left out on purpose: pip adds them where the build of torch that it finds needs them.
# triton is the one exception: tests run its kernels without a GPU, in the version that torch's CUDA build asks for.
"""


def resolve(requirements: list[str]) -> dict[str, str]:
    """Name to version of everything that a fresh environment would get."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        report = Path(folder, "report.json")
        python = Path(folder, "bin", "python")
        options = ["--quiet", "--dry-run", "--ignore-installed", "--report", str(report)]
        subprocess.run([python, "-m", "pip", "install", *options, *requirements], check=True)
        chosen = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    # A local version such as 2.13.0+cpu names one build; the lock names the release.
    return {item["name"]: item["version"].partition("+")[0] for item in chosen}


def for_cuda(name: str) -> bool:
    """Whether a package that nobody asked for by name is only there for one build of torch."""
    return name.lower().startswith(("nvidia-", "cuda-")) or name.lower() == "triton"


def markers_of(requirements: list[str]) -> dict[str, list[str]]:
    """Name to condition of the packages that are wanted on some platforms only."""
    split = [requirement.partition(";") for requirement in requirements]
    return {re.split(r"[^\w.-]", package)[0]: [marker.strip()] for package, _, marker in split if marker}


def main() -> None:
    if sys.version_info[:2] != (3, 11):
        sys.exit("make lock PYTHON=python3.11: the lock is resolved with the oldest supported Python")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["project"]["dependencies"],
        *extras["peers"],
        *extras["test"],
        *project["build-system"]["requires"],
    ]
    found = {n: v for n, v in resolve(wanted).items() if not for_cuda(n) or any(w.startswith(n) for w in wanted)}
    markers = markers_of(wanted)
    if missing := markers.keys() - found.keys():
        sys.exit(f"{', '.join(missing)}: not for this platform; make the lock on one where everything installs (Linux)")
    pins = {name: f"{name}=={version}" for name, version in found.items()}
    lines = [f"{'; '.join([pins[name], *markers.get(name, [])])}\n" for name in sorted(found, key=str.lower)]
    (ROOT / "requirements.lock").write_text(HEADER + "".join(lines), encoding="utf-8")
    print(f"requirements.lock: {len(lines)} packages")


if __name__ == "__main__":
    main()
