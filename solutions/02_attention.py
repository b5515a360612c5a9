# %% [markdown]
r"""
# Chapter 2 · Attention and the transformer

*How numbers that stand for words learn to look at each other.*

Chapter 1 ended with a list of token ids. This chapter builds the machine that reads them. Its heart is one formula from
2017, four lines of code, and everything around that formula is there to let it be stacked, trained and run: a way to
say *where* a token stands, a way to keep numbers in range, a way to think about each token by itself. The whole machine
is called a **transformer**. Nearly every language model that you have heard of is one, or a close relative.

You write all of it: attention with its masks and heads, four ways to tell positions, the blocks, a complete GPT into
which the weights of a published architecture fit number by number, the trick that made long texts affordable, and the
main alternatives.

## What you will be able to do

- write attention from its formula, and name the usual ways in which almost right code is wrong;
- say what a mask lets through, how far information travels in a stack of windows, and what the heads share in
  multi-query and grouped-query attention;
- tell absolute, relative, rotary and linear-bias positions apart, and predict which of them survives a text that is
  longer than those in training;
- build a GPT, count its parameters and its arithmetic to the last one, and load foreign weights into your own code;
- explain why FlashAttention is exact, and what it saves;
- route tokens to experts, turn attention into a recurrence, and see why recurrent networks forget;
- watch a two-layer model discover how to copy, and find the heads that do it.
"""

# %% [markdown]
r"""
## The story so far

A tokenizer turned text into ids, whole numbers below the size V of a vocabulary. A language model is a function that
takes the first T ids of a text and returns, for each place, a score for every entry of the vocabulary: how well would
this entry continue the text up to here? The scores are called **logits**. The function *softmax* turns them into
probabilities: $\mathrm{softmax}(z)_i = e^{z_i} / \sum_j e^{z_j}$, positive numbers that sum to one.

Before 2017 the usual such function was a recurrent network: it read a text token by token and kept what it had read in
one vector of fixed size. Two things are hard for it. What stood far back has been overwritten many times, and token
500 cannot be processed before token 499. The transformer does without the vector. Every token may look at every
earlier token *directly*, and all of them look at the same time.

**Shapes.** This chapter is about tensors, blocks of numbers with several axes, and most mistakes are mistakes of axes.
The letters are the same everywhere: B texts in a batch, T tokens in a text, C numbers per token (the *width* of the
model), H heads, D numbers per head, V entries of the vocabulary. `[B, T, C]` is a block of B times T times C numbers.

**How the chapter works.** As in chapter 1: an *idea*, a question to *predict*, the *exercise*, its *check*, an
*experiment* with a picture. Experiments use your function once it passes its checks and the course's until then, so
nothing blocks you. There are fourteen exercises from ★ to ★★★. All of them together take about eight hours, and the
chapter falls into five parts that can be done on five days. When you come back to it, a note at the head of each part
says which cells to run first. Where an exercise forbids something, because you are to write it yourself, its
description says so. The course's own version, `course_lib.attention`, is never allowed in an exercise.
"""

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder import check, hint, mine, open_chapter, progress, quiz, scale, solution, stand_in
from course_lib import corpus, display, plots

open_chapter("02_attention")
plots.style()
torch.set_num_threads(1)  # the models here are so small that a second thread would mostly wait

# %% [markdown]
r"""
### The text we work with

As before, the text is Python's own language reference, which is on your machine already. This chapter reads it
**character by character**. A good tokenizer would make the sequences shorter, but with fewer than a hundred symbols
the models stay small enough to be trained while you wait, and every effect that we look for is visible.
"""

# %% tags=["experiment"]
from course_lib.attention.training import train

DEVICE = "cuda" if scale() == "gpu" else "cpu"

text = corpus.python_reference()
common = sorted(c for c in set(text) if text.count(c) > 20)
TEXT = "".join(c for c in text if c in common)
CHARACTERS = {c: i for i, c in enumerate(common)}
DATA = torch.tensor([CHARACTERS[c] for c in TEXT])
SPLIT = len(DATA) * 9 // 10  # the last tenth is held out
V = len(CHARACTERS)


