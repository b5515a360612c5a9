# ruff: noqa: E501
"""What others open: feedback and the report in a real browser, where nothing that a student wrote may run."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import small
from arena import Zygotes
from attack import FULL, RIGHT
from course import make_course
from rich.console import Console
from small import CHAPTER_ID, answers, code, notebook

from autograder.judge import grading, sandbox
from autograder.judge.grade import grade_chapter

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RUN = "window.pwned=1"
TRAP = "http://trap.invalid/seen"
IN_TEXT = [
    f"<script>{RUN}</script>",
    f"<<script>{RUN}//<</script>",
    f"<scr<script>ipt>{RUN}</script>",
    f"<ScRiPt\n>{RUN}</sCrIpT >",
    f"<img src=x onerror='{RUN}'>",
    f"<img/src=x/onerror={RUN}>",
    f'<svg onload="{RUN}"><animate onbegin="{RUN}" attributeName="x"/></svg>',
    f"<svg><a xlink:href='javascript:{RUN}'><text y='9'>x</text></a></svg>",
    f"<math><mtext><a href='javascript:{RUN}'>x</a></mtext></math>",
    f"<iframe srcdoc='<script>parent.pwned=1</script>'></iframe><iframe src='javascript:parent.{RUN[7:]}'></iframe>",
    f"<object data='javascript:{RUN}'></object><embed src='javascript:{RUN}'>",
    f"<details open ontoggle='{RUN}'>x</details><b onmouseover='{RUN}'>x</b><p\nonclick='{RUN}'>x</p>",
    f"<form action='javascript:{RUN}'><button>x</button></form><input autofocus onfocus='{RUN}'>",
    f"<body onload='{RUN}'><base href='javascript:/'><meta http-equiv='refresh' content='0;url=javascript:{RUN}'>",
    f"<style>@import '{TRAP}.css'; body {{ background: url({TRAP}.png) }}</style><link rel=stylesheet href='{TRAP}.css'>",
    f"<!--><script>{RUN}</script>--><![CDATA[<script>{RUN}</script>]]><?x <script>{RUN}</script>?>",
    f"</textarea></pre></div></section><script>{RUN}</script>",
    f"`</code><script>{RUN}</script>`\n\n```html\n</pre><script>{RUN}</script>\n```\n\n    </pre><script>{RUN}</script>",
    f"[a](javascript:{RUN}) [b](JaVaScRiPt:{RUN}) [c]( javascript:{RUN}) [d](<javascript:{RUN}>)",
    f"[a](java&#115;cript:{RUN}) [b](&#106;avascript:{RUN}) [c](javascript&colon;{RUN}) [d](&#x6a;avascript&#58;{RUN})",
    f"[a](javascript\\:{RUN}) [b](<java\tscript:{RUN}>) [c](<java&Tab;script:{RUN}>) [d](\x01javascript:{RUN})",
    f"[a]: javascript:{RUN}\n[b]: javascript\\:{RUN}\n[c]: &#106;avascript:{RUN}\n\n[a] [b] [c] [x][b]",
    f"<javascript:{RUN}> <a@b.c> [a](vbscript:x) [b](data:text/html,<script>{RUN}</script>) [c](data\\:text/html,x)",
    f"![x](javascript:{RUN}) ![x](data:image/svg+xml,<svg onload='{RUN}'/>) ![a\" onerror=\"{RUN}](x)",
    f"![x]({TRAP}.png) ![y][r]\n\n[r]: {TRAP}.gif",
    f'[x](http://example.org "\' onmouseover=\'{RUN}") [x](http://example.org/"onmouseover="{RUN})',
    f"$\\href{{javascript:{RUN}}}{{x}}$ $$\\style{{x}}{{y}}\\class{{a' onclick='{RUN}}}{{x}}$$ \\(\\require{{html}}\\)",
    f"{{{{ self.__init__ }}}} {{% raw %}} <%= {RUN} %> ${{{RUN}}}",
]
ESSAY = {
    "cell_type": "markdown",
    "metadata": {"nbgrader": {"grade_id": "essay", "grade": True, "solution": True, "points": 5, "schema_version": 3}},
}


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
PASTED = {
    "cell_type": "markdown",
    "metadata": {},
    "source": "A plot that somebody pasted: ![plot](attachment:plot.png) and one that got lost: ![x](attachment:lost.png)",
    "attachments": {"plot.png": {"image/png": PIXEL}},
}


# Long enough to be compared, and in both notebooks: so the report names the two side by side.
LONG = RIGHT["Tally"] + (
    "    def table(self, most=9):\n        rows = []\n        for key, count in sorted(self.counts.items()):\n"
    "            share = count / max(1, sum(self.counts.values()))\n            if share > 0.5 and len(rows) < most:\n"
    "                rows.append((key, count, round(100 * share)))\n        return rows[::-1] or None\n"
)


def hostile_notebook() -> bytes:
    """A payload in every place that a page shows."""
    text = "\n\n".join(IN_TEXT)
    cells = answers(
        double=f"def double(x):\n    print({text!r})\n    raise ValueError({IN_TEXT[0]!r})\n",
        total=f"class E(Exception):\n    pass\nE.__name__ = {IN_TEXT[4]!r}\ndef total(xs):\n    raise E  # {IN_TEXT[0]}\n",
        apply=f"def apply(f, xs):\n    return [{IN_TEXT[0]!r}, {IN_TEXT[5]!r}]\n",
        Tally=LONG + "".join(f"# {line}\n" for line in text.splitlines()),
    )
    for payload in [*IN_TEXT, text]:
        data = dict.fromkeys(
            ("text/html", "text/plain", "text/markdown", "text/latex", "image/svg+xml", "application/javascript"),
            payload,
        )
        forged = {"exercise": "double", "attempts": payload, "hints": 10**9, "seconds": payload, payload: payload}
        outputs = [
            {"output_type": "display_data", "metadata": {"x": payload}, "data": data},
            {"output_type": "display_data", "metadata": {"course_record": forged}, "data": data},
            {"output_type": "display_data", "metadata": {"course_record": forged | {"exercise": payload}}, "data": {}},
            {"output_type": "execute_result", "metadata": {}, "execution_count": 1, "data": data},
            {"output_type": "display_data", "metadata": {}, "data": {"image/png": f'"><script>{RUN}</script>'}},
            {
                "output_type": "stream",
                "name": f'"><script>{RUN}</script>',
                "text": f"\x1b[1m{payload}\x1b]8;;javascript:{RUN}\x07x",
            },
            {"output_type": "error", "ename": payload, "evalue": payload, "traceback": [f"\x1b[31m{payload}"]},
        ]
        cells += [
            {"cell_type": "markdown", "metadata": {"tags": [f'"><script>{RUN}</script>']}, "source": payload},
            {"cell_type": "raw", "metadata": {"raw_mimetype": "text/html", "format": "text/html"}, "source": payload},
            code(f"# {payload}", outputs=outputs, tags=(f"x'\"><script>{RUN}</script>", f"a onload={RUN}")),
        ]
    attached = {"x.svg": {"image/svg+xml": f"<svg onload='{RUN}'/>"}}
    cells += [
        {"cell_type": "markdown", "metadata": {}, "source": "![x](attachment:x.svg)", "attachments": attached},
        {"cell_type": "markdown", "metadata": {}, "source": text, "id": f'"><script>{RUN}</script>'},
        ESSAY | {"source": text},
    ]
    return notebook(cells)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Feedback and report of a class of two, one of them hostile."""
    if sandbox.strongest_level() == "process":
        pytest.skip("this machine cannot build a sandbox")
    held = Zygotes()
    with pytest.MonkeyPatch.context() as patch:
        chapter = small.chapter()
        import autograder.exercise
        from autograder.judge import grade, preprocessor, release, restore, stored

        patch.setattr(release, "_chapter_files", lambda chapter_id: [])
        for module in (autograder.exercise, grade, grading, preprocessor, restore, stored):
            patch.setattr(module, "load_chapter", lambda chapter_id, with_hidden=True: chapter)
        for module in (autograder.exercise, restore):
            patch.setattr(module, "chapter_ids", lambda: [CHAPTER_ID])
        patch.setattr(grading, "zygote_of", lambda chapter_id: held.get(sandbox.strongest_level()))
        root = make_course(tmp_path_factory.mktemp("course"))
        inbox = root / "in"
        inbox.mkdir()
        (inbox / "mallory <script>window.pwned=1<script>.ipynb").write_bytes(hostile_notebook())
        (inbox / "=HYPERLINK(1).ipynb").write_bytes(notebook([*answers(Tally=LONG), PASTED]))
        console = Console(file=io.StringIO(), width=200)
        graded = grade_chapter(CHAPTER_ID, root, submissions=inbox, workers=1, console=console)
        classroom = root / "classroom"
        before = (classroom / "report.html").read_text()
        stored.report_chapter(CHAPTER_ID, root, csv=classroom / "each.csv", nbgrader=classroom / "nbgrader.csv")
        assert (classroom / "report.html").read_text() == before, "course report and course grade write the same page"
    held.close()
    assert [g.problems for g in graded] == [[], []]
    return root, graded


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_nothing_runs_and_nothing_is_loaded(pages):
    playwright = pytest.importorskip("playwright.sync_api")
    root, _ = pages
    found = sorted((root / "classroom" / "feedback").rglob("*.html"))
    assert len(found) == 2 and any("mallory" in str(path) for path in found)
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in [*found, root / "classroom" / "report.html"]:
            asked, said = visit(browser, path)
            assert said == {"pwned": False, "addresses": [], "handlers": [], "frames": 0}, path
            assert not [url for url in asked if "trap.invalid" in url or "example.org" in url], path
        browser.close()


