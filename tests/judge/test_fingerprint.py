"""What a grade depends on has a fingerprint, which is kept in memory only as long as nothing of that has changed."""

import os

import pytest

from autograder.judge import release

CHAPTER = "01_tokenization"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A check and a script of solutions in the place of the chapter's own."""
    checks, script = tmp_path / "text.py", tmp_path / "script.py"
    checks.write_text("one")
    script.write_text('# %% exercise="f"\nf = 1\n')
    monkeypatch.setattr(release, "_chapter_files", lambda chapter_id: [checks])
    monkeypatch.setattr(release, "_script", lambda chapter_id: script)
    return checks, script


@pytest.mark.parametrize("number", [0, 1])
def test_it_is_another_one_when_a_file_has_changed(files, number):
    before = release.checks_fingerprint(CHAPTER, b"notebook")
    assert release.checks_fingerprint(CHAPTER, b"notebook") == before
    path = files[number]
    text = path.read_text()
    path.write_text(text.replace("one", "two").replace("= 1", "= 2"))  # of the same length
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    changed = release.checks_fingerprint(CHAPTER, b"notebook")
    assert changed != before
    path.write_text(text)
    assert release.checks_fingerprint(CHAPTER, b"notebook") == before


def test_it_depends_on_the_released_notebook(files):
    assert release.checks_fingerprint(CHAPTER, b"one") != release.checks_fingerprint(CHAPTER, b"two")
    assert release.checks_fingerprint(CHAPTER, None) == release.checks_fingerprint(CHAPTER, b"")