def windows(data: Tensor, count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` random stretches of `length` characters, and the characters that follow each of them."""
    starts = torch.randint(0, len(data) - length - 1, (count,), generator=generator)
    rows = torch.stack([data[s : s + length + 1] for s in starts.tolist()]).to(DEVICE)
    return rows[:, :-1], rows[:, 1:]


def next_character_loss(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    """The mean of -log p(right next character), in nats."""
    return F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())


print(
    f"{len(DATA):,} characters, {V} different ones; a model that knows nothing has a loss of ln {V} = {math.log(V):.2f}"
)

# %% [markdown]
r"""
---
# Part I · Attention

**To begin here.** Run the two code cells above: the set-up and the text. That is all.
"""

# %% [markdown]
r"""
## Exercise 1 · An embedding is a matrix product  ★ · 10 min

**Idea.** An id is a name, not a quantity: token 300 is not three times token 100. So the first layer of every language
model is a table E with one row of C numbers for each entry of the vocabulary, and the id picks its row. The rows are
parameters; training moves them. This is an **embedding**.

The lookup is the same as a matrix product. Write the id as a vector of V numbers that are all zero, except for a one at
the place of the id: a **one-hot** vector. Then one-hot times E is exactly the row. Nobody computes it that way, but the
view pays off twice. It says that an embedding is a linear layer like any other. And it says what the *gradient* is (the
derivative of the loss, by which training decides how to move each number): the transpose of the same product. Torch's
*autograd* finds gradients by itself; here you write one by hand, once, to see what it does. Each row of E gets the sum
of the gradients at all places where its id occurred. Words that occur often are moved often; a word that does not occur
in a batch is not moved at all.
"""

# %% [markdown]
r"""
**Predict.** A batch holds the ids `[[7, 3, 7]]`, and the gradient at each place is a vector of ones. What is in row 7
of the gradient of E? In row 3? In row 0?

<details><summary>Answer</summary>

Row 7: twos, because the id occurs twice and gradients add up. Row 3: ones. Row 0: zeros. Code such as
`grad[ids] = grad_out` gives ones in row 7: the second occurrence overwrites the first. It is a silent error. Training
still works, a little worse, and nobody is told.
</details>
"""


# %% exercise="embed"
def embed(ids: Tensor, E: Tensor) -> Tensor:
    """Look up one row of the table E for every id.

    ids: integers [B, T], each from 0 to V - 1. E: [V, C]. Returns [B, T, C] with the dtype of E.

    >>> embed(torch.tensor([[2, 0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    tensor([[[5., 6.],
             [1., 2.]]])
    """
    ### BEGIN SOLUTION
    return E[ids]
    ### END SOLUTION


def embed_backward(ids: Tensor, grad_out: Tensor, vocab_size: int) -> Tensor:
    """The gradient of the loss with respect to E, given its gradient with respect to embed(ids, E).

    ids: [B, T]. grad_out: [B, T, C]. Returns [vocab_size, C] with the dtype of grad_out: for each id the sum of the
    gradients at its places, and zeros for ids that do not occur.

    Not allowed in this exercise: torch's own embeddings (nn.Embedding, F.embedding) and autograd.

    >>> embed_backward(torch.tensor([[1, 1]]), torch.tensor([[[1.0, 2.0], [10.0, 20.0]]]), 3)
    tensor([[ 0.,  0.],
            [11., 22.],
            [ 0.,  0.]])
    """
    ### BEGIN SOLUTION
    width = grad_out.shape[-1]
    grad = torch.zeros(vocab_size, width, dtype=grad_out.dtype, device=grad_out.device)
    grad.index_add_(0, ids.flatten(), grad_out.reshape(-1, width))
    return grad
    ### END SOLUTION


# %% check="embed"
check(embed, embed_backward)

# %% [markdown]
r"""
**Experiment: what the one-hot matrix would cost.** Four texts of 1,024 tokens, in single precision (4 bytes a number),
for the vocabularies of some published models. The width is 768 in all cases, that of the small GPT-2.
"""

# %% tags=["experiment"]
look_up = stand_in(embed)

tokens, width = 4 * 1024, 768
vocabularies = {"characters (here)": V, "Llama 2": 32_000, "GPT-2": 50_257, "Llama 3": 128_256}
one_hot = [4 * tokens * size / 2**20 for size in vocabularies.values()]
result = 4 * look_up(torch.zeros(4, 1024, dtype=torch.long), torch.zeros(V, width)).numel() / 2**20

fig, ax = plt.subplots(figsize=(7.5, 2.9))
places = np.arange(len(vocabularies))
ax.barh(places, one_hot, 0.55, label="one-hot matrix [B, T, V]", **plots.bar(0))
ax.axvline(result, label=f"the result [B, T, C]: {result:.0f} MiB", color=plots.COLOURS[1], linestyle="--")
for place, size in zip(places, one_hot, strict=True):
    ax.text(size * 1.1, place, f"{size:,.1f} MiB", va="center", fontsize=9)
ax.set_yticks(places, [f"{name}: {size:,}" for name, size in vocabularies.items()])
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set(xscale="log", xlim=(0.5, max(one_hot) * 8), xlabel="memory for 4 texts of 1,024 tokens, MiB")
ax.set_title("A matrix of zeros is an expensive way to look something up")
ax.legend(loc="upper right")
display.show(
    fig,
    alt="Bars on a logarithmic axis: the one-hot matrix takes 1 to 2 MiB for the characters used here, 500 MiB for "
    "Llama 2's vocabulary, 785 for GPT-2's and 2,004 for Llama 3's. A dashed line marks the 12 MiB of the result.",
)

# %% [markdown]
r"""
**What to see.** The lookup reads 12 MiB and writes 12 MiB whatever the vocabulary. The matrix product would build and
read up to two gigabytes to pick the same numbers. (One place remains where all V scores must really be computed, for
every token: the last layer. You counted its share in chapter 1.)
"""

# %% [markdown]
r"""
## Exercise 2 · Scaled dot-product attention  ★ · 25 min

**Idea.** Think of a dictionary in a program: a *query* is compared with all *keys*, and where it equals a key, the
*value* of that key is returned. Attention is a soft dictionary. Query and keys are vectors. Instead of "equal or not"
there is a **score**, the dot product, large when two vectors point the same way. Instead of one value, it returns a
mixture of all values, weighted by the softmax of the scores:

$$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{D}}\right) V$$

Each of the T queries is compared with each of the S keys, and everything is a matrix product. T and S are often equal
(a text looks at itself: *self-attention*), but they need not be.

Three details decide whether it works.

- **The scale.** The dot product of two random vectors of D independent numbers with variance 1 has variance D. With D
  = 128 typical scores lie around ±11, and softmax puts nearly everything on the largest. Dividing by $\sqrt D$ brings
  the variance back to 1. D is the width of *one head*: what is summed up in the dot product.
- **The mask** says which keys a query may see. Forbidden scores become −∞ *before* the softmax, so that their weight
  is exactly zero and the others still sum to one. In this course, as in torch's `scaled_dot_product_attention`,
  `True` means *may look*. (Torch's older `nn.MultiheadAttention` means the opposite. Many evenings have been lost.)
- **Range.** $e^{1000}$ is infinity. Subtracting a row's largest score from all scores of the row changes nothing in the
  quotient and keeps every exponential at most 1. *Half precision*, numbers of 16 bits, has too few digits for such
  sums, so they are computed in single precision (32 bits, float32). And a row in which *nothing* may be seen is 0/0. We
  choose zeros, as torch does: who may not look sees nothing.
"""

# %% [markdown]
r"""
**Predict.** One query, two keys, D = 4. The scores before scaling are 4 and 0. What are the two weights? What would
they be without the scale? And what if the query is made ten times as long?

<details><summary>Answer</summary>

Scaled: 2 and 0, so the weights are $e^2/(e^2+1) = 0.88$ and 0.12. Without the scale: $e^4/(e^4+1) = 0.98$ and 0.02. Ten
times the query: scaled scores 20 and 0, and the first weight is 1 to eight decimals. The length of a query says how
*picky* it is. A picky softmax hardly changes when scores change a little, so hardly any gradient flows back through it.
That is the reason for the scale.
</details>
"""


# %% exercise="scaled_dot_product_attention"
def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mix the values v, weighted by how well each query fits each key.

    q: [B, H, T, D]. k, v: [B, H, S, D]; S may differ from T. mask: boolean, of a shape that broadcasts to
    [B, H, T, S]; True where a query may look; None means everywhere.

    Returns (out, weights). weights [B, H, T, S] = softmax over the keys of q @ k^T / sqrt(D); every row sums to one,
    and masked places have weight 0. out [B, H, T, D] = weights @ v. A query that may look nowhere gets weights 0 and
    output 0. Scores of ±10,000 and more must not give inf or nan. For inputs in half precision, q and k are converted
    to float32 before they are multiplied, and the softmax is computed there too; out and weights come back in the
    dtype of q.

    Not allowed: torch's ready-made attention (F.scaled_dot_product_attention, nn.MultiheadAttention and the layers
    built on it). Its softmax is allowed.

    >>> q = torch.tensor([[[[2.0, 0.0, 0.0, 0.0]]]])
    >>> k = torch.tensor([[[[2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]]])
    >>> out, weights = scaled_dot_product_attention(q, k, v=k)
    >>> weights
    tensor([[[[0.8808, 0.1192]]]])
    """
    ### BEGIN SOLUTION
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, H, T, S]
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    highest = scores.amax(-1, keepdim=True)
    highest = highest.masked_fill(highest == -torch.inf, 0.0)  # a row without any key
    exponentials = torch.exp(scores - highest)
    total = exponentials.sum(-1, keepdim=True)
    weights = (exponentials / total.masked_fill(total == 0, 1.0)).to(q.dtype)
    return weights @ v, weights
    ### END SOLUTION


# %% check="scaled_dot_product_attention"
check(scaled_dot_product_attention)

# %% [markdown]
r"""
**Experiment: what the scale is for.** Random queries and keys, 64 keys each, for growing head widths D. How *spread
out* is the attention? We measure the effective number of keys, $e^{\text{entropy}}$: 64 if all weights are equal, 1 if
one key gets everything. To switch the scale off we multiply the queries by $\sqrt D$ before they go into your
function.
"""

# %% tags=["experiment"]
attend = stand_in(scaled_dot_product_attention)

head_widths = [2, 4, 8, 16, 32, 64, 128, 256, 512]
generator = torch.Generator().manual_seed(2)
spread = {"with the scale": [], "without": []}
slopes = {"with the scale": [], "without": []}
for D in head_widths:
    q, k = (torch.randn(1, 1, 64, D, generator=generator) for _ in range(2))
    for label, factor in (("with the scale", 1.0), ("without", math.sqrt(D))):
        _, weights = attend(q * factor, k, k)
        entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1)
        spread[label].append(entropy.exp().mean().item())
        # The slope of a softmax with respect to its own score: weight times (1 - weight).
        slopes[label].append((weights * (1 - weights)).sum(-1).mean().item())

fig, axes = plt.subplots(1, 2, figsize=(9.0, 3.4))
for index, label in enumerate(spread):
    axes[0].plot(head_widths, spread[label], label=label, **plots.line(index))
    axes[1].plot(head_widths, slopes[label], label=label, **plots.line(index))
axes[0].set(xscale="log", ylim=(0, 64), xlabel="head width D", ylabel="keys that share the attention")
axes[0].set_title("How many keys matter")
axes[1].set(xscale="log", ylim=(0, 1), xlabel="head width D", ylabel="how much the weights react")
axes[1].set_title("How much the softmax can still learn")
for ax in axes:
    ax.set_xticks([2, 8, 32, 128, 512], ["2", "8", "32", "128", "512"])
    ax.minorticks_off()
axes[0].legend(loc="upper right")
display.show(
    fig,
    alt="Two panels over the head width from 2 to 512. With the scale 40 to 47 of 64 keys share the attention at "
    "every width, and the weights react strongly. Without it the number of keys falls from about 40 to nearly 1, and "
    "the reaction of the weights falls from nearly 1 to about 0.1.",
)

# %% [markdown]
r"""
**What to see.** With the scale, the head width makes hardly any difference. Without it, wide heads look at one key and
are deaf to changes. The right panel shows the sum of $w(1-w)$: how much each weight changes with its own score. Every
gradient through the softmax is a product with such slopes and shrinks with them. This is the reason that Vaswani et al.
give for their $1/\sqrt{d_k}$ (section 3.2.1, with the variance argument in a footnote).

Note one thing that attention does *not* know: order. Shuffle the keys together with their values and the output is the
same. So far, a text is a bag of tokens. Exercises 5 to 7 will change that.
"""

# %% [markdown]
r"""
## Exercise 3 · Masks  ★★ · 20 min

**Idea.** What a token may see is decided by a table of T × T yes or no answers: row i, column j says whether token i
may look at token j. The same attention serves very different models:

| kind | who sees what | used by |
| --- | --- | --- |
| `"causal"` | everything up to and including itself | GPT and nearly every chat model |
| `"prefix"` | the first `prefix_len` tokens see each other, both ways; the rest is causal | GLM; tried for T5 |
| `"sliding"` | the last `window` tokens, itself included | Mistral 7B (window 4,096) |
| `"longformer"` | as sliding, and everybody after them sees the first `n_global` tokens | Longformer, in another form |

Two words for what follows. A stack with a causal mask is a **decoder**: it can write, token after token. A stack
without any mask, in which all tokens see each other, is an **encoder**: it reads, as BERT does, but cannot write. The
transformer of 2017 had both, and so has T5. There the decoder also looks at the encoder's result: its queries come from
one text, keys and values from the other, and S may differ from T (*cross-attention*). A decoder with a prefix mask
treats the beginning as an encoder would. Nearly all models that people chat with are decoders alone.

A causal model can be trained on all places of a text at once. Every token predicts its successor and cannot peek. If
the mask leaks, if any token sees one place too far, training looks wonderful, the loss falls like a stone, and the
model is worthless. The test for a leak is simple, and worth having in every project: change a later token; no earlier
output may move.

(The published Longformer is an encoder: its windows and its global tokens look ahead as well. Ours never do.) Many
lists name Mistral and Longformer in one breath as "local window plus global tokens". The first Mistral 7B has a window
and *no* global tokens, and later versions of it gave up the window. Far-away information reaches a token through the
layers: each one passes it on by up to `window − 1` places.
"""

# %% [markdown]
r"""
**Predict.** A model has 4 layers with a window of 3, the token itself included. How many places back can information
come from, at most? And how many *entries* are true in row 10 of the mask?

<details><summary>Answer</summary>

Each layer reaches back by window − 1 = 2 places, so four layers reach 8 places back. Row 10 has exactly 3 true
entries: columns 8, 9 and 10. An off-by-one here is the most common mistake, and libraries do differ: a "window size" of
w keeps w + 1 keys in some of them.
</details>
"""


# %% exercise="make_mask"
def make_mask(T: int, kind: str, prefix_len: int = 0, window: int = 0, n_global: int = 0) -> Tensor:
    """Build a boolean mask [T, T]; entry (i, j) is True where token i may look at token j.

    kind "causal": j <= i. "prefix": causal, and everybody may look at the first prefix_len tokens. "sliding": causal,
    and only the last `window` tokens, the token itself included. "longformer": sliding, but the first n_global tokens
    may be looked at from any distance, and look back over any distance themselves; nobody looks ahead. Any other kind
    is a ValueError. Not allowed: the masks of torch.nn.attention and nn.Transformer.

    >>> make_mask(4, "sliding", window=2).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    ### BEGIN SOLUTION
    query = torch.arange(T)[:, None]
    key = torch.arange(T)[None, :]
    causal = key <= query
    near = query - key < window
    if kind == "causal":
        return causal
    if kind == "prefix":
        return causal | (key < prefix_len)
    if kind == "sliding":
        return causal & near
    if kind == "longformer":
        return causal & (near | (key < n_global) | (query < n_global))
    raise ValueError(f"kind: expected causal, prefix, sliding or longformer, got {kind!r}")
    ### END SOLUTION


# %% check="make_mask"
check(make_mask)

# %% [markdown]
r"""
**Look: four masks, and how far four layers see.** Above, the masks for twelve tokens. Below, a measurement: we stack
your attention four times (with random vectors, no training), and ask autograd which input places have any influence on
the output of the *last* of 48 tokens after each layer.
"""

# %% tags=["experiment"]
mask_of = stand_in(make_mask)

KINDS = [
    ("causal", {}),
    ("prefix", {"prefix_len": 4}),
    ("sliding", {"window": 4}),
    ("longformer", {"window": 4, "n_global": 1}),
]
fig = plt.figure(figsize=(9.4, 4.9))
grid = fig.add_gridspec(2, 4, height_ratios=[1.25, 1])
for column, (kind, sizes) in enumerate(KINDS):
    ax = fig.add_subplot(grid[0, column])
    ax.imshow(mask_of(12, kind, **sizes).numpy(), cmap="Blues", vmin=0, vmax=1.4)
    ax.set_xticks(np.arange(12) - 0.5, [])
    ax.set_yticks(np.arange(12) - 0.5, [])
    ax.tick_params(length=0)
    ax.set_title(f'"{kind}"', fontsize=10.5)
    ax.set_xlabel(", ".join(f"{name} {size}" for name, size in sizes.items()) or "the whole past", fontsize=9)
    if column == 0:
        ax.set_ylabel("query")

generator = torch.Generator().manual_seed(3)
T, layers = 48, 4
ax = fig.add_subplot(grid[1, :])
for row, (kind, sizes) in enumerate(KINDS[2:]):
    x0 = torch.randn(1, 1, T, 8, generator=generator, requires_grad=True)
    x = x0
    for layer in range(1, layers + 1):
        direction = F.normalize(x, dim=-1)  # short queries: every visible key gets some weight
        x = x + attend(direction, direction, x, mask_of(T, kind, **sizes))[0]
        (influence,) = torch.autograd.grad(x[0, 0, -1].sum(), x0, retain_graph=True)
        seen = (influence[0, 0].norm(dim=-1) > 0).numpy()
        ax.scatter(
            np.flatnonzero(seen) + 1,
            np.full(seen.sum(), -(row * 5 + layer)),
            marker="s",
            s=42,
            color=plots.COLOURS[row],
        )
ax.set_yticks(
    [-(r * 5 + k) for r in range(2) for k in range(1, 5)],
    [f"{k[0]}, {n} layer{'s' * (n > 1)}" for k in KINDS[2:] for n in range(1, 5)],
    fontsize=8.5,
)
ax.set(xlim=(0, T + 1), xlabel="input place that has an influence on the last of 48 tokens")
ax.grid(axis="y", visible=False)
display.show(
    fig,
    alt="Above, four 12 by 12 masks: a full lower triangle; a triangle with a full block for the first four columns; a "
    "diagonal band four wide; the same band with a full first column. Below, the places that influence the last of 48 "
    "tokens: with a window of 4 the reach grows by three places with every layer, from 4 to 13 places. With one "
    "global token, place 1 is added from the first layer on.",
)

# %% [markdown]
r"""
**What to see.** The band grows by `window − 1` places a layer: 4, 7, 10, 13 of them. That is all a stack of windows
can do. (For Mistral 7B the same arithmetic gives 32 layers × 4,096, about 131,000 tokens, which the paper calls the
*theoretical* span. What can have an influence need not have much.) One global token adds a shortcut to itself: what it
has collected, everybody can read.
"""

# %% [markdown]
r"""
## Exercise 4 · Many heads, few keys: MHA, GQA and MQA  ★★ · 35 min

**Idea.** One attention gives each token *one* mixture. But "which noun does this pronoun mean" and "which bracket is
open" are different questions. So the width C is split into H **heads** of D = C/H numbers. Each head has its own
queries, keys and values, attends by itself, and the results are laid side by side and mixed by a last matrix:

$$\text{q, k, v} = x W_q^\top,\; x W_k^\top,\; x W_v^\top \quad\rightarrow\quad \text{split} \quad\rightarrow\quad
\text{attend} \quad\rightarrow\quad \text{join} \quad\rightarrow\quad W_o$$

Splitting costs next to nothing. The matrices and their multiplications are the same for 1 head and for 16. Only the
axes are arranged differently, and there is a table of weights for each head. `[B, T, H·D]` is viewed as `[B, T, H, D]`,
and then the axes T and H are *swapped*. A `view` straight to `[B, H, T, D]` has the right shape and the wrong content:
it mixes tokens.

**Fewer keys than queries.** A model that writes text keeps the keys and values of all earlier tokens in memory (the *KV
cache* of chapter 9), and for long texts this cache can be larger than the model. **Multi-query attention** (Shazeer
2019) therefore has one key head and one value head for all query heads. **Grouped-query attention** (Ainslie et al.
2023) has G of them: with H = 32 and G = 8, query heads 0 to 3 share key head 0, heads 4 to 7 share key head 1, and so
on. Before attending, each key head is repeated H/G times *in a row*: 0 0 0 0 1 1 1 1 …, not 0 1 2 … 0 1 2 ….
"""

# %% [markdown]
r"""
**Predict.** C = 512, H = 8, no biases. How many parameters has the layer with G = 8, with G = 2, with G = 1? And how
many numbers per token must be kept in memory for keys and values?

<details><summary>Answer</summary>

D = 64. Queries and output always take 2 × 512 × 512 = 524,288 parameters. Keys and values take 2 × 512 × 64·G: 524,288
for G = 8, 131,072 for G = 2, 65,536 for G = 1. Kept per token: 2 × 64·G = 1,024, 256 and 128 numbers.
</details>
"""


# %% exercise="MultiHeadAttention"
def repeat_kv(x: Tensor, n_rep: int) -> Tensor:
    """Repeat every head n_rep times in a row: [B, G, T, D] -> [B, G * n_rep, T, D]; heads 0, 1 become 0, 0, 1, 1.

    >>> repeat_kv(torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1), 2).flatten()
    tensor([1., 1., 2., 2.])
    """
    ### BEGIN SOLUTION
    return x.repeat_interleave(n_rep, dim=1)
    ### END SOLUTION


class MultiHeadAttention(nn.Module):
    """Attention in n_heads subspaces: [B, T, C] -> [B, T, C] with C = d_model.

    Linear layers, with or without bias: q_proj (C to H D), k_proj and v_proj (C to G D), o_proj (H D to C), where
    H = n_heads, D = d_model / n_heads, G = n_kv_heads, or H when that is None. Head h owns the outputs h D to
    (h + 1) D - 1 of q_proj, and likewise for keys and values; query head h uses key head h // (H / G). If H does not
    divide d_model, or G does not divide H: ValueError.

    forward(x, mask=None): mask is boolean [T, T] (or broadcasts to [B, H, T, T]), True where a token may look.
    Not allowed: torch's ready-made attention; use your own from Exercise 2.

    >>> layer = MultiHeadAttention(16, n_heads=4, n_kv_heads=2)
    >>> layer(torch.zeros(3, 5, 16)).shape, layer.k_proj.weight.shape
    (torch.Size([3, 5, 16]), torch.Size([8, 16]))
    """

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int | None = None, bias: bool = False):
        super().__init__()
        ### BEGIN SOLUTION
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        if d_model % n_heads:
            raise ValueError(f"n_heads: expected a divisor of d_model = {d_model}, got {n_heads}")
        if n_heads % n_kv_heads:
            raise ValueError(f"n_kv_heads: expected a divisor of n_heads = {n_heads}, got {n_kv_heads}")
        self.n_heads, self.n_kv_heads, self.head_dim = n_heads, n_kv_heads, d_model // n_heads
        self.q_proj = nn.Linear(d_model, n_heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(d_model, n_kv_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(d_model, n_kv_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(n_heads * self.head_dim, d_model, bias=bias)
        ### END SOLUTION

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        ### BEGIN SOLUTION
        B, T, _ = x.shape
        q = self.q_proj(x).view(B, T, self.n_heads, self.head_dim).transpose(1, 2)  # [B, H, T, D]
        k = self.k_proj(x).view(B, T, self.n_kv_heads, self.head_dim).transpose(1, 2)  # [B, G, T, D]
        v = self.v_proj(x).view(B, T, self.n_kv_heads, self.head_dim).transpose(1, 2)
        n_rep = self.n_heads // self.n_kv_heads
        out, _ = scaled_dot_product_attention(q, repeat_kv(k, n_rep), repeat_kv(v, n_rep), mask)
        return self.o_proj(out.transpose(1, 2).reshape(B, T, -1))
        ### END SOLUTION


# %% check="MultiHeadAttention"
check(repeat_kv, MultiHeadAttention)

# %% [markdown]
r"""
**Experiment: what does sharing cost?** A small character model with your layer inside, three times: eight key heads
(MHA), two (GQA) and one (MQA). All else is equal, the seeds too. We compare the loss on held-out text with the memory
that a token's keys and values take.

The model is the plainest one that works: character embeddings plus position embeddings (Exercise 5 explains those),
layers of `x + attention(norm(x))`, and a last linear layer that scores the next character. The helper `train` runs the
usual loop: compute the loss, ask autograd for the gradients, let the optimiser AdamW take a step. The *learning rate*
says how long the steps are. Chapter 3 takes that loop apart.
"""

# %% tags=["experiment"]
MHA, causal_of = stand_in(MultiHeadAttention), stand_in(make_mask)


class AttentionModel(nn.Module):
    """Embeddings, layers of attention and nothing else, scores for the next token."""

    def __init__(self, vocab_size: int, length: int, d_model: int, n_heads: int, n_layers: int, n_kv_heads=None):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_embedding = nn.Embedding(length, d_model)
        self.layers = nn.ModuleList(MHA(d_model, n_heads, n_kv_heads) for _ in range(n_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(n_layers + 1))
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        for table in (self.token_embedding, self.position_embedding):
            nn.init.normal_(table.weight, std=0.02)
        self.register_buffer("mask", causal_of(length, "causal"))

    def forward(self, ids: Tensor) -> Tensor:
        T = ids.shape[1]
        x = self.token_embedding(ids) + self.position_embedding.weight[:T]
        for norm, layer in zip(self.norms, self.layers, strict=False):
            x = x + layer(norm(x), self.mask[:T, :T])
        return self.head(self.norms[-1](x))


def training_text(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """16 random stretches of 64 characters."""
    return windows(DATA[:SPLIT], 16, 64, generator)


KV_HEADS = {"MHA, 8 key heads": 8, "GQA, 2 key heads": 2, "MQA, 1 key head": 1}
seeds, steps = {"quick": (2, 90), "full": (3, 1500), "gpu": (3, 4000)}[scale()]
held_out = windows(DATA[SPLIT:], 64, 64, torch.Generator().manual_seed(0))
losses_by_kind = {}
for label, n_kv_heads in KV_HEADS.items():
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = AttentionModel(V, 64, 64, 8, 2, n_kv_heads).to(DEVICE)
        train(model, training_text, steps, lr=4e-3, warmup=20, seed=seed, loss_fn=next_character_loss)
        with torch.no_grad():
            loss = next_character_loss(model, *held_out).item()
        losses_by_kind.setdefault(label, []).append(loss)

fig, ax = plt.subplots(figsize=(6.6, 3.4))
for k, (label, n_kv_heads) in enumerate(KV_HEADS.items()):
    memory = 2 * 2 * n_kv_heads * 8 * 2  # layers, keys and values, heads, width, two bytes in half precision
    ax.plot([memory] * seeds, losses_by_kind[label], label=label, **(plots.line(k) | {"linestyle": "none"}))
ax.set(xscale="log", xlabel="keys and values in memory, bytes per token", ylabel="held-out loss, nats per character")
ax.set_xticks([64, 128, 256, 512], ["64", "128", "256", "512"])
ax.minorticks_off()
ax.set_title(f"Sharing heads after {steps} steps")
ax.legend()
display.show(
    fig,
    alt="Held-out loss against the bytes of keys and values per token for MHA (512 bytes), GQA (128) and MQA (64), one "
    "mark per run. Means: "
    + ", ".join(f"{label} {np.mean(losses):.3f}" for label, losses in losses_by_kind.items())
    + f". Runs that differ only in the seed are up to {max(map(np.ptp, losses_by_kind.values())):.3f} apart.",
)

# %% [markdown]
r"""
**What to see, and what not.** MQA keeps an eighth of the numbers, and at the quick size the difference in loss is
hardly larger than the one between two seeds: a training so short cannot tell the three apart. With three seeds of
1,500 steps (`COURSE_SCALE=full`) it can. There we measured 1.70, 1.76 and 1.80 nats, and seeds that were up to 0.04
apart. Fewer keys cost a little, and GQA stands between the other two. In large models it is the same. In Ainslie et
al. (2023, table 1), GQA with eight groups comes close to full multi-head attention, at nearly the speed of MQA. That is
why models such as Llama 2 70B use it.

**Experiment: watch a model learn to copy.** Here is a task that one layer of attention cannot solve. Take a few random
symbols and repeat them again and again:

`q7.m(x2…q7.m(x2…q7.`

During the first round nothing can be predicted. From the second round on everything can: find the place where the
present symbol stood *before*, and say what came *after* it. The places are of no use, because the length of the round
differs from text to text.

For that, two heads have to work together. A head in layer 1 tells each token which symbol stands just before it
(a *previous-token head*). A head in layer 2 then looks for the place whose *previous* symbol is the present one, and
copies what it finds there. The pair is called an **induction head** (Elhage et al. 2021, Olsson et al. 2022). Nobody
programs it. Your own two-layer model will find it within a minute.
"""

# %% [markdown]
r"""
**Predict.** What will the loss curve on the repeated part look like: a smooth decline, or something else? And where
will the curve of a one-layer model end?

<details><summary>Answer</summary>

A plateau, and then a cliff: half of the circuit is worth almost nothing, so the gradient is weak until both halves
begin to fit; then each improves the other. A single layer gets stuck far above. It can learn that symbols which have
occurred in this text will occur again (with about 22 symbols in a round, guessing among them gives ln 22 ≈ 3.1 nats),
but it cannot tell which one is next.
</details>
"""

# %% tags=["experiment"]
SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789 .,;:!?()[]_"  # 48 of them
LENGTH = 64


def repeated(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Texts that repeat 12 to 32 random symbols; inputs, targets, and where the target has occurred before."""
    rounds = torch.randint(12, 33, (count, 1), generator=generator)
    symbols = torch.randint(0, len(SYMBOLS), (count, 32), generator=generator)
    ids = symbols.gather(1, torch.arange(LENGTH + 1) % rounds)
    known = torch.arange(LENGTH) + 1 >= rounds + 1
    return ids[:, :-1].to(DEVICE), ids[:, 1:].to(DEVICE), known.to(DEVICE)


def losses_at_places(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    """-log p of the right next symbol at every place, [B, T]."""
    return F.cross_entropy(model(ids).transpose(1, 2), targets, reduction="none")


TEST_IDS, TEST_TARGETS, TEST_KNOWN = repeated(64, torch.Generator().manual_seed(99))
curves = {}
steps = {"quick": 420, "full": 1500, "gpu": 3000}[scale()]
for n_layers in (1, 2):
    torch.manual_seed(0)
    copier = AttentionModel(len(SYMBOLS), LENGTH, 64, 4, n_layers).to(DEVICE)
    curve = []

    def measure(step: int, loss: float, model: nn.Module = copier, curve: list = curve) -> None:
        if step % 15 == 0:
            with torch.no_grad():
                at_places = losses_at_places(model, TEST_IDS, TEST_TARGETS)
            curve.append((step, at_places[TEST_KNOWN].mean().item(), at_places[~TEST_KNOWN].mean().item()))

    train(
        copier,
        lambda generator: repeated(64, generator)[:2],
        steps,
        lr=3e-3,
        warmup=50,
        schedule="constant",
        callback=measure,
        loss_fn=lambda model, ids, targets: losses_at_places(model, ids, targets).mean(),
    )
    curves[n_layers] = np.array(curve)

fig, ax = plt.subplots()
for k, (n_layers, curve) in enumerate(curves.items()):
    look = plots.line(k) | {"marker": ""}
    ax.plot(curve[:, 0], curve[:, 1], label=f"{n_layers} layer{'s' * (n_layers > 1)}, repeated part", **look)
ax.plot(curve[:, 0], curve[:, 2], label="2 layers, first round", **(plots.line(2) | {"marker": ""}))
ax.axhline(math.log(len(SYMBOLS)), color="#888888", linewidth=1)
ax.text(steps, math.log(len(SYMBOLS)) - 0.08, "ln 48: guessing", ha="right", va="top", color="#555555", fontsize=9)
ax.set(ylim=(0, 4.6), xlabel="training steps", ylabel="loss, nats per symbol", title="The cliff")
ax.legend(loc="center right")
display.show(
    fig,
    alt="Loss over training steps. The two-layer model declines slowly to about 3 nats, then falls off a cliff to "
    f"{curves[2][-1, 1]:.1f}. The one-layer model takes the same way at first and stays near 3. On the first round the "
    "loss stays at the line of guessing or a little above it.",
)

# %% [markdown]
r"""
**Look: the heads that did it.** Attention maps of the two-layer model on one text, all heads of both layers. The
dashed lines mark where an induction head must look: at the place *after* the previous occurrence of the present symbol.
"""

# %% tags=["experiment"]
repeat_heads = stand_in(repeat_kv)
HEAD_WIDTH = 16  # the model's 64 numbers, shared by four heads


def queries_and_keys(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer compares: queries and keys [1, H, T, D]."""
    q, k = (proj(x).unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2) for proj in (layer.q_proj, layer.k_proj))
    return q, repeat_heads(k, q.shape[1] // k.shape[1])


@torch.no_grad()
def maps_of(model: AttentionModel, ids: Tensor) -> list[Tensor]:
    """The attention weights [H, T, T] of each layer for one text [T], computed with your own function."""
    T = len(ids)
    x = model.token_embedding(ids)[None] + model.position_embedding.weight[:T]
    maps = []
    for norm, layer in zip(model.norms, model.layers, strict=False):
        q, k = queries_and_keys(layer, norm(x))
        maps.append(attend(q, k, k, model.mask[:T, :T])[1][0].cpu())
        x = x + layer(norm(x), model.mask[:T, :T])
    return maps


ROUND = 20
generator = torch.Generator().manual_seed(5)
one_text = torch.randint(0, len(SYMBOLS), (ROUND,), generator=generator).repeat(3)[:48].to(DEVICE)
maps = maps_of(copier, one_text)
previous = [[m.diagonal(-1).mean().item() for m in layer] for layer in maps]
induction = [[m.diagonal(1 - ROUND)[1:].mean().item() for m in layer] for layer in maps]

fig, axes = plt.subplots(2, 4, figsize=(9.6, 5.2))
for row in range(2):
    for head in range(4):
        ax = axes[row, head]
        ax.imshow(maps[row][head].numpy(), cmap="Blues", vmin=0, vmax=0.8)
        for shift in (ROUND - 1, 2 * ROUND - 1):
            ax.plot([0, 47 - shift], [shift, 47], color=plots.COLOURS[1], linewidth=0.8, linestyle="--")
        ax.set_xticks([0, 20, 40])
        ax.set_yticks([0, 20, 40])
        ax.grid(visible=False)
        ax.set_title(
            f"layer {row + 1}, head {head + 1}\nprev {previous[row][head]:.2f}, ind {induction[row][head]:.2f}",
            fontsize=9,
            fontweight="normal",
        )
fig.supxlabel("place that is looked at", fontsize=10)
fig.supylabel("place that looks", fontsize=10)
display.show(
    fig,
    alt="Eight attention maps of 48 by 48 places. In layer 1 at least one head has a bright diagonal just below the "
    "main one: each place looks at the one before it. In layer 2 one or more heads have bright diagonals exactly on "
    "the dashed lines, where the place after the previous occurrence lies.",
)
best = max((value, head) for head, value in enumerate(induction[1]))
print(f"layer 2, head {best[1] + 1} puts {best[0]:.0%} of its attention on the right place, averaged over the text")

# %% [markdown]
r"""
**What to see.** The numbers above the maps are the mean weights on the previous place ("prev") and on the place that
an induction head needs ("ind"). Layer 1 has one or more previous-token heads, layer 2 has heads whose attention lies
on the dashed lines. A weight of 1 on a line would mean a perfect copier.

**Widget: switch heads off.** Each box below is a head of your model. Take heads out (their part of the joined result is
set to zero) and look at the loss at every place of a test text whose round has 20 symbols. Which heads are
indispensable, and which can go?
"""

# %% tags=["experiment"]
from course_lib.attention.widgets import head_switches

generator = torch.Generator().manual_seed(6)
SWITCH_IDS = torch.randint(0, len(SYMBOLS), (64, ROUND), generator=generator).repeat(1, 4)[:, : LENGTH + 1].to(DEVICE)


@torch.no_grad()
def loss_without(off: frozenset[tuple[int, int]]) -> list[float]:
    """The mean loss at every place while some heads (layer, head) are silent."""
    kept = [layer.o_proj.weight.clone() for layer in copier.layers]
    for layer, head in off:  # these columns of the last matrix carry what the head has found
        copier.layers[layer].o_proj.weight[:, HEAD_WIDTH * head : HEAD_WIDTH * (head + 1)] = 0
    losses = losses_at_places(copier, SWITCH_IDS[:, :-1], SWITCH_IDS[:, 1:]).mean(0).tolist()
    for layer, weight in zip(copier.layers, kept, strict=True):
        layer.o_proj.weight.copy_(weight)
    return losses


head_switches(loss_without, layers=2, heads=4, new=ROUND)

# %% [markdown]
r"""
Taking out a single head hurts more or less, sometimes not at all, but the copying survives: several heads share each
half of the work. Take away all of layer 1, or all of layer 2, and the loss on the repeated part is not only back where
it was before the cliff. It is worse than guessing (ln 48 = 3.87), because what is left of the model relied on those
heads. Neither half is worth anything without the other.

**Why this matters.** Olsson et al. (2022) found such heads in language models of many sizes. They appear in a short
stretch of training, in which the loss curve has a visible bump, and in which the models become much better at using
what stands earlier in the text. How much of the large models' ability to learn from examples in the prompt comes from
them is still being studied. For small models made of attention alone, the paper's evidence is strong, and you have just
seen some of it yourself.
"""

# %% [markdown]
r"""
---
# Part II · Where am I?

**To begin here**, on another day: run the set-up cell, the cell below "The text we work with", your solutions of
Exercises 2 to 4, and the next cell. No training has to be repeated. Only the attention playground, at the end of this
part, wants more: it shows the copying model, and so needs the experiments of Exercise 4, about a minute.
"""

# %% tags=["experiment"]
attend = stand_in(scaled_dot_product_attention)
mask_of = causal_of = stand_in(make_mask)
MHA = stand_in(MultiHeadAttention)

# %% [markdown]
r"""
## Exercise 5 · Positions, absolute and relative  ★ · 20 min

**Idea.** Attention compares contents and has no notion of place. Shuffle the tokens, and every token's output is
the same as before, only in the new order. "Dog bites man" and "man bites dog" would be one sentence. The first remedy
is to *add* a vector to each embedding that depends on the place alone.

GPT-2 learns these vectors, one for each of 1,024 places. The original transformer computes them, as **sines and
cosines** of many wavelengths:

$$PE_{t,\,2i} = \sin\frac{t}{10000^{2i/d}}, \qquad PE_{t,\,2i+1} = \cos\frac{t}{10000^{2i/d}}$$

Each pair of columns is the hand of a clock. The first clock turns by one radian per token, the last one hardly moves.
Together they tell the time of any token, as hours, minutes and seconds do. And going k tokens further turns each hand
by a fixed angle, *wherever you start*: PE(t + k) is a rotation of PE(t) that does not depend on t.

**Relative** positions say the same thing differently: what matters is not where I am but how far away you are. A table
holds one number for each distance and each head, and this number is added to the score. Shaw et al. (2018) brought up
the idea, with whole vectors instead of numbers, and with one thrifty detail: distances beyond `max_dist` all share one
entry. (One number per head instead of a vector, as you write it here, is the variant of T5, which puts larger distances
together in ever wider groups.)
"""

# %% [markdown]
r"""
**Predict.** d = 4. What is row 0 of the sinusoidal table? In row 1, which entries have changed a lot? And how many
rows has the table of relative biases with max_dist = 2?

<details><summary>Answer</summary>

Row 0 is 0, 1, 0, 1: sine and cosine of 0. In row 1 the first pair has moved by a whole radian (0.84, 0.54), the second
by 1/100 of a radian (0.01, 1.00). The table has 2 · 2 + 1 = 5 rows, for the distances −2, −1, 0, 1, 2.
</details>
"""


# %% exercise="relative_bias"
def sinusoidal(T: int, d: int, base: float = 10000.0) -> Tensor:
    """Return the sinusoidal positions of places 0 .. T - 1: float32, [T, d]; d is even.

    Columns 2i and 2i + 1 are the sine and the cosine of place / base**(2i / d).

    >>> sinusoidal(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    ### BEGIN SOLUTION
    frequencies = base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    angles = torch.arange(T, dtype=torch.float64)[:, None] * frequencies  # [T, d / 2]
    table = torch.empty(T, d)
    table[:, 0::2] = angles.sin().float()
    table[:, 1::2] = angles.cos().float()
    return table
    ### END SOLUTION


def relative_bias(T: int, max_dist: int, table: Tensor) -> Tensor:
    """Return the bias to add to the scores, [H, T, T], from a table [2 max_dist + 1, H].

    bias[h, i, j], for query i and key j, is the entry of head h for the distance j - i, which is clipped to the range
    from -max_dist to max_dist. Row 0 of the table is for -max_dist, the last row for +max_dist.

    >>> relative_bias(3, 1, torch.tensor([[10.0], [0.0], [20.0]]))
    tensor([[[ 0., 20., 20.],
             [10.,  0., 20.],
             [10., 10.,  0.]]])
    """
    ### BEGIN SOLUTION
    places = torch.arange(T, device=table.device)
    distances = (places[None, :] - places[:, None]).clamp(-max_dist, max_dist)  # j - i
    return table[distances + max_dist].permute(2, 0, 1)  # [T, T, H] -> [H, T, T]
    ### END SOLUTION


# %% check="relative_bias"
check(sinusoidal, relative_bias)

# %% [markdown]
r"""
**Look: the clocks.** Left, the table itself: fast clocks in the first columns, slow ones in the last. Right, the dot
product of the rows of two places. It depends on their distance only, which is why all three curves are the same curve,
shifted.
"""

# %% tags=["experiment"]
positions_of = stand_in(sinusoidal)

table = positions_of(128, 64)
fig, axes = plt.subplots(1, 2, figsize=(9.2, 3.5))
image = axes[0].imshow(table.numpy(), cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
axes[0].set(xlabel="column", ylabel="place", title="Sines and cosines")
axes[0].grid(visible=False)
fig.colorbar(image, ax=axes[0], shrink=0.8)
for k, place in enumerate((20, 64, 100)):
    look = plots.line(k) | {"marker": ""}
    axes[1].plot((table @ table[place]).numpy(), label=f"with place {place}", **look)
axes[1].set(ylim=(0, None), xlabel="place", ylabel="dot product", title="Nearer is more alike")
axes[1].legend(loc="lower left", fontsize=9)
display.show(
    fig,
    alt="Left, a heat map of 128 places by 64 columns: rapid stripes in the first columns that get slower to the "
    "right. Right, dot products of places 20, 64 and 100 with all places: three curves of the same shape, each with "
    "its peak of 32 at its own place, falling quickly on both sides to about half and then slowly, with ripples.",
)

# %% [markdown]
r"""
**Experiment: who came first?** Twelve different symbols in random order; the question is whether `a` stands before
`b`. One layer of your attention, an average over all places, a yes or no. Four ways to let the model know about order:
none at all; sinusoidal positions; a table of relative biases; and no positions, but a causal mask.

<details><summary><b>Predict:</b> which of them can do better than a coin?</summary>

Without positions and without a mask it is a coin: any order of the same symbols gives the same average. The other
three can, and the fourth may surprise you. With a causal mask the token `b` sees `a` only if `a` stands before it. The
mask itself tells the order. Decoders without any positions do work, and have been studied (Haviv et al. 2022;
Kazemnejad et al. 2023).
</details>
"""

# %% tags=["experiment"]
bias_of = stand_in(relative_bias)


class WhoIsFirst(nn.Module):
    """One layer of attention over 12 symbols, an average, one score."""

    def __init__(self, kind: str, d: int = 32, T: int = 12):
        super().__init__()
        self.kind, self.T = kind, T
        self.embedding = nn.Embedding(12, d)
        self.q, self.k, self.v = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.table = nn.Parameter(torch.zeros(2 * T - 1, 1))
        self.out = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 1))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        if self.kind == "sinusoidal":
            x = x + positions_of(self.T, x.shape[-1]).to(x.device)
        q, k, v = (proj(x)[:, None] for proj in (self.q, self.k, self.v))
        if self.kind == "relative":
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + bias_of(self.T, self.T - 1, self.table)
            mixed = scores.softmax(-1) @ v
        else:
            mixed, _ = attend(q, k, v, causal_of(self.T, "causal").to(x.device) if self.kind == "mask" else None)
        return self.out((x + mixed[:, 0]).relu().mean(1))[:, 0]


def orders(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random orders of 12 symbols, and 1.0 where symbol 0 stands before symbol 1."""
    ids = torch.rand(count, 12, generator=generator).argsort(1).to(DEVICE)
    places = ids.argsort(1)
    return ids, (places[:, 0] < places[:, 1]).float()


WAYS = {"nothing": "no positions", "sinusoidal": "sinusoidal", "relative": "relative bias", "mask": "causal mask only"}
accuracy = {}
for kind, label in WAYS.items():
    torch.manual_seed(1)
    model = WhoIsFirst(kind).to(DEVICE)
    train(
        model,
        lambda generator: orders(128, generator),
        steps={"quick": 250, "full": 1000, "gpu": 1000}[scale()],
        lr=5e-3,
        loss_fn=lambda model, ids, answer: F.binary_cross_entropy_with_logits(model(ids), answer),
    )
    with torch.no_grad():
        ids, answer = orders(4000, torch.Generator().manual_seed(2))
        accuracy[label] = ((model(ids) > 0) == (answer > 0)).float().mean().item()

fig, ax = plt.subplots(figsize=(6.6, 2.6))
for k, value in enumerate(accuracy.values()):
    ax.barh(k, 100 * value, 0.6, **plots.bar(k))
    ax.text(100 * value + 1, k, f"{value:.0%}", va="center", fontsize=9.5)
ax.axvline(50, color="#444444", linestyle="--", linewidth=1)
ax.text(50.5, -0.62, "a coin", fontsize=9, color="#444444")
ax.set_yticks(range(len(accuracy)), accuracy)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set(xlim=(0, 112), xlabel="right answers to new questions, %")
display.show(
    fig,
    alt="Bars of right answers: "
    + ", ".join(f"{label} {value:.0%}" for label, value in accuracy.items())
    + ". A dashed line marks the 50% of a coin.",
)

# %% [markdown]
r"""
## Exercise 6 · RoPE: positions as rotations  ★★ · 30 min

**Idea.** The clocks are a good idea in the wrong place. Added to the embedding, position and content travel together
through every matrix and get mixed up. **RoPE** (Su et al. 2021) keeps the clocks and does not add them. It *turns*
queries and keys. Take the D numbers of a query as D/2 pairs, each a point in a plane, and turn pair i by the angle
`position × freqs[i]`, where `freqs[i]` is $\theta_i = \text{base}^{-2i/D}$:

$$\begin{pmatrix} a' \\ b' \end{pmatrix} = \begin{pmatrix} \cos t\theta_i & -\sin t\theta_i \\ \sin t\theta_i &
\cos t\theta_i \end{pmatrix} \begin{pmatrix} a \\ b \end{pmatrix}$$

A dot product does not change when both vectors are turned by the same angle. So the score of a query at place m and a
key at place n depends on m − n only. People often say that RoPE "encodes relative instead of absolute positions". To
be precise: it turns by the *absolute* position, and the *score* is relative. Nothing about it is trained. Values are
not turned; they carry content.

**Which numbers form a pair?** The paper pairs neighbours: (0, 1), (2, 3), … Others pair each number with the one half
a vector further: (0, D/2), (1, D/2 + 1), … Both are fine, since training finds its way. But weights trained with one
give nonsense with the other. This has cost people days. We take the **half-split** pairs, which Llama models use in
the transformers library.

**Angles in single precision.** In bfloat16, a common kind of half precision, the numbers from 4,096 to 8,191 are 32
apart: 32 neighbouring places would have the same angle. Compute the angles in float32, whatever the type of x.
"""

# %% [markdown]
r"""
**Predict.** A query of length 1 at place 0 and another at place 1,000, both turned by RoPE. How long are they? And if
you shift a whole text by 500 places, which of the scores change?

<details><summary>Answer</summary>

Both have length 1: turning keeps lengths, and place 0 is not turned at all. No score changes: all distances stay the
same. (A learned position table would give entirely different vectors, and none at all beyond its end.)
</details>
"""


# %% exercise="apply_rope"
def rope_freqs(D: int, base: float = 10000.0) -> Tensor:
    """Return the angle per place of each of the D/2 pairs: base**(-2i / D) for i = 0 .. D/2 - 1, float32, [D/2].

    >>> rope_freqs(4)
    tensor([1.0000, 0.0100])
    """
    ### BEGIN SOLUTION
    return base ** (-torch.arange(0, D, 2).float() / D)
    ### END SOLUTION


def apply_rope(x: Tensor, positions: Tensor, freqs: Tensor) -> Tensor:
    """Turn queries or keys according to their positions; x[..., i] and x[..., i + D/2] form pair i.

    x: [..., T, D]. positions: [T], any numbers, not always 0 .. T - 1. freqs: [D/2], in radians per place. Pair i of
    row t is turned by the angle positions[t] * freqs[i]: (a, b) becomes (a cos - b sin, b cos + a sin). Angles are
    computed in float32 at least; the result has the shape and dtype of x.

    >>> apply_rope(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), rope_freqs(2))
    tensor([[1.0000, 0.0000],
            [0.5403, 0.8415]])
    """
    ### BEGIN SOLUTION
    angles = positions.float()[:, None] * freqs.float()  # [T, D / 2]
    cos, sin = angles.cos(), angles.sin()
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)
    ### END SOLUTION


def rope_attention(
    q: Tensor, k: Tensor, v: Tensor, positions: Tensor, freqs: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Attend as in Exercise 2, but with queries and keys turned by apply_rope; return the output alone.

    q, k, v: [..., T, D], all at the places `positions` [T]. mask: boolean, True where a query may look. What is mixed
    are the values as they are: a token passes on the same content wherever it stands.

    >>> q = k = torch.tensor([[10.0, 0.0], [10.0, 0.0]])
    >>> v = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> rope_attention(q, k, v, torch.tensor([0, 1]), rope_freqs(2))  # each sees its own place
    tensor([[1., 2.],
            [3., 4.]])
    """
    ### BEGIN SOLUTION
    q, k = apply_rope(q, positions, freqs), apply_rope(k, positions, freqs)
    return scaled_dot_product_attention(q, k, v, mask)[0]
    ### END SOLUTION


# %% check="apply_rope"
check(rope_freqs, apply_rope, rope_attention)

# %% [markdown]
r"""
**Experiment: what distance does to a score.** A key that is the very same vector as the query, at growing distance.
Without positions their score is always the same. With RoPE it depends on the distance. We average over many random
vectors, for two bases. The thin grey lines are two single pairs, a fast and a slow clock.
"""

# %% tags=["experiment"]
rotate, frequencies_of = stand_in(apply_rope), stand_in(rope_freqs)

D, far = 64, 400
generator = torch.Generator().manual_seed(4)
vectors = F.normalize(torch.randn(200, 1, D, generator=generator), dim=-1)
places = torch.arange(far)
fig, ax = plt.subplots()
for pair in (2, 10):
    ax.plot(places, torch.cos(places * frequencies_of(D)[pair]), color="#bbbbbb", linewidth=0.8)
for k, base in enumerate((100.0, 10_000.0)):
    freqs = frequencies_of(D, base)
    turned = rotate(vectors.expand(200, far, D), places, freqs)  # the same vector at every place
    scores = (turned @ turned[:, :1].transpose(1, 2))[..., 0]  # with the one at place 0
    mean, width = scores.mean(0), scores.std(0)
    ax.plot(places, mean, label=f"base {base:,.0f}", **(plots.line(k) | {"marker": ""}))
    ax.fill_between(places, mean - width, mean + width, color=plots.COLOURS[k], alpha=0.15, linewidth=0)
ax.set(xlabel="distance, tokens", ylabel="score of a vector with itself", title="Equal vectors drift apart")
ax.legend()
display.show(
    fig,
    alt="The score of a vector with itself over the distance from 0 to 400. It starts at 1 and falls within some tens "
    "of tokens. With base 100 it soon swings around zero. With base 10,000 it falls more slowly and stays above zero. "
    "Two thin grey cosine curves show one fast and one slow pair.",
)

# %% [markdown]
r"""
**What to see.** On average, equal contents fit less and less with growing distance: a gentle preference for what is
near. (The paper derives such a *long-term decay* as an upper bound, in section 3.4.3.) The base decides how far it
reaches. Models for long texts raise it (Llama 3 uses 500,000). The slowest clocks have not completed a turn within the
training length, and angles that were never seen in training are what breaks when the text gets longer. Exercise 7 shows
it.

## Exercise 7 · ALiBi: a price per token of distance  ★★ · 20 min

**Idea.** Press et al. (2022) asked for the least that works. No vectors, no angles: every score loses a little for each
token of distance.

$$\text{score}_{ij} = \frac{q_i \cdot k_j}{\sqrt D} - m_h\,(i - j)$$

The slope $m_h$ differs from head to head: 1/2, 1/4, … 1/256 for eight heads, in general $2^{-8h/n}$ for head h = 1 … n.
Some heads are short-sighted, some see far. Some summaries call this "a constant bias with a hyperparameter m". It is
constant only in the sense that nobody trains it. The bias grows linearly with distance, and the slopes follow from the
number of heads. For a number n that is not a power of two, the authors take the slopes for the next smaller power of
two, and then every second slope (the first, the third, …) of the next larger one, until there are n.
"""

# %% [markdown]
r"""
**Predict.** In a head with slope 1/2, how much smaller is the weight of a key 10 places back than that of an equally
well fitting key here? And in a head with slope 1/256?

<details><summary>Answer</summary>

The score is smaller by 5, so the weight is $e^{-5}$ = 0.7% of the other. With slope 1/256 it is $e^{-10/256}$ = 96% of
it. One head sees a handful of tokens, the other hundreds.
</details>
"""


# %% exercise="alibi_bias"
def alibi_slopes(n_heads: int) -> Tensor:
    """Return the slope of each head, positive, float32, [n_heads].

    For a power of two: 2**(-8 h / n_heads) for h = 1 .. n_heads. Otherwise: the slopes for the largest power of two
    below n_heads, then the first, third, fifth ... of the slopes for twice that power, until there are n_heads.

    >>> alibi_slopes(4)
    tensor([0.2500, 0.0625, 0.0156, 0.0039])
    >>> alibi_slopes(3)
    tensor([0.0625, 0.0039, 0.2500])
    """
    ### BEGIN SOLUTION
    power = 2 ** int(math.log2(n_heads))
    slopes = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)]
    return torch.tensor(slopes + between[: n_heads - power])
    ### END SOLUTION


def alibi_bias(T: int, slopes: Tensor) -> Tensor:
    """Return the bias to add to the scaled scores, [H, T, T]: -slope * (i - j) for keys j <= i, and 0 for later keys.

    Later keys are hidden by the causal mask, which is applied as well, but not here.

    >>> alibi_bias(3, torch.tensor([0.5]))
    tensor([[[ 0.0000,  0.0000,  0.0000],
             [-0.5000,  0.0000,  0.0000],
             [-1.0000, -0.5000,  0.0000]]])
    """
    ### BEGIN SOLUTION
    places = torch.arange(T, device=slopes.device)
    ahead = (places[None, :] - places[:, None]).clamp(max=0)  # j - i, and 0 for keys that come later
    return slopes[:, None, None] * ahead
    ### END SOLUTION


# %% check="alibi_bias"
check(alibi_slopes, alibi_bias)

# %% [markdown]
r"""
**Experiment: train short, test long.** Three small models, equal but for their positions, are trained on stretches of
64 characters and tested on 256. The models are the course's `GPT`, whose settings say how positions are told; you will
build your own in Exercise 9. The fourth curve needs no training: it is the RoPE model, tested with a mask that lets
each character see the last 64, itself included, as many as it knew in training.

<details><summary><b>Predict:</b> what happens at character 65?</summary>

Sinusoidal positions and RoPE meet places, or angles, that they have never seen, and fail, RoPE some way behind the
border: the loss rises above that of the first few characters, for which there is hardly any context. ALiBi goes on as
if nothing had happened. So does RoPE with a window: no distance is new to it. The price of both is the same. What lies
far back is hardly used, so the loss does not *fall* any further either.
</details>
"""

# %% tags=["experiment"]
from course_lib.attention import GPT as CourseGPT
from course_lib.attention import GPTConfig

SHORT, LONG = 64, 256
steps = {"quick": 200, "full": 2000, "gpu": 6000}[scale()]
small = {"vocab_size": V, "context_length": LONG, "n_layers": 2, "n_heads": 4, "d_model": 64}
LABELS = {"sinusoidal": "sinusoidal", "rope": "RoPE", "alibi": "ALiBi"}
long_ids, long_targets = windows(DATA[SPLIT:], 160, LONG, torch.Generator().manual_seed(8))


@torch.no_grad()
def loss_along(model: nn.Module) -> Tensor:
    """Held-out loss at each of the 256 places."""
    return F.cross_entropy(model(long_ids).transpose(1, 2), long_targets, reduction="none").mean(0).cpu()


along = {}
for kind, label in LABELS.items():
    torch.manual_seed(0)
    model = CourseGPT(GPTConfig(**small, positions=kind)).to(DEVICE)
    train(model, lambda generator: windows(DATA[:SPLIT], 32, SHORT, generator), steps, lr=4e-3, warmup=20)
    along[label] = loss_along(model)
    if kind == "rope":
        windowed = CourseGPT(GPTConfig(**small, positions="rope", window=SHORT)).to(DEVICE)
        windowed.load_state_dict(model.state_dict())
        along["RoPE, window of 64"] = loss_along(windowed)

fig, ax = plt.subplots(figsize=(8.6, 3.8))
for k, (label, losses) in enumerate(along.items()):
    smooth = losses.unfold(0, 16, 8).mean(1)  # means of 16 places
    ax.plot(np.arange(len(smooth)) * 8 + 8, smooth, label=label, **plots.line(k))
ax.axvline(SHORT, color="#888888", linewidth=1)
ax.text(SHORT + 2, 0.97, "end of what was seen in training", transform=ax.get_xaxis_transform(), va="top", fontsize=9)
ax.set(xlabel="place in the text, characters", ylabel="held-out loss, nats")
ax.set_title(f"Train at {SHORT}, test at {LONG}")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
display.show(
    fig,
    alt="Held-out loss along 256 characters for models trained on 64. Up to place 64 all fall; sinusoidal positions "
    "lie above the others. Beyond it their curve rises, and that of RoPE does too after some tens of places. ALiBi and "
    "RoPE with a window of 64 stay level, apart from bumps that all curves share. Means over the last quarter: "
    + ", ".join(f"{label} {losses[-64:].mean():.2f}" for label, losses in along.items())
    + ".",
)
for label, losses in along.items():
    print(f"{label:20} places 49-64: {losses[48:64].mean():.2f}   places 193-256: {losses[192:].mean():.2f} nats")

# %% [markdown]
r"""
**What to see, and what not.** (All curves share the same small bumps, because they read the same texts. Sinusoidal
positions learn more slowly and are behind after so few steps; what counts is the shape behind the line.) "ALiBi
extrapolates" means that it does not break. It does not mean that it uses 256
characters of context: a model with a window of 64 does as well. Press et al. say so themselves in their analysis
(appendix B): much of the gain comes from the fact that in long stretches fewer tokens suffer from having little
context. And RoPE's failure is not fate. Chapter 9 stretches RoPE to longer texts with a few lines that change its
frequencies.

**Widget: the attention playground.** All that you have built so far, in one place. The queries and keys come from the
copying model of Part I (its symbols are small letters, digits and a few marks; anything else is shown as `_`). The
weights are computed by *your* attention, under *your* masks, turned by *your* RoPE and bent by *your* ALiBi. Try: a
repeated phrase in layer 2; a temperature of 8; a window of 2; RoPE on top of a model that was trained without it.
"""

# %% tags=["experiment"]
from course_lib.attention.widgets import attention_playground

penalty = stand_in(alibi_bias)


@torch.no_grad()
def project_text(typed: str, layer: int, head: int) -> tuple[list[str], Tensor, Tensor]:
    """The tokens of a text, and the queries and keys [T, D] of one head of the copying model."""
    tokens = [c if c in SYMBOLS else "_" for c in typed.lower()[:48]]
    ids = torch.tensor([SYMBOLS.index(c) for c in tokens], dtype=torch.long, device=DEVICE)
    x = copier.token_embedding(ids)[None] + copier.position_embedding.weight[: len(ids)]
    for norm, module in zip(copier.norms[:layer], copier.layers[:layer], strict=True):
        x = x + module(norm(x), copier.mask[: len(ids), : len(ids)])
    q, k = queries_and_keys(copier.layers[layer], copier.norms[layer](x))
    return tokens, q[0, head].cpu(), k[0, head].cpu()


attention_playground(
    project_text,
    attend,
    mask_of,
    rotate=lambda x, base: rotate(x, torch.arange(len(x)), frequencies_of(x.shape[-1], base)),
    bias=lambda T, slope: penalty(T, torch.tensor([slope]))[0],
    text="the cat sat. the cat sat. the",
    layers=2,
    heads=4,
)

# %% [markdown]
r"""
---
# Part III · A transformer

**To begin here**, on another day: run the set-up cell, the cell below "The text we work with", your solutions of
Exercises 2 to 4, and the next cell. Nothing of Part II is needed.
"""

# %% tags=["experiment"]
from course_lib.attention import GPT as CourseGPT
from course_lib.attention import GPTConfig

causal_of, MHA = stand_in(make_mask), stand_in(MultiHeadAttention)

# %% [markdown]
r"""
## Exercise 8 · LayerNorm, RMSNorm and the block  ★★ · 45 min

**Idea.** Each layer adds something to the vector of a token. Without care the numbers grow from layer to layer, and a
network of any depth becomes untrainable. A **normalisation** brings them back to a standard size.

**Layer normalisation** (Ba et al. 2016) looks at *one* token's vector. It subtracts the mean of its C numbers, divides
by their standard deviation, then multiplies by a trained *gain* g and adds a trained *shift* b, both with one number
per channel:

$$y = g \cdot \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + b$$

σ² is the mean of the squared deviations (divided by C, not by C − 1). The small ε under the root keeps a vector of
equal numbers from becoming 0/0. No other token and no other text takes part. That is the difference from *batch
normalisation*, which serves well in networks for images and whose averages, in training, run over the batch. With it a
token's output would depend on its neighbours in the batch, on how texts are filled up to equal length, and on tokens
that come later: a leak that no mask would stop.

**RMSNorm** (Zhang and Sennrich 2019) leaves out the mean and the shift: x divided by the root of its mean square, times
a gain. It is a little cheaper, works as well, and is what Llama and most recent models use.

**The gradient** of a normalisation is worth deriving once. Moving all of x by the same amount changes nothing behind
the norm, nor does stretching it. So the gradient with respect to x must have no component along either direction. Write
$\hat x$ for the normalised vector and $h = g \cdot \mathrm{grad\_out}$; then

$$\frac{\partial L}{\partial x} = \frac{1}{\sqrt{\sigma^2 + \epsilon}} \left( h - \mathrm{mean}(h) - \hat x \cdot
\mathrm{mean}(h \cdot \hat x) \right)$$

with means over the C channels. The gradients of g and b are sums over all tokens, as in Exercise 1.

**The block.** A transformer layer has two halves: attention, in which tokens exchange information, and the **MLP**, a
small network (wider, nonlinear, back) that works on each token by itself. Each half *adds* its result to x. This
**residual connection** gives every layer a short way to the input and every gradient a short way back. The vector that
runs through all layers, and to which they add, is called the *residual stream*. Where does the norm go? The original
transformer normalised after adding (*post-norm*): `x = norm(x + f(x))`. GPT-2 and nearly all later models normalise
what goes into f and leave the sum alone (*pre-norm*): `x = x + f(norm(x))`, with one more norm after the last layer.
"""

# %% [markdown]
r"""
**Predict.** x = (1, 3), g = (1, 1), b = (0, 0), ε negligible. What do layer norm and RMSNorm give? And what do they
give for 10·x?

<details><summary>Answer</summary>

Layer norm: mean 2, standard deviation 1, so (−1, 1). RMSNorm: the mean square is (1 + 9)/2 = 5, so (1, 3)/√5 = (0.447,
1.342). For 10·x both give the same as for x: stretching is removed.
</details>
"""


# %% exercise="Block"
def layer_norm(x: Tensor, g: Tensor, b: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each vector of x over its last axis, then scale by g and shift by b.

    x: [..., C]; g, b: [C]. The variance is the mean squared deviation, and eps is added to it under the root. For
    inputs in half precision compute in float32; the result has the dtype of x. Not allowed in this exercise: torch's
    own norms (F.layer_norm, nn.LayerNorm, F.rms_norm, nn.RMSNorm).

    >>> layer_norm(torch.tensor([[1.0, 3.0], [5.0, 5.0]]), torch.ones(2), torch.zeros(2))
    tensor([[-1.0000,  1.0000],
            [ 0.0000,  0.0000]])
    """
    ### BEGIN SOLUTION
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(-1, keepdim=True)
    variance = centred.pow(2).mean(-1, keepdim=True)
    return (g * centred / torch.sqrt(variance + eps) + b).to(x.dtype)
    ### END SOLUTION


def layer_norm_backward(grad_out: Tensor, x: Tensor, g: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients (dx, dg, db) of layer_norm, written by hand, without autograd.

    grad_out, x: [..., C]; g: [C]. dx has the shape of x; dg and db have shape [C], summed over all other axes.

    >>> x, g = torch.tensor([[1.0, 2.0, 6.0]]), torch.ones(3)
    >>> dx, dg, db = layer_norm_backward(torch.ones(1, 3), x, g)  # moving all of x changes nothing
    >>> bool(dx.abs().max() < 1e-6), db
    (True, tensor([1., 1., 1.]))
    """
    ### BEGIN SOLUTION
    centred = x - x.mean(-1, keepdim=True)
    root = torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + eps)
    normed = centred / root
    h = grad_out * g
    dx = (h - h.mean(-1, keepdim=True) - normed * (h * normed).mean(-1, keepdim=True)) / root
    rows = (-1, x.shape[-1])  # all vectors, however many axes come before theirs
    return dx, (grad_out * normed).reshape(rows).sum(0), grad_out.reshape(rows).sum(0)
    ### END SOLUTION


def rms_norm(x: Tensor, g: Tensor, eps: float = 1e-6) -> Tensor:
    """Divide each vector of x by the root of its mean square, then scale by g.

    x: [..., C]; g: [C]. eps is added to the mean square, under the root. For inputs in half precision compute in
    float32 and return to the dtype of x before multiplying by g.

    >>> rms_norm(torch.tensor([[3.0, 4.0]]), torch.ones(2))
    tensor([[0.8485, 1.1314]])
    """
    ### BEGIN SOLUTION
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return normed.to(x.dtype) * g
    ### END SOLUTION


class LayerNorm(nn.Module):
    """Your layer_norm with its trained gain and shift. This class is given."""

    def __init__(self, d_model: int, eps: float = 1e-5):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(d_model)), nn.Parameter(torch.zeros(d_model)), eps

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)


class Block(nn.Module):
    """One transformer layer around any `attention` and `mlp` that map [B, T, C] to [B, T, C].

    pre=True:  x = x + attention(norm1(x)), then x = x + mlp(norm2(x)).
    pre=False: x = norm1(x + attention(x)), then x = norm2(x + mlp(x)).
    attention and mlp may be modules or plain functions. norm1 and norm2 are two layers LayerNorm(d_model), each with a
    gain and a shift of its own. Keep the four under the names self.norm1, self.norm2, self.attention, self.mlp.

    >>> block = Block(2, attention=lambda x: 10 * x, mlp=lambda x: 0 * x)
    >>> block(torch.tensor([[[1.0, 3.0]]])).detach()  # x + 10 norm1(x)
    tensor([[[-9.0000, 13.0000]]])
    """

    def __init__(self, d_model: int, attention, mlp, pre: bool = True):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm1 = LayerNorm(d_model)
        self.attention = attention
        self.norm2 = LayerNorm(d_model)
        self.mlp = mlp
        self.pre = pre
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        if self.pre:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))
        ### END SOLUTION


# %% check="Block"
check(layer_norm, layer_norm_backward, rms_norm, Block)

# %% [markdown]
r"""
**Experiment: the same layers, two orders.** Twelve of your blocks. First, before any training, we look at the gradient
that reaches the MLP of each layer. Then we train for a short time, with and without a *warm-up* (the learning rate
rises in small steps from nearly zero, here during the first half of the run), and do the same with two layers. All
matrices start with Xavier's rule, as in the paper whose figure the left picture repeats: random numbers of such a size
that a layer's output is about as large as its input. For the training runs they start at 0.7 of that size. (At full
size, and with so few steps, the twelve post-norm layers got stuck at 3.3 nats with and without the warm-up.)

<details><summary><b>Predict:</b> which of the two orders has its largest gradients where, and which one needs the
warm-up?</summary>

Post-norm: the largest gradients are near the output, so long first steps upset the last layers, and a warm-up helps.
Pre-norm: the gradients get *smaller* towards the output, and no warm-up is needed. This is the argument of Xiong et al.
(2020).
</details>
"""

# %% tags=["experiment"]
LayerOf = stand_in(Block)


class MaskedHeads(nn.Module):
    """Your multi-head attention with the causal mask built in."""

    def __init__(self, d_model: int, n_heads: int, length: int):
        super().__init__()
        self.heads = MHA(d_model, n_heads)
        self.register_buffer("mask", causal_of(length, "causal"))

    def forward(self, x: Tensor) -> Tensor:
        return self.heads(x, self.mask[: x.shape[1], : x.shape[1]])


def make_mlp(d_model: int) -> nn.Module:
    """Wider, bent, back: the part of a layer that works on each token by itself."""
    return nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))


class Deep(nn.Module):
    """A character model of n_layers of your blocks; `gain` scales Xavier's start."""

    def __init__(self, n_layers: int, pre: bool, gain: float, d_model: int = 32, length: int = 32):
        super().__init__()
        self.token_embedding = nn.Embedding(V, d_model)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(length, d_model))
        self.blocks = nn.ModuleList(
            LayerOf(d_model, MaskedHeads(d_model, 4, length), make_mlp(d_model), pre=pre) for _ in range(n_layers)
        )
        self.final_norm = nn.LayerNorm(d_model) if pre else nn.Identity()
        self.head = nn.Linear(d_model, V, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight, gain)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.position_embedding[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))


ORDERS = {True: "pre-norm", False: "post-norm"}
gradient_by_layer = {}
sample = windows(DATA[:SPLIT], 32, 32, torch.Generator().manual_seed(1))
for pre, label in ORDERS.items():
    norms = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = Deep(12, pre, gain=1.0).to(DEVICE)
        next_character_loss(model, *sample).backward()
        norms.append([block.mlp[2].weight.grad.norm().item() for block in model.blocks])
    gradient_by_layer[label] = np.mean(norms, axis=0)

steps, depths, seeds = {"quick": (110, (2, 12), 1), "full": (300, (2, 12), 3), "gpu": (600, (2, 12, 24), 3)}[scale()]
runs = {}
for depth in depths:
    for pre in ORDERS:
        for warmup in (0, steps // 2):
            for seed in range(seeds):
                torch.manual_seed(seed)
                model = Deep(depth, pre, gain=0.7).to(DEVICE)
                losses = train(
                    model,
                    lambda generator: windows(DATA[:SPLIT], 16, 32, generator),
                    steps,
                    lr=3e-3,
                    warmup=warmup,
                    schedule="constant",
                    clip=None,
                    seed=seed,
                    loss_fn=next_character_loss,
                )
                runs.setdefault((depth, pre, warmup > 0), []).append(np.mean(losses[-15:]))
final = {key: float(np.mean(values)) for key, values in runs.items()}

fig, axes = plt.subplots(1, 2, figsize=(9.6, 3.6))
for k, (label, values) in enumerate(gradient_by_layer.items()):
    axes[0].plot(range(1, 13), values, label=label, **plots.line(k))
axes[0].set(ylim=(0, None), xlabel="layer", ylabel="norm of the gradient", title="Before training")
axes[0].legend()
groups = [(depth, warm) for depth in depths for warm in (False, True)]
for k, (pre, label) in enumerate(ORDERS.items()):
    values = [final[depth, pre, warm] for depth, warm in groups]
    places = np.arange(len(groups)) + 0.2 * (2 * k - 1)
    axes[1].bar(places, values, 0.38, label=label, **plots.bar(k))
    for place, value in zip(places, values, strict=True):
        axes[1].text(place, value + 0.02, f"{value:.2f}", ha="center", fontsize=8.5)
names = [f"{depth} layers,\n{'warm-up' if warm else 'no warm-up'}" for depth, warm in groups]
axes[1].set_xticks(range(len(groups)), names, fontsize=9)
axes[1].grid(axis="x", visible=False)
axes[1].set(ylim=(2, 3.7), ylabel="training loss, nats", title=f"After {steps} steps")
axes[1].legend(loc="upper left", ncols=2)
display.show(
    fig,
    alt="Left, gradient norms by layer before training: falling from the first to the last layer for pre-norm, rising "
    "with some ups and downs for post-norm; the lines cross. Right, training losses: "
    + "; ".join(
        f"{ORDERS[pre]}, {depth} layers, {'with' if warm else 'without'} warm-up: {value:.2f}"
        for (depth, pre, warm), value in final.items()
    )
    + ". The axis begins at 2.",
)

# %% [markdown]
r"""
**What to see, and what not.** The left picture is the reason, the right one the consequence. Twelve post-norm layers
without a warm-up fall behind. With it, the larger part of the gap closes. Pre-norm does not need one: here it even
loses a little by it, since in a short run a warm-up is time spent on small steps. With *two* layers the order makes no
difference, and some experiments with few layers find post-norm slightly ahead. So "pre-norm is all you need" is too
simple. What it buys is a model that trains at almost any depth without much care. (At the quick size this is one seed
each, and few steps. With three seeds, the distance between the two orders at twelve layers without a warm-up was 0.1 to
0.6 nats, always in this direction.)
"""

# %% [markdown]
r"""
## Exercise 9 · A GPT from parts  ★★ · 60 min

**Idea.** All parts are there. A **GPT** is: look up the tokens, add the positions, go through L blocks, normalise once
more, and compare each vector with every row of a table to get V scores. For the last step GPT-2 takes the *same* table
as for the lookup, transposed: the weights are **tied**. A token whose embedding points the way the final vector does
gets a high score.

Two habits of GPT-2 belong to it.

- **Start small.** All matrices and embeddings start as random normal numbers with standard deviation 0.02, biases as
  zero. Then all scores are close to zero at first, all tokens about equally likely, and the loss starts near ln V. A
  start far above ln V means that the untrained model is *sure* of nonsense, and the first part of the training goes
  into unlearning it. (The default of `nn.Embedding`, standard deviation 1, does just that when weights are tied.)
- **Divide what is added.** 2L sublayers add to the same vector, and the sum of 2L random contributions grows like
  $\sqrt{2L}$. The last matrix of each sublayer (`o_proj` and `mlp.down`) therefore starts smaller by that factor.

Two parts have not been named yet. The bend in the MLP is **GELU**: x times the probability that a standard normal
number lies below x, a smooth form of "keep what is positive". And **dropout**: in training, each number is set to zero
with probability p, the others are divided by 1 − p, and in use nothing happens. GPT-2 was trained with it. The largest
models are usually trained without: they see most of their texts only once, and so have little chance to learn them by
heart.

**Counting.** Whoever builds models must be able to count them. Parameters: a table of V × C, positions, and in each
block 4C² for the attention and 8C² for the MLP, plus biases and norms. Arithmetic: a matrix of n numbers costs n
multiplications and n additions per token, so 2 FLOPs (*floating-point operations*) for each weight that the token
meets. Looking something up costs nothing. And attention adds a term of its own, which has no weights: each of the T
queries is compared with T keys, and T values are mixed, 2·C multiply-adds per key.
"""

# %% [markdown]
r"""
**Predict.** The small GPT-2 has V = 50,257, C = 768, 12 layers and 1,024 positions. How many of its 124 million
parameters are the table of tokens? And is the attention or the MLP the larger part of a block?

<details><summary>Answer</summary>

50,257 × 768 = 38.6 million, almost a third. In the block: attention 4C² (query, key, value, output), MLP 8C² (C to 4C
and back). Two thirds of a block are MLP.
</details>
"""


# %% exercise="GPT"
def count_params(cfg) -> dict[str, int]:
    """Count the parameters of the GPT below, by part, without building it.

    cfg has the attributes vocab_size, context_length, n_layers, n_heads, d_model. Returns a dictionary with the keys
    "token_embedding", "position_embedding", "attention", "mlp" (both over all layers, with biases), "norms" (all of
    them, with their shifts), "head" (0, since it is the token embedding's table) and "total".

    >>> from types import SimpleNamespace
    >>> cfg = SimpleNamespace(vocab_size=50257, context_length=1024, n_layers=12, n_heads=12, d_model=768)
    >>> count_params(cfg)["total"]
    124439808
    """
    ### BEGIN SOLUTION
    C, L = cfg.d_model, cfg.n_layers
    parts = {
        "token_embedding": cfg.vocab_size * C,
        "position_embedding": cfg.context_length * C,
        "attention": L * 4 * (C * C + C),
        "mlp": L * ((C * 4 * C + 4 * C) + (4 * C * C + C)),
        "norms": (2 * L + 1) * 2 * C,
        "head": 0,
    }
    return parts | {"total": sum(parts.values())}
    ### END SOLUTION


def flops_per_token(cfg, T: int) -> float:
    """FLOPs of the matrix products in a forward pass over T tokens, divided by T; a multiply-add counts as 2.

    Count the linear layers of attention and MLP, queries times keys and weights times values (over all T keys, masked
    or not), and the head. Lookups, biases, norms, GELU and softmax are not counted.

    >>> from types import SimpleNamespace
    >>> cfg = SimpleNamespace(vocab_size=50257, context_length=1024, n_layers=12, n_heads=12, d_model=768)
    >>> flops_per_token(cfg, 0) / 1e6, flops_per_token(cfg, 1024) / 1e6
    (247.064064, 284.8128)
    """
    ### BEGIN SOLUTION
    C, L = cfg.d_model, cfg.n_layers
    weights = L * (4 * C * C + 8 * C * C) + cfg.vocab_size * C
    return 2 * weights + L * 2 * (2 * C * T)
    ### END SOLUTION


class MLP(nn.Module):
    """The other half of a block: wider, bent by GELU (in the form that GPT-2 was trained with), back. Given."""

    def __init__(self, d_model: int):
        super().__init__()
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


def causal_attention(d_model: int, n_heads: int) -> nn.Module:
    """Your MultiHeadAttention, with biases, and with its causal mask built in: Block calls attention(x). Given."""

    class CausalAttention(MultiHeadAttention):
        def forward(self, x: Tensor) -> Tensor:
            T = x.shape[1]
            return super().forward(x, torch.ones(T, T, dtype=torch.bool, device=x.device).tril())

    return CausalAttention(d_model, n_heads, bias=True)


class GPT(nn.Module):
    """GPT-2: ids [B, T] -> logits [B, T, V].

    Built from your Block (pre-norm), causal_attention, MLP and LayerNorm, under these names:
    token_embedding and position_embedding (nn.Embedding), blocks (nn.ModuleList; in each of them attention, with its
    q_proj, k_proj, v_proj and o_proj, mlp, norm1 and norm2), final_norm. There is no module for the head: logits are
    products with token_embedding.weight. A mask is not a weight: keep it out of state_dict(), the dictionary of all
    weights (make it when it is needed, or register_buffer(..., persistent=False)).

    Attention is causal. Dropout, with probability cfg.dropout if cfg has that attribute (not every cfg does: 0 without
    it), follows the sum of the two embeddings, in training only. New tensors, such as the places, are made on the
    device of ids. All matrices and embeddings start with standard deviation 0.02 (o_proj and mlp.down with 0.02 /
    sqrt(2 n_layers)), biases with zero.

    Not allowed: torch's ready-made transformer layers and attention (nn.Transformer, nn.TransformerEncoderLayer,
    nn.MultiheadAttention), and the library transformers.

    >>> from types import SimpleNamespace
    >>> model = GPT(SimpleNamespace(vocab_size=65, context_length=8, n_layers=2, n_heads=2, d_model=16))
    >>> model(torch.tensor([[3, 1, 4, 1]])).shape
    torch.Size([1, 4, 65])
    """

    def __init__(self, cfg):
        super().__init__()
        ### BEGIN SOLUTION
        C = cfg.d_model
        self.token_embedding = nn.Embedding(cfg.vocab_size, C)
        self.position_embedding = nn.Embedding(cfg.context_length, C)
        self.dropout = nn.Dropout(getattr(cfg, "dropout", 0.0))
        self.blocks = nn.ModuleList(Block(C, causal_attention(C, cfg.n_heads), MLP(C)) for _ in range(cfg.n_layers))
        self.final_norm = LayerNorm(C)
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                adds = name.endswith(("o_proj", "down"))
                nn.init.normal_(module.weight, std=0.02 / math.sqrt(2 * cfg.n_layers) if adds else 0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        ### END SOLUTION

    def forward(self, ids: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.dropout(self.token_embedding(ids) + self.position_embedding(places))
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x) @ self.token_embedding.weight.T
        ### END SOLUTION


# %% check="GPT"
check(count_params, flops_per_token, GPT)

# %% [markdown]
r"""
**Look: where the parameters are.** Your count for the four sizes of GPT-2, and for each of them the share of each part.
"""

# %% tags=["experiment"]
from types import SimpleNamespace

count, flops, YourGPT = stand_in(count_params), stand_in(flops_per_token), stand_in(GPT)

SIZES = {"small": (12, 12, 768), "medium": (24, 16, 1024), "large": (36, 20, 1280), "XL": (48, 25, 1600)}
configs = {
    name: SimpleNamespace(vocab_size=50257, context_length=1024, n_layers=L, n_heads=h, d_model=d)
    for name, (L, h, d) in SIZES.items()
}
counts = {name: count(cfg) for name, cfg in configs.items()}
PARTS = ["token_embedding", "position_embedding", "attention", "mlp", "norms"]
fig, ax = plt.subplots(figsize=(8.2, 2.9))
for row, parts in enumerate(counts.values()):
    left = 0.0
    for k, part in enumerate(PARTS):
        share = 100 * parts[part] / parts["total"]
        ax.barh(row, share, 0.6, left=left, label=part.replace("_", " ") if row == 0 else None, **plots.bar(k))
        if share > 6:
            ax.text(
                left + share / 2,
                row,
                f"{share:.0f}%",
                ha="center",
                va="center",
                fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )
        left += share
ax.set_yticks(range(4), [f"{name}: {parts['total'] / 1e6:,.0f} M" for name, parts in counts.items()])
ax.invert_yaxis()
ax.grid(visible=False)
ax.set(xlim=(0, 100), xlabel="share of the parameters, %", title="GPT-2 in four sizes")
ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.28), ncols=5, fontsize=8.5, handlelength=1.4, columnspacing=1.2)
display.show(
    fig,
    alt="Stacked bars for GPT-2 small, medium, large and XL: "
    + "; ".join(
        f"{name} {parts['total'] / 1e6:.0f} million, of which tokens {parts['token_embedding'] / parts['total']:.0%}, "
        f"attention {parts['attention'] / parts['total']:.0%}, MLP {parts['mlp'] / parts['total']:.0%}"
        for name, parts in counts.items()
    )
    + ".",
)
plots.table(
    ["GPT-2", "parameters", "GFLOP per token, T = 0", "at T = 1,024", "2 x parameters"],
    [
        [name, counts[name]["total"], flops(cfg, 0) / 1e9, flops(cfg, 1024) / 1e9, 2 * counts[name]["total"] / 1e9]
        for name, cfg in configs.items()
    ],
    "Arithmetic of one forward pass",
)

# %% [markdown]
r"""
**What to see.** The rule of thumb "2 FLOPs per parameter and token" is close, and the larger the model the closer. The
table of tokens counts once, in the head; the lookup is free; attention adds what depends on T. Notice how the share of
the vocabulary shrinks: a small model is to a large part a dictionary.

**Experiment: foreign weights in your class.** Now the acid test. We let the `transformers` library make a GPT-2 with
random weights (another team's code, another layout: its matrices are transposed, and queries, keys and values are one
matrix), rename the weights, load them into *your* `GPT`, and compare the logits. If a detail such as the place of a
norm or the order of the heads is off, the picture is a cloud.

If a real GPT-2 is on this machine, it is used too: in the cache of `transformers`, or in a folder that the environment
variable `COURSE_GPT2` names. Nothing is downloaded.
"""

# %% tags=["experiment"]
import os

from course_lib.attention import gpt2_config, gpt2_state_from_hf

os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    from transformers import GPT2Config, GPT2LMHeadModel
except ImportError:
    GPT2LMHeadModel = None
    print("transformers is not installed: pip install transformers, and run this cell again")


def published() -> "GPT2LMHeadModel | None":
    """A trained GPT-2 that lies on this machine, if there is one."""
    try:
        return GPT2LMHeadModel.from_pretrained(os.environ.get("COURSE_GPT2", "gpt2"), local_files_only=True)
    except (OSError, ValueError):
        return None


@torch.no_grad()
def compare(theirs: nn.Module, name: str) -> tuple[str, Tensor, Tensor]:
    """Logits of a transformers GPT-2 and of your class with the same weights, on random ids."""
    cfg = gpt2_config(theirs.config.to_dict())
    yours = YourGPT(cfg)
    missing, extra = yours.load_state_dict(gpt2_state_from_hf(theirs.state_dict(), cfg), strict=False)
    extra, missing = [n for n in extra if "mask" not in n], [n for n in missing if "mask" not in n]
    assert not extra and not missing, f"weights without a place: {extra or missing}"
    ids = torch.randint(0, cfg.vocab_size, (2, min(48, cfg.context_length)), generator=torch.Generator().manual_seed(1))
    return name, theirs.eval()(ids).logits.flatten(), yours.eval()(ids).flatten()


if GPT2LMHeadModel is not None:
    torch.manual_seed(0)
    random_gpt2 = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=1000, n_positions=64, n_embd=96, n_layer=3, n_head=6, bos_token_id=None, eos_token_id=None
        )
    )
    for p in random_gpt2.parameters():  # larger than usual, so that every detail shows
        p.data.mul_(3.0)
    compared = [compare(random_gpt2, "random GPT-2, 3 layers")]
    real = published()
    if real is not None:
        compared.append(compare(real, "the published GPT-2"))
    fig, axes = plt.subplots(1, len(compared), figsize=(4.6 * len(compared), 3.9), squeeze=False)
    for ax, (name, theirs, yours) in zip(axes[0], compared, strict=True):
        ax.plot(theirs[::37], yours[::37], ".", markersize=2.5, color=plots.COLOURS[0])
        ax.set(xlabel="logits of transformers", ylabel="logits of your class", title=name)
        worst = (theirs - yours).abs().max().item()
        ax.text(0.03, 0.93, f"largest difference {worst:.1e}", transform=ax.transAxes, fontsize=9)
    display.show(
        fig,
        alt="Scatter plot of the logits of the transformers library against those of your class. All points lie on the "
        f"diagonal if the two agree. The largest difference is {worst:.1e}.",
    )

# %% [markdown]
r"""
**Experiment: train it, and change some parts.** Your GPT on the language reference, for a short time. Beside it, the
course's GPT twice: once in the same style, once in the style of Llama (RMSNorm, SwiGLU, RoPE, no biases).

**SwiGLU** (Shazeer 2020) is an MLP with a gate. Two matrices widen x, $W_g$ and $W_u$, and the first decides how much
of the second passes:

$$\mathrm{SwiGLU}(x) = W_d \left( \mathrm{silu}(W_g x) \odot W_u x \right), \qquad
\mathrm{silu}(z) = \frac{z}{1 + e^{-z}}$$

($\odot$ multiplies number by number.) That makes three matrices instead of two, so they are made narrower, by a factor
of 2/3, to keep the number of parameters.

<details><summary><b>Predict:</b> how large is the difference between the two styles?</summary>

Two of the three curves belong to the same architecture, so their distance is what chance can do. In short runs the
Llama style ends a little lower, by some hundredths of a nat. One run cannot say which of the four changes did it.
</details>
"""

# %% tags=["experiment"]
steps = {"quick": 200, "full": 2000, "gpu": 8000}[scale()]
size = {"vocab_size": V, "context_length": 64, "n_layers": 3, "n_heads": 4, "d_model": 64}
models = {
    "your GPT": lambda: YourGPT(SimpleNamespace(**size)),
    "the course's, GPT-2 style": lambda: CourseGPT(GPTConfig(**size)),
    "the course's, Llama style": lambda: CourseGPT(
        GPTConfig(**size, norm="rms", mlp="swiglu", positions="rope", bias=False)
    ),
}
small_losses, trained = {}, {}
for k, (name, make) in enumerate(models.items()):
    torch.manual_seed(k)
    trained[name] = make().to(DEVICE)
    small_losses[name] = train(
        trained[name],
        lambda generator: windows(DATA[:SPLIT], 16, 64, generator),
        steps,
        lr=4e-3,
        warmup=20,
        loss_fn=next_character_loss,
    )

fig, ax = plt.subplots()
for k, (name, losses) in enumerate(small_losses.items()):
    smooth = [np.mean(losses[max(0, step - 9) : step + 1]) for step in range(steps)]  # the last ten, at most
    n = sum(p.numel() for p in trained[name].parameters())
    ax.plot(smooth, label=f"{name}: {n:,} parameters", **(plots.line(k) | {"marker": ""}))
ax.axhline(math.log(V), color="#888888", linewidth=1)
ax.text(steps, math.log(V) - 0.12, f"ln {V}: knows nothing", ha="right", va="top", fontsize=9, color="#555555")
ax.set(xlabel="training steps", ylabel="loss, nats per character", title="Three small GPTs")
ax.legend()
display.show(
    fig,
    alt="Three loss curves that start at the line of ln V and fall, steeply at first. The two models in the style of "
    "GPT-2 stay close together; the one in the style of Llama goes its own way, and ends lower. Final losses: "
    + ", ".join(f"{name} {np.mean(losses[-10:]):.2f}" for name, losses in small_losses.items())
    + ".",
)

# %% [markdown]
r"""
The loss starts at ln V, as it should, and falls. (Ten times as long a training, `COURSE_SCALE=full`, ended at 1.39 for
the first two and at 1.25 for the third: one run each, but a distance that the quick size does not show.) What does such
a model write? Each character is drawn from its
probabilities, and appended, and so on:
"""

# %% tags=["experiment"]


@torch.no_grad()
def write(model: nn.Module, start: str, count: int, generator: torch.Generator) -> str:
    """Continue a text by `count` characters, drawn one after another."""
    ids = torch.tensor([[CHARACTERS[c] for c in start]], device=DEVICE)
    for _ in range(count):
        probabilities = model(ids[:, -64:])[0, -1].softmax(-1).cpu()
        ids = torch.cat([ids, torch.multinomial(probabilities, 1, generator=generator)[None].to(DEVICE)], dim=1)
    return "".join(common[i] for i in ids[0].tolist())


for name in ("your GPT", "the course's, Llama style"):
    print(
        f"--- {name}\n{write(trained[name].eval(), 'The function returns ', 240, torch.Generator().manual_seed(3))}\n"
    )

# %% [markdown]
r"""
After the two hundred steps of the quick size: letters in a believable order, here and there a short word, brackets,
quotes and line breaks, and not a trace of sense. Chapter 3 gives the model a real training.

**Choices of one large model.** PaLM (Chowdhery et al. 2022) shows how such parts are put together: a decoder with
SwiGLU, multi-query attention, RoPE, tied embeddings and no biases. It also has *parallel layers*. Attention and MLP
read the same normalised vector and are added together, $x + \mathrm{attention}(\mathrm{norm}(x)) +
\mathrm{mlp}(\mathrm{norm}(x))$, so that their matrix products can be done at once. You have met every part of it now.
"""

# %% [markdown]
r"""
---
# Part IV · Longer, larger, cheaper

**To begin here**, on another day: run the set-up cell, the cell below "The text we work with", your solution of
Exercise 2, and the next cell. The three exercises of this part do not need each other either.
"""

# %% tags=["experiment"]
attend = stand_in(scaled_dot_product_attention)

# %% [markdown]
r"""
## Exercise 10 · FlashAttention by hand  ★★★ · 45 min

**Idea.** A GPU has a large memory beside the chip (HBM, tens of gigabytes) and a tiny one on it (SRAM, some hundred
kilobytes for each of its processors). Arithmetic is cheap. Moving numbers between the two is not. Standard attention
writes the T × T scores to the large memory, reads them for the softmax, writes the weights, reads them again. For T =
16,000 that is a quarter of a billion numbers per head, four times over, and most of the running time.

FlashAttention (Dao et al. 2022) never writes them. It takes a block of queries and goes through the keys block by
block, keeping everything on the chip. The difficulty is the softmax, whose denominator needs *all* scores of a row. The
way out is older (Milakov and Gimelshein 2018): keep a **running maximum** m, a **running sum** l of the exponentials,
and a **running output** o that is not yet divided. For each new block of scores s:

$$m' = \max(m, \max s), \qquad l' = e^{m - m'}\, l + \sum e^{s - m'}, \qquad o' = e^{m - m'}\, o + e^{s - m'}\, V$$

When a larger maximum turns up, what has been collected so far is scaled down by $e^{m - m'}$: the sum *and* the output.
At the end, o/l is the result. This is no approximation: the numbers are the same, up to rounding. And no tensor in the
whole computation is larger than the inputs or one block of scores.
"""

# %% [markdown]
r"""
**Predict.** One query, four keys with the scores 1, 2, 5, 5, in two blocks of two. What are m and l after the first
block, and after the second? What goes wrong if you forget the factor $e^{m-m'}$?

<details><summary>Answer</summary>

After the first block m = 2, $l = e^{-1} + 1 = 1.37$. In the second, m' = 5, so the old l is worth
$1.37 \cdot e^{-3} = 0.07$, and l' = 0.07 + 1 + 1 = 2.07. Without the factor l' would be 3.37: the first block would
count twenty times too much. The mistake is invisible whenever the largest score comes first.
</details>
"""


# %% exercise="flash_attention"
def flash_attention(q: Tensor, k: Tensor, v: Tensor, block: int = 64, causal: bool = False) -> Tensor:
    """Exact attention of one head, softmax(q k^T / sqrt(D)) v, computed in blocks.

    q: [T, D]. k: [S, D]. v: [S, D]. Returns [T, D]. Use running maximum, sum and output; hold at most block x block
    scores at a time, never a T x S tensor. T and S need not be multiples of block. With causal=True, query i sees keys
    up to S - T + i (for S = T: up to itself); a query that sees none gets zeros. Not allowed: torch's ready-made
    attention.

    >>> x = torch.tensor([[1.0], [2.0], [6.0]])
    >>> flash_attention(torch.zeros(3, 1), x, x, block=2, causal=True).flatten()
    tensor([1.0000, 1.5000, 3.0000])
    """
    ### BEGIN SOLUTION
    T, S = q.shape[0], k.shape[0]
    out = q.new_empty(T, v.shape[1])
    for top in range(0, T, block):
        queries = q[top : top + block] / math.sqrt(q.shape[1])
        rows = len(queries)
        highest = q.new_full((rows, 1), -torch.inf)
        total = q.new_zeros(rows, 1)
        mixed = q.new_zeros(rows, v.shape[1])
        for left in range(0, S, block):
            scores = queries @ k[left : left + block].T
            if causal:
                place = S - T + top + torch.arange(rows, device=q.device)[:, None]
                key = left + torch.arange(scores.shape[1], device=q.device)
                scores = scores.masked_fill(key > place, -torch.inf)
            new = torch.maximum(highest, scores.amax(-1, keepdim=True))
            base = new.masked_fill(new == -torch.inf, 0.0)  # nothing seen yet: -inf - -inf would be nan
            weights = torch.exp(scores - base)
            kept = torch.exp(highest - base)
            total = kept * total + weights.sum(-1, keepdim=True)
            mixed = kept * mixed + weights @ v[left : left + block]
            highest = new
        out[top : top + block] = mixed / total.masked_fill(total == 0, 1.0)
    return out
    ### END SOLUTION


def hbm_accesses(T: int, D: int, M: int) -> dict[str, int]:
    """Count the numbers that go to or from the large memory in one head's forward pass (T = S, no mask).

    "standard": q, k, v are read once, the scores are written and read, the weights are written and read, and the
    output is written once. "tiled": Algorithm 1 of the paper on a chip for M numbers. It first writes zeros for the
    output [T, D] and starting values for maximum and sum (two numbers for each row). k and v are read once in all, in
    blocks of ceil(M / (4 D)) keys. For each block of keys it goes over all T rows: it reads q, output, maximum and
    sum, and writes output, maximum and sum back.

    >>> hbm_accesses(1024, 64, 65536)
    {'standard': 4456448, 'tiled': 1001472}
    """
    ### BEGIN SOLUTION
    keys = math.ceil(M / (4 * D))
    passes = math.ceil(T / keys)
    start = T * D + 2 * T
    each = (2 * T * D + 2 * T) + (T * D + 2 * T)  # read q, out, two numbers a row; write out, two numbers a row
    return {"standard": 4 * T * D + 4 * T * T, "tiled": start + 2 * T * D + passes * each}
    ### END SOLUTION


# %% check="flash_attention"
check(hbm_accesses, flash_attention)

# %% [markdown]
r"""
**Experiment: the same numbers, less traffic.** Left, a test of exactness: your tiles against your attention of Exercise
2, for many block sizes, and the size of the largest tensor that each of them makes. Right, the traffic by your count,
for one head of width 64 and on-chip memories of three sizes. The two stars are counted, not calculated: a simulated
run of both algorithms in which every access to the large memory adds to a counter.
"""

# %% tags=["experiment"]
from course_lib.attention.hbm import run_standard, run_tiled
from course_lib.tensor_size import largest_tensor

tiles, traffic = stand_in(flash_attention), stand_in(hbm_accesses)

T, D = 300, 32
generator = torch.Generator().manual_seed(7)
q, k, v = (torch.randn(T, D, generator=generator) for _ in range(3))
rows = []
with largest_tensor() as seen:
    exact, _ = attend(q[None, None], k[None, None], v[None, None])
rows.append(["Exercise 2", "", 0.0, seen.elements])
for block in (10, 16, 64, 100, 300):
    with largest_tensor() as seen:
        out = tiles(q, k, v, block)
    rows.append(["in tiles", block, (out - exact[0, 0]).abs().max().item(), seen.elements])
plots.table(
    ["attention", "block", "largest difference", "elements of the largest tensor"],
    rows,
    f"{T} tokens, width {D}: the inputs have {T * D:,} elements, all scores together {T * T:,}",
)

lengths = [2**n for n in range(7, 16)]
fig, ax = plt.subplots(figsize=(7.5, 3.9))
ax.plot(lengths, [traffic(n, 64, 2**16)["standard"] for n in lengths], label="standard", **plots.line(0))
for index, M in enumerate((2**14, 2**16, 2**18)):
    ax.plot(
        lengths,
        [traffic(n, 64, M)["tiled"] for n in lengths],
        label=f"tiled, {M:,} numbers on the chip",
        **plots.line(index + 1),
    )
inputs = [torch.randn(1024, 64, generator=generator) for _ in range(3)]
counted = run_standard(*inputs)[1], run_tiled(*inputs, 2**16)[1]
ax.plot([1024, 1024], counted, "*", color="black", markersize=11, linestyle="none", label="counted in a run")
ax.set(xscale="log", yscale="log", xlabel="tokens T", ylabel="numbers moved")
ax.set_xticks([128, 1024, 8192, 32768], ["128", "1,024", "8,192", "32,768"])
ax.minorticks_off()
ax.set_title("Traffic between the chip and the large memory, one head")
ax.legend(fontsize=9)
display.show(
    fig,
    alt="Numbers moved against the number of tokens, both logarithmic. For long texts standard attention and the "
    "tiled versions all grow with the square of the length, and the tiled lines lie below the standard one, by a "
    "factor of about 1.3, 5 and 20 for a small, a middle and a large chip. Two stars mark counted runs and lie on "
    "their lines.",
)

# %% [markdown]
r"""
**What to see.** Tiles change no result: the differences are rounding. The traffic still grows with the square of the
length, since every query must meet every key. But it shrinks in proportion to M/D² (here by about a third of that
number): the larger the chip's memory, the less often must the output be carried back and forth. For short texts or a
small chip there is little to gain. (Later versions turn the loops around, queries outside and keys inside, as your
function does, so that the output is written only once.)

What you wrote is the *algorithm*. On a processor it is slower than one large matrix product, because Python drives the
loops. On a GPU the same loop runs as one program, a *kernel*. The course's `flash_attention` has one, written in
Triton; the benchmark table in the repository says how fast it is.
"""

# %% [markdown]
r"""
## Exercise 11 · Mixture of experts  ★★ · 45 min

**Idea.** A larger model knows more and costs more per token, because every token meets every weight. A **mixture of
experts** (MoE) breaks that link. In place of one MLP a layer has E of them, the *experts*, and a small *router*, a
matrix that gives each token E scores and sends it to the best k. The layer holds E times the parameters, and a token
pays for k. So two numbers describe such a model: all its parameters, which have to fit into memory, and the *active*
ones, which a token meets. DeepSeek-V3 has 671 billion, of which 37 billion are active. ST-MoE has 269 billion and costs
about as much arithmetic as an ordinary, *dense* model of 32 billion.

*The gate.* With softmax probabilities p over all experts, the token's result is the sum of its experts' outputs, each
times a weight, the gate. For k > 1 the k probabilities are divided by their sum (Mixtral). For k = 1 they are **not**
(Switch Transformer): the gate would always be p/p = 1, a constant, and a constant has no gradient. The router would
learn nothing from the task. (Shazeer et al. 2017, with whom the present form began, also added noise to the scores
before choosing, so that other experts get a chance.)

*Capacity.* On real hardware the experts are worked on together, as one block `[E, capacity, C]`, so each has room for
a fixed number of tokens:

$$\text{capacity} = \left\lceil \text{factor} \cdot \frac{k \cdot N}{E} \right\rceil$$

The *capacity factor* is the room around the fair share. (It is often described as "the number of tokens that an expert
can take". That is the capacity. The factor multiplies it.) If too many tokens want the same expert, the later ones are
**dropped**: that expert adds nothing for them. With k = 1 the residual connection then carries the token on unchanged.
All first choices are served before any second choice.

*Fairness.* Left to itself, the router ruins itself. An expert that happens to be chosen more often learns more, gets
better, and is chosen still more often, until others are never chosen at all: *dead experts*. The **load-balancing
loss** of the Switch Transformer works against it:

$$L_{\text{balance}} = E \sum_{i=1}^{E} f_i\, P_i$$

f is the share of the assignments that go to expert i: a count, and counts have no gradient. P is the mean probability
of expert i: through it the gradient flows. Frequent experts are made less probable. When all is even, the loss is 1.
(DeepSeek-V3 mostly does without such a loss: it adds to each expert's score, for the choice alone, a number that is
lowered while the expert is too busy.) A second loss keeps the router's scores small, so that half precision does not
upset it: the **router z-loss** of ST-MoE, the mean of $(\log \sum_i e^{z_i})^2$, with a weight of 0.001.
"""

# %% [markdown]
r"""
**Predict.** 64 tokens, 8 experts, k = 2, capacity factor 1.25. What is the capacity? If all tokens choose the same two
experts, how many of the 128 assignments are dropped?

<details><summary>Answer</summary>

⌈1.25 · 2 · 64 / 8⌉ = 20 places per expert. The two experts take 40 assignments, and 88 of 128 are dropped.
</details>
"""


# %% exercise="dispatch"
def route_topk(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Choose the k best experts of every token.

    logits: [N, E], the router's scores. Returns (idx [N, k], gate [N, k]); column 0 is the first choice. For k = 1 the
    gate is the softmax probability of the chosen expert among all E. For k > 1 the probabilities of the k chosen ones
    are divided by their sum.

    >>> route_topk(torch.tensor([[0.0, 2.0, 1.0]]), 2)
    (tensor([[1, 2]]), tensor([[0.7311, 0.2689]]))
    >>> route_topk(torch.tensor([[0.0, 2.0, 1.0]]), 1)
    (tensor([[1]]), tensor([[0.6652]]))
    """
    ### BEGIN SOLUTION
    best, idx = logits.topk(k, dim=-1)  # of the scores: small probabilities would all be rounded to zero
    return idx, best.softmax(-1) if k > 1 else logits.softmax(-1).gather(-1, idx)
    ### END SOLUTION


def capacity(n_tokens: int, n_experts: int, k: int, factor: float) -> int:
    """How many assignments one expert takes: factor * k * n_tokens / n_experts, rounded up.

    >>> capacity(100, 8, 2, 1.25)
    32
    """
    ### BEGIN SOLUTION
    return math.ceil(factor * k * n_tokens / n_experts)
    ### END SOLUTION


def dispatch(x: Tensor, idx: Tensor, n_experts: int, capacity: int) -> tuple[Tensor, Tensor]:
    """Put the tokens into the buffers of their experts.

    x: [N, C]. idx: [N, k], the experts of each token. Returns (buffers [E, capacity, C], slots [N, k]). Token n stands
    in buffers[idx[n, j], slots[n, j]]; slots[n, j] is -1 where that expert was full already. Each expert fills its
    places 0, 1, 2 ... in this order: all first choices (j = 0) by n, then all second choices by n, and so on. Places
    that stay empty are zeros.

    >>> x = torch.tensor([[1.0], [2.0], [3.0]])
    >>> buffers, slots = dispatch(x, torch.tensor([[0], [0], [1]]), n_experts=2, capacity=1)
    >>> buffers.squeeze(-1).tolist(), slots.squeeze(-1).tolist()
    ([[1.0], [3.0]], [0, -1, 0])
    """
    ### BEGIN SOLUTION
    N, k = idx.shape
    buffers = x.new_zeros(n_experts, capacity, x.shape[1])
    slots = torch.full_like(idx, -1)
    used = [0] * n_experts
    for j in range(k):
        for n in range(N):
            expert = int(idx[n, j])
            if used[expert] < capacity:
                slots[n, j] = used[expert]
                buffers[expert, used[expert]] = x[n]
                used[expert] += 1
    return buffers, slots
    ### END SOLUTION


def combine(x: Tensor, outputs: Tensor, idx: Tensor, slots: Tensor, gate: Tensor) -> Tensor:
    """Bring the experts' outputs home: x plus, for each token, the sum of its experts' outputs times their gates.

    x: [N, C], the residual stream. outputs: [E, capacity, C], what the experts made of the buffers. idx, slots, gate:
    [N, k]. Where a slot is -1 nothing is added. Returns [N, C].

    >>> outputs = torch.tensor([[[10.0]], [[20.0]]])
    >>> idx, slots = torch.tensor([[0], [0], [1]]), torch.tensor([[0], [-1], [0]])
    >>> combine(torch.ones(3, 1), outputs, idx, slots, torch.full((3, 1), 0.5)).squeeze(-1).tolist()
    [6.0, 1.0, 11.0]
    """
    ### BEGIN SOLUTION
    found = outputs[idx, slots.clamp(min=0)]  # [N, k, C]
    weight = gate * (slots >= 0)
    return x + (weight[..., None] * found).sum(1)
    ### END SOLUTION


def load_balance_loss(probs: Tensor, idx: Tensor) -> Tensor:
    """E times the sum over the experts of f * P.

    probs: [N, E], the router's probabilities; P is their mean over the tokens. idx: [N, k], the experts that were
    chosen; f is the share of these N * k assignments that each expert got, so that f sums to 1.

    >>> even = torch.full((2, 2), 0.5)
    >>> load_balance_loss(even, torch.tensor([[0], [1]]))
    tensor(1.)
    """
    ### BEGIN SOLUTION
    E = probs.shape[1]
    f = torch.bincount(idx.flatten(), minlength=E) / idx.numel()
    return E * (f * probs.mean(0)).sum()
    ### END SOLUTION


def router_z_loss(logits: Tensor) -> Tensor:
    """The mean over the tokens of log(sum(exp(logits)))**2; logits of 1,000 must not overflow. logits: [N, E].

    >>> router_z_loss(torch.tensor([[3.0], [1.0]]))  # one expert: the mean of 3 * 3 and 1 * 1
    tensor(5.)
    """
    ### BEGIN SOLUTION
    return torch.logsumexp(logits, dim=-1).pow(2).mean()
    ### END SOLUTION


# %% check="dispatch"
check(route_topk, capacity, dispatch, combine, load_balance_loss, router_z_loss)

# %% [markdown]
r"""
**Experiment: starving experts.** Tokens of sixteen kinds, in very different numbers: nearly half are of one kind. Each
kind has a linear map of its own, which the layer has to learn. Eight small experts with k = 1 share the work. We train
twice from the same start, without and with the balance loss, at capacity factor 1.25. (Its weight is 0.3 here, to have
an effect in few steps. The Switch Transformer uses 0.01.)

<details><summary><b>Predict:</b> how evenly will the load be spread in each case, and what will that do to the
error?</summary>

Without the loss a few experts take most of the tokens and others starve. With a fixed capacity that means dropped
tokens, and dropped tokens are not computed at all. With the loss the load evens out, although the *kinds* are not
even: the frequent kind has to be shared by several experts.
</details>
"""

# %% tags=["experiment"]
route, room_for, send = stand_in(route_topk), stand_in(capacity), stand_in(dispatch)
bring_home, unfairness = stand_in(combine), stand_in(load_balance_loss)


class SkewedTask:
    """Tokens around 16 centres, some far more frequent than others; each kind has a linear map to be learned."""

    def __init__(self, width: int = 16, kinds: int = 16):
        generator = torch.Generator().manual_seed(0)
        self.centres = 1.5 * torch.randn(kinds, width, generator=generator)
        self.maps = torch.randn(kinds, width, width, generator=generator) / math.sqrt(width)
        self.frequency = torch.arange(1, kinds + 1) ** -1.5  # the first kind is nearly half of all tokens

    def __call__(self, generator: torch.Generator, count: int = 256) -> tuple[Tensor, Tensor]:
        kind = torch.multinomial(self.frequency, count, replacement=True, generator=generator)
        offset = torch.randn(count, self.centres.shape[1], generator=generator)
        return self.centres[kind] + offset, torch.einsum("nij,nj->ni", self.maps[kind], offset)


class Experts(nn.Module):
    """One layer of 8 experts with k = 1, made of your functions; remembers what the router did."""

    def __init__(self, width: int = 16, n_experts: int = 8, wide: int = 32):
        super().__init__()
        self.router = nn.Linear(width, n_experts, bias=False)
        self.up = nn.Parameter(torch.randn(n_experts, width, wide) / math.sqrt(width))
        self.down = nn.Parameter(torch.randn(n_experts, wide, width) / math.sqrt(wide))

    def forward(self, x: Tensor) -> Tensor:
        n_experts = len(self.up)
        logits = self.router(x)
        self.probs, (self.idx, gate) = logits.softmax(-1), route(logits, 1)
        buffers, self.slots = send(x, self.idx, n_experts, room_for(len(x), n_experts, 1, 1.25))
        outputs = F.gelu(buffers @ self.up) @ self.down  # all experts at once: [E, capacity, width]
        return bring_home(x, outputs, self.idx, self.slots, gate)


task = SkewedTask()
steps = {"quick": 250, "full": 1500, "gpu": 1500}[scale()]
history, load = {}, {}
for label, weight in (("without the balance loss", 0.0), ("with it", 0.3)):
    torch.manual_seed(0)
    layer = Experts()
    record = []

    def fit(layer: nn.Module, x: Tensor, y: Tensor, weight: float = weight, record: list = record) -> Tensor:
        error = F.mse_loss(layer(x) - x, y)
        record.append((error.item(), (layer.slots < 0).float().mean().item()))
        return error + weight * unfairness(layer.probs, layer.idx)

    train(layer, task, steps, lr=5e-3, warmup=20, loss_fn=fit)
    history[label] = np.array(record)
    with torch.no_grad():
        layer(task(torch.Generator().manual_seed(1), 4096)[0])
    load[label] = np.sort(torch.bincount(layer.idx.flatten(), minlength=8).numpy() / 4096)[::-1]

fig, axes = plt.subplots(1, 3, figsize=(10.2, 3.3))
for index, label in enumerate(history):
    axes[0].bar(np.arange(8) + 0.2 * (2 * index - 1), 100 * load[label], 0.38, label=label, **plots.bar(index))
    for column, ax in ((0, axes[2]), (1, axes[1])):
        smooth = np.convolve(history[label][:, column], np.ones(15) / 15, mode="valid")
        ax.plot(smooth * (100 if column else 1), label=label, **(plots.line(index) | {"marker": ""}))
axes[0].axhline(12.5, color="#444444", linestyle="--", linewidth=1)
axes[0].set(xlabel="expert, sorted by load", ylabel="share of the tokens, %", title="Load at the end")
axes[0].set_xticks(range(8), range(1, 9))
axes[1].set(ylim=(0, None), xlabel="training steps", ylabel="%", title="Dropped tokens")
axes[2].set(ylim=(0, None), xlabel="training steps", ylabel="squared error", title="Error")
axes[0].legend(fontsize=8.5)
alive = {label: int((shares > 0.01).sum()) for label, shares in load.items()}
dropped = {label: history[label][-30:, 1].mean() for label in history}
display.show(
    fig,
    alt="Load of eight experts, dropped tokens and error during training. "
    + " ".join(
        f"{label.capitalize()}: {alive[label]} experts get more than 1% of the tokens, the busiest "
        f"{load[label][0]:.0%}; "
        f"{dropped[label]:.0%} are dropped at the end; error {history[label][-30:, 0].mean():.2f}."
        for label in history
    ),
)

# %% [markdown]
r"""
**What to see.** At the quick size, without the balance loss, three experts do three quarters of the work, two are
hardly used, and almost a third of the tokens finds no room. With it the load comes closer to the dashed line of the
fair share, few tokens are dropped, and the error is lower, also because a dropped token is a token without a layer.
(Our router is small and has only 250 steps; in long training unused experts can die for good.) ST-MoE recommends k = 2
with a capacity factor of 1.25 in training. At evaluation the factor can be changed, and more room, such as 2.0, drops
fewer tokens. The same paper warns that sparse models overfit more easily when they are trained further on little data.

What the experts specialise in is another matter. Zoph et al. found experts for kinds of tokens, such as punctuation or
names, in the encoder, and hardly any such pattern in the decoder. Our tokens have kinds by construction, so this
experiment cannot say anything about it.
"""

# %% [markdown]
r"""
## Exercise 12 · Linear attention and RWKV  ★★★ · 45 min

**Idea.** Softmax attention has to keep every key and every value: token number 100,000 is compared with 99,999 others.
The exponential is to blame. Weights of the form exp(q · k) cannot be summed up in advance. Take a weight that is itself
a dot product of two positive vectors, $\phi(q) \cdot \phi(k)$ with $\phi(x) = \mathrm{elu}(x) + 1$ (that is x + 1 for
positive x, $e^x$ for the others), and the query can be pulled out of the sum:

$$\mathrm{out}_t = \frac{\sum_{s \le t} \left(\phi(q_t) \cdot \phi(k_s)\right) v_s}{\sum_{s \le t} \phi(q_t) \cdot
\phi(k_s)} = \frac{\phi(q_t)^\top S_t}{\phi(q_t)^\top z_t}, \qquad S_t = \sum_{s \le t} \phi(k_s)\, v_s^\top, \quad
z_t = \sum_{s \le t} \phi(k_s)$$

S is a D × D matrix and z a vector. Both grow by *addition*. The same layer is a parallel computation over all tokens
in training and a recurrent network with a state of fixed size when it writes ("Transformers are RNNs", Katharopoulos
et al. 2020).

**RWKV** (Peng et al. 2023) goes further. It has no queries at all, and every channel lives for itself. Channel c keeps
a running average of its values, weighted by $e^{k}$, in which the past fades by a factor $e^{-w}$ with every step, and
the present token gets a bonus u instead:

$$wkv_t = \frac{\sum_{i<t} e^{-(t-1-i)w + k_i}\, v_i + e^{u + k_t}\, v_t}
{\sum_{i<t} e^{-(t-1-i)w + k_i} + e^{u + k_t}}$$

The state is two numbers per channel, numerator and denominator. In practice it is three: $e^{k}$ overflows easily, so
one keeps the largest exponent so far beside the two, and stores the sums divided by its exponential. It is the trick of
Exercise 2, and of Exercise 10, for the third time.
"""

# %% [markdown]
r"""
**Predict.** All keys are zero, w = 0 and u = 0. What is wkv? And what is it if w is very large?

<details><summary>Answer</summary>

All weights are 1: the running mean of the values. With a very large w only two things are left: the value one step
back (which has not faded yet, its factor is $e^0$) and the present one: their mean.
</details>
"""


# %% exercise="wkv"
def linear_attention_parallel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal linear attention, all places at once, with a T x T table of weights.

    q, k: [..., T, D]. v: [..., T, M]. Returns [..., T, M]. The weight of place s for place t is phi(q_t) . phi(k_s) for
    s <= t, with phi(x) = elu(x) + 1, and 0 for s > t; each row is divided by the sum of its weights.

    >>> x = torch.zeros(2, 1)
    >>> linear_attention_parallel(x, x, torch.tensor([[1.0], [3.0]])).squeeze(-1)
    tensor([1., 2.])
    """
    ### BEGIN SOLUTION
    weights = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-2, -1)
    weights = weights.tril()
    return weights @ v / weights.sum(-1, keepdim=True)
    ### END SOLUTION


def linear_attention_recurrent(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same result, place by place, with the state S [..., D, M] and z [..., D] and no T x T table.

    >>> q, k, v = torch.randn(3, 5, 4)
    >>> torch.allclose(linear_attention_recurrent(q, k, v), linear_attention_parallel(q, k, v), atol=1e-5)
    True
    """
    ### BEGIN SOLUTION
    phi_q, phi_k = F.elu(q) + 1, F.elu(k) + 1
    S = v.new_zeros(*k.shape[:-2], k.shape[-1], v.shape[-1])
    z = k.new_zeros(*k.shape[:-2], k.shape[-1])
    outputs = []
    for t in range(q.shape[-2]):
        S = S + phi_k[..., t, :, None] * v[..., t, None, :]
        z = z + phi_k[..., t, :]
        numerator = (phi_q[..., t, :, None] * S).sum(-2)
        outputs.append(numerator / (phi_q[..., t, :] * z).sum(-1, keepdim=True))
    return torch.stack(outputs, dim=-2)
    ### END SOLUTION


def wkv(k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """RWKV's running average, as in the formula above, for every channel by itself.

    k, v: [..., T, C]. w, u: [C], w >= 0. Returns [..., T, C]. Keys of 1,000 and more must not overflow.

    >>> k, v = torch.zeros(3, 1), torch.tensor([[1.0], [3.0], [8.0]])
    >>> wkv(k, v, w=torch.zeros(1), u=torch.zeros(1)).squeeze(-1)
    tensor([1., 2., 4.])
    """
    ### BEGIN SOLUTION
    numerator = torch.zeros_like(v[..., 0, :])
    denominator = torch.zeros_like(numerator)
    highest = torch.full_like(numerator, -torch.inf)  # both sums are stored divided by exp(highest)
    outputs = []
    for t in range(k.shape[-2]):
        k_t, v_t = k[..., t, :], v[..., t, :]
        top = torch.maximum(highest, u + k_t)
        past, present = torch.exp(highest - top), torch.exp(u + k_t - top)
        outputs.append((past * numerator + present * v_t) / (past * denominator + present))
        top = torch.maximum(highest - w, k_t)  # into the state, without the bonus
        past, present = torch.exp(highest - w - top), torch.exp(k_t - top)
        numerator, denominator = past * numerator + present * v_t, past * denominator + present
        highest = top
    return torch.stack(outputs, dim=-2)
    ### END SOLUTION


# %% check="wkv"
check(linear_attention_parallel, linear_attention_recurrent, wkv)

# %% [markdown]
r"""
**Experiment: what it costs, and what it forgets.** Left: the memory that must be kept for the next token, after T
tokens (one layer, four heads of width 64, two bytes a number). Middle: the time for one more token on this machine,
with the course's step functions. Right, the price: T random pairs of key and value are stored, and one of the keys is
asked for. How similar (cosine) is the answer to the stored value? Nothing is trained here; all keys have length 2√D,
which makes the softmax picky.

<details><summary><b>Predict:</b> a state of 32 × 32 numbers. How many pairs can it hold?</summary>

A matrix of rank 32 cannot keep more than about 32 pairs apart, and with random keys it blurs earlier. Softmax attention
finds them all, because it keeps them all.
</details>
"""

# %% tags=["experiment"]
import time

from course_lib.attention import linear_attention_step, wkv_step

linear = stand_in(linear_attention_parallel)
H, D, C = 4, 64, 256
lengths = [2**n for n in range(8, 15)]
memory = {
    "softmax": [2 * 2 * H * T * D / 1024 for T in lengths],
    "linear": [2 * H * D * (D + 1) / 1024] * len(lengths),
    "RWKV": [2 * 3 * C / 1024] * len(lengths),
}


def microseconds(step, repeats: int = 20) -> float:
    """The best of three times for one call of `step`."""
    found = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(repeats):
            step()
        found.append(1e6 * (time.perf_counter() - start) / repeats)
    return min(found)


taken = {name: [] for name in memory}
generator = torch.Generator().manual_seed(9)
for T in lengths:
    kept_k, kept_v = (torch.randn(1, H, T, D, generator=generator) for _ in range(2))
    q, k, v = (torch.randn(H, D, generator=generator) for _ in range(3))
    state = torch.rand(H, D, D, generator=generator), torch.rand(H, D, generator=generator)
    a, b, p, w, u = (torch.rand(C, generator=generator) for _ in range(5))
    steps = {
        "softmax": lambda q=q, k=kept_k, v=kept_v: F.scaled_dot_product_attention(q[None, :, None], k, v),
        "linear": lambda q=q, k=k, v=v, s=state: linear_attention_step(q, k, v, s),
        "RWKV": lambda k=k.flatten(), v=v.flatten(), w=w, u=u, s=(a, b, p): wkv_step(k, v, w, u, s),
    }
    with torch.no_grad():
        for name, step in steps.items():
            taken[name].append(microseconds(step))

pairs = [2, 4, 8, 16, 32, 64, 128, 256]
found = {"softmax": [], "linear": []}
for T in pairs:
    keys = 2 * math.sqrt(32) * F.normalize(torch.randn(40, 1, T, 32, generator=generator), dim=-1)
    values = torch.randn(40, 1, T, 32, generator=generator)
    asked = torch.cat([keys[..., 1:, :], keys[..., :1, :]], dim=-2)  # the last place asks for the first key
    answers = {"softmax": attend(asked, keys, values)[0], "linear": linear(asked, keys, values)}
    for name, answer in answers.items():
        found[name].append(F.cosine_similarity(answer[..., -1, :], values[..., 0, :], dim=-1).mean().item())

fig, axes = plt.subplots(1, 3, figsize=(10.4, 3.4))
for index, name in enumerate(memory):
    look = plots.line(index) | {"markersize": 4.5}
    axes[0].plot(lengths, memory[name], label=name, **look)
    axes[1].plot(lengths, taken[name], label=name, **look)
    if name in found:
        axes[2].plot(pairs, found[name], label=name, **look)
axes[0].set(xscale="log", yscale="log", xlabel="tokens so far", ylabel="KiB", title="Memory to keep")
axes[1].set(xscale="log", yscale="log", xlabel="tokens so far", ylabel="µs", title="Time for one token")
axes[2].set(xscale="log", ylim=(0, 1.05), xlabel="pairs stored", ylabel="similarity", title="What is found again")
axes[2].set_xticks([2, 8, 32, 128], ["2", "8", "32", "128"])
axes[2].minorticks_off()
axes[0].legend()
display.show(
    fig,
    alt="Three panels. Memory to keep: softmax grows in proportion to the tokens, linear attention and RWKV stay flat. "
    "Time for one token: softmax grows with the length, the others stay flat. Similarity of the answer to the stored "
    "value: softmax stays near 1 up to 256 pairs, linear attention falls from about 0.9 with two pairs to below 0.1.",
)

# %% [markdown]
r"""
**What to see, and what not.** A state of fixed size costs the same after a million tokens, and cannot hold a million
tokens. That is no flaw of an implementation, it is arithmetic. (Without training, the feature map elu + 1 is a very
blurred lens; trained models choose their keys with care and do better, within the same limit.) Much work since then has
gone into spending the state wisely: gates that decide what to forget, updates that overwrite instead of adding, and
mixtures in which every few layers one softmax layer looks things up.
"""

# %% [markdown]
r"""
---
# Part V · Before, and beside

**To begin here**, on another day: run the set-up cell, the cell below "The text we work with", your solutions of
Exercises 2 to 4 and of Exercises 8 and 9, and the next cell.
"""

# %% tags=["experiment"]
causal_of, MHA = stand_in(make_mask), stand_in(MultiHeadAttention)
LayerOf = stand_in(Block)

# %% [markdown]
r"""
## Exercise 13 · Why not an RNN  ★★ · 45 min

**Idea.** Before the transformer, sequences were read by **recurrent neural networks**. The simplest one keeps a state h
and updates it with every input:

$$h_t = \tanh\left(W_x x_t + b + W_h h_{t-1}\right), \qquad h_0 = 0$$

How much can such a network learn about something far back? Learning means gradients, so the question is how strongly
the last state depends on an early input. By the chain rule that is a product of matrices, one for each step in between:

$$\frac{\partial h_T}{\partial x_t} = \left( \prod_{s=t+1}^{T} \mathrm{diag}(1 - h_s^2)\, W_h \right)
\mathrm{diag}(1 - h_t^2)\, W_x$$

(The factors stand in the order of time, the latest on the left.) A product of many similar matrices shrinks or grows
exponentially: **vanishing** or **exploding** gradients (Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013).
Exploding can be cured: if the gradient is too long, it is cut to a fixed length (*clipping*), which keeps its
direction. Vanishing cannot be cured like that: what is gone cannot be scaled up again. The **LSTM** (Hochreiter and
Schmidhuber 1997) has a memory cell to which each step *adds*, a residual connection through time; a *forget gate*
between 0 and 1 (Gers et al. 2000) says how much of it is carried on. The **GRU** (Cho et al. 2014) is a simpler
relative. Attention removes the path altogether. The last token looks at the first one directly, and their distance in
the computation is one step.

**The measurement.** For a sequence x of shape [T, C] and any model that maps it to outputs [T, H], take the last output
and compute its derivative with respect to *each input*. That is a matrix of H × C numbers for each place t. Report its
Frobenius norm, the root of the sum of all squares. Gradients may have either sign, so squares must be summed, not
gradients: sums of signed numbers cancel.
"""

# %% [markdown]
r"""
**Predict.** A "network" that just adds up its inputs, $h_t = h_{t-1} + x_t$: how does the norm depend on the distance?
And with $h_t = 0.9\, h_{t-1} + x_t$, at distance 100?

<details><summary>Answer</summary>

Not at all: every input counts the same, the identity matrix at each distance. With 0.9 it is $0.9^{100}$, about
1/38,000 of the nearest.
</details>
"""


# %% exercise="grad_norm_vs_distance"
class TanhRNN(nn.Module):
    """The plain recurrent network: h_t = tanh(input(x_t) + recurrent(h_{t-1})), with h_0 = 0.

    self.input = nn.Linear(d_in, d_hidden), with bias; self.recurrent = nn.Linear(d_hidden, d_hidden, bias=False).
    forward(x): [..., T, d_in] -> the state after each step, [..., T, d_hidden]. Not allowed: nn.RNN and nn.RNNCell.

    >>> TanhRNN(3, 5)(torch.zeros(2, 7, 3)).shape
    torch.Size([2, 7, 5])
    """

    def __init__(self, d_in: int, d_hidden: int):
        super().__init__()
        ### BEGIN SOLUTION
        self.input = nn.Linear(d_in, d_hidden)
        self.recurrent = nn.Linear(d_hidden, d_hidden, bias=False)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        state = x.new_zeros(*x.shape[:-2], self.recurrent.in_features)
        states = []
        for t in range(x.shape[-2]):
            state = torch.tanh(self.input(x[..., t, :]) + self.recurrent(state))
            states.append(state)
        return torch.stack(states, dim=-2)
        ### END SOLUTION


def grad_norm_vs_distance(model, x: Tensor) -> Tensor:
    """How strongly the last output of a model depends on each of its inputs.

    x: [T, C], one sequence. model: anything that can be called with x and returns outputs [T, H]. Returns [T]: entry t
    is the Frobenius norm of the H x C matrix of derivatives of the last output with respect to x[t]. Here autograd is
    allowed: torch.autograd.grad, once for each of the H numbers. x itself is not changed.

    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> grad_norm_vs_distance(lambda x: x.cumsum(0) * torch.tensor([3.0, 4.0]), x)
    tensor([5., 5., 5.])
    """
    ### BEGIN SOLUTION
    x = x.detach().clone().requires_grad_()
    last = model(x)[-1]
    squares = x.new_zeros(len(x))
    for number in last:
        (gradient,) = torch.autograd.grad(number, x, retain_graph=True)
        squares += gradient.pow(2).sum(-1)
    return squares.sqrt()
    ### END SOLUTION


# %% check="grad_norm_vs_distance"
check(TanhRNN, grad_norm_vs_distance)

# %% [markdown]
r"""
**Experiment: how far back does learning reach?** Freshly initialised models, before any training, on random sequences:
your RNN with recurrent matrices of three strengths (the matrix is a random rotation, times a factor), an LSTM whose
forget gate starts at different biases, and one layer of your attention. Each curve is an average over several
sequences.
"""

# %% tags=["experiment"]
from course_lib.attention import LSTM

measure_gradient, YourRNN = stand_in(grad_norm_vs_distance), stand_in(TanhRNN)

T, width = 100, 24


def rotation_rnn(factor: float) -> nn.Module:
    """An RNN whose recurrent matrix is a rotation times a factor."""
    rnn = YourRNN(8, width)
    nn.init.orthogonal_(rnn.recurrent.weight, factor)
    nn.init.normal_(rnn.input.weight, std=0.05)
    nn.init.zeros_(rnn.input.bias)
    return rnn


class OneLook(nn.Module):
    """Project, attend, done."""

    def __init__(self):
        super().__init__()
        self.enter, self.heads = nn.Linear(8, width), MHA(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.heads(self.enter(x)[None], causal_of(len(x), "causal"))[0]


MODELS = {
    "RNN, factor 0.9": lambda: rotation_rnn(0.9),
    "RNN, factor 1": lambda: rotation_rnn(1.0),
    "RNN, factor 1.2": lambda: rotation_rnn(1.2),
    "LSTM, forget bias 1": lambda: LSTM(8, width, forget_bias=1.0),
    "LSTM, forget bias 5": lambda: LSTM(8, width, forget_bias=5.0),
    "attention": OneLook,
}
fig, ax = plt.subplots(figsize=(8.6, 4.0))
generator = torch.Generator().manual_seed(10)
for index, (name, make) in enumerate(MODELS.items()):
    norms = []
    for seed in range(3):
        torch.manual_seed(seed)
        norms.append(measure_gradient(make(), torch.randn(T, 8, generator=generator)))
    mean = torch.stack(norms).mean(0).flip(0)  # by distance from the end
    ax.plot((mean / mean[:5].mean()).numpy(), label=name, **(plots.line(index) | {"markevery": 12}))
ax.set(
    yscale="log", ylim=(1e-9, 1e2), xlabel="distance of the input from the end", ylabel="norm, relative to the nearest"
)
ax.set_title("What the last state knows about earlier inputs")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
display.show(
    fig,
    alt="Relative gradient norms on a logarithmic axis over distances from 0 to 99. The RNN with factor 0.9 falls in a "
    "straight line, below a millionth; with factor 1 it falls more slowly; with 1.2 it stays level. The LSTM with "
    "forget bias 1 falls most steeply, with forget bias 5 it stays near 1. Attention is flat, except that the last "
    "input itself counts somewhat more.",
)

# %% [markdown]
r"""
**What to see.** Straight lines on a logarithmic axis are exponential decay. With the factor 0.9 it is faster than
$0.9^n$, and even a pure rotation decays, because tanh only ever shrinks. A factor of 1.2 happens to make up for that
here. There is a narrow ridge on which an RNN neither forgets nor explodes, and nothing keeps it there during training.
The LSTM is no magic: with an ordinary start it forgets too; what it has is a *knob*, the forget gate, that can learn
to stay open. Attention is flat, at the price of keeping everything. The recurrent models of Exercise 12 sit between
the two.
"""

# %% [markdown]
r"""
## Exercise 14 · Patches for a vision transformer  ★★ · 25 min

**Idea.** Nothing in a transformer knows that its tokens are words. Dosovitskiy et al. (2021) cut an image into squares
of P × P pixels, took each square as a token, and trained an ordinary transformer on them: the **vision transformer**,
ViT. An image of H × W pixels with C channels becomes (H/P)·(W/P) vectors of C·P·P numbers, in *reading order*: left to
right, top to bottom. The numbers inside a patch are ordered colour channel by colour channel, and row by row in each of
them. Then one linear layer turns patches into embeddings. That is the same as a *convolution*, a small filter that
slides over the image, of P × P pixels and with steps of P pixels.

The whole exercise is one `reshape`, one `permute`, one `reshape`, in each direction. It is here because this is the
most common place to get axes wrong without noticing. A `reshape` alone gives the right shape and cuts the image into
strips.
"""

# %% [markdown]
r"""
**Predict.** An image of 224 × 224 pixels with 3 channels and P = 16: how many tokens, and how many numbers in each?
What happens to the cost of attention if P is halved?

<details><summary>Answer</summary>

14 × 14 = 196 tokens of 3 · 16 · 16 = 768 numbers. With P = 8 there are four times as many tokens, and sixteen times as
many pairs of them.
</details>
"""


# %% exercise="patchify"
def patchify(img: Tensor, P: int) -> Tensor:
    """Cut images into patches: [B, C, H, W] -> [B, (H/P)(W/P), C P P]; P divides H and W.

    Patches stand in reading order. The numbers inside a patch: all of channel 0, row by row, then channel 1, and so on.
    Not allowed in this exercise: what torch has for it (F.unfold, F.fold, F.pixel_unshuffle, F.pixel_shuffle), and
    einops.

    >>> patchify(torch.arange(16).view(1, 1, 4, 4), 2)[0]
    tensor([[ 0,  1,  4,  5],
            [ 2,  3,  6,  7],
            [ 8,  9, 12, 13],
            [10, 11, 14, 15]])
    """
    ### BEGIN SOLUTION
    B, C, H, W = img.shape
    tiles = img.reshape(B, C, H // P, P, W // P, P)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(B, (H // P) * (W // P), C * P * P)
    ### END SOLUTION


def unpatchify(patches: Tensor, P: int, H: int, W: int) -> Tensor:
    """Put the patches together again: [B, (H/P)(W/P), C P P] -> [B, C, H, W]; the inverse of patchify.

    >>> img = torch.randn(2, 3, 4, 6)
    >>> torch.equal(unpatchify(patchify(img, 2), 2, 4, 6), img)
    True
    """
    ### BEGIN SOLUTION
    B, _, size = patches.shape
    tiles = patches.reshape(B, H // P, W // P, size // (P * P), P, P)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(B, size // (P * P), H, W)
    ### END SOLUTION


# %% check="patchify"
check(patchify, unpatchify)

# %% [markdown]
r"""
**Experiment: a tiny vision transformer.** Five shapes, drawn at random places, sizes and brightnesses into noisy images
of 24 × 24 pixels; patches of 4 × 4, so 36 tokens, plus one more, a *class token*, whose final vector is asked for the
answer. The layers are your `Block` with your multi-head attention, without a mask: in a picture everything may look at
everything. Then the same once more with the classical mistake, patches cut by a `reshape` alone. They are strips of 16
pixels along a row instead of squares.

<details><summary><b>Predict:</b> the wrong cut loses no pixel, it only mixes them up, always in the same way. How much
does it hurt?</summary>

It does not hurt here. After a short training it is even ahead, perhaps because a strip shows how wide a shape is in one
row. The loss will never tell you that your patches are wrong. You find out when you load weights that somebody else has
trained with the right ones. The last number of the experiment is such a case: trained on squares, tested on strips.
</details>
"""

# %% tags=["experiment"]
cut_up = stand_in(patchify)
SHAPES = ("disc", "ring", "square", "triangle", "cross")
SIDE, PATCH = 24, 4


def draw_shapes(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Grey images [count, 1, 24, 24] of the five shapes, and the numbers of the shapes."""
    label = torch.randint(len(SHAPES), (count,), generator=generator)
    random = torch.rand(count, 4, 1, 1, generator=generator)
    radius = 5 + 5 * random[:, 0]
    room = SIDE - 2 * radius - 2
    y, x = torch.meshgrid(torch.arange(float(SIDE)), torch.arange(float(SIDE)), indexing="ij")
    dx, dy = (x - radius - 0.5 - room * random[:, 1]) / radius, (y - radius - 0.5 - room * random[:, 2]) / radius
    distance = (dx**2 + dy**2).sqrt()
    inside = torch.stack(
        [
            distance < 1,
            (distance < 1) & (distance > 0.6),
            (dx.abs() < 0.85) & (dy.abs() < 0.85),
            (dy.abs() < 0.9) & (dx.abs() < (dy + 0.9) / 1.8),
            ((dx.abs() < 0.3) | (dy.abs() < 0.3)) & (dx.abs() < 1) & (dy.abs() < 1),
        ]
    )[label, torch.arange(count)]
    images = inside * (0.6 + 0.4 * random[:, 3]) + 0.15 * torch.randn(count, SIDE, SIDE, generator=generator)
    return images[:, None].to(DEVICE), label.to(DEVICE)


class TinyViT(nn.Module):
    """Patches, a class token, positions, two of your blocks, one answer."""

    def __init__(self, cut, d_model: int = 48):
        super().__init__()
        self.cut, tokens = cut, (SIDE // PATCH) ** 2
        self.enter = nn.Linear(PATCH * PATCH, d_model)
        self.class_token = nn.Parameter(torch.zeros(d_model))
        self.positions = nn.Parameter(0.02 * torch.randn(tokens + 1, d_model))
        self.blocks = nn.ModuleList(LayerOf(d_model, MHA(d_model, 4), MLP(d_model)) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, len(SHAPES))

    def forward(self, images: Tensor) -> Tensor:
        x = self.enter(self.cut(images, PATCH))
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


def strips(images: Tensor, P: int) -> Tensor:
    """The classical mistake: a reshape and nothing else."""
    return images.reshape(len(images), -1, P * P)


steps = {"quick": 220, "full": 1500, "gpu": 1500}[scale()]
learned = {}
for name, cut in (("squares", cut_up), ("strips (reshape alone)", strips)):
    torch.manual_seed(0)
    vit = TinyViT(cut).to(DEVICE)
    losses = train(
        vit,
        lambda generator: draw_shapes(48, generator),
        steps,
        lr=3e-3,
        warmup=20,
        loss_fn=lambda vit, images, label: F.cross_entropy(vit(images), label),
    )
    with torch.no_grad():
        images, label = draw_shapes(1000, torch.Generator().manual_seed(1))
        learned[name] = losses, (vit(images).argmax(-1) == label).float().mean().item()
        if cut is cut_up:
            vit.cut = strips
            mixed_up = (vit(images).argmax(-1) == label).float().mean().item()

fig = plt.figure(figsize=(9.6, 2.9))
grid = fig.add_gridspec(2, 7, width_ratios=[1, 1, 1, 1, 1, 0.3, 5.2])
for column in range(5):
    index = int((label == column).nonzero()[0])
    whole = images[index, 0].cpu()
    in_patches = torch.full((SIDE + 10, SIDE + 10), torch.nan)  # as the transformer gets it: patches, with gaps
    for n, patch in enumerate(cut_up(images[index : index + 1], PATCH)[0].cpu()):
        top, left = (n // 6) * (PATCH + 2), (n % 6) * (PATCH + 2)
        in_patches[top : top + PATCH, left : left + PATCH] = patch.view(PATCH, PATCH)
    for row, picture in enumerate((whole, in_patches)):
        ax = fig.add_subplot(grid[row, column])
        ax.imshow(picture.numpy(), cmap="gray", vmin=-0.2, vmax=1.2)
        ax.axis("off")
        ax.set_title("" if row else SHAPES[column], fontsize=9, fontweight="normal")
ax = fig.add_subplot(grid[:, 6])
for index, (name, (losses, accuracy)) in enumerate(learned.items()):
    smooth = np.convolve(losses, np.ones(15) / 15, mode="valid")
    ax.plot(smooth, label=f"{name}: {accuracy:.0%} right", **(plots.line(index) | {"marker": ""}))
ax.axhline(math.log(5), color="#888888", linewidth=1, label="ln 5: guessing")
ax.set(ylim=(0, None), xlabel="training steps", ylabel="loss, nats")
ax.legend(fontsize=9, loc="lower left")
display.show(
    fig,
    alt="Left, one example of each shape, and below it the same picture cut into 36 patches. Right, the training "
    "losses. "
    + " ".join(f"With {name} {accuracy:.0%} of new images are recognised." for name, (_, accuracy) in learned.items())
    + " A line marks the loss of guessing, ln 5.",
)
print(f"trained on squares, tested on strips: {mixed_up:.0%} right (guessing: 20%)")

# %% [markdown]
r"""
**What to see.** The machine that read text now sees pictures. Only its ends have changed: patches instead of
embeddings, no mask, one answer. And a falling loss is no proof that the patches are right: a fixed mix-up of pixels is
just another language to learn. Only a test like the last one tells. The price is data: ViT overtook the best
convolutional networks only after training on very large sets of images. What the transformer offers is not an advantage
on a small task. It is one architecture for all kinds of data.
"""

# %% [markdown]
r"""
---
## Quiz

Twelve questions on the whole chapter. The radio buttons explain each choice; what counts is the dictionary in the cell
below them. (Without a running kernel you see the questions only.)
"""

# %% tags=["experiment"]
quiz()

# %% exercise="quiz"
# Write a letter for each question, for example 1: "b".
quiz_answers = {1: "", 2: "", 3: "", 4: "", 5: "", 6: "", 7: "", 8: "", 9: "", 10: "", 11: "", 12: ""}
### BEGIN SOLUTION
quiz_answers = {1: "b", 2: "c", 3: "a", 4: "d", 5: "c", 6: "a", 7: "d", 8: "b", 9: "d", 10: "a", 11: "c", 12: "b"}
### END SOLUTION

# %% check="quiz"
check("quiz_answers")

# %% [markdown]
r"""
## Essay

A law firm wants a model that reads contracts of up to **60,000 tokens** and answers questions about them, on machines
with **one mid-sized GPU** each. You design the architecture of a decoder with about one billion parameters that will be
trained on texts of 4,096 tokens first. In 250 to 400 words:

1. Decide on positions, mask, number of key heads, norm and its place, MLP or experts, and on how attention is computed.
2. Support at least three of your decisions with a number or a picture from *your* run of this chapter, and say what it
   shows.
3. Name one thing that your measurements cannot tell you, and the experiment that would.
"""

# %% [markdown] essay="essay" points=5
"""
*A model answer (1 point for each: decisions complete and consistent; three pieces of evidence, quoted correctly;
evidence that really supports the decision; the length treated as a problem of its own, both for memory and for
positions; an honest limit with a fitting experiment).*

I would build a pre-norm decoder with RMSNorm, SwiGLU, RoPE, 16 query heads and 4 key heads, full causal attention in a
third of the layers and a window of 1,024 in the others, computed by tiles.

Pre-norm, because in the picture of twelve layers post-norm without a warm-up lay far behind, and I have no budget for
failed runs. RMSNorm is cheaper and behaved the same.

Grouped keys, because at 60,000 tokens the memory is in the cache: two tables of 60,000 rows for each layer. With 4
instead of 16 key heads it is a quarter of that. In my run the held-out losses of MHA, GQA and MQA differed by no more
than two seeds of the same model did. That does not prove that nothing is lost at a billion parameters, but it says that
I need not fear a collapse.

The window in most layers cuts both the cache and the arithmetic. The picture of the receptive field shows the price:
each windowed layer adds at most window - 1 places. So some layers must see everything, or a clause on page 3 can reach
a question on page 90 only through dozens of steps.

Positions are the hard part. In the picture "train at 64, test at 256" RoPE failed some way behind the trained length
and ALiBi did not. But ALiBi was no better than a window of 64. It did not break, but it had no use for the far text
either. For contracts the far text is the point. So I would take RoPE, raise its base, and go on training on long texts
for a short time at the end.

Tiles, because a single head would otherwise hold 60,000 x 60,000 scores, 3.6 billion numbers. The counted traffic was
several times smaller with them, and the table of differences showed that they change no result.

No experts: they save arithmetic, not memory, and one GPU has to hold them all.

What I cannot tell: whether the model *uses* a sentence 50,000 tokens back. All my measurements are mean losses of tiny
models on short texts. I would hide single facts at known places in real contracts and measure the share of right
answers by distance, for several ratios of windowed to full layers.
"""

# %% [markdown]
r"""
## Papers, and what to look for

- **Vaswani et al. 2017**, *Attention Is All You Need* (arXiv 1706.03762). Section 3.2.1 with its footnote is Exercise
  2; section 3.1 says `LayerNorm(x + Sublayer(x))`, which is post-norm. Table 3 asks what each choice is worth. Look at
  row (A): one head is worse, but so are too many.
- **Elhage et al. 2021**, *A Mathematical Framework for Transformer Circuits*, and **Olsson et al. 2022**, *In-context
  Learning and Induction Heads* (arXiv 2209.11895). Look for the list of arguments in the second one, and for how
  carefully it says which of them hold for small models only.
- **Shazeer 2019**, *Fast Transformer Decoding: One Write-Head is All You Need* (arXiv 1911.02150), and **Ainslie et al.
  2023**, *GQA* (arXiv 2305.13245). Look for how GQA turns an existing multi-head model into one with fewer key heads:
  by averaging and a little more training.
- **Beltagy et al. 2020**, *Longformer* (arXiv 2004.05150), and **Jiang et al. 2023**, *Mistral 7B* (arXiv 2310.06825).
  Section 2 of the latter has the window, the span over all layers, and no global tokens.
- **Shaw et al. 2018**, *Self-Attention with Relative Position Representations* (arXiv 1803.02155). Section 3.2: the
  clipping. Look for where the vectors are added: to keys, and also to values.
- **Raffel et al. 2020**, *Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer* (T5, arXiv
  1910.10683). Encoder, decoder and prefix compared, with their masks drawn side by side.
- **Haviv et al. 2022**, *Transformer Language Models without Positional Encodings Still Learn Positional Information*
  (arXiv 2203.16634). Look for how they show that such models know where they are.
- **Su et al. 2021**, *RoFormer* (arXiv 2104.09864). Equation 34 is the form that is computed; section 3.4.3 has the
  decay. Look for which numbers it pairs.
- **Press et al. 2022**, *Train Short, Test Long* (arXiv 2108.12409). Figure 1, and appendix B, which asks where the
  gain comes from.
- **Ba et al. 2016**, *Layer Normalization* (arXiv 1607.06450); **Zhang, Sennrich 2019**, *Root Mean Square Layer
  Normalization* (arXiv 1910.07467); **Xiong et al. 2020**, *On Layer Normalization in the Transformer Architecture*
  (arXiv 2002.04745). In the last one, compare the figures of gradient norms with your left picture in Exercise 8. For
  batch normalisation: **Ioffe, Szegedy 2015** (arXiv 1502.03167), and **Santurkar et al. 2018**, *How Does Batch
  Normalization Help Optimization?* (arXiv 1805.11604).
- **Radford et al. 2019**, *Language Models are Unsupervised Multitask Learners* (GPT-2). Section 2.3 is the whole
  architecture in one paragraph. Look for the factor $1/\sqrt N$, and for what N is.
- **Shazeer 2020**, *GLU Variants Improve Transformer* (arXiv 2002.05202). Four pages. Look for the last sentence of the
  conclusion, on why these variants work.
- **Chowdhery et al. 2022**, *PaLM* (arXiv 2204.02311). The section on the architecture is a list of choices; look for
  the reason given for each.
- **Milakov, Gimelshein 2018**, *Online normalizer calculation for softmax* (arXiv 1805.02867), and **Dao et al. 2022**,
  *FlashAttention* (arXiv 2205.14135). The first has the running sum. The second has Algorithm 1 and Theorem 2 (memory
  traffic). Look for what the backward pass stores, and what it computes again.
- **Shazeer et al. 2017**, *Outrageously Large Neural Networks* (arXiv 1701.06538); **Fedus et al. 2021**, *Switch
  Transformers* (arXiv 2101.03961); **Zoph et al. 2022**, *ST-MoE* (arXiv 2202.08906). Equations 4 to 6 of the second
  are the balance loss, equation 5 of the third is the z-loss. Look at how the capacity factor differs between training
  and evaluation. Then **DeepSeek-AI 2024**, *DeepSeek-V3 Technical Report* (arXiv 2412.19437), for what has changed.
  *Mixture of Experts Explained* (Hugging Face blog, 2023) tells the story in between.
- **Katharopoulos et al. 2020**, *Transformers are RNNs* (arXiv 2006.16236), and **Peng et al. 2023**, *RWKV* (arXiv
  2305.13048). Find the formula of Exercise 12 in the second, and look for what each gives up.
- **Hochreiter, Schmidhuber 1997**, *Long Short-Term Memory*; **Cho et al. 2014**, *Learning Phrase Representations
  using RNN Encoder-Decoder* (EMNLP, arXiv 1406.1078), the GRU; and **Pascanu et al. 2013**, *On the difficulty of
  training recurrent neural networks* (arXiv 1211.5063). Look for the geometric picture of the exploding gradient: a
  wall in the error surface.
- **Dosovitskiy et al. 2021**, *An Image is Worth 16x16 Words* (arXiv 2010.11929). Equation 1. Look for how much data
  it takes until convolutions are overtaken.
"""

# %% [markdown]
r"""
## What this small scale shows, and what it does not

**It shows exactly** everything that is an identity: attention and its masks, grouped heads, the rotation of RoPE, the
gradient of layer norm, tiles that change nothing, the recurrence that equals the table, the number of parameters. These
do not depend on scale. Your class computes the same logits as a published architecture with the same weights.

**It shows the mechanism of** the induction head, of training with and without a warm-up, of starving experts, of
vanishing gradients, of position schemes beyond their training length. All of these matter in large models, and they are
visible in small ones.

**It does not show** which architecture is *better*. Differences between GQA and MHA, GELU and SwiGLU, LayerNorm and
RMSNorm are hundredths of a nat at best, and ours are of the size of the difference between two seeds. It takes large
models, long training and many runs to tell them apart. It does not show speed: what FlashAttention gains has to be
measured on a GPU. And a loss that stays flat on long texts is not a model that *uses* long texts.

**What comes next.** In chapter 3 your GPT learns for real: data, loss, optimiser, schedule, checkpoints. Your classes
come along. Everything that chapter trains is made of them.
"""

# %% tags=["experiment"]
progress()
