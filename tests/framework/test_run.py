"""Running checks: outcomes, partial credit, named mistakes, blame."""

import random
from types import SimpleNamespace

import pytest
import samples
import torch
from samples import REFERENCE, HiddenMean, Mean

from autograder.audit import audit_exercise
from autograder.compare import CheckFailed, close, equal, true
from autograder.exercise import Exercise, check, mistake
from autograder.run import Outcome, run_exercise
from autograder.student import LocalBackend, call_text

RIGHT = {"total": samples.total, "mean": samples.mean}


def run(code, exercise=None, **kwargs):
    exercise = exercise or Mean()
    return run_exercise(exercise, LocalBackend(code), **kwargs)


def test_right_code_earns_all_points():
    report = run(RIGHT, HiddenMean(), checks=HiddenMean().checks)
    assert report.passed and (report.earned, report.points) == (7, 7)
    assert [r.hidden for r in report.results] == [False, False, False, True]


def test_partial_credit_is_by_points_of_each_check():
    report = run(RIGHT | {"mean": lambda numbers: 0})
    assert (report.earned, report.points) == (2, 4)
    assert report.outcome is Outcome.FAILED


def test_a_known_mistake_is_named_and_an_unknown_one_is_not():
    known = run(RIGHT | {"mean": lambda n: sum(n) / (len(n) - 1)}).results[1]
    assert known.mistake == "sample_size" and "one less" in known.mistake_text
    unknown = run(RIGHT | {"mean": lambda n: sum(n) / (len(n) + 1)}).results[1]
    assert unknown.outcome is Outcome.FAILED and unknown.mistake == ""


def test_the_message_says_what_was_called_and_by_how_much_it_is_off():
    result = run(RIGHT | {"mean": lambda n: sum(n) / len(n) + 1}).results[1]
    assert result.called.startswith("mean([") and "off by 1" in result.message


def test_stub_and_missing_function_are_not_attempted_but_other_errors_are_errors():
    def not_written(*args):
        raise NotImplementedError

    assert run({"total": not_written, "mean": not_written}).outcome is Outcome.NOT_ATTEMPTED
    assert run({}).outcome is Outcome.NOT_ATTEMPTED
    result = run(RIGHT | {"mean": lambda n: 1 / 0}).results[1]
    assert result.outcome is Outcome.ERROR and "ZeroDivisionError" in result.message


def test_half_written_code_gets_its_half():
    report = run({"total": samples.total})
    assert report.earned == 2 and report.outcome is Outcome.FAILED


def test_an_endless_loop_is_a_timeout():
    class Quick(Exercise):
        """x"""

        functions = ("f",)
        reference = REFERENCE

        @check(time_limit=0.2)
        def ends(self, student, rng):
            equal(student.f(), 1)

    def endless():
        while True:
            pass

    assert run({"f": endless}, Quick()).outcome is Outcome.TIMEOUT


def test_a_check_that_stumbles_over_a_students_value_does_not_become_a_grader_error():
    class Careless(Exercise):
        """x"""

        functions = ("f",)
        reference = type("R", (), {"f": staticmethod(lambda: [1])})

        @check()
        def first_is_one(self, student, rng):
            if student.f()[0] != 1:
                raise CheckFailed("no")

        @check()
        def is_itself_broken(self, student, rng):
            student.f()
            raise KeyError("broken check")

    report = run({"f": lambda: None}, Careless())
    assert [r.outcome for r in report.results] == [Outcome.FAILED, Outcome.GRADER_ERROR]


def test_inputs_are_copies_so_that_a_student_cannot_change_them():
    class Keeps(Exercise):
        """x"""

        functions = ("f",)
        reference = type("R", (), {"f": staticmethod(len)})

        @check()
        def leaves_its_input_alone(self, student, rng):
            mine = [1, 2]
            _, (after,) = student.f.with_arguments(mine)
            equal(mine, [1, 2])
            equal(after, [1, 2], "the argument after the call")

    assert run({"f": len}, Keeps()).passed
    changed = run({"f": lambda x: x.append(3)}, Keeps()).results[0]
    assert "length 3 instead of 2" in changed.message


def test_objects_that_equal_everything_gain_nothing():
    class Always:
        def __eq__(self, other):
            return True

    report = run({"total": lambda n: Always(), "mean": lambda n: Always()})
    assert report.earned == 0


