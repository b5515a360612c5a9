"""What the repository says about itself must be true: commands, versions, links, figures; and it names no machine."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from typer.main import get_command

from autograder import doctor
from autograder.cli import app
from course_lib.pretraining.cli import parser as pretraining

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COURSE = get_command(app)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Files under version control, and new ones that are not ignored."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    # A container may own the checkout as another user; git then asks to be told that this is meant.
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert len(paths) > 50
    return [path for path in paths if path.is_file()]


def texts() -> list[tuple[str, str]]:
    """Name and text of every tracked text file."""
    found = []
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" not in raw:
            found.append((path.relative_to(ROOT).as_posix(), raw.decode("utf-8")))
    return found


def here(requirement: Requirement) -> bool:
    """Whether a requirement is one on this platform."""
    return requirement.marker is None or requirement.marker.evaluate()


def lock() -> dict[str, str]:
    """Name to version of what the lock brings on this platform."""
    lines = [line for line in text_of("requirements.lock").splitlines() if line and not line.startswith("#")]
    plain = r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*(; platform_system == '[A-Z][a-z]+')?"
    for line in lines:
        assert re.fullmatch(plain, line), f"not a plain name==version: {line}"
    lines = [line.partition(";")[0] for line in lines if here(Requirement(line))]
    pins = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    assert len(pins) == len(lines), "a package is pinned twice"
    return pins


def code_spans(text: str) -> list[str]:
    """Inline code, and the lines of indented and fenced blocks: where commands stand."""
    blocks = re.findall(r"^(?: {4}|\t)(\S.*)$", text, re.MULTILINE)
    return [*re.findall(r"`([^`\n]+)`", text), *blocks]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):[^=\n]*## ", text_of("Makefile"), re.MULTILINE))


def test_every_make_command_in_the_pages_exists() -> None:
    named = {
        name for page in PAGES for code in code_spans(page.read_text()) for name in re.findall(r"\bmake ([a-z]+)", code)
    }
    assert {"lab", "test", "demo"} <= named
    assert named <= targets()


def test_every_make_command_elsewhere_exists() -> None:
    for name in (".ci/run", ".github/workflows/ci.yml"):
        assert set(re.findall(r"\bmake ([a-z]+)", text_of(name))) <= targets(), name
    advice = set(re.findall(r"`make ([a-z]+)`", text_of("autograder/doctor.py")))
    assert advice <= targets()


def test_phony_names_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", text_of("Makefile"), re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == targets()


def test_every_course_command_in_the_pages_exists_with_its_options() -> None:
    seen = set()
    for page in PAGES:
        for code in code_spans(page.read_text(encoding="utf-8")):
            for name, rest in re.findall(r"(?:^|/|\s)course ([a-z]+)([^`#]*)", code):
                assert name in COURSE.commands, f"{page.name}: course {name}"
                known = {option for parameter in COURSE.commands[name].params for option in parameter.opts}
                if name == "pretrain":  # hands its options on
                    known = {option for action in pretraining()._actions for option in action.option_strings}
                assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"{page.name}: course {name}{rest}"
                seen.add(name)
    assert {"grade", "build", "audit", "doctor"} <= seen


def test_makefile_calls_only_course_commands_that_exist() -> None:
    called = set(re.findall(r"\$\(BIN\)/course ([a-z]+)", text_of("Makefile")))
    assert {"lab", "build", "demo", "doctor"} == called
    assert called <= set(COURSE.commands)


def test_lock_pins_every_dependency_within_its_bounds() -> None:
    pins = lock()
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["peers"], *extras["test"]]:
        wanted = Requirement(line)
        if not here(wanted):
            continue
        pinned = pins.get(canonicalize_name(wanted.name))
        assert pinned, f"requirements.lock does not name {wanted.name}"
        assert wanted.specifier.contains(pinned), f"{line}, but the lock has {pinned}"


def test_lock_is_closed_under_what_its_packages_require() -> None:
    pins = lock()
    missing = pins.keys() - {canonicalize_name(item.name) for item in metadata.distributions()}
    assert missing == set(), "`make install` brings them"
    for name in pins:
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({"extra": ""}):
                continue
            if name == "torch" and re.match(r"nvidia|cuda|triton", needed.name):
                continue  # what one build of torch brings along
            assert canonicalize_name(needed.name) in pins, f"{name} needs {line}"


def test_lock_leaves_the_choice_of_device_to_pip() -> None:
    pins = lock()
    assert Version(pins["torch"]).local is None
    assert [name for name in pins if name.startswith(("nvidia-", "cuda-"))] == []


def test_lock_and_project_agree_on_what_is_for_some_platforms_only() -> None:
    lines = [Requirement(line) for line in text_of("requirements.lock").splitlines() if not line.startswith("#")]
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(line) for line in [*PROJECT["dependencies"], *extras["peers"], *extras["test"]]]
    assert {(r.name, str(r.marker)) for r in lines if r.marker} == {(r.name, str(r.marker)) for r in wanted if r.marker}


def test_triton_is_the_one_that_torch_asks_for_where_it_asks() -> None:
    asked = [Requirement(line) for line in metadata.requires("torch") or [] if line.startswith("triton")]
    if not asked:
        pytest.skip("this build of torch asks for no triton: it is one without CUDA")
    assert asked[0].specifier.contains(lock()["triton"])


def test_installed_are_the_versions_of_the_lock() -> None:
    other = {name: metadata.version(name) for name in lock()}
    other = {name: version for name, version in other.items() if Version(version).public != lock()[name]}
    assert other == {}, "`make install` brings the pinned versions"


def imported(folder: str) -> set[str]:
    """Top-level modules that the Python files of a folder import, wherever in the file."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("folder", ["course_lib", "autograder", "solutions", "benchmarks", "tests"])
