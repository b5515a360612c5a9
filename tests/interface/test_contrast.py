"""The measure of contrast that the other tests use, on colours whose contrast is known."""

import pytest
from contrast import contrasts, everything_can_be_read

# https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio: 21 at most; #767676 is the lightest grey that passes 4.5 on white.
PAGES = {
    "<p style='color:#000;background:#fff'>x</p>": 21.0,
    "<p style='color:#767676;background:#fff'>x</p>": 4.54,
    "<p style='color:#777777;background:#fff'>x</p>": 4.48,
    "<div style='background:#000'><p style='color:rgba(255,255,255,.5)'>x</p></div>": 5.32,
    "<div style='background:#fff'><div style='background:rgba(0,0,0,.5)'><p style='color:#fff'>x</p></div></div>": 3.98,
    "<div style='background:#fff'><p style='color:#000;opacity:.5'>x</p></div>": 3.95,
    "<svg style='background:#fff'><text fill='#767676' y='20'>x</text></svg>": 4.54,
}


@pytest.mark.browser
def test_known_colours_have_their_contrast(blank_page):
    for html, known in PAGES.items():
        blank_page.set_content(f"<body>{html}<p hidden>not seen</p></body>")
        assert contrasts(blank_page.locator("body")) == [("x", pytest.approx(known, abs=0.06))], html


@pytest.mark.browser
@pytest.mark.parametrize("where", ["data-mime-type='text/html'", "class='jupyter-widgets'"])
def test_faint_text_is_found_in_outputs_and_in_widgets(blank_page, where):
    def show(colour: str) -> None:
        blank_page.set_content(f"<p {where}>a<b class='jupyter-widgets' style='color:{colour}'>b</b></p>")

    show("#111")
    everything_can_be_read(blank_page, at_least=1)
    show("#aaa")
    with pytest.raises(AssertionError, match="'b'"):
        everything_can_be_read(blank_page, at_least=1)