def test_callbacks_classes_attributes_and_gradients_cross_the_border():
    class Uses(Exercise):
        """x"""

        functions = ("apply", "Scale", "square")
        reference = REFERENCE

        @check()
        def callback(self, student, rng):
            equal(student.apply(lambda x: x + 1, 4), 5)

        @check()
        def module(self, student, rng):
            scale = student.Scale(3.0)
            close(scale(torch.ones(2)), torch.full((2,), 3.0))
            close(scale.weight, torch.tensor(3.0))

        @check()
        def gradient(self, student, rng):
            x = rng.normal(4)
            out, (grad,) = student.square.gradient(x, wrt=[0], upstream=torch.ones(4))
            close(out, x**2)
            close(grad, 2 * x)

    class Scale(torch.nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(weight))

        def forward(self, x):
            return x * self.weight

    code = {"apply": lambda f, x: f(x), "Scale": Scale, "square": lambda x: x**2}
    assert run(code, Uses()).passed
    assert not run(code | {"square": lambda x: x.detach() ** 2 + 0 * x}, Uses()).results[2].earned


def test_an_object_may_keep_a_function_of_the_check_for_later_calls():
    class Uses(Exercise):
        """x"""

        functions = ("Twice", "apply")
        reference = REFERENCE

        @check()
        def later(self, student, rng):
            add, multiply = student.Twice(lambda x: x + 1), student.Twice(lambda x: 10 * x)
            equal(student.apply(lambda x: x - 1, 4), 3)
            equal([add(1), multiply(2), add(3)], [3, 200, 5])

    class Twice:
        def __init__(self, f):
            self.f = f

        def __call__(self, x):
            return self.f(self.f(x))

    report = run({"apply": lambda f, x: f(x), "Twice": Twice}, Uses())
    assert report.passed, report.first_problem


def test_a_gradient_goes_through_one_of_several_results():
    class Uses(Exercise):
        """x"""

        functions = ("best",)
        reference = REFERENCE

        @check()
        def gradient(self, student, rng):
            upstream = (None, torch.tensor(2.0))
            (index, value), (grad,) = student.best.gradient(torch.tensor([1.0, 3.0]), wrt=[0], upstream=upstream)
            equal([index, value.item()], [1, 3.0])
            equal(grad.tolist(), [0.0, 2.0])

    assert run({"best": lambda x: (int(x.argmax()), x.max())}, Uses()).passed
    assert not run({"best": lambda x: (int(x.argmax()), 2 * x.max() - x.max().detach())}, Uses()).passed


def squares_of_sums(x):
    return (x[:, None] + x[None, :]).pow(2).sum(1)


def squares_of_sums_row_by_row(x):
    return torch.stack([(row + x).pow(2).sum() for row in x])


def test_the_size_of_the_largest_tensor_crosses_the_border_and_names_the_mistake():
    class Small(Exercise):
        """x"""

        functions = ("f",)
        reference = SimpleNamespace(f=squares_of_sums_row_by_row)

        @check()
        def never_holds_all_pairs(self, student, rng):
            x = rng.normal(30)
            result, elements = student.f.with_largest_tensor(x)
            close(result, squares_of_sums(x), rtol=1e-4)
            if elements >= 30 * 30:
                raise CheckFailed(f"the largest tensor has {elements} elements")

        @mistake("holds all pairs at once")
        def all_pairs(x):
            return squares_of_sums(x)

    assert run({"f": squares_of_sums_row_by_row}, Small()).passed
    result = run({"f": lambda x: (x + x[:, None]).square().sum(0)}, Small()).results[0]
    assert "has 900 elements" in result.message and result.mistake == "all_pairs"
    assert result.called == "f(tensor of shape (30,))"

    def broken(x):
        raise ValueError("no")

    assert run({"f": broken}, Small()).results[0].outcome is Outcome.ERROR
    assert not torch._C._len_torch_dispatch_stack()


def test_forbidden_names_are_reported_with_their_line():
    report = run(RIGHT, source="import statistics\n\ndef mean(n):\n    return statistics.fmean(n)\n")
    assert report.earned == 0 and "line 1" in report.results[0].message


def test_seeds_reach_the_check():
    seen = []

    class Draws(Exercise):
        """x"""

        functions = ("f",)
        reference = REFERENCE

        @check()
        def draws(self, student, rng):
            seen.append(rng.random())

    for seed in (1, 2, 1):
        run({}, Draws(), seed=lambda item, seed=seed: seed)
    assert seen[0] == seen[2] != seen[1]


