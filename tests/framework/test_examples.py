"""A docstring's example is told when a check has failed: what the code gives, what it should give, and nothing more."""

import pytest
import torch

from autograder.examples import first_broken

HEAD = '''
def double(x):
    """Twice x.

    >>> double(3)
    6
    >>> double([1,
    ...         2])
    [1, 2,
     1, 2]
    """
'''


def broken(body: str, head: str = HEAD) -> str:
    names: dict = {}
    exec(head + f"    {body}\n", names)
    return first_broken([names["double"]], names)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return x + x", ""),
        ("return 2 * x if x == 3 else x", "double([1, 2]) gives [1, 2], expected [1, 2, 1, 2]"),
        ("return x + 1", "double(3) gives 4, expected 6"),
        ("x + x", "double(3) gives nothing, expected 6"),
        ("return x.double()", "double(3) raises AttributeError: 'int' object has no attribute 'double', expected 6"),
        ("print('looking'); return x + x", "double(3) gives looking 6, expected 6"),
        ("raise NotImplementedError", ""),
    ],
)
def test_the_first_example_that_does_not_hold_is_told(body: str, said: str) -> None:
    assert broken(body) == (said and f"The example in the docstring of double: {said}.")


def test_an_endless_example_and_an_odd_docstring_say_nothing(monkeypatch) -> None:
    monkeypatch.setattr("autograder.examples.SECONDS", 0.1)
    assert broken("while True: pass") == ""
    assert broken("return 0", 'def double(x):\n    """\n    >>>double(3)\n    6\n    """\n') == ""
    assert first_broken([None, len], {}) == ""


def test_random_numbers_after_it_are_the_same() -> None:
    head = 'def double(x):\n    """\n    >>> double(0)\n    1\n    """\n'
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    assert broken("import torch; return torch.rand(1)", head)
    assert torch.equal(torch.rand(3), wanted)
