"""`close` where subtraction says nothing: infinities, nan, and integers too large for a float."""

import math

import numpy as np
import pytest
import torch

from autograder.compare import CheckFailed, close

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    "make", [float, lambda x: [x], lambda x: np.array([0.0, x]), lambda x: torch.tensor([x], dtype=torch.double)]
)
@pytest.mark.parametrize(
    ("got", "want", "alike"),
    [
        (1.0, 1.0 + 1e-7, True),
        (1.0, 1.1, False),
        (INF, INF, True),
        (-INF, -INF, True),
        (NAN, NAN, True),
        (1e300, INF, False),
        (0.0, -INF, False),
        (-INF, INF, False),
        (NAN, INF, False),
        (INF, NAN, False),
        (INF, 1e300, False),
        (NAN, 1.0, False),
        (1.0, NAN, False),
    ],
)
def test_infinity_is_close_to_itself_only(make, got, want, alike):
    if alike:
        close(make(got), make(want))
    else:
        with pytest.raises(CheckFailed):
            close(make(got), make(want))


def test_the_message_says_by_how_much_where_that_means_something():
    with pytest.raises(CheckFailed, match=r"^it returned 1, expected 3: it is off by 2$"):
        close(1.0, 3.0)
    with pytest.raises(CheckFailed, match=r"^the loss returned 5, expected inf$"):
        close(5.0, INF, what="the loss")
    with pytest.raises(CheckFailed, match=r"^it returned nan, expected 1$"):
        close(NAN, 1.0)


def test_an_integer_of_any_size_can_be_returned():
    close(10**400, 10**400)
    close(10**17, 10**17 + 1)
    for want in (1.0, INF):
        with pytest.raises(CheckFailed):
            close(10**400, want)