def test_messages_shorten_long_arguments():
    text = call_text("f", ([0] * 1000, torch.zeros(3, 4)), {"k": len})
    assert len(text) < 200 and "shape (3, 4)" in text and "k=len" in text
    weights = {"a": torch.zeros(3, 4), "b": torch.zeros(2)}
    assert call_text("load", (weights, [1, torch.zeros(2)]), {}) == "load(a dict of 2 values, [1, tensor([0., 0.])])"


class TestAudit:
    def test_sound_exercise(self):
        found = audit_exercise("x", HiddenMean())
        assert (found.mistakes, found.caught, found.named) == (2, 2, 2)
        assert (found.variants, found.accepted) == (1, 1)
        assert sorted(found.problems) == ["has 1 variants, fewer than 2", "has 2 mistakes, fewer than 3"]

    def test_a_mistake_that_passes_is_reported(self):
        class Weak(Mean):
            @mistake("is right after all")
            def fine(numbers):
                return sum(numbers) / len(numbers)

        Weak.functions = Mean.functions
        assert any("passes every check" in p for p in audit_exercise("x", Weak()).problems)

    def test_a_misnamed_mistake_is_reported(self):
        class Twins(Mean):
            functions = Mean.functions
            adds_all_numbers = Mean.adds_all_numbers
            divides_by_how_many_there_are = Mean.divides_by_how_many_there_are

            @mistake("divides by one less")
            def first(numbers):
                return sum(numbers) / (len(numbers) - 1)

            @mistake("divides by one less, written differently")
            def second(numbers):
                return sum(numbers) / (-1 + len(numbers))

        assert any("second is taken for first" in p for p in audit_exercise("x", Twins()).problems)

    def test_a_wrong_reference_and_a_wrong_variant_are_reported(self):
        class Broken(Mean):
            functions = Mean.functions
            reference = type("R", (), {"total": staticmethod(sum), "mean": staticmethod(lambda n: 0)})
            adds_all_numbers = Mean.adds_all_numbers
            divides_by_how_many_there_are = Mean.divides_by_how_many_there_are

        assert any("the reference fails" in p for p in audit_exercise("x", Broken()).problems)


@pytest.mark.parametrize(
    "returned, said",
    [
        (None, "it returned None, expected an int: 3"),
        ((x for x in "ab"), "it returned a generator, expected an int: 3"),
        ([1], "it returned a list: [1], expected an int: 3"),
    ],
)
def test_a_wrong_type_is_said_in_plain_words(returned, said):
    class Three(Exercise):
        """x"""

        functions = ("three",)
        reference = type("R", (), {"three": staticmethod(lambda: 3)})

        @check()
        def is_three(self, student, rng):
            equal(student.three(), 3)

    assert run({"three": lambda: returned}, Three()).results[0].message == said


def random_exercise(on_record):
    """Each draw is another number, so only the finding can be compared."""

    class Draw(Exercise):
        functions = ("draw",)
        reference = SimpleNamespace(draw=lambda: random.random())
        hints = ("", "", "")

        @check()
        def is_a_share(self, student, rng):
            if on_record:
                got = student.draw()
            else:
                with student.off_the_record():
                    got = student.draw()
                student.conclude("a share" if 0 <= got <= 1 else "too large" if got > 1 else "negative")
            true(0 <= got <= 1, f"{got} is not a share")

        @mistake("draws percent")
        def percent():
            return 100 * random.uniform(0.5, 1)

        @mistake("draws negative numbers")
        def negative():
            return -random.random()

    return Draw()


def test_random_answers_are_recognised_by_what_follows_from_them():
    exercise = random_exercise(on_record=False)
    assert run({"draw": random.random}, exercise).passed
    for code, name in ((lambda: 2 + random.random(), "percent"), (lambda: -9 * random.random(), "negative")):
        result = run({"draw": code}, exercise).results[0]
        assert result.outcome is Outcome.FAILED and result.mistake == name and result.called == "draw()"
    assert run({"draw": lambda: 2 + random.random()}, random_exercise(on_record=True)).results[0].mistake == ""


def test_an_error_stays_on_record():
    result = run({"draw": lambda: 1 / 0}, random_exercise(on_record=False)).results[0]
    assert result.outcome is Outcome.ERROR and result.mistake == ""