def test_everything_imported_is_installed_by_the_lock(folder: str) -> None:
    own = {path.name.removesuffix(".py") for part in ("", folder) for path in (ROOT / part).iterdir()}
    own |= {path.stem for path in (ROOT / "tests").rglob("*")}
    extras = {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"]["cluster"]}
    distributions = metadata.packages_distributions()
    for module in sorted(imported(folder) - set(sys.stdlib_module_names) - own):
        names = {canonicalize_name(name) for name in distributions.get(module, [module])}
        assert names & (set(lock()) | extras), f"{folder} imports {module}; no package of requirements.lock has it"


def test_course_lib_does_not_know_the_autograder() -> None:
    assert "autograder" not in imported("course_lib")


def test_one_range_of_pythons_everywhere() -> None:
    oldest, newest = (".".join(map(str, version)) for version in (doctor.OLDEST, doctor.NEWEST))
    assert PROJECT["requires-python"] == f">={oldest}"
    matrix = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == [oldest, newest]
    makefile = text_of("Makefile")
    assert f"{doctor.OLDEST} <= sys.version_info < {(3, doctor.NEWEST[1] + 1)}" in makefile
    assert f"sys.version_info < {doctor.OLDEST}" in makefile
    assert f"{oldest} to {newest}" in makefile
    assert f"Python {oldest} or newer" in text_of("README.md")


def test_conda_gets_the_same_versions() -> None:
    environment = yaml.safe_load(text_of("environment.yml"))
    assert environment["name"] == PROJECT["name"]
    (python,) = [d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python=")]
    assert doctor.OLDEST <= tuple(map(int, python.removeprefix("python=").split("."))) <= doctor.NEWEST
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pip == ["--requirement requirements.lock", "--editable ."]


def test_workflow_lints_and_tests_with_nothing_left_out() -> None:
    workflow = yaml.safe_load(text_of(".github/workflows/ci.yml"))
    steps = {job: " ; ".join(step.get("run", "") for step in spec["steps"]) for job, spec in workflow["jobs"].items()}
    assert "ruff check" in steps["lint"]
    assert "ruff format --check" in steps["lint"]
    assert "make test" in steps["test"]
    assert re.search(r"install .*\bbubblewrap\b.*\bchromium\b", steps["test"])
    assert workflow["concurrency"]["cancel-in-progress"] is True


def test_ci_script_is_a_program() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


def links(text: str) -> list[tuple[bool, str, str]]:
    """Of every Markdown link: whether it is a picture, its text, its address."""
    return [(bool(bang), alt, to) for bang, alt, to in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere_and_pictures_have_alt_text(page: Path) -> None:
    for picture, words, address in links(page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", address):
            target = page.parent / address.partition("#")[0]
            assert target.exists(), f"{page.name} points to {address}"
        if picture:
            assert len(words.split()) >= 5, f"{page.name}: say what {address} shows"


def test_every_picture_in_docs_is_shown_somewhere() -> None:
    shown = {(p.parent / to).resolve() for p in PAGES for picture, _, to in links(p.read_text()) if picture}
    pictures = {path for path in tracked() if path.suffix in (".png", ".svg", ".jpg") and "docs" in path.parts}
    assert {path.name for path in pictures - shown} == set()


def test_the_map_of_chapters_is_current() -> None:
    rows = re.findall(r"^\| (?:\[)?(\d) .*\| (ready|planned) \|$", text_of("README.md"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(10))
    ready = {int(number) for number, state in rows if state == "ready"}
    there = {int(path.name[:2]) for path in (ROOT / "chapters").glob("[0-9][0-9]_*/*.ipynb")}
    assert ready == there


def test_licences_are_named_in_the_package() -> None:
    assert PROJECT["license"] == "MIT AND CC-BY-4.0"
    assert "Permission is hereby granted, free of charge" in text_of("LICENSE")
    assert "creativecommons.org/licenses/by/4.0" in text_of("LICENSE-PROSE")


def test_no_file_names_a_package_registry() -> None:
    # Put together here, so that this file does not name them either.
    registries = ["py" + "pi.org", "python" + "hosted.org", "download.py" + "torch.org", "anaconda" + ".org"]
    registries += ["repo.anaconda" + ".com", "npm" + "js.org", "registry.npm" + "js", "npm" + "js.com"]
    for name, text in texts():
        assert [host for host in registries if host in text] == [], name


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    here = [str(ROOT), sys.prefix, str(Path.home() / ".pyenv")]
    homes = re.compile(r"(?<![\w.])/(?:home|Users)/[a-z][a-z0-9_-]*/|[A-Z]:\\Users\\")
    for name, text in texts():
        assert [place for place in here if len(place) > 5 and place in text] == [], name
        if not name.startswith("tests/"):  # hostile submissions there reach for such places on purpose
            assert homes.search(text) is None, f"{name}: {homes.search(text)}"
