"""Hidden checks of exercise 12, and other ways to solve it."""

from __future__ import annotations

from autograder.compare import close
from autograder.exercise import check, variant
from autograder.exercises.pretraining import costs as public
from autograder.exercises.pretraining.costs import attention_by_hand, compare_bytes, operations_by_hand, refuses
from autograder.rng import Rng
from autograder.student import Student


class TrainFlops(public.TrainFlops):
    @check(hint="540e9 parameters and 780e9 tokens: 6ND gives 2.5e24. And doubling either factor doubles the cost.")
    def palm_and_proportions(self, student: Student, rng: Rng) -> None:
        close(student.train_flops(540e9, 780e9), 2.5272e24, rtol=1e-6, what="PaLM, 540e9 parameters, 780e9 tokens: it")
        N, D = rng.randint(10**5, 10**7), rng.randint(10**6, 10**8)
        for n, d in ((N, D), (2 * N, D), (N, 3 * D), (0, D)):
            close(student.train_flops(n, d), operations_by_hand(n, d), rtol=1e-9, what=f"{n:,} and {d:,}: it")

    @check(hint="PaLM: 118 layers, 48 heads of 256, 2,048 tokens; 238,300 tokens a second on 6,144 chips.")
    def utilisation_of_palm(self, student: Student, rng: Rng) -> None:
        got = student.mfu(540.35e9, 238.3e3, 6144 * 275e12, L=118, H=48, Q=256, T=2048)
        per_token = operations_by_hand(540_350_000_000, 1) + attention_by_hand(118, 48, 256, 2048)
        close(got, per_token * 238.3e3 / (6144 * 275e12), rtol=1e-9, what="PaLM on 6,144 chips: it")
        close(got, 0.462, rtol=2e-3, what="PaLM's utilisation: it")

    @check(hint="Small numbers, too; and an optimiser that is not in the table raises ValueError.")
    def any_size_and_no_unknown_optimiser(self, student: Student, rng: Rng) -> None:
        cases = [(1, "adam"), (3, "momentum-fp32"), (rng.randint(10, 10**4), "sgd-fp32"), (7, "adam-fp32"), (0, "adam")]
        answers = [student.train_memory_bytes(N, name) for N, name in cases]
        for got, (N, name) in zip(answers, cases, strict=True):
            compare_bytes(got, N, name)
        compare_bytes(student.train_memory_bytes(5), 5, "adam")
        refuses(student, "adamw9")

    @variant
    class PassByPass:
        """Each pass and each product by name; memory from bits."""

        def train_flops(N, D):
            forward = 2.0 * N * D
            return forward + 2 * forward

        def mfu(N, tokens_per_s, peak, L=0, H=0, Q=0, T=0):
            forward = 2 * N + 2 * 2 * L * H * Q * T
            needed = 3 * forward * tokens_per_s
            return needed / peak

        def train_memory_bytes(N, optimizer="adam"):
            mixed = optimizer == "adam"
            moments = {"adam": 2, "adam-fp32": 2, "momentum-fp32": 1, "sgd-fp32": 0}
            if optimizer not in moments:
                raise ValueError(f"unknown optimizer {optimizer}")
            bits = {"weights": 16 if mixed else 32, "gradients": 16 if mixed else 32}
            bits |= {"master": 32 if mixed else 0, "moments": 32 * moments[optimizer]}
            found = {name: b * N // 8 for name, b in bits.items()}
            found["total"] = sum(found.values())
            return found

    @variant
    class Branches:
        """The total first, by branches; utilisation as the quotient of two speeds."""

        def train_flops(N, D):
            return N * (6 * D)

        def mfu(N, tokens_per_s, peak, L=0, H=0, Q=0, T=0):
            return tokens_per_s / (peak / (6 * N + 12 * T * L * H * Q))

        def train_memory_bytes(N, optimizer="adam"):
            if optimizer == "adam":
                w, m, s = 2, 4, 8
            elif optimizer == "adam-fp32":
                w, m, s = 4, 0, 8
            elif optimizer == "momentum-fp32":
                w, m, s = 4, 0, 4
            elif optimizer == "sgd-fp32":
                w, m, s = 4, 0, 0
            else:
                raise ValueError("optimizer")
            return {
                "total": N * (2 * w + m + s),
                "moments": s * N,
                "master": m * N,
                "gradients": w * N,
                "weights": w * N,
            }
