"""The widget of chapter 3: it writes with the function it is given, escapes, and survives errors."""

import pytest

from course_lib.pretraining.widgets import make_checkpoint_writer, written


def echo(step: int, prompt: str, temperature: float, seed: int) -> str:
    return f"{prompt}|{step} {temperature:g} {seed}"


def test_static_table_has_first_middle_and_last_checkpoint() -> None:
    _, static = make_checkpoint_writer(echo, [300, 100, 200, 400, 500], "go")
    assert [f"step {step}" in static for step in (100, 200, 300, 400, 500)] == [True, False, True, False, True]
    assert "|500 1.3 0" in static and static.count("<strong>go</strong>") == 9


def test_controls_reach_the_function() -> None:
    widget, _ = make_checkpoint_writer(echo, [10, 20], "go")
    prompt, row, output = widget.children
    step, temperature, seed = row.children
    assert "|20 0.7 0" in output.value
    prompt.value, step.value, temperature.value, seed.value = "<b>", 10, 1.5, 7
    assert "<strong>&lt;b&gt;</strong>|10 1.5 7" in output.value


def test_an_error_is_shown_and_the_widget_lives() -> None:
    def broken(step: int, prompt: str, temperature: float, seed: int) -> str:
        if temperature == 0:
            raise ZeroDivisionError("<by zero>")
        return prompt

    widget, static = make_checkpoint_writer(broken, [10], "go")
    assert "ZeroDivisionError: &lt;by zero&gt;" in static
    widget.children[1].children[1].value = 0
    assert 'role="alert"' in widget.children[2].value
    widget.children[1].children[1].value = 1
    assert "alert" not in widget.children[2].value
    assert "expected a str" in written(lambda *args: 3, 1, "go", 1.0, 0)


def test_nothing_to_show_is_an_error() -> None:
    with pytest.raises(ValueError, match="checkpoints"):
        make_checkpoint_writer(echo, [], "go")
    with pytest.raises(ValueError, match="prompt"):
        make_checkpoint_writer(echo, [1], "")
