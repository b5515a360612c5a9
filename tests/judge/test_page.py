"""The feedback page says what nbconvert's own says, and one cell cannot swallow the next."""

import base64
import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from autograder.judge import page
from autograder.judge.page import NO_DESCRIPTION, FeedbackExporter

PIXEL = base64.b64encode(b"\x89PNG not really").decode()
LANGUAGE = {"language_info": {"name": "python"}}


def notebook(number=0):
    pasted = new_markdown_cell("![a plot](attachment:p.png)", attachments={"p.png": {"image/png": PIXEL}})
    shown = new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})
    described = new_output("display_data", {"text/html": '<img src="x.png" alt="a card">'})
    cells = [
        new_markdown_cell("# Title\n\nSome *text* with $x_1$ and\n\n```python\nx = 1\n```\n\n![no words](y.png)"),
        new_code_cell("def double(x):\n    return x + x", outputs=[shown, described]),
        new_code_cell("double(x)", outputs=[new_output("stream", text="\x1b[31mred\x1b[0m & <b>")]),
        new_code_cell(f"answer = {number}"),
        new_code_cell("%%bash\necho hello", metadata={"magics_language": "bash"}),
        pasted,
    ]
    for at, cell in enumerate(cells):
        cell.id = f"cell-{at}"
    return new_notebook(cells=cells, metadata=LANGUAGE)


def normal(html):
    return str(BeautifulSoup(html, "html.parser"))


def test_the_page_is_nbconverts_page():
    quick, plain = FeedbackExporter(template_name="classic"), HTMLExporter(template_name="classic")
    for number in (1, 2):  # the second from what was remembered
        made, expected = (exporter.from_notebook_node(notebook(number))[0] for exporter in (quick, plain))
        tree, wanted = BeautifulSoup(made, "html.parser"), BeautifulSoup(expected, "html.parser")
        assert [image["alt"] for image in tree.select("img")] == [image["alt"] for image in wanted.select("img")]
        for image in (*tree.select("img"), *wanted.select("img")):
            del image["alt"]  # its place among the attributes is another
        assert str(tree) == str(wanted)
        assert f"{number}</span>" in made
    assert NO_DESCRIPTION in made


def test_a_second_notebook_renders_only_what_is_new(monkeypatch):
    work = []
    for name in ("_colour", "_render"):

        def counted(self, *args, plain=getattr(FeedbackExporter, name)):
            work.append(args)
            return plain(self, *args)

        monkeypatch.setattr(FeedbackExporter, name, counted)
    quick = FeedbackExporter(template_name="classic")
    counts = []
    for number in (1, 2, 2):
        quick.from_notebook_node(notebook(number))
        counts.append(len(work))
        work.clear()
    assert counts == [5, 1, 0]


@pytest.mark.parametrize("text", ["<table><tr><td>open", "<details>more", "<b>loud", "</div></div></table>"])
def test_an_element_left_open_ends_with_its_cell(text):
    cells = [new_markdown_cell(text), new_markdown_cell("after")]
    made, _ = FeedbackExporter(template_name="classic").from_notebook_node(new_notebook(cells=cells, metadata=LANGUAGE))
    for name in ("table", "tr", "td", "details", "b", "div"):  # a browser closes nothing at the end of a cell
        assert len(re.findall(rf"<{name}[ >]", made)) == made.count(f"</{name}>"), name
    assert "<p>after</p>" in made


def test_it_reads_what_nbgrader_has_written(tmp_path):
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook(), path)
    exporter = FeedbackExporter(template_name="classic")
    assert normal(exporter.from_filename(str(path))[0]) == normal(
        exporter.from_notebook_node(notebook(), resources={"metadata": {"name": "chapter"}})[0]
    )
    assert not page._NO_ALT.search('<img src="data:,x" alt="">')
