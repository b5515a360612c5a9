"""Exercise 12: what a training run costs in operations and in memory, and how much of a device it puts to use."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from autograder.compare import close, equal, expect_error, true
from autograder.exercise import Exercise, check, mistake
from autograder.rng import Rng
from autograder.student import Student, type_name
from course_lib import pretraining

PF_DAY = Fraction(10**15 * 86_400)  # 1e15 operations a second, for a day
NAMES = ("weights", "gradients", "master", "moments", "total")


def operations_by_hand(parameters: int, tokens: int) -> float:
    """Forward, then gradients of inputs, then those of weights: a multiplication and an addition in each."""
    return float(sum(Fraction(parameters) * tokens * 2 for _product in ("forward", "inputs", "weights")))


def attention_by_hand(layers: int, heads: int, width: int, context: int) -> int:
    """Operations of training that one token has with the context: query times keys, and weights times values."""
    count = 0
    for _layer in range(layers):
        for _head in range(heads):
            for _product in ("queries with keys", "weights with values"):
                multiply_adds = width * context
                count += 3 * 2 * multiply_adds  # once forward and twice backward, two operations each
    return count


def bytes_by_hand(parameters: int, optimizer: str) -> dict[str, int]:
    """From the numbers of bits."""
    half, single = 16, 32
    low = half if optimizer == "adam" else single
    bits = {
        "weights": low,
        "gradients": low,
        "master": single if optimizer == "adam" else 0,
        "moments": single * {"adam": 2, "adam-fp32": 2, "momentum-fp32": 1, "sgd-fp32": 0}[optimizer],
    }
    found = {name: parameters * count // 8 for name, count in bits.items()}
    return found | {"total": sum(found.values())}


def compare_bytes(got: Any, parameters: int, optimizer: str) -> None:
    what = f"{parameters:,} parameters, {optimizer}: the result"
    true(isinstance(got, dict), f"{what} is {type_name(got)}, expected a dictionary with the names {', '.join(NAMES)}")
    equal(got, bytes_by_hand(parameters, optimizer), what)


def counted(per_parameter: dict[str, float], N: int) -> dict[str, Any]:
    parts = {name: int(size * N) for name, size in per_parameter.items()}
    return parts | {"total": sum(parts.values())}


MEMORY = {
    name: {key: size for key, size in bytes_by_hand(1, name).items() if key != "total"}
    for name in ("adam", "adam-fp32", "momentum-fp32", "sgd-fp32")
}


def altered(N: int, optimizer: str, **changes: float) -> dict[str, Any]:
    """The right table with some of its entries replaced, for "adam" only."""
    if optimizer not in MEMORY:
        raise ValueError(f"optimizer: {optimizer!r}")
    return counted(MEMORY[optimizer] | (changes if optimizer == "adam" else {}), N)


class TrainFlops(Exercise):
    """Operations of a training run by 6ND, the share of a device's peak, and bytes for each parameter."""

    title = "The cost of a training run"
    difficulty = 1
    minutes = 15
    id = "train_flops"
    functions = ("train_flops", "mfu", "train_memory_bytes")
    reference = pretraining
    hints = (
        "How many operations does one parameter take part in while one token passes through the network? And on the "
        "way back, where both the inputs and the weights get gradients?",
        "train_flops is a product of three factors. mfu: operations that the model needs for one token (6N, and "
        "12 L H Q T for the attention), times tokens a second, divided by the peak; all in plain operations. Memory: "
        "bytes for each kind, from bits / 8, times N; then their sum.",
        'train_flops: 6 * N * D. mfu: (6 * N + 12 * L * H * Q * T) * tokens_per_s / peak. Memory: table = {"adam": '
        '{"weights": 2, "gradients": 2, "master": 4, "moments": 8}, ...}; parts = {name: size * N ...}; return parts | '
        '{"total": sum(parts.values())}.',
    )

    @check(hint="2 operations for each parameter and token forwards, twice as many backwards: 6 N D.")
    def counts_the_operations_of_known_runs(self, student: Student, rng: Rng) -> None:
        got = student.train_flops(175e9, 300e9)
        close(got, 3.15e23, rtol=1e-9, what="GPT-3, 175e9 parameters and 300e9 tokens: it")
        close(got / float(PF_DAY), 3646, rtol=1e-4, what="GPT-3 in petaflop/s-days: it")
        N, D = rng.randint(10**6, 10**9), rng.randint(10**7, 10**11)
        close(
            student.train_flops(N, D), operations_by_hand(N, D), rtol=1e-9, what=f"{N:,} parameters, {D:,} tokens: it"
        )

    @check(hint="Needed operations a second, 6 N tokens_per_s, over the peak in operations a second: a share.")
    def utilisation_is_a_share_of_the_peak(self, student: Student, rng: Rng) -> None:
        N, speed = rng.randint(10**6, 10**9), rng.uniform(1e3, 1e5)
        share = rng.uniform(0.2, 0.6)
        peak = operations_by_hand(N, 1) * speed / share
        close(student.mfu(N, speed, peak), share, rtol=1e-6, what=f"a run that uses {share:.1%} of its peak: it")

    @check(hint="For each layer, head and token of the context: 12 Q operations, added to 6 N before multiplying.")
    def attention_comes_on_top(self, student: Student, rng: Rng) -> None:
        L, H, Q, T = rng.randint(3, 8), rng.randint(5, 9), rng.randint(10, 40), rng.randint(50, 90)
        N, speed, peak = rng.randint(10**4, 10**5), rng.uniform(1e3, 1e4), rng.uniform(1e10, 1e11)
        want = (operations_by_hand(N, 1) + attention_by_hand(L, H, Q, T)) * speed / peak
        got = student.mfu(N, speed, peak, L=L, H=H, Q=Q, T=T)
        close(got, want, rtol=1e-6, what=f"{L} layers, {H} heads of {Q}, {T} tokens of context: it")

    @check(hint="Mixed precision: 2 + 2 bytes in 16 bits, then master copy and two moments in 32 bits: 4 + 4 + 4.")
    def adam_takes_sixteen_bytes(self, student: Student, rng: Rng) -> None:
        cases = [(N, name) for N in (7_000_000_000, rng.randint(10**6, 10**8)) for name in ("adam", "adam-fp32")]
        answers = [student.train_memory_bytes(N, name) for N, name in cases]
        for got, (N, name) in zip(answers, cases, strict=True):
            compare_bytes(got, N, name)

    @check(hint="In 32 bits there is no master copy; momentum keeps one mean, plain SGD none. Other names: ValueError.")
    def other_optimisers_keep_less(self, student: Student, rng: Rng) -> None:
        N = rng.randint(10**6, 10**8)
        names = ("momentum-fp32", "sgd-fp32", "adam-fp32")
        answers = [student.train_memory_bytes(N, name) for name in names]
        for got, name in zip(answers, names, strict=True):
            compare_bytes(got, N, name)
        refuses(student, "adam-fp4")

    @mistake("counts the forward pass only; the way back costs twice as much again")
    def forward_only(N, D):
        return 2 * N * D

    @mistake("counts the way back only; forwards there are 2 operations more for each parameter and token")
    def backward_only(N, D):
        return 4 * N * D

    @mistake("counts a multiplication with its addition as one; they are two operations")
    def one_for_two(N, D):
        return 3 * N * D

    @mistake("counts the forward pass twice, as when activations are computed again; the model asks for it once")
    def recomputed(N, D):
        return 8 * N * D

    @mistake("counts one operation for each parameter and token; there are 2 forwards and 4 backwards")
    def product_only(N, D):
        return N * D

    @mistake("counts the forward pass only; a training step has 6 operations for each parameter and token", of="mfu")
    def two_n(N, tokens_per_s, peak, L=0, H=0, Q=0, T=0):
        return (2 * N + 4 * L * H * Q * T) * tokens_per_s / peak

    @mistake("takes the peak for a number of TFLOP/s; it is in FLOP/s, 1e12 times as many", of="mfu")
    def peak_in_tera(N, tokens_per_s, peak, L=0, H=0, Q=0, T=0):
        return pretraining.mfu(N, tokens_per_s, peak, L, H, Q, T) / 1e12

    @mistake("returns per cent; asked is a share from 0 to 1", of="mfu")
    def per_cent(N, tokens_per_s, peak, L=0, H=0, Q=0, T=0):
        return 100 * pretraining.mfu(N, tokens_per_s, peak, L, H, Q, T)

    @mistake("divides the peak by what is used; it is the other way round", of="mfu")
    def upside_down(N, tokens_per_s, peak, L=0, H=0, Q=0, T=0):
        return 1 / pretraining.mfu(N, tokens_per_s, peak, L, H, Q, T)

    @mistake("leaves the attention out; it adds 12 L H Q T operations for each token", of="mfu")
    def no_attention(N, tokens_per_s, peak, L=0, H=0, Q=0, T=0):
        return 6 * N * tokens_per_s / peak

    @mistake("halves the attention term; by convention all T keys count, hidden ones too", of="mfu")
    def half_attention(N, tokens_per_s, peak, L=0, H=0, Q=0, T=0):
        return (6 * N + 6 * L * H * Q * T) * tokens_per_s / peak

    @mistake("counts the attention of a whole sequence for each token; a token has T keys, not T times T", of="mfu")
    def whole_sequence(N, tokens_per_s, peak, L=0, H=0, Q=0, T=0):
        return (6 * N + 12 * L * H * Q * T * T) * tokens_per_s / peak

    @mistake("counts bits; 8 of them are a byte", of="train_memory_bytes")
    def bits(N, optimizer="adam"):
        return {name: 8 * size for name, size in pretraining.train_memory_bytes(N, optimizer).items()}

    @mistake("forgets the float32 master copy of the weights that mixed precision needs", of="train_memory_bytes")
    def no_master(N, optimizer="adam"):
        return altered(N, optimizer, master=0)

    @mistake("keeps one of Adam's two moments; it has a mean of g and one of g squared", of="train_memory_bytes")
    def one_moment(N, optimizer="adam"):
        found = pretraining.train_memory_bytes(N, optimizer)
        return found | {"moments": 4 * N, "total": found["total"] - 4 * N} if "adam" in optimizer else found

    @mistake("forgets Adam's moments, two numbers for each parameter", of="train_memory_bytes")
    def no_moments(N, optimizer="adam"):
        found = pretraining.train_memory_bytes(N, optimizer)
        return found | {"moments": 0, "total": found["total"] - found["moments"]}

    @mistake("keeps Adam's moments in 16 bits; in mixed precision they stay in 32", of="train_memory_bytes")
    def half_moments(N, optimizer="adam"):
        return altered(N, optimizer, moments=4)

    @mistake(
        "keeps gradients in 32 bits; here, in mixed precision, they have 16 as the weights do", of="train_memory_bytes"
    )
    def wide_gradients(N, optimizer="adam"):
        return altered(N, optimizer, gradients=4)

    @mistake(
        "counts the weights alone; gradients and the optimiser's state take several times as much",
        of="train_memory_bytes",
    )
    def weights_only(N, optimizer="adam"):
        found = pretraining.train_memory_bytes(N, optimizer)
        return {name: found["weights"] if name in ("weights", "total") else 0 for name in found}

    @mistake("lets a KeyError out for an unknown optimiser; ValueError is promised", of="train_memory_bytes")
    def key_error(N, optimizer="adam"):
        parts = {name: int(size * N) for name, size in MEMORY[optimizer].items()}
        return parts | {"total": sum(parts.values())}

    @mistake("returns gigabytes; asked are bytes", of="train_memory_bytes")
    def gigabytes(N, optimizer="adam"):
        return {name: size / 1e9 for name, size in pretraining.train_memory_bytes(N, optimizer).items()}

    @mistake("gives every optimiser the memory of mixed-precision Adam", of="train_memory_bytes")
    def always_adam(N, optimizer="adam"):
        return pretraining.train_memory_bytes(N, "adam")

    @mistake(
        "keeps a master copy in 32 bits as well; there the weights themselves are the master", of="train_memory_bytes"
    )
    def master_everywhere(N, optimizer="adam"):
        found = pretraining.train_memory_bytes(N, optimizer)
        return found if optimizer == "adam" else found | {"master": 4 * N, "total": found["total"] + 4 * N}


def refuses(student: Student, name: str) -> None:
    expect_error(ValueError, student.train_memory_bytes, 1000, name)