def visit(browser, path: Path) -> tuple[list[str], dict]:
    """Open a page, touch everything in it, and say what it asked for and what it holds."""
    page = browser.new_page()
    asked: list[str] = []

    def route(request):
        asked.append(request.request.url)
        request.continue_() if request.request.url.startswith("file:") else request.abort()

    page.route("**/*", route)
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.goto(path.as_uri(), wait_until="load")
    said = page.evaluate(
        """async () => {
            const all = [...document.querySelectorAll('*')];
            const links = all.filter(e => e.href || e.src || e.action || e.data);
            const address = e => String(e.href?.baseVal ?? e.href ?? e.src ?? e.action ?? e.data);
            const addresses = links.map(address).filter(a => /^\\s*(javascript|vbscript|data:text)/i.test(a));
            const handlers = all.flatMap(e => [...e.attributes]).map(a => a.name).filter(n => n.startsWith('on'));
            for (const e of all.filter(e => e.closest('body')))
                for (const kind of ['mouseover', 'focus', 'toggle', 'click', 'error', 'load']) {
                    const event = new Event(kind, {bubbles: false, cancelable: true});
                    if (kind === 'click' && e.closest('a') && !address(e.closest('a')).startsWith('javascript'))
                        continue;
                    kind === 'click' ? e.click?.() : e.dispatchEvent(event);
                }
            await new Promise(done => setTimeout(done, 500));
            return {pwned: 'pwned' in window, addresses, handlers, frames: window.frames.length};
        }"""
    )
    page.close()
    return asked, said


def test_a_browser_would_notice(tmp_path):
    """The same visit to a page on which everything is still hostile."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api")
    page = tmp_path / "page.html"
    page.write_text(f"<img src='{TRAP}'><a href='javascript:{RUN}'>x</a><b onclick='{RUN}'>x</b>")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        asked, said = visit(browser, page)
        browser.close()
    assert said == {"pwned": True, "addresses": [f"javascript:{RUN}"], "handlers": ["onclick"], "frames": 0}
    assert any("trap.invalid" in url for url in asked)


def test_the_report_says_what_it_read_and_nothing_else(pages):
    root, _ = pages
    page = (root / "classroom" / "report.html").read_text()
    similar = page[page.index("Similar submissions") : page.index("All students")]
    assert "mallory" in similar and "HYPERLINK" in similar and "100%" in similar
    assert not [line for line in IN_TEXT if line in page] and "1000000000" not in page
    rows = [line.split(",") for line in (root / "classroom" / "each.csv").read_text().splitlines()]
    claimed = [row[6:9] for row in rows if "mallory" in row[1] and row[2] == "double"]
    assert claimed == [["0", "99", "0"]], "of a forged record only bounded numbers are left"


def test_tables_hold_no_formula_and_names_no_path(pages):
    root, graded = pages
    for path in (root / "classroom").glob("*.csv"):
        for cell in path.read_text().replace("\n", ",").replace(";", ",").split(","):
            assert not cell.strip(' "').startswith(("=", "+", "@")), path
    for item in graded:
        assert not set("<>=/ ") & set(item.student)
    assert sorted(path.name for path in (root / "classroom" / "submitted").iterdir()) == [g.student for g in graded]


def test_a_pasted_picture_stays(pages):
    root, _ = pages
    honest = next(path for path in (root / "classroom" / "feedback").rglob("*.html") if "mallory" not in str(path))
    assert PIXEL in honest.read_text() and "lost.png" in honest.read_text()


def test_hidden_checks_stay_hidden_on_the_page(pages):
    root, graded = pages
    for path in (root / "classroom" / "feedback").rglob("*.html"):
        text = path.read_text()
        assert "doubles_negative" not in text and "doubles negative" not in text and "HiddenDouble" not in text
    assert {g.result["earned"] for g in graded} == {sum(FULL.values()), FULL["Tally"] + FULL["centre"]}
