# %% [markdown]
r"""
# Chapter 3 · Pretraining

*How a network that knows nothing learns to continue any text.*

The transformer of chapter 2 starts as noise. Its millions of numbers are drawn at random, and its guess about the next
token is as good as a die's. This chapter turns it into a language model. Nobody labels anything for it: the text itself
says, at every place, what comes next. That one task, repeated long enough, is **pretraining**. It is where nearly all
of the computing time of a large model goes, and where nearly all of its knowledge comes from.

You write every line that matters: the losses, the masks, the optimiser, the schedule, the cleaning of the data, the
packing of the batches, the training loop, and the bill. And you begin where language modelling began, with counting.

## What you will be able to do

- build an n-gram model by counting, smooth it, and say what a neural model has to beat;
- tell a word's one vector apart from the vectors that it has in each sentence;
- write the causal, masked, span and prefix objectives, and average each of them over the right tokens;
- write AdamW, a schedule with warm-up, and clipping, and explain what a loss spike is and how to get past one;
- remove duplicates, near-duplicates, junk and personal data from a corpus, and measure what you missed;
- pack documents into rows without letting one see the other;
- train a small GPT, and judge it in bits per byte beside n-grams and gzip;
- accumulate gradients exactly, round as bfloat16 does, and compute what a run costs before you start it;
- stop a run anywhere and go on as if nothing had happened, to the last bit;
- adapt a pretrained model to a task, and say what the pretraining was worth.
"""

# %% [markdown]
r"""
## The story so far

Chapter 1 cut text into **tokens**, whole numbers below V, and measured a tokenizer by how few of them it needs. It
also left you a unit: *bits per byte*, with which models of different vocabularies can be compared. Chapter 2 built the
machine that reads tokens. Your GPT maps ids of shape `[B, T]` to logits of shape `[B, T, V]`: at each of T places in
each of B texts a score for every possible next token. The mask lets a place see itself and what stands before it,
nothing else. So *one* pass through the network makes T predictions, and none of them has peeked.

What was taken for granted there was the training. Chapter 2's `train` did it behind your back. Now it is your turn.

**Three words that come up all the time.** The **loss** is the mean of $-\ln p$ of the right next token, in *nats*; ln V
is guessing, and dividing by ln 2 gives bits. **Perplexity** is $e^{\mathrm{loss}}$: the number of equally likely tokens
between which a guesser with that loss hesitates. **Held-out** text is text that takes no part in the training; a number
measured on other text says little about what was learned.

**How the chapter works.** As before: an *idea*, a question to *predict*, the *exercise*, its *check*, an *experiment*
with a picture. Experiments use your function once it passes its checks and the course's until then, so nothing blocks
you. There are fourteen exercises, ★ or ★★, in five parts. Together they take a good eight hours.

**To begin here.** You need not have finished the first two chapters. Where an experiment wants a GPT, it takes the
course's, or yours if it has passed. If you want the short way through, do Exercises 3, 7, 10 and 12: the loss, the
optimiser, the run, and its price. When you come back on another day, choose *Run ▸ Run All Above Selected Cell* first,
or run the cells that the beginning of each part names.
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

open_chapter("03_pretraining")
plots.style()
torch.set_num_threads(1)  # the models here are so small that a second thread would mostly wait
DEVICE = "cuda" if scale() == "gpu" else "cpu"

# %% [markdown]
r"""
---
# Part I · Counting and losing

A language model needs no network. For forty years it was a table of counts, and such a table is still the honest
opponent: what a network has learned is what it does *better*. From counts come also the first vectors for words, one
for each. Then comes the loss by which all models of this course are trained and compared. Much can go wrong in these
three lines, silently. Run the setup cell first; nothing else is needed.
"""
# %% [markdown]
r"""
## Exercise 1 · n-grams: the next token from counts  ★★ · 45 min

**Idea.** In 1913 Andrey Markov took the first 20,000 letters of Pushkin's *Eugene Onegin*, and counted, by hand, how
often a vowel follows a vowel, and how often it follows a consonant: 8,638 of the letters were vowels, and 1,104 of
those stood behind another vowel. It was the first language model. Everything that this chapter trains does the same
job: given what stands before, say how likely each continuation is. (The figures are from the English translation of
his lecture, printed in *Science in Context* in 2006.)

An **n-gram** is n tokens in a row. An n-gram model looks at the last n − 1 tokens, the **context**, and at nothing
else. It has one table for each length of context, k = 0 to n − 1: for each context of k tokens, how often was it
followed by each token? Divide a row by its sum, and you have probabilities. That is all of its training.

The trouble starts where a context was never seen. With 100 characters there are ten billion contexts of five, and no
text has them all. What then? Three answers, each better than the one before.

1. **Stupid Backoff** (Brants and others, 2007; the name is theirs). If the token never followed this
   context, drop the *oldest* token of the context and ask again, at a price of α = 0.4 for each token dropped:

   $$S(w \mid c) = \begin{cases} \text{count}(c\,w) \,/\, \text{total}(c) & \text{if } \text{count}(c\,w) > 0 \\
   \alpha \cdot S(w \mid c \text{ without its first token}) & \text{otherwise}\end{cases}$$

   With the empty context it ends: a token that was never counted has score 0. Simple enough for two trillion words. But
   the scores of all tokens need not add up to one: they are no probabilities.
2. **Absolute discounting.** Take a **discount** d off every count in the row. What was taken, d for each of the *kinds*
   of tokens in the row, is given to the distribution of the next shorter context; so everything adds up to one.

   $$p(w \mid c) = \frac{\max(\text{count}(c\,w) - d,\ 0)}{\text{total}(c)} +
   \frac{d \cdot \text{kinds}(c)}{\text{total}(c)}\; p(w \mid c \text{ without its first token})$$

   Below the empty context there is one more level: every token of the vocabulary has 1 / V.
3. **Kneser-Ney** (1995). The word "Francisco" may be frequent, but it stands behind "San" and nowhere else. After a
   word that we have never seen it is a bad guess. So let the shorter contexts count *how many different tokens* stood
   before, not how often: the **continuation counts**. The formula stays the same. (That is the interpolated form, which
   Chen and Goodman compared with Kneser and Ney's own.)
"""

# %% [markdown]
r"""
**Predict.** The text is `abracadabra`, and n = 3. What is the score of c after "ra"? Of d after "ra"? And what do the
scores of a, b, c, d and r after "ra" add up to?

<details><summary>Answer</summary>

"ra" stands there twice, but the second time at the very end, where nothing follows. So c followed it in 1 of 1 cases:
score 1. d never followed "ra", so we ask about "a", which was followed four times, once by d: 0.4 · 1/4 = 0.1. In the
same way b gets 0.4 · 2/4 = 0.2. a and r never followed "a" either: 0.4² · 5/11 and 0.4² · 2/11. Together it is 1.40.
</details>
"""


# %% exercise="stupid_backoff"
def train_ngram(tokens, n: int) -> list[dict]:
    """Count what follows each context of 0 to n - 1 tokens.

    tokens: a text (its letters are the tokens) or a list of anything that can be a key: ids, words. n: at least 1.

    Returns a list of n dictionaries: counts[k][context][token] says how often `token` followed `context`, for contexts
    that are tuples of k tokens. Only what occurs is in there. counts[0] has the one context (), which everything
    follows. Where the text ends, nothing follows. A Counter or a defaultdict is a dictionary, too.

    Forbidden in this exercise: nltk, which has it all.

    >>> counts = train_ngram("abracadabra", 2)
    >>> counts[0][()]["a"], counts[1][("a",)]["b"], sum(counts[1][("a",)].values())
    (5, 2, 4)
    """
    ### BEGIN SOLUTION
    counts = [{} for _ in range(n)]
    counts[0][()] = {}
    for i, token in enumerate(tokens):
        for k in range(min(n - 1, i) + 1):
            followers = counts[k].setdefault(tuple(tokens[i - k : i]), {})
            followers[token] = followers.get(token, 0) + 1
    return counts
    ### END SOLUTION


def stupid_backoff(w, ctx, counts: list[dict], alpha: float = 0.4) -> float:
    """The score of token w after the context ctx, a text or a list of any length.

    counts: as train_ngram returns them, in plain dictionaries: what was never seen is a missing key, so ask with .get.
    Of ctx only the last n - 1 tokens are looked at, where n is len(counts); cutting it to those is free. Each token
    dropped after that costs a factor alpha. A token that was never seen has score 0.

    >>> counts = train_ngram("abracadabra", 3)
    >>> stupid_backoff("c", "ra", counts), stupid_backoff("d", "ra", counts)
    (1.0, 0.1)
    """
    ### BEGIN SOLUTION
    ctx = tuple(ctx)[max(0, len(ctx) - len(counts) + 1) :]
    score = 1.0
    while True:
        followers = counts[len(ctx)].get(ctx, {})
        if followers.get(w):
            return score * followers[w] / sum(followers.values())
        if not ctx:
            return 0.0
        ctx, score = ctx[1:], score * alpha
    ### END SOLUTION


def continuation_counts(counts: list[dict]) -> list[dict]:
    """The counts of Kneser-Ney, from those of train_ngram in plain dictionaries; the argument stays as it was.

    Returns n dictionaries of the same form. levels[k][context][w], for k < n - 1: how many different tokens stand
    before "context w" in the text; that is for how many of the contexts one token longer w is in the table. The last
    dictionary equals counts[-1] (it may be the same object); for n = 1 it is the only one. A w that nothing stands
    before is left out, and so is a context without any w.

    >>> levels = continuation_counts(train_ngram("abracadabra", 2))
    >>> levels[0][()]["a"], levels[0][()]["b"]  # a stands after r, c and d; b only after a
    (3, 1)
    """
    ### BEGIN SOLUTION
    levels = []
    for longer in counts[1:]:
        level = {}
        for context, followers in longer.items():
            shorter = level.setdefault(context[1:], {})
            for w in followers:
                shorter[w] = shorter.get(w, 0) + 1
        levels.append(level)
    return [*levels, counts[-1]]
    ### END SOLUTION


def absolute_discounting(w, ctx, levels: list[dict], vocab_size: int, discount: float = 0.75) -> float:
    """The probability of w after ctx. Over a vocabulary of vocab_size tokens these add up to one.

    levels: counts, or continuation counts, in plain dictionaries: ask with .get. From 1 / vocab_size up, for contexts
    of 0, 1, ..., n - 1 tokens from the end of ctx, or as far as ctx reaches:
    p = max(count - discount, 0) / total + discount * kinds / total * p.
    If a context was never seen, stop there and keep p: no longer context can have been seen either.

    >>> round(sum(absolute_discounting(w, "ra", train_ngram("abracadabra", 3), 5) for w in "abcdr"), 9)
    1.0
    """
    ### BEGIN SOLUTION
    p = 1 / vocab_size
    for k, level in enumerate(levels[: len(ctx) + 1]):
        followers = level.get(tuple(ctx[len(ctx) - k :]))
        if not followers:
            break
        total = sum(followers.values())
        p = (max(followers.get(w, 0) - discount, 0) + discount * len(followers) * p) / total
    return p
    ### END SOLUTION


# %% check="stupid_backoff"
check(train_ngram, stupid_backoff, continuation_counts, absolute_discounting)

# %% [markdown]
r"""
**Experiment: Markov's table.** We repeat his count on Python's language reference: letters only, everything else is
skipped. Left, the table for n = 2 as a picture; right, summed up to vowels and consonants, beside what Markov found in
Pushkin's verse.
"""

# %% tags=["experiment"]
count_ngrams, back_off, count_neighbours, smooth = map(
    stand_in, (train_ngram, stupid_backoff, continuation_counts, absolute_discounting)
)

alphabet = "abcdefghijklmnopqrstuvwxyz"
letters = "".join(c for c in corpus.python_reference().lower() if c in alphabet)
pairs = count_ngrams(letters, 2)[1]
table = np.array([[pairs.get((a,), {}).get(b, 0) for b in alphabet] for a in alphabet])
vowel = np.array([c in "aeiou" for c in alphabet])

fig, axes = plt.subplots(1, 2, figsize=(10, 4.4), width_ratios=(1.35, 1))
picture = axes[0].imshow(table / table.sum(1, keepdims=True), cmap="Blues", vmax=0.6)
fig.colorbar(picture, ax=axes[0], label="share of what follows", shrink=0.8)
for axis in (axes[0].xaxis, axes[0].yaxis):
    axis.set_ticks(range(26), alphabet)
axes[0].tick_params(labelsize=8)
axes[0].set(xlabel="next letter", ylabel="letter")
axes[0].grid(False)
axes[0].set_title("What follows what")

ours = [
    table[:, vowel].sum() / table.sum(),
    table[vowel][:, vowel].sum() / table[vowel].sum(),
    table[~vowel][:, vowel].sum() / table[~vowel].sum(),
]
markov = [0.432, 0.128, 0.663]
groups = np.arange(3)
for k, (name, values) in enumerate((("Python's reference", ours), ("Eugene Onegin, 1913", markov))):
    axes[1].bar(groups + 0.38 * k - 0.19, values, 0.36, label=name, **plots.bar(k))
    for group, value in zip(groups, values, strict=True):
        axes[1].text(group + 0.38 * k - 0.19, value + 0.01, f"{value:.2f}", ha="center", fontsize=9)
axes[1].set_xticks(groups, ["anywhere", "after\na vowel", "after a\nconsonant"])
axes[1].set(ylim=(0, 0.85), ylabel="share of vowels")
axes[1].grid(axis="x", visible=False)
axes[1].set_title("How likely is a vowel?")
axes[1].legend(loc="upper left")
display.show(
    fig,
    alt="Left: a table of 26 by 26 squares, the darker the more often the letter of the column follows that of the "
    "row; the darkest are u after q and e after j, z and h, and the column of e is the darkest of all. Right: bars "
    "for the share of vowels anywhere, after a vowel and after a consonant, for Python's reference and for Eugene "
    "Onegin; in both the bar after a vowel is the lowest and the one after a consonant the highest.",
)

# %% [markdown]
r"""
**What to see.** Nobody told the table anything about English, but q wants u, and h wants e. On the right, the
letters of a technical manual and those of a Russian poem have the same habit: after a vowel, a vowel is much rarer than
usual, after a consonant it is more frequent. Letters are not drawn independently. That was Markov's point. (Others had
claimed that the law of large numbers needed independence.)

**Experiment: how far does counting go?** The first nine tenths of the reference are counted, character by character,
for n = 1 to 6. On 15,000 characters of the rest, which were *not* counted, we measure **bits per character**: the mean
of −log₂ p. A model that knows nothing needs log₂ V, about 6.7. Beside the n-grams stand gzip, which packs the same
unknown text, and a small GPT.
"""

# %% tags=["experiment"]
import gzip
import random

whole = corpus.python_reference()
cut = len(whole) * 9 // 10
known, unknown = whole[:cut], whole[cut : cut + 15_000]
orders = range(1, 7)
counts = count_ngrams(known, orders[-1])
characters = sorted(set(whole))


def bits_per_character(read: str, levels: list[dict]) -> float:
    """The mean of -log2 p, each character after the up to n - 1 before it."""
    n = len(levels)
    ps = [smooth(w, read[max(0, i - n + 1) : i], levels, len(characters)) for i, w in enumerate(read)]
    return -sum(math.log2(p) for p in ps) / len(ps)


neighbour_counts = [count_neighbours(counts[:n]) for n in orders]
curves = {
    "Kneser-Ney": [bits_per_character(unknown, levels) for levels in neighbour_counts],
    "plain counts, discounted": [bits_per_character(unknown, counts[:n]) for n in orders],
    "Kneser-Ney, on text it has counted": [bits_per_character(known[-15_000:], levels) for levels in neighbour_counts],
}
packed = 8 * len(gzip.compress(unknown.encode(), 9)) / len(unknown)

fig, axes = plt.subplots(1, 2, figsize=(10, 4.0), width_ratios=(1.35, 1))
for k, (name, values) in enumerate(curves.items()):
    axes[0].plot(orders, values, label=name, **plots.line(k))
axes[0].axhline(packed, color=plots.INK, linestyle=":", label=f"gzip: {packed:.2f}")
axes[0].axhline(2.31, color=plots.COLOURS[3], linestyle="--", label="a small GPT: 2.3")
axes[0].set(xlabel="n", ylabel="bits per character", ylim=(0, 5.2))
axes[0].set_title("Longer contexts, fewer bits")
axes[0].legend(fontsize=9)

contexts = [unknown[i - 4 : i] for i in range(50, 15_000, 100)]
sums = sorted(sum(back_off(w, context, counts[:5]) for w in characters) for context in contexts)
share = np.linspace(0, 100, len(sums))
axes[1].plot(share, sums, color=plots.COLOURS[1], linestyle="--", label="Stupid Backoff")
proper = [sum(smooth(w, context, neighbour_counts[4], len(characters)) for w in characters) for context in contexts]
axes[1].plot(share, sorted(proper), color=plots.COLOURS[0], label="Kneser-Ney")
axes[1].set(xlabel="contexts, sorted, %", ylabel="sum over all characters", ylim=(0, max(sums) * 1.1))
axes[1].set_title("Scores and probabilities")
axes[1].legend(loc="lower right")
display.show(
    fig,
    alt="Left: bits per character against n from 1 to 6. On unknown text Kneser-Ney falls from nearly 5 to about 2 and "
    "flattens; discounted plain counts lie above it from n = 3 on and no longer improve at the end; on text that was "
    "counted the curve goes on falling. Horizontal lines mark gzip, at about 2.6, and a small GPT at 2.3. Right: the "
    "sum of the scores over all characters for 150 contexts; for Kneser-Ney it is exactly 1, for Stupid Backoff it "
    "runs from below 0.5 for some contexts to above 1.2 for others.",
)

draw = random.Random(3)
for n in (1, 2, 3, 5):
    written = ""
    while len(written) < 75:
        context = tuple(written[max(0, len(written) - n + 1) :])
        while context not in counts[len(context)]:
            context = context[1:]
        followers = counts[len(context)][context]
        written += draw.choices(list(followers), list(followers.values()))[0]
    print(f"n = {n}: {' '.join(written.split())}")

# %% [markdown]
r"""
**What to see.** Every further character of context saves bits, but less and less, and the plain counts even get
worse in the end: of most contexts of five there are only a few examples, and what they leave open is decided by shorter
contexts. There, counting neighbours beats counting occurrences, and the gap grows with n. On text that has been counted
the curve goes on falling and means nothing: the table has seen the answers. Whoever evaluates on training text will
always find that a longer context is better.

The small GPT is the one of the size that you will train in exercise 10 (two layers, 64 characters of context, 1,000
steps; measured once, on other held-out pages of this manual, when the chapter was written). There it will get about 3
bits only, in about as many steps: its text is harder, docstrings, held out by whole modules about other things. In both
places it is *not* better than good counting at this size! What it has is a way up: the table for n = 10 would need far
more text than there is, whereas a network can share what it learns between contexts that are merely alike. gzip knows
nothing in advance, but copies what has stood there before, word for word, from up to 32,768 bytes back; a manual
repeats itself a lot.

On the right, the scores of Stupid Backoff add up to more than one for most contexts, as in the prediction above. Where
the context of four was never seen, every score has paid at least one α, and the sum is far below one. For choosing the
best of several continuations after the same context that does no harm. Bits per character cannot be computed from it.
The lines below the picture are written by the tables themselves. At n = 5 the words are words. The sentence goes
nowhere.
"""

# %% [markdown]
r"""
## Exercise 2 · Static and contextual vectors  ★★ · 30 min

**Idea.** "You shall know a word by the company it keeps", wrote the linguist J. R. Firth in 1957. So count the company.
A table C has a row and a column for each word of the vocabulary, and C[i, j] says how often word j stood within a
**window** of a few places around word i, on either side. Rows are vectors already! Two steps make them good ones.

- Frequent words stand beside everything. What tells more is how much *more often* two words meet than by chance:
  **pointwise mutual information**. Negative values, from pairs that meet less often than expected, are mostly noise in
  so little text, and are set to 0: the *positive* PMI, or **PPMI**.

  $$\mathrm{PPMI}(i, j) = \max\!\left(0,\ \log \frac{P(i, j)}{P(i)\, P(j)}\right), \qquad
  P(i, j) = \frac{C_{ij}}{N},\quad P(i) = \frac{\sum_j C_{ij}}{N}$$

- The rows are long and mostly zero. The **singular value decomposition** $M = U S V^\top$ sorts their directions by
  importance. Keep the first d, and word i gets the vector $U_{i,:d}\, S_d^{\,p}$. The power p = 1/2 shares the
  singular values between the words and their contexts. (Levy and Goldberg showed in 2014 that word2vec, which trains a
  small network, factorises a table very much like this one.)

Such a vector is **static**: "bank" has the same one at the river and in the high street. A language model offers
another kind. Its first layer looks up a static vector, the embedding, and then each block adds something that depends
on what stands before. The vector after a block is **contextual**: it belongs not to a word, but to a word in its place.
"""

# %% [markdown]
r"""
**Predict.** Half of the sentences that contain "bank" are about rivers, the other half about money. Where will its
static vector lie? And if you take a small language model that reads only from left to right: after which block can the
vectors of "bank" differ at all? What if the word that decides comes *after* "bank"?

<details><summary>Answer</summary>

The static vector lies between the two groups of words, near neither. In the model the vectors at layer 0, before any
block, are the same wherever the word stands (but for its position); from the first block on they may differ, because
attention brings in what stands before. What comes after cannot be seen. A model that reads in both directions, as in
exercise 4, would see it.
</details>
"""


# %% exercise="ppmi"
def cooccurrence(ids: Tensor, vocab_size: int, window: int = 2) -> Tensor:
    """Count how often word j stands within `window` places of word i, before or after it.

    ids: integers [N], one text. Returns [vocab_size, vocab_size] in float64, which is symmetric: each pair of places
    counts in both directions. A place is not its own neighbour, but the next place may hold the same word. Nothing
    stands before the first place or after the last.

    Forbidden in this exercise: sklearn and scipy. torch.linalg.svd is allowed.

    >>> cooccurrence(torch.tensor([0, 1, 0, 2]), vocab_size=3, window=1)
    tensor([[0., 2., 1.],
            [2., 0., 0.],
            [1., 0., 0.]], dtype=torch.float64)
    """
    ### BEGIN SOLUTION
    C = torch.zeros(vocab_size, vocab_size, dtype=torch.float64, device=ids.device)
    for distance in range(1, min(window, len(ids) - 1) + 1):
        left, right = ids[:-distance], ids[distance:]
        ones = torch.ones(len(left), dtype=torch.float64, device=ids.device)
        C.index_put_((left, right), ones, accumulate=True)
        C.index_put_((right, left), ones, accumulate=True)
    return C
    ### END SOLUTION


def ppmi(C: Tensor) -> Tensor:
    """The positive pointwise mutual information of counts C [V, K], in nats: float64 [V, K].

    Pairs that never meet are 0, and so are rows and columns without any count. C stays as it was, and may hold
    integers; the sums of its rows need not be those of its columns.

    >>> ppmi(torch.tensor([[4, 0], [0, 4]])).exp()
    tensor([[2., 1.],
            [1., 2.]], dtype=torch.float64)
    """
    ### BEGIN SOLUTION
    C = C.double()
    ratio = C * C.sum() / (C.sum(1, keepdim=True) * C.sum(0))
    return torch.where(C > 0, ratio, 1.0).log().clamp(min=0)
    ### END SOLUTION


def svd_embeddings(M: Tensor, d: int, power: float = 0.5) -> Tensor:
    """Vectors [V, d] of the rows of M [V, K]: the first d columns of U, each times its singular value to the power.

    The largest singular values come first; d is at most min(V, K). The sign of a column is free. The dtype is that
    of M.

    >>> svd_embeddings(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), d=1).abs()
    tensor([[0.],
            [2.]])
    """
    ### BEGIN SOLUTION
    U, S, _ = torch.linalg.svd(M, full_matrices=False)
    return U[:, :d] * S[:d] ** power
    ### END SOLUTION


def hidden_states(model, ids: Tensor, layer: int) -> Tensor:
    """The vectors [B, T, C] of ids [B, T] after the first `layer` blocks of a model.

    The model is given as its parts: model.embed(ids) returns [B, T, C], and model.blocks is a list of functions, each
    of which maps [B, T, C] to [B, T, C] and adds its input to its result already. layer 0 is the embedding,
    len(model.blocks) the end of the stack. ValueError for a layer that the model does not have.

    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(embed=lambda ids: ids[..., None] * 1.0, blocks=[lambda x: x.cumsum(1)] * 2)
    >>> hidden_states(model, torch.tensor([[1, 2]]), layer=1).flatten()
    tensor([1., 3.])
    """
    ### BEGIN SOLUTION
    if not 0 <= layer <= len(model.blocks):
        raise ValueError(f"layer: expected 0 to {len(model.blocks)}, got {layer}")
    x = model.embed(ids)
    for block in model.blocks[:layer]:
        x = block(x)
    return x
    ### END SOLUTION


# %% check="ppmi"
check(cooccurrence, ppmi, svd_embeddings, hidden_states)

# %% [markdown]
r"""
**Experiment: a word with two lives.** We invent a language in which "bank" stands in two families of sentences,
and nothing else connects them. "The clerk near the bank lends", "the duck near the bank floods". Sometimes a phrase
stands in front, so that the position says nothing, and the *cue*, the word that decides, always stands before "bank".
From 4,000 sentences we count static vectors with your functions. Then a small GPT of two blocks is trained to continue
the same sentences, and your `hidden_states` reads its vectors of "bank" after each block.

How well are two senses separated? For each vector, the **silhouette** compares its mean distance *a* to the vectors of
its own sense with the mean distance *b* to those of the other: $(b - a) / \max(a, b)$. On average it is 1 for two tight
clusters, and 0 if the senses are mixed.
"""

# %% tags=["experiment"]
import random
from functools import partial
from types import SimpleNamespace

from course_lib.attention import GPT, GPTConfig
from course_lib.attention.training import train

count_company, positive_pmi, factorise, states_at = map(stand_in, (cooccurrence, ppmi, svd_embeddings, hidden_states))

CUES = (["river", "boat", "fish", "duck", "mud", "reed"], ["loan", "clerk", "cash", "credit", "debt", "vault"])
ENDINGS = (["floods", "erodes", "blossoms"], ["lends", "charges", "merges"])
OPENINGS = ([], ["today"], ["as", "ever"])


def invent(count: int, seed: int) -> tuple[list[list[str]], list[int]]:
    """Sentences and their family, 0 for water and 1 for money; two in three have a bank."""
    draw = random.Random(seed)
    sentences, families = [], []
    for _ in range(count):
        family = draw.randrange(2)
        cue, other = draw.sample(CUES[family], 2)
        place = draw.choice(["bank", "bank", other])
        ending = draw.choice(ENDINGS[family])
        sentences.append([*draw.choice(OPENINGS), "the", cue, "near", "the", place, ending, "."])
        families.append(family)
    return sentences, families


sentences, _ = invent(4_000, seed=0)
vocabulary = {word: i for i, word in enumerate(sorted({word for sentence in sentences for word in sentence}))}
stream = torch.tensor([vocabulary[word] for sentence in sentences for word in sentence])
static = factorise(positive_pmi(count_company(stream, len(vocabulary), 3)), 8)

LENGTH = max(map(len, sentences))


def as_ids(batch: list[list[str]]) -> Tensor:
    """Sentences as rows of equal length, filled up with full stops."""
    return torch.tensor([[vocabulary[w] for w in [*s, *["."] * (LENGTH - len(s))]] for s in batch])


rows = as_ids(sentences)
torch.manual_seed(0)
gpt = GPT(GPTConfig(vocab_size=len(vocabulary), context_length=LENGTH, n_layers=2, n_heads=2, d_model=32))


def next_rows(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    chosen = rows[torch.randint(len(rows), (32,), generator=generator)]
    return chosen[:, :-1], chosen[:, 1:]


losses = train(gpt, next_rows, {"quick": 300}.get(scale(), 1000), lr=3e-3, warmup=20, progress=False)

# The model as its parts: a block is told only that nobody may look ahead.
opened = SimpleNamespace(
    embed=lambda ids: gpt.token_embedding(ids) + gpt.position_embedding.weight[: ids.shape[1]],
    blocks=[partial(block, is_causal=True) for block in gpt.blocks],
)
fresh, families = invent(400, seed=1)
is_bank = as_ids(fresh) == vocabulary["bank"]
sense = torch.tensor(families)[is_bank.any(1)]
with torch.no_grad():
    of_bank = [states_at(opened, as_ids(fresh), layer)[is_bank] for layer in range(3)]


def silhouette(vectors: Tensor, labels: Tensor) -> float:
    """The mean over all vectors of (b - a) / max(a, b)."""
    distances = torch.cdist(vectors, vectors)
    same = labels[:, None] == labels[None, :]
    a = (distances * same).sum(1) / (same.sum(1) - 1)
    b = (distances * ~same).sum(1) / (~same).sum(1)
    return ((b - a) / torch.maximum(a, b).clamp_min(1e-9)).mean().item()


def flat(vectors: Tensor) -> Tensor:
    """The two main directions of these vectors, after their mean has been taken off."""
    centred = (vectors - vectors.mean(0)).double()
    return centred @ torch.linalg.svd(centred, full_matrices=False)[2][:2].T


fig, axes = plt.subplots(1, 3, figsize=(11, 3.9), width_ratios=(1.3, 1.2, 0.8))
shown = [*CUES[0], *CUES[1], "bank"]
directions = flat(F.normalize(static, dim=1)[[vocabulary[word] for word in shown]]).tolist()
names_end = {}  # where the last name on each side of each group stands: the next one keeps off it
for word, (x, y) in sorted(zip(shown, directions, strict=True), key=lambda entry: entry[1][1]):
    group = 2 if word == "bank" else int(word in CUES[1])
    axes[0].scatter(x, y, color=plots.COLOURS[group], marker=plots.MARKERS[group], s=70 if group == 2 else 30)
    side = -1 if any(0 < u - x < 0.3 and abs(v - y) < 0.12 for u, v in directions) else 1  # away from a neighbour
    names_end[side, group] = height = max(y, names_end.get((side, group), -math.inf) + 0.09)
    axes[0].annotate(
        word,
        (x, y),
        xytext=(x + 0.07 * side, height),
        ha="right" if side < 0 else "left",
        va="center",
        fontsize=9,
        arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.7, "shrinkA": 0},
    )
axes[0].margins(0.22)
axes[0].set_title("Static: one vector a word")
points = flat(of_bank[2])
for k, name in enumerate(("at the water", "about money")):
    of_sense = points[sense == k]
    axes[1].scatter(*of_sense.T, s=16, alpha=0.6, color=plots.COLOURS[k], marker=plots.MARKERS[k], label=name)
axes[1].set_title("Contextual: 'bank' in each place")
axes[1].legend(fontsize=9)
scores = [silhouette(vectors, sense) for vectors in of_bank]
axes[2].bar(range(3), scores, 0.55, **plots.bar(3))
for layer, score in enumerate(scores):
    axes[2].text(layer, score + 0.02, f"{score:.2f}", ha="center", fontsize=9)
axes[2].set_xticks(range(3))
axes[2].set(ylim=(min(0, *scores) - 0.05, 1.05), xlabel="blocks passed", ylabel="silhouette of the senses")
axes[2].set_title("After which block?")
axes[2].grid(axis="x", visible=False)
for ax in axes[:2]:
    ax.set(xlabel="first direction", ylabel="second direction")
display.show(
    fig,
    alt="Left: static vectors in two dimensions; six words of the water family on one side, six of the money family on "
    "the other, and 'bank' between them along the first direction, below most of the others. Middle: contextual "
    "vectors of 'bank' after the second block, two clouds, one for each sense, which do not touch. Right: the "
    "silhouette of the senses is 0 for the embedding and high after both blocks.",
)

# %% [markdown]
r"""
**What to see.** On the left, the first direction has found the two families, although nobody named them. "Bank" has one
vector for both of its lives, and along the first direction it lies in the middle between them. (The second direction is
not about the families at all. That "cash" seems close to "bank" is an accident of the flat picture: in all eight
dimensions "mud" is closer to it, and no word of either family is really close.) In the middle picture, the same word
has a vector for each context, and they fall into two clouds, far apart along the first direction. Mind the scale of the
second one.

On the right, the embedding does not separate the senses at all: all that differs there is the position, and we made
sure that it says nothing. One block is enough, because attention can fetch the cue from three places further left. The
second block tightens the clouds. The model was never told that there are two senses. It has to continue the sentence,
and after "bank" it needs to know which verbs go with it; what is needed for the prediction is kept in the vector.

Our language is made for this. In real text senses are not balanced, shade into each other, and a sense is only one of
the many things that a vector holds: expect clouds that overlap.
"""

# %% [markdown]
r"""
## Exercise 3 · The causal language-model loss  ★★ · 25 min

**Idea.** A language model has read a text of T tokens. At each position t it gives V **logits**, one score for every
token of the vocabulary, and they speak about the token that comes *next*. How good are they? Turn them into
probabilities by a softmax, and look up which probability the model gave to the token that really came. The loss is
minus the logarithm of it: 0 if the model was certain and right, large if it was surprised.

$$\text{loss} = -\frac{1}{N}\sum_{t=1}^{T-1} \log p(x_{t+1} \mid x_1, \dots, x_t)$$

It is called *causal* because each prediction may only use what stands before it. Three details decide whether the
number means anything.

- **The shift.** What is said at position t is compared with token t + 1. So T tokens make T − 1 predictions: nobody
  predicts the first, and what is said at the last is compared with nothing. Some libraries shift inside the loss and
  others do not. Who shifts twice, or never, trains a model for another task. Without a shift even the loss looks
  splendid: the model only has to repeat what it has just read.
- **The mean.** N is the number of predictions that count. Texts in a batch have different lengths, so the short ones
  are filled up with **padding**, and padding is no prediction: it adds nothing to the sum *and* is not counted in N.
  Every token of the batch weighs the same. The mean of the means of the texts is something else.
- **The exponential.** $e^{\text{loss}}$ is the **perplexity**: among how many equally likely tokens the model
  hesitates. It is the exponential of the *mean*. You will find texts that write "Loss = −Σ log P" and "perplexity =
  exp(loss)" below each other. With a sum there, the number would grow with every token that you read.

Logarithms are natural here, so the unit is the **nat**. Divided by ln 2 = 0.693 it is in bits.
"""

# %% [markdown]
r"""
**Predict.** A model knows nothing: its V logits are equal at every position. What is its loss on a text of 4 tokens,
and what is it on 400? Its perplexity? And what would $e^{\text{sum}}$ be for 400 tokens and V = 10?

<details><summary>Answer</summary>

Every token has probability 1/V, so every prediction costs ln V, and so does their mean, whatever the length. The
perplexity is $e^{\ln V} = V$. The exponential of the sum would be $10^{399}$: 4 tokens make 3 predictions, 400 make
399. The first loss that a training run prints should be close to ln V. If it is far above, the initial weights are too
large; if it is far below, the model can see the answer.
</details>
"""


# %% exercise="causal_lm_loss"
def causal_lm_loss(logits: Tensor, ids: Tensor, ignore_index: int = -100) -> Tensor:
    """The mean of -log p(next token), in nats, over all predictions of the batch.

    logits: [B, T, V]; those at position t are about the token at t + 1. ids: integers [B, T]. A token that equals
    ignore_index is padding, before, behind or within a text: it is not predicted and does not count. It need not be
    a token that exists.

    Returns a tensor with one number, without any axis, through which gradients flow. Each prediction that counts
    weighs the same, whichever text it is in. Logits of ±10,000 must not give inf or nan. Logits in half precision are
    converted to float32 before anything else, and the result is in float32. ValueError if nothing is to be predicted.

    Forbidden here, because they do it all: F.cross_entropy, F.nll_loss, F.kl_div and their modules. log_softmax and
    logsumexp are allowed.

    >>> causal_lm_loss(torch.zeros(1, 4, 10), torch.tensor([[3, 1, 4, 1]]))
    tensor(2.3026)
    """
    ### BEGIN SOLUTION
    targets = ids[:, 1:]  # [B, T - 1]
    counted = targets != ignore_index
    if not counted.any():
        raise ValueError("ids: expected at least one token to predict, got none")
    scores = logits[:, :-1].to(torch.promote_types(logits.dtype, torch.float32))
    existing = targets.masked_fill(~counted, 0)  # -100 is no place to look something up
    log_p = scores.log_softmax(-1).gather(-1, existing[..., None])[..., 0]  # [B, T - 1]
    return -log_p[counted].mean()
    ### END SOLUTION


def perplexity(logits: Tensor, ids: Tensor, ignore_index: int = -100) -> Tensor:
    """Among how many equally likely tokens the model hesitates, on average: a tensor with one number.

    Arguments and errors as for causal_lm_loss. A model that gives every right token the probability 1/10 has
    perplexity 10, however long the text is.

    >>> round(perplexity(torch.zeros(2, 7, 10), torch.ones(2, 7, dtype=torch.long)).item(), 3)
    10.0
    """
    ### BEGIN SOLUTION
    return causal_lm_loss(logits, ids, ignore_index).exp()
    ### END SOLUTION


# %% check="causal_lm_loss"
check(causal_lm_loss, perplexity)

# %% [markdown]
r"""
**Experiment: the sum, the mean, and what padding does.** The model is as simple as can be: it has counted, in the first
nine tenths of Python's reference, which word follows which. (The logarithm of a count is a fine logit. Every word gets
a little more, according to how frequent it is, so that nothing is impossible.) The last tenth is unknown to it. First,
we let it read two sentences of four words.
"""

# %% tags=["experiment"]
import re

loss_of, perplexity_of = stand_in(causal_lm_loss), stand_in(perplexity)

words = [*re.findall(r"\w+|[^\w\s]", corpus.python_reference().lower()), "the", "quick", "brown", "fox"]
word_ids = {word: i for i, word in enumerate(sorted(set(words)))}
word_data = torch.tensor([word_ids[word] for word in words])
held_out = len(word_data) * 9 // 10
frequency = torch.bincount(word_data[:held_out], minlength=len(word_ids)) + 0.5  # half a time for what was never read
frequency = frequency / frequency.sum()


def next_word_logits(ids: Tensor) -> Tensor:
    """What followed each of these words in the first nine tenths: [1, T] becomes [1, T, V]."""
    seen, followers = word_data[: held_out - 1], word_data[1:held_out]
    counts = [torch.bincount(followers[seen == i], minlength=len(word_ids)) for i in ids[0]]
    return (torch.stack(counts)[None] + 20 * frequency).log()


fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.7))
sentences = ("the value of the", "the quick brown fox")
for k, sentence in enumerate(sentences):
    read = sentence.split()
    ids = torch.tensor([[word_ids[word] for word in read]])
    logits = next_word_logits(ids)
    each_loss = [loss_of(logits[:, t : t + 2], ids[:, t : t + 2]).item() for t in range(3)]
    mean, hesitation = loss_of(logits, ids).item(), perplexity_of(logits, ids).item()
    places = np.arange(1, 4) + 5 * k
    axes[0].bar(places, each_loss, 0.6, **plots.bar(k))
    axes[0].hlines(mean, places[0] - 0.4, places[-1] + 0.4, color=plots.INK, linestyle="--")
    summary = f"sum {sum(each_loss):.1f}, mean {mean:.1f}\nperplexity {hesitation:,.0f}"
    axes[0].text(5 * k - 0.3, 23.5, summary, va="top")
    for place, value in zip(places, each_loss, strict=True):
        axes[0].text(
            place,
            value + 0.3,
            f"{value:.1f}",
            ha="center",
            va="bottom",
            fontsize=9,
            bbox={"fc": "white", "ec": "none", "pad": 0.5},
        )
    axes[0].text(5 * k, 0.3, "–", ha="center")
labels = [word for sentence in sentences for word in sentence.split()]
axes[0].set_xticks([0, 1, 2, 3, 5, 6, 7, 8], labels, rotation=35)
axes[0].set(xlim=(-0.5, 9), ylim=(0, 24), ylabel="-log p of this word, nats")
axes[0].set_title("4 tokens, 3 predictions")
axes[0].grid(axis="x", visible=False)

unknown = word_data[None, held_out : held_out + 300]
logits = next_word_logits(unknown)
lengths = [2, 4, 8, 16, 32, 64, 128, 200, 300]
log_mean = [perplexity_of(logits[:, :T], unknown[:, :T]).log10().item() for T in lengths]
log_sum = [loss_of(logits[:, :T], unknown[:, :T]).item() * (T - 1) / math.log(10) for T in lengths]
axes[1].plot(lengths, log_sum, label="exp of the sum", **plots.line(1))
axes[1].plot(lengths, log_mean, label="exp of the mean: the perplexity", **plots.line(0))
axes[1].set(xscale="log", yscale="log", xlabel="words of unknown text", ylabel="number of digits (log10)")
axes[1].set_title("Perplexity does not depend on the length")
axes[1].legend()
display.show(
    fig,
    alt="Left: three bars for each of two sentences; the first word has none. The losses of 'the value of the' are "
    "small, those of 'the quick brown fox' large, and a dashed line marks the mean of each. Right, both axes "
    "logarithmic: the exponential of the sum grows from a few digits to hundreds of digits at 300 words, while the "
    "exponential of the mean stays at two to three digits.",
)
print(f"perplexity of 300 unknown words: {10 ** log_mean[-1]:,.0f}, among {len(word_ids):,} words")

# %% [markdown]
r"""
**What to see.** On the left, the first word has no bar: nothing predicts it. "The value of the" is the language of this
manual, and the model hesitates among a dozen or so words. It has never read about quick foxes. Its perplexity there is
far larger than the number of words that it knows! A model that knows nothing cannot be worse than V; a model that is
sure of something else can. On the right, the same unknown text, longer and longer. The perplexity settles near a
hundred. The exponential of the sum has hundreds of digits in the end: a number that says nothing but how long the text
was.

**Experiment: a batch with padding.** Two texts go into one batch. The first is 60 words of the manual. The second is
only 12 words, and nonsense: the manual backwards. Four ways to average both, and only one of them is the loss.
"""

# %% tags=["experiment"]
PAD = -100
sense, nonsense = word_data[1000:1060], word_data[1000:1012].flip(0)
batch = torch.full((2, 60), PAD)
batch[0], batch[1, :12] = sense, nonsense
batch_logits = torch.cat([next_word_logits(row.clamp(min=0)[None]) for row in batch])

of_each = [loss_of(batch_logits[b : b + 1], batch[b : b + 1]).item() for b in range(2)]
right = loss_of(batch_logits, batch).item()
rows = [
    ["60 words of the manual", 59, of_each[0]],
    ["12 words backwards", 11, of_each[1]],
    ["one mean over all predictions", 70, right],
    ["the mean of the two means", 70, sum(of_each) / 2],
    ["the sum divided by all places", 118, right * 70 / 118],
    ["padding is predicted, too, as if it were word 0", 118, loss_of(batch_logits, batch.clamp(min=0)).item()],
]
plots.table(["what is averaged", "divided by", "nats per prediction"], rows, "One batch, several losses")

# %% [markdown]
r"""
**What to see.** The mean of the means gives the 11 predictions of the short text as much weight as the 59 of the long
one: the loss, and with it every gradient, is pulled towards what stands in short texts. Dividing by all places, padding
included, is the friendliest mistake: the loss looks *better* the more padding there is. And who predicts padding trains
the model to say nothing. None of these raises an error, and all of them still "train". In exercise 11 the same mistake
returns in another form, when a batch is processed in several parts.
"""

# %% [markdown]
r"""
---
# Part II · What to predict

Predicting the *next* token is one task that a text can set by itself, but not the only one. One can hide single
tokens, or whole spans, or let the beginning of a text be read from both sides. BERT, T5 and GPT differ less in their
layers than in this choice. In this part you write the alternatives and see what each can do and cannot. Run the setup
cell first; the sections of this part do not need Part I.
"""
# %% [markdown]
r"""
## Exercise 4 · Masked language modelling  ★★ · 30 min

**Idea.** A causal model reads from left to right and may not peek. But often the right side helps: in "he sat on the
river ▢ and fished", what fills the hole is told by what comes after it. **BERT** (Devlin et al. 2019) lets every token
see every other, with no mask on the attention. Then "predict the next token" would be no question any more, because the
next token is in plain sight. So the question changes. Some tokens of the text are hidden, and the model has to say what
stood there. This is **masked language modelling**, MLM.

Each token is *chosen* with probability p = 15%. What happens to a chosen token is drawn again:

| share of the chosen tokens | the model sees | why |
| --- | --- | --- |
| 80% | the token `[MASK]` | this is the hole to fill |
| 10% | a random token | so any token may be wrong, and the model must doubt what it sees |
| 10% | the token itself | so a token is not wrong because it is asked for |

The last two rows are there because `[MASK]` never occurs when the model is used later. A model that had to say
something only where `[MASK]` stands could ignore all other places.

The answers go into the **labels**: the old token at every chosen place, also where it was left as it was, and −100 at
all the others. −100 means "no answer wanted here", as in Exercise 3. Nothing is shifted this time: the answer belongs
to the place of the hole.

$$\text{loss} = -\frac{1}{|\text{chosen}|}\sum_{t \in \text{chosen}} \log p(x_t \mid \text{the text with its holes})$$

Two more rules. Padding and other *special* tokens are never chosen, for there is nothing to learn from them. And the
holes are drawn anew each time a text is read. The first BERT drew them once, before training, and made ten copies of
the data with different holes; RoBERTa (Liu et al. 2019, section 4.1) draws them on the fly.
"""

# %% [markdown]
r"""
**Predict.** A text has 1,000 tokens. How many of them will be `[MASK]`, on average? How many are different from the
text? How many does the loss look at? And how many would it look at in Exercise 3?

<details><summary>Answer</summary>

150 are chosen. 120 of them become `[MASK]`, 15 become a random token (nearly always another one), and 15 stay. So
nearly 135 are different, and the loss looks at 150. The causal loss looks at 999. Keep that ratio in mind for the
experiment: one reading of a text teaches a masked model about far fewer tokens.
</details>
"""


# %% exercise="mlm_mask"
def mlm_mask(
    ids: Tensor,
    mask_id: int,
    vocab_size: int,
    special_mask: Tensor | None = None,
    g: torch.Generator | None = None,
    p: float = 0.15,
    special_ids: tuple[int, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Hide tokens for a masked language model; return (inputs, labels), both new tensors of the shape of ids.

    ids: integers [..., T]. Each token is chosen with probability p, independently of the others, but never where
    special_mask (boolean, the shape of ids) is True, and never a token of special_ids. (A mask_id that stands in the
    text already may be chosen like any other token, unless special_ids names it.) Of the chosen tokens 80% become
    mask_id, 10% become a random token, and 10% stay. A random token is any token below vocab_size except mask_id and
    those of special_ids, all equally likely; so it may happen to be the old one.

    labels: the old token wherever one was chosen, -100 elsewhere. Both results have the dtype of ids and are on its
    device; ids itself is not changed. All random numbers come from the generator g (torch's own if g is None).

    Forbidden here: the library transformers, which has a function that does it.

    >>> inputs, labels = mlm_mask(torch.arange(6), mask_id=9, vocab_size=10, p=0.0)
    >>> inputs.tolist(), labels.unique().tolist()
    ([0, 1, 2, 3, 4, 5], [-100])
    """
    ### BEGIN SOLUTION
    where = ids.device if g is None else g.device
    chosen = torch.rand(ids.shape, generator=g, device=where).to(ids.device) < p
    if special_mask is not None:
        chosen = chosen & ~special_mask
    if special_ids:
        chosen = chosen & ~torch.isin(ids, torch.tensor(special_ids, device=ids.device))
    candidates = [token for token in range(vocab_size) if token != mask_id and token not in special_ids]
    picks = torch.randint(len(candidates), ids.shape, generator=g, device=where).to(ids.device)
    random_tokens = torch.tensor(candidates, dtype=ids.dtype, device=ids.device)[picks]
    fate = torch.rand(ids.shape, generator=g, device=where).to(ids.device)
    inputs = torch.where(chosen & (fate < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), random_tokens, inputs)
    labels = torch.where(chosen, ids, -100)
    return inputs, labels
    ### END SOLUTION


# %% check="mlm_mask"
check(mlm_mask)

# %% [markdown]
r"""
**Experiment: one small network, two questions.** We train the same network twice on the characters of Python's language
reference, for the same number of steps on texts of the same size: once as a causal model, once with your masks. Then
both get the same test: held-out texts, one character of each is missing, which one is it?

- The causal model sees the left side only; it cannot do otherwise.
- The masked model sees both sides.
- The masked model once more, with everything to the right of the hole masked as well. It was never trained on so many
  holes in a row, so this is a hard test; it says how much of its answers the right side carries.

Before you look: which of the two will be better after so short a training?
"""

# %% tags=["experiment"]
from course_lib.attention import GPT, GPTConfig
from course_lib.attention.training import train
from course_lib.pretraining import causal_lm_loss as next_token_loss
from course_lib.pretraining import masked_lm_loss

hide = stand_in(mlm_mask)

reference_text = corpus.python_reference()
letters = sorted(c for c in set(reference_text) if reference_text.count(c) > 20)
number_of = {c: i for i, c in enumerate(letters)}
stream_of_ids = torch.tensor([number_of[c] for c in reference_text if c in number_of])
MASK_ID, HOLE_T = len(letters), 24  # one more entry in the vocabulary, for [MASK]
train_part, held_part = stream_of_ids.tensor_split([len(stream_of_ids) * 9 // 10])


def texts_from(data: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` random stretches of HOLE_T characters."""
    starts = torch.randint(len(data) - HOLE_T, (count, 1), generator=generator)
    return data[starts + torch.arange(HOLE_T)].to(DEVICE)


ALL_SEE_ALL = torch.ones(HOLE_T, HOLE_T, dtype=torch.bool, device=DEVICE)
generator = torch.Generator().manual_seed(1)
test_texts = texts_from(held_part, 512, generator)
holes = torch.randint(8, HOLE_T - 8, (512, 1), generator=generator).to(DEVICE)
place = torch.arange(HOLE_T, device=DEVICE)
missing = test_texts.gather(1, holes).squeeze(1)


@torch.no_grad()
def right_answers(model: nn.Module, sees: str) -> float:
    """The share of holes that the model fills with the right character."""
    if sees == "left, causal":
        logits = model(test_texts).gather(1, (holes - 1)[..., None].expand(-1, 1, MASK_ID + 1))
    else:
        hidden = place == holes if sees == "both sides, masked" else place >= holes
        logits = model(test_texts.masked_fill(hidden, MASK_ID), mask=ALL_SEE_ALL)
        logits = logits.gather(1, holes[..., None].expand(-1, 1, MASK_ID + 1))
    return (logits[:, 0, :MASK_ID].argmax(-1) == missing).float().mean().item()


steps = {"quick": 360, "full": 4000, "gpu": 20_000}[scale()]
filled = {"left, causal": [], "both sides, masked": [], "left only, masked": []}
networks = {}
for kind in ("causal", "masked"):
    torch.manual_seed(0)
    net = GPT(GPTConfig(MASK_ID + 1, HOLE_T, 2, 4, 64, positions="rope", norm="rms", bias=False)).to(DEVICE)
    networks[kind] = net

    def measure(step: int, loss: float, kind: str = kind, net: nn.Module = net) -> None:
        if (step + 1) % (steps // 5) == 0:
            for sees, curve in filled.items():
                if sees.endswith(kind):
                    curve.append((step + 1, right_answers(net, sees)))

    def batch(g: torch.Generator, kind: str = kind) -> tuple[Tensor, ...]:
        texts = texts_from(train_part, 32, g)
        return (texts,) if kind == "causal" else hide(texts, MASK_ID, MASK_ID + 1, g=g)

    def loss_of(model: nn.Module, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            return next_token_loss(model(inputs), inputs)
        return masked_lm_loss(model(inputs, mask=ALL_SEE_ALL), labels)

    train(net, batch, steps, lr=8e-3, warmup=20, loss_fn=loss_of, callback=measure)

most_common = torch.bincount(train_part).max().item() / len(train_part)
fig, ax = plt.subplots(figsize=(7.5, 3.8))
for k, (sees, curve) in enumerate(filled.items()):
    ax.plot(*zip(*curve, strict=True), label=sees, **plots.line(k))
ax.axhline(most_common, color="#888888", linewidth=1)
label = "always the most common character"
ax.text(steps, most_common - 0.01, label, color="#555555", fontsize=9, ha="right", va="top")
ax.set(xlim=(0, steps * 1.02), ylim=(0, None), xlabel="training steps", ylabel="holes filled with the right character")
ax.set_title("The same network, asked in two ways")
ax.legend(loc="lower left", fontsize=9)
display.show(
    fig,
    alt="Share of 512 holes filled rightly over training steps. At the end: "
    + ", ".join(f"{sees} {curve[-1][1]:.0%}" for sees, curve in filled.items())
    + f". A line at {most_common:.0%} marks the answer that is always the most common character.",
)

# %% [markdown]
r"""
**What to see.** At this length of training the *causal* model is ahead, though it sees one side only. Its loss spoke
about every character, that of the masked model about one in seven: per step it has learned from far more answers. That
is the price of the holes. Within the masked model compare the two lower curves. With 512 holes, differences of two or
three points in a hundred may be chance; by the end the view to both sides is ahead by more than that.

What the figure does not show: that causal models are better. It shows two runs, one seed, minutes of training. BERT was
trained for a million steps, and there the view to both sides paid off on tasks that *understand* a text: is this review
positive, where in the passage is the answer? With `COURSE_SCALE=full` the same cell trains eleven times as long,
and the order turns round. There we measured 68% of the holes with the view to both sides, 65% for the causal model, and
46% for the masked model with the left side only.

**Can it write?** A model that fills holes can be asked to continue a text: append `[MASK]` and let it fill. Below, the
causal model continues a short beginning with its most likely characters. The masked model tries it in two ways:
all holes at once, and one after the other from the left, each answer being put in before the next is asked. A dot
stands for a space.
"""

# %% tags=["experiment"]
START = 10


@torch.no_grad()
def written(how: str, beginning: Tensor) -> str:
    """The beginning [START], continued to HOLE_T characters with the most likely ones."""
    ids = torch.cat([beginning, torch.full((HOLE_T - START,), MASK_ID, device=DEVICE)])[None]
    for t in range(START, HOLE_T):
        if how == "causal":
            ids[0, t] = networks["causal"](ids[:, :t])[0, -1, :MASK_ID].argmax()
            continue
        best = networks["masked"](ids, mask=ALL_SEE_ALL)[0, :, :MASK_ID].argmax(-1)
        if how == "masked, all at once":
            ids[0, START:] = best[START:]
            break
        ids[0, t] = best[t]
    return "".join(letters[i] for i in ids[0, START:].tolist()).replace("\n", "⏎").replace(" ", "·")


ways = ("causal", "masked, one by one", "masked, all at once")
beginnings = ("the method", "expression", "if the val")
fig, ax = plt.subplots(figsize=(6.4, 3.4))
ax.axis("off")
lines = []
for opening in beginnings:
    lines.append(("beginning", opening.replace(" ", "·")))
    row = torch.tensor([number_of[c] for c in opening], device=DEVICE)
    lines += [(f"  {how}", written(how, row)) for how in ways]
for y, (label, content) in enumerate(lines):
    weight = "bold" if label == "beginning" else "normal"
    ax.text(0, -y - 0.4 * (y // 4), label, fontsize=9, fontweight=weight, va="center")
    ax.text(0.34, -y - 0.4 * (y // 4), content, fontsize=9, family="DejaVu Sans Mono", fontweight=weight, va="center")
ax.set(xlim=(0, 1), ylim=(-len(lines) - 0.6, 0.8))
ax.set_title("Three beginnings, continued in three ways")
display.show(
    fig,
    alt="Three short beginnings, each continued in three ways. "
    + " ".join(f"{label.strip()}: {content!r}." for label, content in lines),
)

# %% [markdown]
r"""
**What to see.** Filled all at once, the holes do not know of each other's answers. Each takes the character that is
likeliest *there*, whatever its neighbours take, so the same few characters are repeated. One by one is no more than a
makeshift: the model was trained on texts in which six of seven tokens are real, and now it looks into a row of holes.
None of the three writes well after so little training. The difference is in kind: for the causal model, writing *is*
the task it was trained for, and the probability of a whole text is the product of its answers. A masked model has no
such product. That is the main reason why the models that people chat with are causal.
"""

# %% [markdown]
r"""
## Exercise 5 · Span corruption  ★★ · 35 min

**Idea.** BERT's holes are single tokens, its inputs are as long as the text, and the loss looks at a seventh of it.
**T5** (Raffel et al. 2020) cuts out whole *spans*. In the input, each gap is marked by one new token, a **sentinel**.
The target is a text of its own: each sentinel, followed by what belongs into its gap, and one last sentinel that says
"that was all". The example of the paper's figure 2, with ⟨X⟩, ⟨Y⟩ and ⟨Z⟩ for the sentinels:

| | |
| --- | --- |
| text | Thank you **for inviting** me to your party **last** week . |
| input | Thank you ⟨X⟩ me to your party ⟨Y⟩ week . |
| target | ⟨X⟩ for inviting ⟨Y⟩ last ⟨Z⟩ |

Input and target are both shorter than the text, which saves time. And the model now *writes*: an **encoder** reads the
input from both sides, a **decoder** writes the target from left to right. Exercise 6 builds the bridge between them.

How much is cut? `noise` = 15% of the T tokens, in spans of `mean_span` = 3 tokens on average:

$$\text{hidden} = \mathrm{round}(\text{noise} \cdot T), \qquad
\text{spans} = \mathrm{round}(\text{hidden} / \text{mean span})$$

These counts are exact, only the *places* are drawn. Two spans that touch would be one, so at least one token stays
between them. One way to draw: first cut the hidden tokens into so many pieces, at random joints. Then lay out the kept
tokens in a row, choose a different place for each span (before, between or behind the kept tokens), and put it there.

T5's sentinels are the last 100 entries of the vocabulary, used from the end: 32099, 32098, 32097, …
"""

# %% [markdown]
r"""
**Predict.** A text of 512 tokens, noise 15%, spans of 3. How long are input and target? And if every span were one
token?

<details><summary>Answer</summary>

round(76.8) = 77 tokens are hidden, in round(77 / 3) = 26 spans. Input: 512 − 77 + 26 = 461. Target: 77 + 26 + 1 = 104.
With spans of one token: 512 − 77 + 77 = 512 and 77 + 77 + 1 = 155. Longer spans make both texts shorter. The paper
names that as a reason for them (section 3.1.4).
</details>
"""


# %% exercise="span_corrupt"
def replace_spans(ids: Tensor, hidden: Tensor, sentinel0: int) -> tuple[Tensor, Tensor]:
    """Cut the tokens where `hidden` is True out of a text; return (inputs, targets).

    ids: integers [T]. hidden: boolean [T]; a run of True is one span. In the inputs span k (k = 0, 1, ...) is replaced
    by the single token sentinel0 - k. The targets hold for each span its sentinel and then its tokens, and after the
    last span one more sentinel. Both have the dtype of ids.

    Forbidden here: the library transformers.

    >>> text = torch.tensor([10, 11, 12, 13, 14, 15])
    >>> hidden = torch.tensor([False, True, True, False, True, False])
    >>> [x.tolist() for x in replace_spans(text, hidden, sentinel0=99)]
    [[10, 99, 13, 98, 15], [99, 11, 12, 98, 14, 97]]
    """
    ### BEGIN SOLUTION
    inputs, targets = [], []
    sentinel, inside = sentinel0, False
    for token, hide in zip(ids.tolist(), hidden.tolist(), strict=True):
        if hide and not inside:
            inputs.append(sentinel)
            targets.append(sentinel)
            sentinel -= 1
        (targets if hide else inputs).append(token)
        inside = hide
    targets.append(sentinel)
    return tuple(torch.tensor(row, dtype=ids.dtype, device=ids.device) for row in (inputs, targets))
    ### END SOLUTION


def span_corrupt(
    ids: Tensor, noise: float = 0.15, mean_span: float = 3.0, sentinel0: int = 32099, g: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Cut random spans out of a text [T], T >= 2; return (inputs, targets) as `replace_spans` does.

    round(noise * T) tokens are hidden, but at least 1, and at least 1 stays. They form round(hidden / mean_span) spans:
    at least 1, at most as many as there are hidden tokens, and no more than kept + 1, because between two spans stands
    a token that is kept. A span may lie anywhere, also at the beginning or at the end, and lengths differ. All random
    numbers come from the generator g (torch's own if g is None).

    Forbidden here: the library transformers.

    >>> inputs, targets = span_corrupt(torch.arange(20), noise=0.15, mean_span=3, sentinel0=99)
    >>> len(inputs), len(targets), targets[[0, -1]].tolist()
    (18, 5, [99, 98])
    """
    ### BEGIN SOLUTION
    T = len(ids)
    hidden = min(max(round(noise * T), 1), T - 1)
    kept = T - hidden
    spans = min(max(round(hidden / mean_span), 1), hidden, kept + 1)
    where = "cpu" if g is None else g.device
    cuts = sorted((torch.randperm(hidden - 1, generator=g, device=where)[: spans - 1] + 1).tolist())
    lengths = [end - start for start, end in zip([0, *cuts], [*cuts, hidden], strict=True)]
    gaps = set(torch.randperm(kept + 1, generator=g, device=where)[:spans].tolist())
    mask = []
    for place in range(kept + 1):  # before each kept token, and behind the last one
        if place in gaps:
            mask += [True] * lengths.pop()
        if place < kept:
            mask.append(False)
    return replace_spans(ids, torch.tensor(mask, device=ids.device), sentinel0)
    ### END SOLUTION


# %% check="span_corrupt"
check(replace_spans, span_corrupt)

# %% [markdown]
r"""
**Experiment: what a step costs, and what it teaches.** On the left, the lengths that your function gives for a text of
512 tokens, for more and more noise. On the right, an estimate of learning per cost: tokens in the loss for each pass of
one token through all N parameters of a model. The estimate is a count and no measurement:

- a causal model passes 512 tokens through N parameters, and 511 of them are in the loss;
- a masked model passes 512 tokens, and 15% (or whatever the noise is) are in the loss;
- an encoder-decoder with N parameters has half of them in the encoder and half in the decoder. Input tokens pass only
  through the first half, target tokens through the second. All target tokens are in the loss; sentinels are easy to
  guess, so we also count without them.
"""

# %% tags=["experiment"]
corrupt = stand_in(span_corrupt)

SPAN_T = 512
text_ids = torch.arange(SPAN_T)
noises = [0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8]
generator = torch.Generator().manual_seed(5)
sizes = {}
for mean_span in (1.0, 3.0, 10.0):
    pairs = [corrupt(text_ids, noise, mean_span, 32099, generator) for noise in noises]
    sizes[mean_span] = np.array([(len(inputs), len(targets)) for inputs, targets in pairs])
real_tokens = np.array([round(noise * SPAN_T) for noise in noises])

fig, axes = plt.subplots(1, 2, figsize=(9.4, 3.7))
for k, (mean_span, table) in enumerate(sizes.items()):
    look = plots.line(k)
    axes[0].plot(noises, table[:, 0], **look, label=f"inputs, spans of {mean_span:.0f}")
    axes[0].plot(
        noises, table[:, 1], **(look | {"markerfacecolor": "white"}), label=f"targets, spans of {mean_span:.0f}"
    )
axes[0].axhline(SPAN_T, color="#888888", linewidth=1)
axes[0].axvline(0.15, color="#888888", linewidth=1, linestyle=":")
for ax in axes:
    ax.text(0.16, 0.02, "15%", fontsize=9, va="bottom", color="#555555", transform=ax.get_xaxis_transform())
axes[0].set(xlabel="noise", ylabel="tokens", ylim=(0, 1000), title="Inputs (filled) and targets (hollow)")
axes[0].legend(loc="upper center", ncols=2, fontsize=8.5)
passes = sizes[3.0].sum(1) / 2  # each token goes through half of the parameters
axes[1].axhline((SPAN_T - 1) / SPAN_T, color=plots.COLOURS[3], linestyle=":", label="causal")
axes[1].plot(noises, sizes[3.0][:, 1] / passes, label="spans of 3, all targets", **plots.line(1))
axes[1].plot(noises, real_tokens / passes, label="spans of 3, without sentinels", **plots.line(2))
axes[1].plot(noises, noises, label="masked", **plots.line(0))
axes[1].axvline(0.15, 0, 0.7, color="#888888", linewidth=1, linestyle=":")
axes[1].set(xlabel="noise", ylabel="tokens in the loss per full pass", ylim=(0, None), title="What a pass teaches")
axes[1].legend(loc="upper left", fontsize=8.5)
at_15 = noises.index(0.15)
display.show(
    fig,
    alt=f"Left: lengths of inputs and targets of 512 tokens over the noise. At 15% and spans of 3: "
    f"{sizes[3.0][at_15, 0]} and {sizes[3.0][at_15, 1]} tokens; with spans of 1: {sizes[1.0][at_15, 0]} and "
    f"{sizes[1.0][at_15, 1]}; with spans of 10: {sizes[10.0][at_15, 0]} and {sizes[10.0][at_15, 1]}. "
    f"Right: tokens in the loss per full pass. Causal: 1.0 throughout. At 15%: spans of 3 "
    f"{sizes[3.0][at_15, 1] / passes[at_15]:.2f}, without sentinels "
    f"{real_tokens[at_15] / passes[at_15]:.2f}, masked 0.15. The curves rise with the noise.",
)

# %% [markdown]
r"""
**What to see.** On the left, spans of one token shorten nothing: each is replaced by one sentinel, and the inputs stay
at 512. Beyond one half there are not enough kept tokens to part spans of one, so the spans become fewer and longer: the
inputs shrink after all, and the targets grow no further. Longer spans make the inputs shorter at once.

On the right, at the usual noise of 15% (dotted line), span corruption puts two and a half times as many tokens into the
loss per full pass as masking does, not quite twice as many if the sentinels are left out, and still only a fraction of
what the causal loss gets. More noise gives more answers per pass, at last even more than the causal loss has, because
every target token goes through the decoder half only. They are harder ones, too: at 80% the model hardly sees anything
from which it could guess.

Do not read the right picture as a ranking. A token in the loss is not worth the same everywhere: a hole with both sides
visible asks another question than the next token does. Which objective makes the better model was measured by Raffel et
al. (sections 3.2 and 3.3) on their tasks. There, spans did about as well as single tokens at a lower cost, and a model
that fills gaps did better than one that predicts the next token. Later and much larger models chose the causal loss
nevertheless: it needs no second text and no sentinels, and it trains exactly what generation needs.
"""

# %% [markdown]
r"""
## Exercise 6 · Prefix-LM and encoder-decoder  ★★ · 35 min

**Idea.** Much of what language models do has two parts: something given (a question, a text to translate, an input with
gaps) and something to write. A causal decoder reads the given part as it reads everything, from left to right, although
all of it is there from the beginning. Two designs let it be read from both sides.

- **Prefix-LM.** One stack, another mask. The given part is a *prefix*: its tokens see each other, both ways. Behind it
  everything is causal. It is `make_mask(T, "prefix", prefix_len=P)` of chapter 2, and that is the whole difference.
- **Encoder-decoder.** Two stacks. The **encoder** reads the given part without any mask. The **decoder** writes, causal
  in itself, and in each layer it also looks at what the encoder has made of the input. This is **cross-attention**: the
  queries come from the decoder, the keys and values from the encoder. No mask is needed there, because the input is
  known in full before the first word is written. Only padding is hidden.

$$\mathrm{cross}(Q_\text{dec}, K_\text{enc}, V_\text{enc}) =
\mathrm{softmax}\!\left(\frac{Q_\text{dec}\, K_\text{enc}^\top}{\sqrt{D}}\right) V_\text{enc}$$

The loss is the same in both, the causal loss on the *target alone*. Nobody asks the model for the prefix, and it could
not be asked: a token that sees its right neighbour need not predict it. With P tokens of prefix and S of target, place
P − 1 (the last of the prefix) predicts the first target token, and place P + S − 2 predicts the last.

$$\text{loss} = -\frac{1}{N}\sum_{s=1}^{S} \log p(y_s \mid x_1, \dots, x_P, y_1, \dots, y_{s-1})$$

Targets of different lengths are padded at the end with −100. −100 is no token, and a model looks every token up in a
table. So before the row goes into the model, some real token takes the place of −100. It does not matter which one: it
stands behind everything that counts, and nobody who counts may see it.
"""

# %% [markdown]
r"""
**Predict.** P = 3, S = 2. How many cells of the 5 × 5 mask are True in a causal model, and how many in a prefix-LM? The
cell (0, 4): may the first prefix token see the last target token? Why not, if the prefix may be read from both sides?

<details><summary>Answer</summary>

Causal: 15. Prefix: three more, the upper half of the 3 × 3 block, so 18. The cell (0, 4) stays False. A prefix token
that sees the target could carry the answer along: the target sees the prefix, and so it would see itself.
</details>
"""


# %% exercise="prefix_lm_loss"
def prefix_lm_loss(model, prefix: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """The mean of -log p(target token), given the prefix, whose tokens see each other from both sides.

    model: a function; model(ids, mask=mask) returns logits [B, T, V] for ids [B, T] and a boolean mask [T, T] that is
    True where a place (row) may see another (column). prefix: integers [B, P], P >= 1. target: integers [B, S]; tokens
    equal to ignore_index are padding and stand at the end. They do not count, and the model must not be fed them. At
    least one token of the batch counts.

    Call the model once, on the prefix followed by the target. (The last target token predicts nothing: it may be left
    away.) Returns a tensor with one number, in float32 also for logits in half precision. All target tokens that count
    weigh the same.

    Forbidden here: scaled_dot_product_attention and the attention layers of torch. F.cross_entropy is allowed.

    >>> know_nothing = lambda ids, mask: torch.zeros(*ids.shape, 8)
    >>> prefix_lm_loss(know_nothing, torch.tensor([[1, 2]]), torch.tensor([[3]]))  # ln 8
    tensor(2.0794)
    """
    ### BEGIN SOLUTION
    P = prefix.shape[1]
    readable = target.masked_fill(target == ignore_index, 0)
    ids = torch.cat([prefix, readable], dim=1)  # [B, P + S]
    place = torch.arange(ids.shape[1], device=ids.device)
    mask = (place <= place[:, None]) | (place < P)
    logits = model(ids, mask=mask)[:, P - 1 : -1].float()  # [B, S, V]
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=ignore_index)
    ### END SOLUTION


def cross_attention(q_dec: Tensor, kv_enc: tuple[Tensor, Tensor], enc_mask: Tensor | None = None) -> Tensor:
    """Let each place of a decoder look at the whole input: softmax(q k^T / sqrt(D)) v.

    q_dec: [..., T, D], from the decoder. kv_enc: the pair (keys, values) from the encoder, [..., S, D] each; S may
    differ from T. enc_mask: boolean, True for real tokens, of a shape that broadcasts to [..., T, S]; None means that
    all are real, and at least one always is. Returns [..., T, D].

    Forbidden here: scaled_dot_product_attention and the attention layers of torch.

    >>> values = torch.tensor([[0.0], [4.0]])
    >>> cross_attention(torch.zeros(3, 1), (torch.zeros(2, 1), values)).flatten()
    tensor([2., 2., 2.])
    """
    ### BEGIN SOLUTION
    k, v = kv_enc
    scores = q_dec @ k.transpose(-2, -1) / math.sqrt(q_dec.shape[-1])  # [..., T, S]
    if enc_mask is not None:
        scores = scores.masked_fill(~enc_mask, -torch.inf)
    return scores.softmax(-1) @ v
    ### END SOLUTION


# %% check="prefix_lm_loss"
check(prefix_lm_loss, cross_attention)

# %% [markdown]
r"""
**Experiment: three ways to turn a word round.** The input is a row of ten random letters, the target the same row
backwards. Three models of nearly the same size, about 58,000 parameters, get the same texts in the same order:

- a *decoder* of two layers, causal everywhere (the loss is on the target only),
- the same network as a *prefix-LM*, with your loss,
- an *encoder-decoder* of one layer each, with your cross-attention in the decoder; narrower MLPs make up for the
  parameters of the additional attention.

We count the letters that come out right on new rows, each model being told the right letters before. Each runs with two
seeds.
"""

# %% tags=["experiment"]
from course_lib.attention import GPT, MLP, Block, GPTConfig, MultiHeadAttention
from course_lib.attention.training import train

loss_of_target, attend_across = stand_in(prefix_lm_loss), stand_in(cross_attention)

ROW, ALPHABET, START_TOKEN = 10, 16, 16  # the start token says: now write
WIDTH, HEADS = 48, 4


def split_heads(x: Tensor) -> Tensor:
    """[B, T, C] to [B, H, T, D]."""
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


class EncoderDecoder(nn.Module):
    """One layer that reads, one that writes; table and positions are shared."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(ALPHABET + 1, WIDTH)
        self.places = nn.Embedding(ROW + 1, WIDTH)
        self.encoder = Block(WIDTH, MultiHeadAttention(WIDTH, HEADS), MLP(WIDTH, 3 * WIDTH))
        self.decoder = Block(WIDTH, MultiHeadAttention(WIDTH, HEADS), MLP(WIDTH, 3 * WIDTH))
        self.norm_in, self.norm_cross, self.norm_out = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, given: Tensor, before: Tensor) -> Tensor:
        """Logits [B, S, V] for the input [B, P] and what has been written before each place [B, S]."""
        read, write = (self.tokens(ids) + self.places.weight[: ids.shape[1]] for ids in (given, before))
        memory = self.norm_in(self.encoder(read))  # no mask: all of the input sees all of it
        S = before.shape[1]
        causal = torch.ones(S, S, dtype=torch.bool, device=before.device).tril()
        x = write + self.decoder.attention(self.decoder.norm1(write), mask=causal)
        look = attend_across(
            split_heads(self.q(self.norm_cross(x))), (split_heads(self.k(memory)), split_heads(self.v(memory)))
        )
        x = x + self.o(look.transpose(1, 2).flatten(2))
        x = x + self.decoder.mlp(self.decoder.norm2(x))
        return self.norm_out(x) @ self.tokens.weight.T


def rows_of_letters(count: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs, with the start token behind them, and the letters backwards."""
    row = torch.randint(ALPHABET, (count, ROW), generator=g)
    return F.pad(row, (0, 1), value=START_TOKEN).to(DEVICE), row.flip(1).to(DEVICE)


def answers(model: nn.Module, kind: str, given: Tensor, target: Tensor) -> Tensor:
    """Logits [B, S, V] for the target."""
    if kind == "encoder-decoder":
        return model(given[:, :ROW], torch.cat([given[:, ROW:], target[:, :-1]], 1))
    ids = torch.cat([given, target[:, :-1]], 1)
    place = torch.arange(ids.shape[1], device=ids.device)
    mask = place <= place[:, None]
    if kind == "prefix-LM":
        mask = mask | (place <= ROW)
    return model(ids, mask=mask)[:, ROW:]


def objective(kind: str):
    """The loss of a batch for this kind of model."""
    if kind == "prefix-LM":
        return lambda model, given, target: loss_of_target(model, given, target)
    return lambda model, given, target: F.cross_entropy(answers(model, kind, given, target).transpose(1, 2), target)


steps, seeds = {"quick": (180, 2), "full": (2000, 3), "gpu": (2000, 5)}[scale()]
fresh = rows_of_letters(100, torch.Generator().manual_seed(99))
progress_of, parameters = {}, {}
for kind in ("decoder", "prefix-LM", "encoder-decoder"):
    for seed in range(seeds):
        torch.manual_seed(seed)
        if kind == "encoder-decoder":
            reverser = EncoderDecoder().to(DEVICE)
        else:
            reverser = GPT(GPTConfig(ALPHABET + 1, 2 * ROW + 1, 2, HEADS, WIDTH)).to(DEVICE)
        parameters[kind] = sum(p.numel() for p in reverser.parameters())
        curve = progress_of.setdefault(kind, []).append([]) or progress_of[kind][-1]

        def note(step: int, loss: float, kind: str = kind, model: nn.Module = reverser, curve: list = curve) -> None:
            if (step + 1) % 20 == 0:
                with torch.no_grad():
                    right = answers(model, kind, *fresh).argmax(-1) == fresh[1]
                curve.append((step + 1, right.float().mean().item()))

        settings = {"lr": 5e-3, "warmup": 20, "schedule": "constant", "loss_fn": objective(kind), "callback": note}
        train(reverser, lambda g: rows_of_letters(32, g), steps, **settings)

fig, ax = plt.subplots(figsize=(7.5, 3.8))
for k, (kind, runs) in enumerate(progress_of.items()):
    for number, curve in enumerate(runs):
        label = f"{kind}, {parameters[kind]:,} parameters" if number == 0 else None
        ax.plot(*zip(*curve, strict=True), label=label, **plots.line(k))
ax.axhline(1 / ALPHABET, color="#888888", linewidth=1)
ax.text(steps * 0.01, 1 / ALPHABET - 0.012, "guessing", va="top", color="#555555", fontsize=9)
ax.set(xlim=(0, steps * 1.02), ylim=(0, 1.02), xlabel="training steps", ylabel="letters that are right")
ax.set_title("Ten letters, backwards")
ax.legend(loc="lower right", bbox_to_anchor=(1, 0.08), fontsize=9)
display.show(
    fig,
    alt="Share of right letters over training steps, one line for each seed. At the end: "
    + "; ".join(f"{kind} {', '.join(f'{run[-1][1]:.0%}' for run in runs)}" for kind, runs in progress_of.items())
    + f". Guessing gives {1 / ALPHABET:.0%}.",
)

# %% [markdown]
r"""
**What to see.** All three learn it. The decoder and the prefix-LM are equally quick: to turn a row round, place t must
look at one letter, and for that nobody in the prefix needs to see the letters to the right. The wider view costs
nothing here, and gains nothing. The encoder-decoder takes more steps in these runs. Its way is longer: what the decoder
looks for has to match what another stack has made of the letters, and at the beginning neither knows of the other.

That is all the picture says. It is one easy task, and one size. Raffel et al. (2020, section 3.2.4) compared the three
on language, with up to some hundred million parameters: there the encoder-decoder came out best, the prefix-LM next,
and the causal decoder last, all trained to fill gaps. An encoder-decoder with twice the parameters costs about as much
per token as a decoder, because each token goes through one half only. Today's large models are nearly all causal
decoders. They have one stack to build and one cache to keep, every token of every text is in the loss, and a question
may be followed by an answer, another question and another answer without anything being read anew.
"""

# %% [markdown]
r"""
---
# Part III · How to step, and on what

A loss says where downhill is. How far to go, and what to do when the ground gives way, is the optimiser's business:
AdamW, a warm-up and a slow end, clipping. Two sections on data follow, on which the result depends at least as much:
what to throw away, and how to fill a batch with what is left. Run the setup cell first. The functions of Exercise 7
come back in Part IV and in the ablations at the end.
"""
# %% [markdown]
r"""
## Exercise 7 · AdamW, schedule, clipping, spikes  ★★ · 50 min

**Idea.** The gradient g says for each of the model's numbers which way is up. Four things stand between it and the next
step.

*The update.* A network has weights whose gradients are a thousand times larger than those of others, so one step size
cannot fit all. **Adam** divides each gradient by its own usual size. It keeps two running means for every number:

$$m \leftarrow \beta_1 m + (1-\beta_1)\, g \qquad v \leftarrow \beta_2 v + (1-\beta_2)\, g^2$$

m is the direction on which the last gradients agree, $\sqrt{v}$ is their usual size. Both start at zero, so at first
they are too small. Dividing by $1-\beta^t$ repairs exactly that: the **bias correction**, with t = 1 at the first step.
And $\epsilon$ keeps the division from blowing up:

$$\hat m = \frac{m}{1-\beta_1^t} \qquad \hat v = \frac{v}{1-\beta_2^t} \qquad
p \leftarrow p - \mathrm{lr}\cdot\lambda\, p - \mathrm{lr}\cdot\frac{\hat m}{\sqrt{\hat v}+\epsilon}$$

The term with λ is **weight decay**: a gentle pull towards zero. The W of **AdamW** says where it stands: *beside* the
gradient. In the older "Adam with L2", λp is added to g, goes through the division, and the weights with large
gradients hardly decay at all. Many texts still say that models are trained with "Adam", dropout and weight decay
"against overfitting". Large models usually see each text about once, without dropout; the decay stays, decoupled.

*The schedule.* At the start $\hat v$ rests on a handful of gradients and the steps are rash, so the learning rate
climbs in a **warm-up**. Near the end it falls along half a **cosine** to a floor: small steps settle what large ones
found.

*Clipping.* One odd batch can have a gradient many times too long. If the norm of *all* gradients together is above a
limit, all are multiplied by the same factor. Their direction stays.

*The guard.* Even so, the loss sometimes jumps and does not come back soon. That is a **spike**. The team of PaLM saw
about twenty in its largest run, although gradients were clipped. Its cure: return to a state from some 100 steps
earlier, skip 200 to 500 batches, go on. The same batches did no harm when met in another state, so what was bad was not
the text alone.
"""

# %% [markdown]
r"""
**Predict.** p = 1, and the first gradient is 5. What is p after one AdamW step with lr = 0.1 and no decay? And if the
gradient had been 0.0005? And without the bias correction, for $\beta_1 = 0.9$, $\beta_2 = 0.95$?

<details><summary>Answer</summary>

0.9, both times: at step 1 $\hat m = g$ and $\sqrt{\hat v} = |g|$, so what is left is the sign. Every number moves by
lr. Without the correction $m / \sqrt{v} = 0.1\,g / (\sqrt{0.05}\,|g|) = 0.45$: less than half a step. With the usual
$\beta_2 = 0.999$ it would be the other way round: 0.1 / 0.032 = 3.2, more than three times as much as was asked for.
</details>
"""


# %% exercise="adamw_step"
def adamw_step(
    p: Tensor,
    g: Tensor,
    state: dict | None,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    wd: float = 0.0,
) -> tuple[Tensor, dict]:
    """Return the parameter after one step of AdamW, and the new state.

    p and its gradient g have the same shape. state is None before the first step, then what the last call returned: a
    dictionary with "step" (an int, how many steps there were), "m" and "v" (of the shape of p). eps is added to the
    root of the corrected v. The decay wd, times lr, acts on the old p. Change neither p, nor g, nor the old state.

    Forbidden in all four functions: torch.optim, the clipping functions of torch.nn.utils, and transformers.

    >>> p, state = adamw_step(torch.tensor([1.0]), torch.tensor([5.0]), None, lr=0.1)
    >>> p, state["step"]
    (tensor([0.9000]), 1)
    """
    ### BEGIN SOLUTION
    state = state or {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
    step = state["step"] + 1
    m = betas[0] * state["m"] + (1 - betas[0]) * g
    v = betas[1] * state["v"] + (1 - betas[1]) * g * g
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    p = p - lr * wd * p - lr * m_hat / (v_hat.sqrt() + eps)
    return p, {"step": step, "m": m, "v": v}
    ### END SOLUTION


def lr_at(step: int, warmup: int, total: int, peak: float, floor: float = 0.0) -> float:
    """The learning rate of step 0, 1, ..., total - 1; warmup is less than total.

    Steps 0 to warmup - 1 are stairs of equal height, and the first is not zero: peak * (step + 1) / (warmup + 1). Step
    warmup has the peak. Then half a cosine falls to the floor, which step total - 1 has exactly, and all later ones.
    With warmup = total - 1 there is nothing to fall: that step has the peak, and the floor comes after it.

    >>> [round(lr_at(step, warmup=1, total=6, peak=1.0), 3) for step in range(7)]
    [0.5, 1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    ### BEGIN SOLUTION
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if step >= total:
        return floor
    done = (step - warmup) / max(1, total - 1 - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2
    ### END SOLUTION


def clip_grad_norm(gs: list[Tensor], max_norm: float) -> tuple[list[Tensor], Tensor]:
    """Return the gradients as a list, and the norm that they had before, as a tensor without axes.

    The norm is that of all numbers of all tensors together. If it is above max_norm, every gradient is multiplied by
    max_norm / norm; else they stay as they are. Nothing is changed in place.

    >>> clipped, norm = clip_grad_norm([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
    >>> [round(g.item(), 6) for g in clipped], norm
    ([0.6, 0.8], tensor(5.))
    """
    ### BEGIN SOLUTION
    norm = torch.stack([g.float().norm() for g in gs]).norm()
    if norm <= max_norm:
        return list(gs), norm
    return [g * (max_norm / norm).to(g.dtype) for g in gs], norm
    ### END SOLUTION


def train_with_spike_guard(step, save, restore, batches, guard, every: int = 10) -> tuple[list[float], list[int]]:
    """Train on all batches; after a spike return to the last good state and go on behind the spike's batch.

    step(batch) makes a step and returns the loss before it. save() returns a copy of the state of model and optimiser,
    restore(state) puts one back. guard.observe(loss) says whether this loss is a spike; call it once for each loss.

    Two states are kept. The *pending* one is the newest, and no loss has proved it: it is saved before the steps 0,
    every, 2 * every ..., counted by the losses that you have kept. The *good* one is proved: a pending state becomes
    good as soon as the loss that was computed with it is no spike, for what a bad step breaks shows only in the next
    loss. (While there is no other, the state at the very start counts as good.) After a spike: restore the good state,
    forget the pending one, drop the losses since the good one, and never use those batches again, nor the spike's own.

    Returns (the losses of the steps that were kept, the numbers of the batches that were skipped), numbers from 0.

    >>> from types import SimpleNamespace
    >>> seen = []  # our "model": the batches that it has seen; batch 3 breaks it
    >>> def step(batch):
    ...     loss = 9.0 if 3 in seen else 1.0
    ...     seen.append(batch)
    ...     return loss
    >>> def restore(state):
    ...     seen[:] = state
    >>> guard = SimpleNamespace(observe=lambda loss: loss > 5)
    >>> train_with_spike_guard(step, seen.copy, restore, range(7), guard, every=2)
    ([1.0, 1.0, 1.0, 1.0], [2, 3, 4])
    >>> seen
    [0, 1, 5, 6]
    """
    ### BEGIN SOLUTION
    losses, skipped, since = [], [], []
    good = pending = (0, save())
    for number, batch in enumerate(batches):
        if len(losses) % every == 0 and len(losses) != pending[0]:
            pending = (len(losses), save())
        loss = step(batch)
        if guard.observe(loss):
            restore(good[1])
            skipped += [*since, number]
            since = []
            del losses[good[0] :]
            pending = good
            continue
        losses.append(loss)
        since.append(number)
        if pending is not good:
            good, since = pending, [number]
    return losses, skipped
    ### END SOLUTION


# %% check="adamw_step"
check(adamw_step, lr_at, clip_grad_norm, train_with_spike_guard)

# %% [markdown]
r"""
**Experiment: poison.** A small character model learns Python's language reference with *your* AdamW, schedule and
clipping. In the middle we slip it three bad batches: their right answers are shuffled, and they come with sixty times
the learning rate. Two runs get exactly the same batches. One goes on as if nothing had happened, the other is under
your guard, which watches the loss by the median of the last ones.

<details><summary><b>Predict:</b> how long does the first run need to get back to where it was? And what does the guard
cost?</summary>

The first run loses a large part of what it had learned. Whether it gets back depends on how much time is left. The
guard loses the steps since its last good state, good batches and bad ones alike, and the computing time that went into
them. With a save every ten steps that is a handful.
</details>
"""

# %% tags=["experiment"]
from course_lib import pretraining
from course_lib.attention import GPT as CharacterGPT
from course_lib.attention import GPTConfig

move, rate_of, shorten = stand_in(adamw_step), stand_in(lr_at), stand_in(clip_grad_norm)
run_guarded = stand_in(train_with_spike_guard)

text = corpus.python_reference()
letters = sorted(c for c in set(text) if text.count(c) > 20)
number_of = {c: i for i, c in enumerate(letters)}
PAGES = torch.tensor([number_of[c] for c in text if c in number_of], device=DEVICE)
LAST = len(PAGES) * 9 // 10  # the last tenth is held out
STEPS, SWEEP_STEPS = {"quick": (240, 120), "full": (1500, 800), "gpu": (3000, 1500)}[scale()]


def draw(count: int, low: int, high: int, seed: int, length: int = 32, rows: int = 12) -> list[tuple[Tensor, Tensor]]:
    """Batches of windows of the text, and the characters that follow."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        starts = torch.randint(low, high - length - 1, (rows,), generator=generator)
        window = PAGES[(starts[:, None] + torch.arange(length + 1)).to(DEVICE)]
        found.append((window[:, :-1], window[:, 1:]))
    return found


class Run:
    """A small model and the state of its optimiser, moved by your functions."""

    def __init__(self, peak: float, total: int, warmup: int = 15, wd: float = 0.1):
        torch.manual_seed(0)
        self.model = CharacterGPT(GPTConfig(len(letters), 32, n_layers=2, n_heads=2, d_model=32)).to(DEVICE)
        self.weights = list(self.model.parameters())
        self.states, self.made = [None] * len(self.weights), 0
        self.peak, self.total, self.warmup, self.wd = peak, total, warmup, wd

    def step(self, batch: tuple) -> float:
        ids, targets, louder = batch
        loss = self.model(ids, targets)
        gradients, _ = shorten(list(torch.autograd.grad(loss, self.weights)), 1.0)
        lr = louder * rate_of(self.made, self.warmup, self.total, self.peak, self.peak / 10)
        with torch.no_grad():
            for n, (p, g) in enumerate(zip(self.weights, gradients, strict=True)):
                decay = self.wd if p.ndim >= 2 else 0.0  # matrices only
                new, self.states[n] = move(p, g, self.states[n], lr, wd=decay)
                p.copy_(new)
        self.made += 1
        return loss.item()

    def save(self) -> tuple:
        return [p.detach().clone() for p in self.weights], list(self.states), self.made

    def restore(self, saved: tuple) -> None:
        weights, self.states, self.made = saved[0], list(saved[1]), saved[2]
        with torch.no_grad():
            for p, old in zip(self.weights, weights, strict=True):
                p.copy_(old)

    @torch.no_grad()
    def held_out(self, batches: list) -> float:
        return sum(self.model(*batch).item() for batch in batches) / len(batches)


held_out = draw(8, LAST, len(PAGES), seed=9, rows=32)
stream = [(ids, targets, 1.0) for ids, targets in draw(STEPS, 0, LAST, seed=1)]
POISON = range(STEPS // 2 + 5, STEPS // 2 + 8)  # between two saves
shuffler = torch.Generator().manual_seed(2)
for n in POISON:
    ids, targets, _ = stream[n]
    mixed = targets.flatten()[torch.randperm(targets.numel(), generator=shuffler).to(DEVICE)].view_as(targets)
    stream[n] = (ids, mixed, 60.0)

plain = Run(3e-3, STEPS)
going_on = [plain.step(batch) for batch in stream]
careful = Run(3e-3, STEPS)
kept, skipped = run_guarded(
    careful.step, careful.save, careful.restore, stream, pretraining.SpikeGuard(window=32, threshold=6), every=10
)
ends = {"goes on": plain.held_out(held_out), "rewinds and skips": careful.held_out(held_out)}
back = next(
    (
        n
        for n in range(POISON[-1] + 1, STEPS - 8)
        if np.mean(going_on[n : n + 8]) <= np.mean(going_on[POISON[0] - 8 : POISON[0]])
    ),
    None,
)

fig, ax = plt.subplots(figsize=(8.2, 3.7))
places = [n for n in range(STEPS) if n not in set(skipped)]  # where the kept losses belong on the line of batches
look = plots.line(1) | {"marker": ""}
ax.plot(range(STEPS), going_on, label=f"goes on: {ends['goes on']:.2f} at the end", **look)
look = plots.line(0) | {"marker": ""}
for piece in np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) > 1) + 1):
    label = f"rewinds and skips: {ends['rewinds and skips']:.2f} at the end" if piece[0] == 0 else None
    ax.plot(np.array(places)[piece], np.array(kept)[piece], label=label, **look)
ax.axvspan(min(skipped) - 0.5, max(skipped) + 0.5, color="#bbbbbb", alpha=0.5, label="batches that the guard skips")
ax.axhline(math.log(len(letters)), color="#444444", linewidth=1, linestyle=":", label=f"guessing, ln {len(letters)}")
ax.set(xlabel="batch", ylabel="loss, nats", ylim=(1.8, max(going_on) + 0.6))
ax.legend(fontsize=9)
display.show(
    fig,
    alt=f"Training loss over {STEPS} batches. Both runs fall alike until batch {POISON[0]}. Going on, the loss jumps "
    f"to {max(going_on[POISON[0] :]):.1f} and comes down again; held-out loss at the end {ends['goes on']:.2f}. With "
    f"the guard there is a gap from batch {min(skipped)} to {max(skipped)} and then the curve goes on where it was; at "
    f"the end {ends['rewinds and skips']:.2f}.",
)
recovered = f"it is back at its old loss after {back - POISON[-1]} batches" if back else "it never gets back"
bad = len(set(skipped) & set(POISON))
print(f"the guard skipped {len(skipped)} of {STEPS} batches, and {bad} of those were bad; going on, {recovered}")

# %% [markdown]
r"""
**What to see.** Three batches undo most of what had been learned, and the rest of this short run is not enough to catch
up. Clipping did not help: Adam divides by the usual size of the gradient, so the *length* of its steps is set by the
learning rate, not by the gradient. The guard is on its old curve at once. It has skipped eight batches: three were bad,
and five are the price. They had been read since the last save, and went with it when the weights were put back.

What is not shown is why spikes happen by themselves. Ours is home-made, and a guard that only looks at the loss would
be fooled by slow damage. In practice one also watches the norm of the gradient, which your `clip_grad_norm` returns.
"""

# %% [markdown]
r"""
**Experiment: to the edge.** The same model, the same batches, no poison. Only the peak of the learning rate changes, by
a factor of about three from run to run.

<details><summary><b>Predict:</b> draw the held-out loss over the learning rate. Where is it flat, where is it
steep?</summary>

A valley. On the left of it training is slow, and every factor of three costs something. On the right it breaks. It need
not explode: where is the loss of a model that has lost everything but the frequencies of the letters?
</details>
"""

# %% tags=["experiment"]
peaks = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
clean = [(ids, targets, 1.0) for ids, targets in draw(SWEEP_STEPS, 0, LAST, seed=3)]
curves, final = {}, {}
for peak in peaks:
    run = Run(peak, SWEEP_STEPS)
    curves[peak] = [run.step(batch) for batch in clean]
    final[peak] = run.held_out(held_out)
best = min(final, key=final.get)
frequency = torch.bincount(PAGES[:LAST], minlength=len(letters)) / LAST
by_letters = sum(-frequency[targets].log().mean().item() for _, targets in held_out) / len(held_out)
steepest = max(peaks[1:], key=lambda peak: final[peak] - final[peaks[peaks.index(peak) - 1]])

fig, axes = plt.subplots(1, 2, figsize=(9.8, 3.6))
axes[0].plot(peaks, [final[peak] for peak in peaks], **plots.line(0))
for level, what in ((math.log(len(letters)), "guessing"), (by_letters, "letter frequencies")):
    axes[0].axhline(level, color="#444444", linewidth=1, linestyle=":")
    axes[0].text(best, level + 0.03, what, fontsize=9, va="bottom")
axes[0].annotate(f"best: {best:g}", (best, final[best]), xytext=(0, -14), textcoords="offset points", ha="center")
axes[0].set(xscale="log", xlabel="peak of the learning rate", ylabel="held-out loss, nats", title="At the end")
axes[0].set_ylim(min(final.values()) - 0.35, max(*final.values(), math.log(len(letters))) + 0.2)
chosen = (peaks[0], best, steepest, peaks[-1])
for k, peak in enumerate(dict.fromkeys(chosen)):
    axes[1].plot(curves[peak], label=f"peak {peak:g}", **(plots.line(k) | {"marker": ""}))
axes[1].set(xlabel="step", ylabel="training loss, nats", title="On the way")
axes[1].set_ylim(2, min(9.0, 1.05 * max(max(curves[peak]) for peak in chosen)))
axes[1].legend(fontsize=9)
display.show(
    fig,
    alt=f"Left, held-out loss after {SWEEP_STEPS} steps over the peak of the learning rate, on a logarithmic axis: "
    + "; ".join(f"{peak:g}: {final[peak]:.2f}" for peak in peaks)
    + f". The lowest is at {best:g}. Knowing the frequencies of the letters alone gives {by_letters:.2f}. Right, "
    "training losses on the way: "
    + "; ".join(
        f"peak {peak:g}, highest {max(curves[peak]):.1f}, last {np.mean(curves[peak][-10:]):.1f}" for peak in chosen
    )
    + ".",
)
print("; ".join(f"{peak:g}: {final[peak]:.2f}" for peak in peaks))
print(f"guessing: {math.log(len(letters)):.2f}; letter frequencies: {by_letters:.2f}")

# %% [markdown]
r"""
**What to see.** The best rate and the first that breaks are a factor of ten apart, and there is little warning: just
above the best the loss is hardly worse. On the other side, so short a run punishes slowness: a third of the best rate
loses nearly as much as ten times the best. But that model is still learning, as is the one with the smallest rate in
the right picture; they need more steps, not another rate. Beyond the edge nothing becomes infinite. Clipping and the
norms inside the model see to that. The model merely stops learning, at about the loss of somebody who knows how
frequent each letter is and nothing else. With the largest rate the loss first shoots far above guessing: that is a
spike. It comes back, but not to where the others are. (Adam's steps have the length of the learning rate. When that is
as large as the weights themselves, each step replaces the model.)

The best rate is not a constant of nature. It becomes smaller in larger models, and depends on batch and schedule. In
chapter 4 that matters: who compares two models at a rate that suits only one of them compares nothing.
"""

# %% [markdown]
r"""
## Exercise 8 · A data pipeline  ★★ · 80 min

**Idea.** A model becomes what it reads, and what lies around on the net is mostly not worth reading: pages that exist a
thousand times, menus, tables of prices, other people's telephone numbers. Between the heap and the corpus stands a
pipeline, and you build one in seven small functions.

*Provenance first.* Each document carries where it is from and under which **licence**; every step hands that on. A
well-known list of training sources names "Books3" as if it were a library like any other. It was a collection of
pirated books, was withdrawn in 2023, and the courts are busy with it. A corpus without provenance cannot be repaired
later.

*Exact copies* are found by a hash of the text: equal texts, equal hashes. Two rules. Decide what counts as equal (here:
white space does not). And use a hash that is the same tomorrow and on another machine. Python's own `hash()` of a text
is different in every process.

*Near copies* differ in a date or a name. Cut a text into all runs of k words, its **shingles**, as a set. How alike two
texts are is the **Jaccard similarity** of their sets:

$$J(A, B) = \frac{|A \cap B|}{|A \cup B|}$$

A million documents make 500 billion pairs, so nobody compares them all. Two ideas help.

**MinHash.** Give every possible shingle a random number. The smallest number in A and the smallest in B are the same
exactly if the smallest of *both together* lies in both sets. Every shingle has the same chance to be that one. So the
probability is J! Repeat it with many hash functions, and the share of equal minima estimates J.

**Bands.** Cut the signature of b · r numbers into b bands of r. Two texts are *candidates* if all numbers of at least
one band agree. That happens with probability

$$P(\text{candidate}) = 1 - (1 - J^r)^b$$

a curve like an S: nearly 0 for different texts, nearly 1 for near copies. Equal bands are found with a dictionary,
without comparing pairs. But a candidate is only a suspicion. Each is *verified* with the true J, and what hangs
together through a chain of verified pairs is one **cluster** (the usual tool is called *union-find*). One document of
each cluster stays.

*Quality.* A score says how much a text looks like those that you trust, and a threshold says what stays. The threshold
comes from a reference, never from what you are about to test with.

*Personal data* is found by patterns: e-mail addresses, public IP addresses, telephone numbers. The hard part is what
only looks like it: `x@w.mean(0)` is Python, 1.10.2.3.4 is a version. Whoever reports how much a filter finds (*recall*)
has to report, too, how much of what it finds is right (*precision*).
"""

# %% [markdown]
r"""
**Predict.** 112 numbers in a signature, 14 bands of 8. A pair with J = 0.8 becomes a candidate with which probability:
0.5, 0.8 or 0.92? And with 9 bands of 13?

<details><summary>Answer</summary>

$0.8^8 = 0.168$, and $1 - (1 - 0.168)^{14} = 0.92$. With 9 bands of 13 it is 0.40. Yet $(1/b)^{1/r}$, a rule for "the
threshold", gives 0.72 for the first and 0.84 for the second. The place where the curve is steep is not the place
where pairs are safe.
</details>
"""


# %% exercise="minhash"
import hashlib
import ipaddress
import re
from itertools import combinations
from typing import NamedTuple


class Document(NamedTuple):
    """Given: a text and its licence. (Real pipelines carry the source and the date, too.)"""

    text: str
    licence: str = "unknown"


def stable_hash(text: str) -> int:
    """Given: a number below 2^32 that belongs to the text, on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")


def coefficients(num_perm: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Given: a and b of num_perm hash functions, uint64 [num_perm] each; they follow from the seed alone."""
    draws = [hashlib.blake2b(f"{seed} {i}".encode(), digest_size=16).digest() for i in range(num_perm)]
    pairs = np.frombuffer(b"".join(draws), dtype="<u8").reshape(num_perm, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]


def exact_dedup(docs: list[Document], seen: set | None = None) -> list[Document]:
    """Return the documents without copies: the first of each stays, whole and in its order.

    A document has a text and a licence. Two texts are the same if they are equal after every run of white space has
    become one space and none is left at the ends; letter case counts. seen holds what earlier calls have seen, in a
    form of your choice, and is added to: so copies are found across shards. None: nothing has been seen.

    Forbidden in all seven functions: datasketch, sklearn, networkx and scipy, which do it all.

    >>> [doc.text for doc in exact_dedup([Document("to be"), Document("or not"), Document("to  be")])]
    ['to be', 'or not']
    """
    ### BEGIN SOLUTION
    seen = set() if seen is None else seen
    kept = []
    for doc in docs:
        key = hashlib.blake2b(" ".join(doc.text.split()).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            kept.append(doc)
    return kept
    ### END SOLUTION


def shingles(text: str, k: int = 5) -> set[str]:
    """Return the set of all runs of k words, each as the words with single spaces between them.

    Words are runs of letters and digits, in lower case; all else, the underscore too, only separates them. A text with
    fewer than k words has one shingle, all its words; a text without words has none.

    >>> sorted(shingles("The cat,  the CAT!\\nThe cat", k=2))
    ['cat the', 'the cat']
    """
    ### BEGIN SOLUTION
    words = re.findall(r"[^\W_]+", text.lower())
    return {" ".join(words[i : i + k]) for i in range(max(1, len(words) - k + 1))} if words else set()
    ### END SOLUTION


def minhash(text: str, k: int = 5, num_perm: int = 128, seed: int = 0) -> np.ndarray:
    """Return the signature of a text, an array of dtype uint32 [num_perm].

    With a, b = coefficients(num_perm, seed) and x = stable_hash(shingle), hash function i gives the upper 32 bits of
    (a[i] * x + b[i]) mod 2^64. Number i of the signature is the least value of function i over all shingles of the
    text; 2^32 - 1 where there is none. (Products of uint64 arrays wrap around at 2^64 by themselves.)

    >>> a, b = minhash("one two three four", k=2), minhash("ONE two; three four", k=2)
    >>> a.shape, bool((a == b).all())
    ((128,), True)
    """
    ### BEGIN SOLUTION
    x = np.array([stable_hash(shingle) for shingle in shingles(text, k)], dtype=np.uint64)
    if not len(x):
        return np.full(num_perm, 2**32 - 1, dtype=np.uint32)
    a, b = coefficients(num_perm, seed)
    values = (x[:, None] * a + b) >> np.uint64(32)  # [shingles, num_perm]
    return values.min(axis=0).astype(np.uint32)
    ### END SOLUTION


def lsh_candidates(sigs: np.ndarray, bands: int) -> set[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of rows of sigs [N, num_perm] that agree in all numbers of at least one band.

    A band has num_perm // bands numbers, one band beside the other; what is left over at the end is not looked at. A
    row that is 2^32 - 1 throughout belongs to a text without words, and is nobody's candidate.

    >>> sorted(lsh_candidates(np.array([[1, 2, 3, 4], [1, 2, 0, 0], [0, 0, 3, 5]]), bands=2))
    [(0, 1)]
    """
    ### BEGIN SOLUTION
    rows = sigs.shape[1] // bands
    full = [i for i in range(len(sigs)) if (sigs[i] != 2**32 - 1).any()]
    pairs = set()
    for band in range(bands):
        buckets: dict[bytes, list[int]] = {}
        for i in full:
            buckets.setdefault(sigs[i, band * rows : (band + 1) * rows].tobytes(), []).append(i)
        for members in buckets.values():
            pairs.update(combinations(members, 2))
    return pairs
    ### END SOLUTION


def duplicate_clusters(texts: list[str], pairs: set, threshold: float = 0.8, k: int = 5) -> list[list[int]]:
    """Return the clusters of two or more near-duplicates: places in `texts` in rising order, clusters by their first.

    A candidate pair counts if the Jaccard similarity of the two sets of shingles is at least threshold. Pairs that are
    connected, by a chain of any length, make one cluster. Only pairs in `pairs` are compared.

    >>> heap = ["a b c d", "A b c d!", "x y z", "a, b: c d"]
    >>> duplicate_clusters(heap, {(0, 1), (1, 3), (0, 2)}, k=2)
    [[0, 1, 3]]
    """
    ### BEGIN SOLUTION
    parent = list(range(len(texts)))

    def top(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    sets = {i: shingles(texts[i], k) for pair in pairs for i in pair}
    for i, j in pairs:
        both = len(sets[i] | sets[j])
        if not both or len(sets[i] & sets[j]) / both >= threshold:
            low, high = sorted((top(i), top(j)))
            parent[high] = low
    clusters: dict[int, list[int]] = {}
    for i in range(len(texts)):
        clusters.setdefault(top(i), []).append(i)
    return [members for members in clusters.values() if len(members) > 1]
    ### END SOLUTION


def quality_filter(docs: list[Document], scorer, q: float, reference: list[Document] | None = None) -> list[Document]:
    """Return the documents whose score is not below a threshold, in their order.

    scorer(text) gives a number for a text (not for a document), the higher the better. The threshold is the q-quantile
    of the scores of the documents in `reference`, or of docs where that is None: np.quantile(scores, q,
    method="inverted_cdf"), one of the scores.

    >>> [doc.text for doc in quality_filter([Document("a"), Document("long"), Document("longest")], len, 0.5)]
    ['long', 'longest']
    """
    ### BEGIN SOLUTION
    known = [scorer(doc.text) for doc in (docs if reference is None else reference)]
    threshold = np.quantile(known, q, method="inverted_cdf")
    return [doc for doc in docs if scorer(doc.text) >= threshold]
    ### END SOLUTION


def redact_pii(text: str) -> str:
    """Replace personal data by <EMAIL>, <IP_ADDRESS> and <PHONE>; all else stays as it is.

    A find is whole, or nothing is replaced: no letter, digit or _ stands right before it, none right behind it, and no
    dot with one of them after it. (A full stop may follow, and stays.) Letters are a to z and A to Z.

    - An e-mail address: letters, digits and . _ % + - before the @, the first of them a letter or digit; behind it
      parts of letters, digits and - with dots between them, the last part of two letters or more. An opening bracket
      ( or [ right behind it means that it is Python's matrix product, and it stays.
    - An IP address: four numbers with dots between them, no dot before them, valid and public
      (ipaddress.ip_address(...).is_global). Where "version" or "version:" stands before it, it stays.
    - A telephone number: a plus and 8 to 15 digits, with nothing, one space or one hyphen between two of them. Longer
      rows of digits stay, and so does +1 (415) 555 0100, which is written in another way.

    >>> redact_pii("Ask ada@example.org at 8.8.8.8, not x@w.mean(0) at 127.0.0.1; or call +44 20 7946 0958!")
    'Ask <EMAIL> at <IP_ADDRESS>, not x@w.mean(0) at 127.0.0.1; or call <PHONE>!'
    """

    ### BEGIN SOLUTION
    def address(match: re.Match) -> str:
        before = match.string[: match.start()].lower().rstrip(": ")
        try:
            public = ipaddress.ip_address(match[0]).is_global
        except ValueError:
            public = False
        return "<IP_ADDRESS>" if public and not before.endswith("version") else match[0]

    email = r"(?<!\w)[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?!\.?\w|[(\[])"
    text = re.sub(email, "<EMAIL>", text)
    text = re.sub(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)", address, text)
    return re.sub(r"(?<!\w)\+\d(?:[ -]?\d){7,14}(?!\.?\w|[ -]\d)", "<PHONE>", text)
    ### END SOLUTION


# %% check="minhash"
check(exact_dedup, shingles, minhash, lsh_candidates, duplicate_clusters, quality_filter, redact_pii)

# %% [markdown]
r"""
**Experiment: the S.** We make pairs of texts whose similarity is known exactly, sign them with your `minhash`, and
count how often your `lsh_candidates` finds them. Two ways to cut about the same number of values into bands; the
formula as a line.

<details><summary><b>Predict:</b> which of the two, 14 bands of 8 or 9 bands of 13, finds more pairs? And which has more
false alarms?</summary>

More and shorter bands find more, of everything. There is no free choice: the curve moves to the left, and with it the
number of candidates that have to be verified for nothing.
</details>
"""

# %% tags=["experiment"]
sign, suspects = stand_in(minhash), stand_in(lsh_candidates)


def pair_with(shared: int, own: int, number: int) -> tuple[str, str]:
    """Two texts of single words: J = shared / (shared + 2 own), to the last digit."""
    common = [f"both{number}x{n}" for n in range(shared)]
    return tuple(" ".join([*common, *(f"{side}{number}x{n}" for n in range(own))]) for side in ("left", "right"))


PAIRS = {"quick": 60, "full": 300, "gpu": 300}[scale()]
CUTS = {(14, 8): 0, (9, 13): 1}
levels, share = [], {cut: [] for cut in CUTS}
for own in (1, 2, 3, 4, 5, 6, 8, 10, 14, 20):
    shared = 40 - 2 * own if own < 14 else 20
    levels.append(shared / (shared + 2 * own))
    texts = [text for n in range(PAIRS) for text in pair_with(shared, own, n)]
    sigs = np.stack([sign(text, 1, 117) for text in texts])
    for bands, height in CUTS:
        hits = suspects(sigs[:, : bands * height], bands)
        share[bands, height].append(sum((2 * n, 2 * n + 1) in hits for n in range(PAIRS)) / PAIRS)

fig, ax = plt.subplots(figsize=(7.5, 3.6))
line = np.linspace(0.2, 1, 200)
for (bands, height), k in CUTS.items():
    look = plots.line(k)
    ax.plot(line, 1 - (1 - line**height) ** bands, color=look["color"], linestyle=look["linestyle"])
    label = f"{bands} bands of {height}: points measured, line by the formula"
    ax.plot(levels, share[bands, height], label=label, **(look | {"linestyle": ""}))
ax.axvline(0.8, color="#444444", linewidth=1, linestyle=":")
ax.text(0.795, 0.03, "J = 0.8", ha="right", fontsize=9)
ax.set(xlabel="true similarity J of the pair", ylabel="share of pairs that are candidates", ylim=(-0.03, 1.05))
ax.legend(fontsize=9, loc="upper left")
display.show(
    fig,
    alt="Share of pairs that become candidates over their similarity: two curves like an S, with measured points close "
    "to the lines of the formula. "
    + " ".join(
        f"{bands} bands of {height}: "
        + ", ".join(f"J {j:.2f}: {s:.2f}" for j, s in zip(levels, share[bands, height], strict=True))
        + "."
        for bands, height in CUTS
    ),
)

# %% [markdown]
r"""
**What to see.** The points follow the formula, a little below it in the steep part. (It takes the hash functions as
fully independent; ours are only so in pairs. The rest is the noise of few pairs.) At J = 0.8 the long bands miss more
than half. Who asks a library for "threshold 0.8" should know which of the two curves it takes.
"""

# %% [markdown]
r"""
**Experiment: clean, dirty, repeated.** Some five hundred docstrings from the standard library are our good texts. We
spoil the heap: half of them get three noisy copies each, others an exact copy, some mention a person, and three times
as many characters are junk (menus, base64, lists of numbers). Then your pipeline cleans the heap, and three equal
models read *equally many* characters: from the clean corpus, from the dirty heap, and from a fortieth of the clean
corpus over and over. All are tested on docstrings of other files.

<details><summary><b>Predict:</b> order the three by their loss on new docstrings.</summary>

One expects clean before dirty: every character that the model spends on junk is missing for text. How bad repetition is
depends on how often a text comes. Here it comes more than fifty times, and a model begins to know it by heart.
</details>
"""

# %% tags=["experiment"]
import base64
import random
from collections import Counter
from itertools import islice

from course_lib.attention import GPT as Reader
from course_lib.attention import GPTConfig
from course_lib.attention.training import mean_loss, random_windows, train

same_text, cluster = stand_in(exact_dedup), stand_in(duplicate_clusters)
sieve, redact = stand_in(quality_filter), stand_in(redact_pii)
dice = random.Random(0)

by_file: dict[str, list[str]] = {}
for name, doc in islice(corpus.python_documents("docstrings"), 1600):
    if 120 <= len(doc) <= 600:
        by_file.setdefault(name, []).append(doc)
files = sorted(by_file)
dice.shuffle(files)  # whole files on one side: a docstring and its sister must not meet
cut = len(files) * 4 // 5
good = [Document(doc, "PSF-2.0") for name in files[:cut] for doc in by_file[name]]
unseen = "\n".join(doc for name in files[cut:] for doc in by_file[name])


def noisy(text: str) -> str:
    """A copy in which a few words are exchanged, as on a mirrored page."""
    words = text.split(" ")
    for n in dice.sample(range(len(words)), max(1, len(words) // 60)):
        words[n] = dice.choice(("example", "2019", "mirror", "edited"))
    return " ".join(words)


def junk(size: int) -> str:
    kind = dice.randrange(3)
    if kind == 0:
        return " | ".join(dice.choice(("Home", "Login", "Cart", "Next", "Share", "Top")) for _ in range(size // 8))
    if kind == 1:
        return base64.b64encode(dice.randbytes(size * 3 // 4)).decode()
    return "\n".join(f"{dice.random():.6f};{dice.randrange(10**6)}" for _ in range(size // 16))


heap = [*good]
for doc in good:
    if dice.random() < 0.5:
        heap += [Document(noisy(doc.text), "unknown") for _ in range(3)]
    elif dice.random() < 0.3:
        heap.append(Document(doc.text + "\n", "unknown"))
planted = 0
for n in range(0, len(heap), 25):
    heap[n] = heap[n]._replace(text=heap[n].text + f"\nContact: {dice.choice(('ada', 'alan'))}{n}@example.org")
    planted += 1
heap += [Document(junk(len(doc.text)), "unknown") for doc in heap for _ in range(3)]
dice.shuffle(heap)
heap.sort(key=lambda doc: doc.licence == "unknown")  # of copies, the one with a known licence shall stay

words_of_reference = Counter(corpus.python_reference().lower().split())
frequent = {word for word, _ in words_of_reference.most_common(800) if word.isalpha()}
topics = islice(corpus.python_documents("reference"), 40)
trusted = [Document(part) for _, topic in topics for part in topic.split("\n\n")]
trusted = [doc for doc in trusted if len(doc.text) > 150]


def looks_like_prose(text: str) -> float:
    """The share of words among the 800 most frequent of the language reference: as simple as can be."""
    words = text.lower().split()
    return sum(word in frequent for word in words) / max(1, len(words))


stages = {"heap": heap}
stages["exact copies out"] = same_text(heap)
stages["junk out"] = sieve(stages["exact copies out"], looks_like_prose, 0.07, trusted)
texts = [doc.text for doc in stages["junk out"]]
pairs = suspects(np.stack([sign(text, 3, 112) for text in texts]), 28)
groups = cluster(texts, pairs, 0.6, 3)
doubles = {n for group in groups for n in group[1:]}
stages["near copies out"] = [doc for n, doc in enumerate(stages["junk out"]) if n not in doubles]
clean = [doc._replace(text=redact(doc.text)) for doc in stages["near copies out"]]
marks = sum(doc.text.count("<EMAIL>") for doc in clean)

joined = {
    "clean": "\n".join(doc.text for doc in clean),
    "dirty": "\n".join(doc.text for doc in dice.sample(heap, len(heap))),
}
joined["a fortieth, repeated"] = joined["clean"][: len(joined["clean"]) // 40]
alphabet = sorted(set("".join(joined.values())) | set(unseen))
place = {c: n for n, c in enumerate(alphabet)}
fresh = torch.tensor([place[c] for c in unseen])
windows_of_test = [(row[:, :-1], row[:, 1:]) for row in fresh[: len(fresh) // 65 * 65].view(-1, 65).split(64)]
steps, width = {"quick": (260, 48), "full": (1500, 96), "gpu": (4000, 192)}[scale()]
results, losses = {}, {}
for name, joined_text in joined.items():
    torch.manual_seed(0)
    reader = Reader(GPTConfig(len(alphabet), 64, n_layers=2, n_heads=4, d_model=width)).to(DEVICE)
    ids = torch.tensor([place[c] for c in joined_text]).to(DEVICE)
    losses[name] = train(reader, random_windows(ids, 12, 64), steps, lr=4e-3, warmup=20)
    results[name] = mean_loss(reader, [(a.to(DEVICE), b.to(DEVICE)) for a, b in windows_of_test])

fig, axes = plt.subplots(1, 2, figsize=(9.8, 3.4), width_ratios=[1.15, 1])
counts = {name: (sum(d.licence != "unknown" for d in docs), len(docs)) for name, docs in stages.items()}
known, everything = np.array(list(counts.values())).T
axes[0].barh(range(4), known, label="licence known (originals)", **plots.bar(0))
axes[0].barh(range(4), everything - known, left=known, label="copies and junk", **plots.bar(1))
for n, total in enumerate(everything):
    axes[0].text(total + 40, n, f"{total}", va="center", fontsize=9)
axes[0].set_yticks(range(4), counts)
axes[0].invert_yaxis()
axes[0].set(xlabel="documents", title="What each stage leaves", xlim=(0, 1.15 * everything.max()))
axes[0].grid(axis="y", visible=False)
axes[0].legend(fontsize=8.5, loc="lower right")
for n, value in enumerate(results.values()):  # points, no bars: the axis does not begin at 0
    axes[1].plot(n, value, **(plots.line(n) | {"markersize": 9, "linestyle": ""}))
    axes[1].text(n, value + 0.02, f"{value:.2f}", ha="center", fontsize=9)
axes[1].set_xticks(range(3), [name.replace(", ", ",\n") for name in results])
axes[1].set(ylabel="loss on new docstrings, nats", title=f"After {steps * 12 * 64:,} characters each")
axes[1].set(xlim=(-0.5, 2.5), ylim=(min(results.values()) - 0.1, max(results.values()) + 0.1))
axes[1].grid(axis="x", visible=False)
display.show(
    fig,
    alt="Left, documents after each stage: "
    + "; ".join(f"{name}: {total}, of them {k} with a known licence" for name, (k, total) in counts.items())
    + ". Right, loss on new docstrings after equally many characters: "
    + "; ".join(f"{name}: {value:.2f}" for name, value in results.items())
    + ". The axis does not begin at 0.",
)
times = steps * 12 * 64 / len(joined["a fortieth, repeated"])
print(f"training loss at the end: {', '.join(f'{n} {np.mean(v[-20:]):.2f}' for n, v in losses.items())}")
left = sum("@example.org" in doc.text for doc in clean)
print(
    f"the fortieth was read {times:.0f} times, the clean corpus {times / 40:.1f} times\n"
    f"{planted} addresses in the heap; {marks} in documents that stayed, now <EMAIL>; {left} can be read"
)

# %% [markdown]
r"""
**What to see.** On the left, the bars shrink to nearly what was good at the start. Each stage removes what the others
cannot see: near copies are perfect prose, junk has no double. Look at the price, too. Some originals are gone: those
that do not look like the reference, and some that are near copies by nature, like the docstrings of sister functions.
Whoever filters by likeness to a reference gets more of the same.

On the right, clean text is ahead. We tried three seeds, with other files held out each time: it beat the repeated piece
in all of them, by 0.1 to 0.2 nats, and the heap by 0.2 in two; in one they were level. So much for one picture at the
quick size. The two rivals lose for different reasons. In the heap most of what is read is junk, and teaches nothing.
The piece that is read some sixty times is being learned by heart. Larger models and longer runs learn more by heart.
Our longer preset (`COURSE_SCALE=full`) read it 383 times, and its loss on new docstrings rose to 7.0, against 2.3 for
the heap and 1.9 for the clean corpus. See *Deduplicating Training Data Makes Language Models Better* (Lee et al.,
2022).

Look at the line of *training* losses, too: both rivals are below the clean corpus. The repeated piece, because the
model knows it by heart; the heap, because much junk is easy to predict ("Home | Login | Cart"). A training loss says
how predictable the text is that was read. It compares nothing across corpora.

And the addresses? None of those that we planted can be read any more. But look at the numbers: most went with documents
that were thrown out for another reason, and the redaction caught the rest. They had the simplest form that there is.
Recall on planted data says little about real data, where people write "ada at example dot org".
"""

# %% [markdown]
r"""
## Exercise 9 · Packing and document masks  ★ · 20 min

**Idea.** A batch is a block of N rows of T tokens. Documents are not: one has 30 tokens, the next 3,000. The obvious
way is one document per row, filled up with padding. Then most of the arithmetic is spent on nothing, since a padded
place costs as much as a real one. So pretraining **packs**: all documents one behind the other, an *end token* after
each, and the whole stream is cut every T tokens. No place is wasted. A long document simply goes on in the next row.

The price is that a row may hold the end of one document and the beginning of another, and plain causal attention looks
across. A **document mask** forbids it. Number the documents in the row; then position t may look at s if

$$s \le t \quad\text{and}\quad \mathrm{doc}(s) = \mathrm{doc}(t)$$

The mask is a row of triangles along the diagonal. The end token belongs to the document that it ends: it has to see the
document, to be predicted well and to predict nothing about the next. And **positions** count from 0 in each document,
as if it stood alone in its row.
"""

# %% [markdown]
r"""
**Predict.** Ten documents of 30 tokens each, T = 100. How many rows with padding, how many with packing? What share of
the places does padding waste? And with the mask: how many places may the last token of the third document see, itself
and no end token included?

<details><summary>Answer</summary>

Padding: ten rows of 100, of which 700 places, 70%, are empty. Packing: ten times 31 tokens make 310, so four rows; the
last is filled up with 90 end tokens. The last token of the third document sees the 30 tokens of its own document. (It
stands at place 91 in the row, counted from 0. Without a mask it sees all 92 places up to itself.)
</details>
"""


# %% exercise="document_mask"
def pack(docs: list[list[int]], T: int, eos: int) -> Tensor:
    """Join the documents, eos after each of them, and cut the stream into rows: int64 [N, T].

    The order stays and no token is lost. Where the last row is not full, more eos fill it. No document holds eos; the
    documents themselves stay as they are. Nothing is forbidden in this exercise.

    >>> pack([[1, 2, 3], [4], [5, 6]], T=4, eos=0)
    tensor([[1, 2, 3, 0],
            [4, 0, 5, 6],
            [0, 0, 0, 0]])
    """
    ### BEGIN SOLUTION
    stream = [token for doc in docs for token in (*doc, eos)]
    stream += [eos] * (-len(stream) % T)
    return torch.tensor(stream, dtype=torch.int64).view(-1, T)
    ### END SOLUTION


def document_mask(ids: Tensor, eos: int) -> Tensor:
    """Who may look at whom, [..., T] -> bool [..., T, T]: True where the query (row) may look at the key (column).

    A token sees itself and what stands before it in its own document; an end token is the last of its document. A batch
    of rows [B, T] gives a mask for each row, [B, T, T].

    >>> document_mask(torch.tensor([1, 0, 2, 3]), eos=0).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 0, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    >>> document_mask(torch.tensor([[1, 0, 2], [0, 1, 2]]), eos=0).shape
    torch.Size([2, 3, 3])
    """
    ### BEGIN SOLUTION
    ends = (ids == eos).long()
    number = ends.cumsum(-1) - ends  # how many documents have ended before this place
    return (number[..., :, None] == number[..., None, :]).tril()
    ### END SOLUTION


def document_positions(ids: Tensor, eos: int) -> Tensor:
    """The place of each token in its document, from 0: [..., T] -> int64 [..., T]; the row's first token has 0.

    >>> document_positions(torch.tensor([1, 2, 0, 3, 0, 4]), eos=0)
    tensor([0, 1, 2, 0, 1, 0])
    >>> document_positions(torch.tensor([[1, 0, 2], [0, 1, 2]]), eos=0)
    tensor([[0, 1, 0],
            [0, 0, 1]])
    """
    ### BEGIN SOLUTION
    place = torch.arange(ids.shape[-1], device=ids.device).expand(ids.shape)
    starts = torch.zeros_like(place)
    starts[..., 1:] = torch.where(ids[..., :-1] == eos, place[..., 1:], 0)
    return place - starts.cummax(-1).values
    ### END SOLUTION


# %% check="document_mask"
check(pack, document_mask, document_positions)

# %% [markdown]
r"""
**Experiment: what a stranger tells.** Docstrings of the standard library, character by character, one behind the other
in the order of the files. Two equal models are trained on the same packed rows: one with the causal mask, one with your
document mask and your positions. Then we ask both, on held-out docstrings, how well they predict the first, second,
third ... character of a document. Each is asked in the way in which it was trained. To see what comes from *whose*
neighbours, the documents stand there once in the order of the files and once shuffled.

<details><summary><b>Predict:</b> a docstring's neighbour comes from the same file. Does it help or disturb to see it?
Where would you look for the difference?</summary>

Look at the first characters of a document: later ones have enough of their own. There a *related* neighbour can help:
it tells about style and vocabulary. A shuffled one knows nothing about this document. Whether it disturbs is what the
experiment is to tell; a model can also learn to ignore what stands behind an end token.
</details>
"""

# %% tags=["experiment"]
from itertools import islice

from course_lib.attention import GPT as MaskedGPT
from course_lib.attention import GPTConfig

fill, fence, count_from_zero = stand_in(pack), stand_in(document_mask), stand_in(document_positions)

docstrings = [doc for _, doc in islice(corpus.python_documents("docstrings"), 2500) if 40 <= len(doc) <= 400]
seen_often = sorted(c for c in set("".join(docstrings)) if sum(doc.count(c) for doc in docstrings[::9]) > 15)
CODES = {c: i for i, c in enumerate(seen_often, 1)}  # 0 is the end token
DOCS = [[CODES[c] for c in doc if c in CODES] for doc in docstrings]
SIZE, ROW = len(CODES) + 1, 96
edge = len(DOCS) * 9 // 10
steps, width = {"quick": (180, 32), "full": (2000, 96), "gpu": (5000, 192)}[scale()]
rows = fill(DOCS[:edge], ROW + 1, 0)
order = torch.randperm(len(DOCS) - edge, generator=torch.Generator().manual_seed(0)).tolist()
tests = {
    "in the order of the files": fill(DOCS[edge:], ROW + 1, 0),
    "shuffled": fill([DOCS[edge + n] for n in order], ROW + 1, 0),
}


def logits_for(model: nn.Module, ids: Tensor, fenced: bool) -> Tensor:
    if not fenced:
        return model(ids)
    return model(ids, mask=fence(ids, 0)[:, None], positions=count_from_zero(ids, 0))


def trained_model(fenced: bool) -> nn.Module:
    torch.manual_seed(0)
    model = MaskedGPT(GPTConfig(SIZE, ROW, n_layers=2, n_heads=4, d_model=width)).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        batch = rows[torch.randint(len(rows), (12,), generator=generator)].to(DEVICE)
        ids, targets = batch[:, :-1], batch[:, 1:]
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 20) * (1 - step / steps)
        loss = F.cross_entropy(logits_for(model, ids, fenced).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@torch.no_grad()
def loss_by_place(model: nn.Module, table: Tensor, fenced: bool, longest: int = 40) -> np.ndarray:
    """Mean loss of the n-th character of a document, of documents that begin in the second half of a row."""
    total, counted = torch.zeros(longest), torch.zeros(longest)
    for batch in table.split(64):
        ids, targets = batch[:, :-1].to(DEVICE), batch[:, 1:].to(DEVICE)
        losses = F.cross_entropy(logits_for(model, ids, fenced).transpose(1, 2), targets, reduction="none").cpu()
        place = count_from_zero(batch[:, :-1], 0) + 1  # the target's place in its document
        place[batch[:, :-1] == 0] = 0  # behind an end token comes a first character
        started = (batch[:, :-1] == 0).cumsum(1) > 0  # not the rest of a document that began a row earlier
        good = started & (place < longest) & (batch[:, 1:] != 0)
        total.index_add_(0, place[good], losses[good])
        counted.index_add_(0, place[good], torch.ones(int(good.sum())))
    return (total / counted).numpy()


models = {"causal mask": (trained_model(False), False), "document mask": (trained_model(True), True)}
found = {
    (name, way): loss_by_place(model, table, fenced)
    for name, (model, fenced) in models.items()
    for way, table in tests.items()
}
groups = {"1st": slice(0, 1), "2nd to 5th": slice(1, 5), "6th to 15th": slice(5, 15), "16th to 40th": slice(15, 40)}
means = {key: [float(values[part].mean()) for part in groups.values()] for key, values in found.items()}

fig, axes = plt.subplots(1, 2, figsize=(9.8, 3.8), width_ratios=[1, 2.2])
pieces = torch.cat([rows, tests["shuffled"]])[:, :ROW]
piece = max(
    pieces, key=lambda row: min(np.diff([-1, *np.flatnonzero(row == 0), ROW - 1])) if (row == 0).sum() == 2 else -1
)
axes[0].imshow(fence(piece, 0).numpy(), cmap="Greys", vmax=1.6)
axes[0].set(title=f"Your mask, {ROW} places", xlabel="may be looked at", ylabel="looks")
axes[0].grid(visible=False)
shown = [("causal mask", "in the order of the files"), ("causal mask", "shuffled"), ("document mask", "shuffled")]
for k, key in enumerate(shown):
    label = key[0] if key[0] == "document mask" else f"{key[0]}, {key[1]}"
    axes[1].bar(np.arange(4) + 0.27 * (k - 1), means[key], 0.26, label=label, **plots.bar(k))
    for n, value in enumerate(means[key]):
        axes[1].text(n + 0.27 * (k - 1), value + 0.03, f"{value:.2f}", ha="center", fontsize=9)
axes[1].set_xticks(range(4), groups)
axes[1].set(xlabel="character of the document", ylabel="held-out loss, nats", title="How well it begins")
axes[1].set_ylim(0, 1.25 * max(max(values) for values in means.values()))
axes[1].legend(fontsize=8.5, loc="upper right")
axes[1].grid(axis="x", visible=False)
display.show(
    fig,
    alt="Left, a document mask: dark triangles along the diagonal, white elsewhere. Right, held-out loss by the place "
    f"of the character in its document ({', '.join(groups)}). "
    + " ".join(f"{key[0]}, {key[1]}: {', '.join(f'{value:.2f}' for value in means[key])}." for key in shown),
)
padded = sum(-(-(len(doc) + 1) // (ROW + 1)) for doc in DOCS[:edge])
print(f"{edge:,} documents in {len(rows):,} packed rows; with padding there would be {padded:,} rows")

# %% [markdown]
r"""
**What to see.** First a surprise: the sixteenth to fortieth characters are *harder* than the second to fifth, though
more of the document stands before them. Many docstrings begin alike ("Return the ..."), so beginnings are easily
guessed; and a model of this size has learned little from long contexts after so few steps.

Shuffling the neighbours changes almost nothing: this small model has learned to ignore what stands behind an end token,
related or not. The mask makes the beginning of a document a little easier, here by 0.1 to 0.3 nats. That is one seed
and a short run. With three other runs of 220 steps it was between 0 and 0.2 for the second to fifth characters, and
nothing for the sixteenth to fortieth. Nor is it the mask alone: the model behind it also gets positions from 0, which
say "this is the beginning" more clearly than an end token does.

So a document mask is no cure for a bad loss. It is wanted for other reasons: with very long rows the model should not
spend its attention on strangers (the report on Llama 3 says that the mask mattered little in ordinary pretraining but
did for very long sequences), and an answer must not depend on who happens to stand in the same row. Packing itself is
never in doubt: look at the number of rows that padding would need.
"""

# %% [markdown]
r"""
---
# Part IV · The run

Everything is ready: objective, optimiser, schedule, data. In this part you put them together, train a GPT from random
numbers, and watch it learn to spell, then to write words, then something like sentences. Then come three things that
a large run cannot do without: gradients added up over many small batches in numbers of 16 bits, a bill that is written
*before* the money is spent, and a checkpoint from which a broken run goes on. Run the setup cell first; what a section
takes from an earlier exercise it takes by itself.
"""
# %% [markdown]
r"""
---
## Exercise 10 · Pretrain a tiny GPT  ★★ · 60 min

**Idea.** You have the loss, the optimiser, the schedule, the data. Pretraining is the loop that joins them:

1. **Hold out.** Cut off the last tenth of the text. Nothing may ever be trained on it. It tells what the model has
   *learned*, rather than what it remembers.
2. **Draw windows.** Take B random stretches of T + 1 ids. The first T are the inputs, the last T are the targets: at
   each place, the id that comes next.
3. **Step.** Loss, `backward`, clip the gradients, set the learning rate of this step, let AdamW move the weights.
4. **Look.** Every so many steps measure the loss on the held-out text, in evaluation mode (no dropout), then go on in
   training mode. Looking must change nothing: neither the mode, nor what is drawn next.

Everything random (the first weights, the windows, dropout) follows from one generator `g`. Then a run can be repeated
exactly, and two runs that differ in one setting differ for that reason alone.

A loss in nats per character becomes **bits per character** when you divide it by ln 2: as many bits would a perfect
compressor need for each character if it used the model's probabilities. That makes models comparable that have little
else in common. Even `gzip` has a number of bits per character.

**Writing.** To let a model write, give it the text so far, take the logits $z$ at the *last* place, turn them into
probabilities, draw one token, append it, repeat. The **temperature** τ makes it bolder or more careful:

$$p_i = \frac{e^{z_i / \tau}}{\sum_j e^{z_j / \tau}}$$

At τ = 1 these are the model's own probabilities. As τ goes to 0 the likeliest token takes everything.
"""

# %% [markdown]
r"""
**Predict.** Two tokens have probabilities 0.8 and 0.2. What are they at temperature ½, and what at temperature 2? What
would change if you divided the *probabilities* by τ and made them sum to 1 again?

<details><summary>Answer</summary>

Dividing logits by τ raises the probabilities to the power 1/τ, before they are made to sum to 1 again. At τ = ½:
0.64 to 0.04, which is 0.94 and 0.06. At τ = 2: 0.894 to 0.447, which is 0.67 and 0.33. Divided probabilities, made to
sum to 1 again, are the old ones: nothing would change. The softmax comes last.
</details>

**What you may use:** `torch.optim.AdamW`, `nn.utils.clip_grad_norm_`, and `rate_at`, which is your `lr_at` from
Exercise 7 if it has passed its checks, and the course's otherwise; the cell fetches it at its top. Not allowed: the
`transformers` library, ready-made schedulers (`torch.optim.lr_scheduler`), and the course's training loop.
"""

# %% exercise="pretrain"
GPT = mine("GPT")  # yours from Chapter 2 if you have solved it, the course's otherwise
rate_at = stand_in("lr_at")  # yours from Exercise 7 if it passes its checks, the course's otherwise


@torch.no_grad()
def sample(
    model, ids: Tensor, n: int, context_length: int, temperature: float = 1.0, g: torch.Generator | None = None
) -> Tensor:
    """Continue each row of ids by n tokens and return the whole text: [B, T] -> [B, T + n].

    `model` is anything that maps ids [B, up to context_length] to logits [B, T, V]: show it the last context_length
    tokens of each row. Draw each new token from softmax(logits / temperature) at the last place, with the generator g
    (which lives on the CPU). A temperature of 0 means: take the likeliest token. Forbidden: transformers.

    >>> after = torch.eye(3).roll(1, 1)  # a model that knows: after 0 comes 1, after 1 comes 2, after 2 comes 0
    >>> sample(lambda ids: 50 * after[ids], torch.tensor([[0], [1]]), 4, context_length=8)
    tensor([[0, 1, 2, 0, 1],
            [1, 2, 0, 1, 2]])
    """
    ### BEGIN SOLUTION
    for _ in range(n):
        logits = model(ids[:, -context_length:])[:, -1]
        if temperature == 0:
            new = logits.argmax(-1, keepdim=True)
        else:
            new = torch.multinomial((logits.cpu() / temperature).softmax(-1), 1, generator=g)
        ids = torch.cat([ids, new.to(ids.device)], dim=1)
    return ids
    ### END SOLUTION


def pretrain(cfg, data: Tensor, steps: int, g: torch.Generator, observe=None) -> tuple[nn.Module, list[dict]]:
    """Train GPT(cfg) on a row of ids [N]; return the model, in evaluation mode, and a log with a dictionary per step.

    cfg has the sizes of the GPT (vocab_size, context_length, n_layers, n_heads, d_model, dropout) and batch_size, lr,
    warmup, clip, eval_every. The ids from place 9 * N // 10 on are held out; windows of context_length + 1 ids come
    from the others, each start being equally likely. AdamW with betas (0.9, 0.95); all gradients together are clipped
    to the norm cfg.clip; step s = 0, 1, ... has the rate rate_at(s, cfg.warmup, steps, cfg.lr, cfg.lr / 10).

    A log entry has "step" (1, 2, ..., steps), "loss" (mean over the step's windows, before its update, in nats) and
    "lr". Every eval_every steps, and after the last step, it also has "val_loss": the mean loss on the held-out ids, in
    evaluation mode, cut into windows side by side (a rest that fills no window is left out). After each such look call
    observe(step, model.state_dict()), unless observe is None. Everything random follows from g: seed torch with a
    number drawn from it. Model and windows live on the device of data. Forbidden: transformers, ready-made schedulers
    and training loops.

    >>> from types import SimpleNamespace
    >>> cfg = SimpleNamespace(vocab_size=5, context_length=8, n_layers=1, n_heads=2, d_model=16, dropout=0.0,
    ...                       batch_size=8, lr=1e-2, warmup=5, clip=1.0, eval_every=20)
    >>> model, log = pretrain(cfg, torch.tensor([0, 3, 1, 4, 2]).repeat(60), 40, torch.Generator().manual_seed(0))
    >>> [entry["step"] for entry in log if "val_loss" in entry], log[-1]["val_loss"] < 0.3 < log[0]["loss"]
    ([20, 40], True)
    """
    ### BEGIN SOLUTION
    T, cut = cfg.context_length, 9 * len(data) // 10
    train, held_out = data[:cut], data[cut:]
    rows = (len(held_out) - 1) // T
    looked_at = held_out[: rows * T].view(rows, T), held_out[1 : rows * T + 1].view(rows, T)

    torch.manual_seed(int(torch.randint(2**40, (), generator=g)))
    model = GPT(cfg).to(data.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, betas=(0.9, 0.95))

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def look() -> float:
        model.eval()
        parts = zip(*(ids.split(64) for ids in looked_at), strict=True)
        total = sum(loss_of(inputs, targets).item() * len(inputs) for inputs, targets in parts)
        model.train()
        return total / rows

    log = []
    model.train()
    for step in range(steps):
        starts = torch.randint(cut - T, (cfg.batch_size, 1), generator=g)
        windows = train[(starts + torch.arange(T + 1)).to(data.device)]  # [B, T + 1]
        loss = loss_of(windows[:, :-1], windows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), cfg.clip)
        lr = rate_at(step, cfg.warmup, steps, cfg.lr, cfg.lr / 10)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        log.append({"step": step + 1, "loss": loss.item(), "lr": lr})
        if (step + 1) % cfg.eval_every == 0 or step + 1 == steps:
            log[-1]["val_loss"] = look()
            if observe:
                observe(step + 1, model.state_dict())
    return model.eval(), log
    ### END SOLUTION


# %% check="pretrain"
check(sample, pretrain)

# %% [markdown]
r"""
**Experiment: a real run.** The text: docstrings of Python's standard library, character by character. Two decisions
are made before anything is trained:

- The held-out tenth consists of *whole modules*, chosen by a hash of their names: the same ones that the course's base
  model never read. A module and its docstrings repeat themselves; a cut in the middle would leak.
- The docstrings of six packages are put aside altogether. Exercise 14 will use them as a test, and a test that a model
  has met in pretraining is none.
"""

# %% tags=["experiment"]
from types import SimpleNamespace

from course_lib.pretraining import python_corpus, split_of

PACKAGES = ("tkinter", "asyncio", "email", "importlib", "logging", "xml")

read, held_out_text, PUT_ASIDE = [], [], {name: [] for name in PACKAGES}
for document in python_corpus(["docstrings"]):
    package = document.group.split("/")[0].removesuffix(".py")
    if package in PUT_ASIDE:
        PUT_ASIDE[package].append(document.text)
    else:
        (held_out_text if split_of(document.group, 0.1) == "val" else read).append(document.text)
every = "\n\n".join(read)
CHARACTERS = "".join(c for c in sorted(set(every)) if every.count(c) > 200)
NUMBER = {c: i for i, c in enumerate(CHARACTERS)}
# Three ids that no text contains, for Exercise 14: their rows of the table are there from the start.
TASK, END, PAD = range(len(CHARACTERS), len(CHARACTERS) + 3)


def numbered(text: str) -> list[int]:
    """The ids of a text; rare characters are left out."""
    return [NUMBER[c] for c in text if c in NUMBER]


def lettered(ids: list[int]) -> str:
    """The text of some ids."""
    return "".join(CHARACTERS[i] if i < len(CHARACTERS) else "·" for i in ids)


held_out_ids = numbered("\n\n".join(held_out_text))
train_ids = numbered(every)[: 9 * len(held_out_ids)]
DATA = torch.tensor(train_ids + held_out_ids[: len(train_ids) // 9], device=DEVICE)  # the last tenth: whole modules
cfg = SimpleNamespace(
    vocab_size=len(CHARACTERS) + 3,
    context_length={"quick": 64, "full": 128, "gpu": 256}[scale()],
    n_layers={"quick": 2, "full": 4, "gpu": 6}[scale()],
    n_heads=4,
    d_model={"quick": 64, "full": 128, "gpu": 384}[scale()],
    dropout=0.0,
    batch_size={"quick": 16, "full": 32, "gpu": 64}[scale()],
    lr={"quick": 5e-3, "full": 3e-3, "gpu": 1e-3}[scale()],
    warmup=50,
    clip=1.0,
)
STEPS = {"quick": 900, "full": 4000, "gpu": 5000}[scale()]
cfg.eval_every = STEPS // 6
CHECKPOINTS = {}


def keep(step: int, state: dict[str, Tensor]) -> None:
    CHECKPOINTS[step] = {name: value.clone() for name, value in state.items()}  # copies: the run goes on


print(
    f"{len(DATA):,} characters, {len(CHARACTERS)} different ones; the last {len(DATA) - 9 * len(DATA) // 10:,} held out"
)
pretrain_here, sample_here = stand_in(pretrain), stand_in(sample)
tiny, tiny_log = pretrain_here(cfg, DATA, STEPS, torch.Generator().manual_seed(1), keep)
tiny_size = sum(p.numel() for p in tiny.parameters())
characters_read = STEPS * cfg.batch_size * cfg.context_length
print(
    f"{tiny_size:,} parameters, {characters_read:,} characters read; held-out loss {tiny_log[-1]['val_loss']:.3f} nats"
)

# %% [markdown]
r"""
**Everybody on one picture.** Your model beside n-grams (the smoothed ones of Kneser and Ney, which have read exactly as
many characters as your model), `gzip`, and the course's base model, which is larger, works with tokens, and was trained
for much longer. All of them are measured on the same piece of the held-out text.

<details><summary><b>Predict:</b> which n-gram model will your GPT beat after this short run?</summary>

It starts above them all: a fresh network knows nothing, while counting learns from every character at once. After
about two hundred steps it passes the bigram. At the quick size it gets about as far as the 3-gram; the 5-gram stays far
ahead. Larger models and longer runs overtake it, as the last bar shows, and the `full` preset: with 820,000 parameters
and 4,000 steps the model ends at 2.14 bits per character, the 5-gram at 2.21.
</details>
"""

# %% tags=["experiment"]
import gzip

import course_lib
from course_lib.pretraining import bits_per_token, kneser_ney, train_kneser_ney

CUT = 9 * len(DATA) // 10
PIECE = DATA[CUT : CUT + {"quick": 12_000, "full": 40_000, "gpu": 60_000}[scale()]].tolist()
piece_text = lettered(PIECE)


@torch.no_grad()
def bits_per_character(model: nn.Module, ids: list[int], T: int, characters: int, batch: int = 16) -> float:
    """-log2 of all probabilities added up, over the number of characters; windows half of which are only read."""
    ids, total = torch.tensor(ids, device=DEVICE), 0.0
    first = model(ids[None, :T])[0, :-1].log_softmax(-1).gather(-1, ids[1:T, None]).sum()
    starts = list(range(T // 2, len(ids) - T - 1, T // 2))
    for group in (starts[i : i + batch] for i in range(0, len(starts), batch)):
        rows = torch.stack([ids[s : s + T + 1] for s in group])
        total += model(rows[:, :-1]).log_softmax(-1).gather(-1, rows[:, 1:, None])[:, T // 2 :].sum()
    counted = T - 1 + len(starts) * (T // 2)
    return -(first + total).item() / math.log(2) / counted * (len(ids) / characters)


found = {}
for order in (1, 2, 3, 5):
    counts = train_kneser_ney(DATA[:CUT][:characters_read].tolist(), order, cfg.vocab_size)
    found[f"{order}-gram"] = bits_per_token(
        PIECE, order, lambda w, context, counts=counts: kneser_ney(w, context, counts)
    )
del counts
found["gzip"] = 8 * len(gzip.compress(piece_text.encode())) / len(piece_text)
found["your GPT"] = bits_per_character(tiny, PIECE, cfg.context_length, len(PIECE))
try:
    base, base_tokenizer = course_lib.base_model()
    base.to(DEVICE)
    base_ids = base_tokenizer.encode(piece_text)
    found["base model"] = bits_per_character(base, base_ids, 256, len(piece_text), batch=4)
    characters_per_token = len(piece_text) / len(base_ids)
except (AttributeError, ImportError, OSError, ValueError) as problem:
    characters_per_token = 4.0
    print(f"The base model is not installed here, so its bar is missing ({type(problem).__name__}).")

looked = [entry for entry in tiny_log if "val_loss" in entry]
fig, (ax, bars) = plt.subplots(1, 2, figsize=(10, 3.9), width_ratios=[1.25, 1])
smooth = np.convolve([entry["loss"] for entry in tiny_log], np.ones(20) / 20, mode="valid") / math.log(2)
ax.plot(np.arange(len(smooth)) + 20, smooth, label="training, mean of 20 steps", **(plots.line(0) | {"marker": ""}))
held = [entry["val_loss"] / math.log(2) for entry in looked]
ax.plot([entry["step"] for entry in looked], held, label="held out", **plots.line(1))
for name, height in found.items():
    if name.endswith("gram") or name == "gzip":
        ax.axhline(height, color="#999999", linewidth=0.9, zorder=0)
        ax.text(1.01, height, name, transform=ax.get_yaxis_transform(), va="center", fontsize=9, color="#555555")
ax.set(xlabel="step", ylabel="bits per character", title="The run", ylim=(min(found["5-gram"], *held) - 0.2, 5.2))
ax.legend(loc="upper center")
ordered = sorted(found.items(), key=lambda item: -item[1])
for row, (name, value) in enumerate(ordered):
    bars.barh(row, value, 0.65, **plots.bar({"your GPT": 1, "base model": 2, "gzip": 3}.get(name, 0)))
    bars.text(value + 0.05, row, f"{value:.2f}", va="center", fontsize=9)
bars.set_yticks(range(len(ordered)), [name for name, _ in ordered])
bars.set(xlabel="bits per character, held out", title="The same text for all", xlim=(0, ordered[0][1] + 0.7))
bars.grid(axis="y", visible=False)
display.show(
    fig,
    alt="Left, bits per character over the steps: training and held-out curves fall, steeply at first, the "
    "held-out one some tenths of a bit above the other, through horizontal lines for the n-gram models and gzip. "
    "Right, bars for the same held-out text: "
    + ", ".join(f"{name} {value:.2f}" for name, value in ordered)
    + " bits per character.",
)

# %% [markdown]
r"""
**What to see.** The held-out curve ends some tenths of a bit above the training curve, though the model has hardly had
time to learn anything by heart. The held-out modules are about other things and use other words. A cut in the middle of
a module would have hidden that. (Your bar is a little lower than the end of the curve: for the bars each character
sees at least half a window of text before it, for the curve those at the beginning of a window see hardly any.) At the
quick size your model passes the bigram and `gzip`, and ends about where the
3-gram is. The 5-gram is far ahead. That is the honest state of affairs at this size: 110,000 parameters that are moved
900 times, against a table of hundreds of thousands of counts in which nothing has to be *found*. The slope is what
counts. Your curve still falls when the run ends; a 5-gram becomes a 6-gram only by seeing nearly everything again. The
base model, where it is installed, shows where the same recipe leads. (`gzip` is at a disadvantage: it has not read the
training text, and has to learn the language from the piece itself. And the base model has read source code as well, so
its lead is not due to its size alone.)

**What does it write?** The same beginning at several checkpoints, drawn by your `sample`, and then the widget: any
checkpoint, any beginning, any temperature.
"""

# %% tags=["experiment"]
from course_lib.pretraining.widgets import checkpoint_writer

STARTED = GPT(cfg).to(DEVICE).eval()


def write(step: int, prompt: str, temperature: float, seed: int, length: int = 160) -> str:
    """What the model of a checkpoint makes of a beginning."""
    STARTED.load_state_dict(CHECKPOINTS[step])
    ids = torch.tensor([numbered(prompt) or [NUMBER["\n"]]], device=DEVICE)
    g = torch.Generator().manual_seed(seed)
    return lettered(sample_here(STARTED, ids, length, cfg.context_length, temperature, g)[0].tolist())


checkpoint_writer(write, list(CHECKPOINTS), prompt="Return the ")

# %% [markdown]
r"""
**What to see.** First the frequencies of letters, then word-like pieces, then real words and the habits of docstrings:
line breaks, indentation, "Return the". Sense does not come at this size. Temperature 0 soon walks in circles, because
the likeliest continuation of a phrase is often the phrase itself. At 1.3 the spelling falls apart.

**Where is this on the map?** Kaplan et al. (2020) measured how the loss of GPTs falls with parameters N, tokens D and
computation. Chapter 4 is about that. Here we only put a flag: how far is your run from the ones they measured? For
enough parameters, their fit is $L(D) = (5.4 \cdot 10^{13} / D)^{0.095}$ nats per token.
"""

# %% tags=["experiment"]
tokens_read = characters_read / characters_per_token
per_token = tiny_log[-1]["val_loss"] * characters_per_token
measured = np.geomspace(22e6, 23e9, 50)
below = np.geomspace(tokens_read / 3, 22e6, 50)
fit = lambda D: (5.4e13 / D) ** 0.095  # noqa: E731
fig, ax = plt.subplots(figsize=(7.6, 3.6))
ax.plot(measured, fit(measured), label="fit of Kaplan et al., where they measured", **(plots.line(0) | {"marker": ""}))
ax.plot(below, fit(below), label="the same formula, where nobody measured", **(plots.line(1) | {"marker": ""}))
ax.plot([tokens_read], [per_token], linestyle="", marker="*", markersize=15, color=plots.COLOURS[2], label="your run")
ax.set(xscale="log", yscale="log", xlabel="tokens of training text", ylabel="held-out loss, nats per token")
ax.set_yticks([2, 3, 4, 6, 8], ["2", "3", "4", "6", "8"])
ax.minorticks_off()
ax.set_title("Far outside of what has been measured")
ax.legend(fontsize=8.5)
display.show(
    fig,
    alt="Loss per token against tokens read, both on logarithmic axes. The fitted line falls from the upper left to "
    f"the lower right; it is solid from 22 million to 23 billion tokens. Your run, at {tokens_read:,.0f} tokens and "
    f"{per_token:.1f} nats per token, lies far to the left of the solid part.",
)
print(f"{6 * tiny_size * characters_read:.1e} FLOPs by 6 N D = {6 * tiny_size * characters_read / 8.64e19:.1e} PF-days")

# %% [markdown]
r"""
**What to see, and what not.** The flag is far to the left of everything they measured (22 million to 23 billion
tokens), so how near it is to the dashed line means nothing. It could not mean much anyway: other text, characters
instead of tokens (the loss of a character was multiplied by the number of characters in a token), a learning rate that
nobody tuned. A law that was fitted in one range does not speak about another. What does carry over is the way to ask.
"""

# %% [markdown]
r"""
## Exercise 11 · Accumulation and precision  ★★ · 35 min

**Idea.** Large models are trained on batches of millions of tokens, and no device holds the activations of so many at
once. So the batch is cut into **micro-batches**. For each of them you compute the gradient, and add it to what you have
so far: **gradient accumulation**. Only then comes one step of the optimiser. Done right, the result is *exactly* that
of the large batch. With $\ell_i$ the loss at token i and n the number of all tokens with a target,

$$\nabla \frac1n \sum_{i} \ell_i \;=\; \sum_{\text{micro-batch } b} \; \nabla \frac{1}{n} \sum_{i \in b} \ell_i$$

Everything is in that n. It is one number for all micro-batches, and it counts *targets*: not rows, not padding.
Libraries return the *mean* loss of each micro-batch. The mean of these means is something else as soon as they differ
in tokens. Until 2024 several widely used training libraries did just that. Nothing crashed; the loss was only a little
off.

**bfloat16** is a number of 16 bits: the upper half of a float32. It has the same 8 bits of exponent, hence the same
range, and of the 23 bits of the fraction it keeps 7. With the leading 1, which need not be stored, that makes **8
significant binary digits**. Between 1 and 2 its numbers are 1/128 apart, between 2 and 4 they are 1/64 apart, and so
on. To round, take the nearest neighbour. Halfway between two, take the one whose last bit is 0 (*ties to even*). Half
the bits mean half the memory traffic, and matrix products on a GPU that are several times as fast.

The danger is in the update, $w \leftarrow w - \eta g$. If the step $\eta g$ is smaller than half the distance to the
next bfloat16, then w is rounded back to where it was. Ten thousand such steps move it nowhere. The cure is a **master
copy** of the weights in float32: work with bfloat16, but add the small steps up where they are not lost.
"""

# %% [markdown]
r"""
**Predict.** (a) Micro-batch A has 2 targets with a mean loss of 4, B has 18 targets with a mean loss of 2. What is the
mean over all tokens? What is the mean of means? (b) A weight is 1.0 in bfloat16, and every step is −0.003. Where is it
after 100 steps?

<details><summary>Answer</summary>

(a) (2 · 4 + 18 · 2) / 20 = 2.2. The mean of means is 3: the two tokens of A count nine times as much as those of B.
(b) At 1.0. *Below* 1 the neighbours are 1/256 = 0.0039 apart, half of that is 0.00195. The step is larger, so 0.997 is
rounded to 0.99609, and from there each step of 0.003 is again rounded to a whole 0.0039: after 100 steps the weight
has gone 0.39 instead of 0.30. Did you say "it does not move"? That is right for steps below 0.00195, and for +0.003:
*above* 1 the distance is 1/128, and 1.003 is rounded back to 1. </details>
"""


# %% exercise="accumulate"
class BigramLM(nn.Module):
    """The smallest language model with gradients: the next token from this one alone. It serves as a guinea pig.

    self.embedding = nn.Embedding(vocab, width); self.head = nn.Linear(width, vocab), with bias.
    forward(ids): [B, T] -> logits [B, T, vocab].

    >>> BigramLM(5, 3)(torch.tensor([[4, 0]])).shape
    torch.Size([1, 2, 5])
    """

    def __init__(self, vocab: int, width: int):
        super().__init__()
        ### BEGIN SOLUTION
        self.embedding = nn.Embedding(vocab, width)
        self.head = nn.Linear(width, vocab)
        ### END SOLUTION

    def forward(self, ids: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        return self.head(self.embedding(ids))
        ### END SOLUTION


def accumulate(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The gradient of the mean loss over all targets of all batches, by parameter name.

    Each batch is (inputs [B, T], targets [B, T]); B and T may differ. A target of -100 is none: it has no loss and does
    not count, and a batch may consist of such targets. model(inputs) returns logits [B, T, V]. One batch after the
    other, never all at once: that is the point. Returns a dictionary with the names of model.named_parameters().
    Parameters stay as they are, and what an earlier call has left in .grad has no influence.

    >>> model = BigramLM(3, 2)
    >>> ids = torch.tensor([[0, 1, 2]])
    >>> list(accumulate(model, [(ids[:, :1], ids[:, 1:2]), (ids[:, 1:2], ids[:, 2:])]))
    ['embedding.weight', 'head.weight', 'head.bias']
    """
    ### BEGIN SOLUTION
    count = sum(int((targets != -100).sum()) for _, targets in batches)
    parameters = dict(model.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for inputs, targets in batches:
        logits = model(inputs)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum") / count
        for name, gradient in zip(total, torch.autograd.grad(loss, list(parameters.values())), strict=True):
            total[name] += gradient
    return total
    ### END SOLUTION


def bf16_round(x: Tensor) -> Tensor:
    """Round each float32 to the nearest bfloat16, ties to even; the result is a new float32 tensor of the same shape.

    x itself stays as it is. Infinity and nan stay what they are, and what lies half a step or more above the largest
    bfloat16 becomes infinite. (Subnormal numbers, below 1.2e-38, are not tested.) Do it by arithmetic or by the bits
    (x.view(torch.int32)): torch's own bfloat16 (torch.bfloat16, Tensor.bfloat16, Tensor.type, torch.autocast) is
    forbidden here.

    >>> bf16_round(torch.tensor([1.0, 1.003, 1.005, 300.7]))
    tensor([  1.0000,   1.0000,   1.0078, 300.0000])
    """
    ### BEGIN SOLUTION
    bits = x.contiguous().view(torch.int32)
    # Half of the last bit that stays, less one unless that bit is 1: then a tie is carried up to the even neighbour.
    up = 0x7FFF + ((bits >> 16) & 1)
    rounded = ((bits + up) & ~0xFFFF).view(torch.float32)
    return torch.where(x.isnan(), x, rounded)
    ### END SOLUTION


# %% check="accumulate"
check(BigramLM, accumulate, bf16_round)

# %% [markdown]
r"""
**Experiment: training that stalls.** A bigram model on characters, trained by plain gradient descent in three ways:
everything in float32; weights rounded to bfloat16 after every step; and with a master copy, that is, the gradient is
computed at rounded weights, but the step is added to float32 weights. Your `accumulate` gives the gradients, from four
micro-batches of unequal length; your `bf16_round` does the rounding. The learning rate is the same in all three.
"""

# %% tags=["experiment"]
gradient_of, round_off, Guinea = stand_in(accumulate), stand_in(bf16_round), stand_in(BigramLM)

letters = sorted(set("abcdefghijklmnopqrstuvwxyz ,.()"))
sentence = [letters.index(c) for c in corpus.python_reference().lower() if c in letters]
stream = torch.tensor(sentence, device=DEVICE)
LENGTHS = (8, 16, 24, 80)  # of the rows in each micro-batch


def micro_batches(generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Four batches of four rows, each of another length."""
    found = []
    for length in LENGTHS:
        starts = torch.randint(len(stream) - length - 1, (4, 1), generator=generator)
        rows = stream[(starts + torch.arange(length + 1)).to(DEVICE)]
        found.append((rows[:, :-1], rows[:, 1:]))
    return found


def descend(kind: str, steps: int, lr: float) -> tuple[list[float], list[float]]:
    """Losses on a fixed test, and the share of weights that each step changed."""
    torch.manual_seed(0)
    model = Guinea(len(letters), 16).to(DEVICE)
    for p in model.parameters():
        p.data = round_off(p.data)
    master = {name: p.data.clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    test_in, test_out = stream[-20_001:-1][None], stream[-20_000:]
    losses, moved = [], []
    for step in range(steps):
        gradients = gradient_of(model, micro_batches(generator))
        changed = total = 0
        for name, p in model.named_parameters():
            before = p.data
            if kind == "bfloat16 only":
                p.data = round_off(before - lr * gradients[name])
            else:
                master[name] = master[name] - lr * gradients[name]
                p.data = round_off(master[name]) if kind == "with a master copy" else master[name]
            changed += (p.data != before).sum().item()
            total += p.numel()
        moved.append(changed / total)
        if step % (steps // 20) == 0 or step + 1 == steps:
            with torch.no_grad():
                losses.append(F.cross_entropy(model(test_in)[0], test_out).item())
    return losses, moved


steps = {"quick": 1000, "full": 6000, "gpu": 6000}[scale()]
KINDS = ("float32", "bfloat16 only", "with a master copy")
descents = {kind: descend(kind, steps, lr=0.03) for kind in KINDS}

fig, axes = plt.subplots(1, 2, figsize=(9.6, 3.4))
for k, (kind, (losses, moved)) in enumerate(descents.items()):
    at = [*range(0, steps, steps // 20), steps - 1][: len(losses)]
    axes[0].plot(at, losses, label=f"{kind}: {losses[-1]:.3f}", **plots.line(k))
    share = np.convolve(moved, np.ones(25) / 25, mode="valid")
    axes[1].plot(share, label=kind, **(plots.line(k) | {"markevery": steps // 8}))
axes[0].set(xlabel="step", ylabel="held-out loss, nats", title="The loss, and where it ends")
axes[1].set(ylim=(0, 1.03), xlabel="step", ylabel="share", title="Share of weights that a step changes")
axes[0].legend(fontsize=9)
axes[1].legend(fontsize=9)
lost = {kind: f"{losses[-1]:.3f} nats" for kind, (losses, _) in descents.items()}
share = {kind: f"{np.mean(moved[-100:]):.0%}" for kind, (_, moved) in descents.items()}
display.show(
    fig,
    alt="Left, held-out loss over the steps; it ends at "
    + ", ".join(f"{value} ({kind})" for kind, value in lost.items())
    + ". Right, the share of weights that one step changes; over the last hundred steps it is "
    + ", ".join(f"{value} ({kind})" for kind, value in share.items())
    + ".",
)

# %% [markdown]
r"""
**What to see.** With a master copy the loss is that of float32, although every gradient was computed at rounded
weights. With bfloat16 alone it ends visibly higher, with the same gradients and the same learning rate. The right
picture says why. In float32 nearly every step changes nearly every weight. With bfloat16 weights alone only a small
part of them moves at all; for the others the step is below half the distance to the neighbour, and it is lost. With
the master copy, too, the *rounded* weights stand still most of the time. But small steps are saved up, and after a few
of them the weight goes on.

The natural wrong conclusion from the dashed curve would be "the learning rate is too small". A larger one does hide
the effect: more steps are above the threshold. But every run ends with small steps, because the schedule lowers the
rate, and those are the ones that get lost. (Adam's moments have the same problem, its mean of squares most of all: it
changes by a few per cent or per mille a step. They stay in float32.)
"""
# %% [markdown]
r"""
## Exercise 12 · The cost of a training run  ★ · 15 min

**Idea.** Nearly all arithmetic of a transformer is matrix products. In a product each parameter meets each token once:
one multiplication and one addition, **2 operations**. On the way back there are two products of that size, one for the
gradient of the inputs and one for the gradient of the weights: **4 operations** more. So N parameters and D tokens take

$$C \approx 6\,N\,D$$

floating-point operations (FLOP; Kaplan et al. 2020, section 2.1). Mind two notations that look alike: FLOPs are a
number of operations, FLOP/s are operations *per second*. A **petaflop/s-day** is $10^{15}$ operations a second for a
day, 8.64 · 10¹⁹ operations.

No device reaches its peak. The share that arrives is the **model FLOP/s utilisation** (Chowdhery et al. 2022, section
4.1 and appendix B). Per token it counts what the *model* needs, attention included, and nothing that is computed twice:

$$\mathrm{MFU} = \frac{(6N + 12\,L H Q T) \cdot \text{tokens per second}}{\text{peak FLOP/s}}$$

with L layers, H heads of Q numbers, and T tokens of context.

**Memory** while training has four parts beside the activations. In the usual *mixed precision* with Adam there are,
for each parameter: the weight and its gradient in 16 bits, and in 32 bits the master copy (Exercise 11) and Adam's two
moments (Rajbhandari et al. 2020, section 3.1). A byte has 8 bits.
"""

# %% [markdown]
r"""
**Predict.** How many gigabytes does a model of 7 billion parameters need for training with Adam in mixed precision,
before a single activation? And when it only answers, with weights in 16 bits?

<details><summary>Answer</summary>

2 + 2 + 4 + 8 = 16 bytes for each parameter: 112 GB. For answering, 2 bytes: 14 GB. A model that runs on your graphics
card may need eight times as much memory to be trained there. (Chapter 5 is about ways around that.) </details>
"""


# %% exercise="train_flops"
def train_flops(N: float, D: float) -> float:
    """Operations of training N parameters on D tokens, without attention over the context.

    >>> f"{train_flops(175e9, 300e9):.3g}"  # GPT-3
    '3.15e+23'
    """
    ### BEGIN SOLUTION
    return 6 * N * D
    ### END SOLUTION


def mfu(N: float, tokens_per_s: float, peak: float, L: int = 0, H: int = 0, Q: int = 0, T: int = 0) -> float:
    """Model FLOP/s utilisation, a share from 0 to 1: what the model needs a second, over the peak in FLOP/s.

    L layers, H heads of Q numbers, T tokens of context, for the attention's 12 L H Q T operations per token. By
    convention all T keys count, although half of them are hidden from a causal model on average.

    >>> round(mfu(1e8, 2e5, 312e12), 3)
    0.385
    """
    ### BEGIN SOLUTION
    return (6 * N + 12 * L * H * Q * T) * tokens_per_s / peak
    ### END SOLUTION


def train_memory_bytes(N: int, optimizer: str = "adam") -> dict[str, int]:
    """Bytes that N parameters need in training: {"weights", "gradients", "master", "moments", "total"}.

    "adam": weights and gradients in 16 bits, master copy and both moments in 32. "adam-fp32": weights, gradients and
    moments in 32 bits; no master copy (0), the weights are their own. "momentum-fp32": the same with one moment.
    "sgd-fp32": with none. Another name raises ValueError.

    >>> train_memory_bytes(1000)
    {'weights': 2000, 'gradients': 2000, 'master': 4000, 'moments': 8000, 'total': 16000}
    """
    ### BEGIN SOLUTION
    table = {
        "adam": {"weights": 2, "gradients": 2, "master": 4, "moments": 8},
        "adam-fp32": {"weights": 4, "gradients": 4, "master": 0, "moments": 8},
        "momentum-fp32": {"weights": 4, "gradients": 4, "master": 0, "moments": 4},
        "sgd-fp32": {"weights": 4, "gradients": 4, "master": 0, "moments": 0},
    }
    if optimizer not in table:
        raise ValueError(f"optimizer: expected one of {', '.join(table)}, got {optimizer!r}")
    parts = {name: size * N for name, size in table[optimizer].items()}
    return parts | {"total": sum(parts.values())}
    ### END SOLUTION


# %% check="train_flops"
check(train_flops, mfu, train_memory_bytes)

# %% [markdown]
r"""
**Experiment: what would GPT-3 cost here?** First the speed of *your* machine: the best of several large matrix products
in float32, the peak that this notebook can hope for. Then a small GPT takes real training steps. Its tokens per second
and your `mfu` say what share of that peak arrives. With this rate, sustained for a year, your `train_flops` says which
models could be trained, and how long the runs of the papers would take.
"""

# %% tags=["experiment"]
import time

from course_lib.attention import GPT as CourseGPT
from course_lib.attention import GPTConfig

operations, utilisation, memory = stand_in(train_flops), stand_in(mfu), stand_in(train_memory_bytes)


def best_time(action, repeats: int) -> float:
    """The shortest of several runs, in seconds: what else the machine does only makes a run longer."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


side = 4096 if DEVICE == "cuda" else 768
square = torch.randn(side, side, device=DEVICE)
peak = 2 * side**3 / best_time(lambda: square @ square, 12)

settings = {"n_layers": 4, "n_heads": 4, "d_model": 256 if DEVICE == "cuda" else 96}
torch.manual_seed(0)
measured = CourseGPT(GPTConfig(vocab_size=96, context_length=64, **settings)).to(DEVICE)
optimiser = torch.optim.AdamW(measured.parameters(), lr=1e-3)
ids = torch.randint(96, (16, 65), device=DEVICE)


def one_step() -> None:
    """A whole training step: forwards, backwards, update."""
    optimiser.zero_grad()
    measured(ids[:, :-1], targets=ids[:, 1:]).backward()
    optimiser.step()


one_step()
tokens_per_s = 16 * 64 / best_time(one_step, 5)
size = sum(p.numel() for p in measured.parameters())
heads = {"L": settings["n_layers"], "H": settings["n_heads"], "Q": settings["d_model"] // settings["n_heads"], "T": 64}
used = utilisation(size, tokens_per_s, peak, **heads)
sustained = used * peak

YEAR = 365.25 * 86_400
RUNS = {"GPT-3, 175B, 300B tokens": operations(175e9, 300e9), "PaLM, 540B, 780B tokens": operations(540e9, 780e9)}
rows = [["measured peak of matrix products, FLOP/s", f"{peak:.2e}"]]
rows += [["training the small GPT, tokens/s", f"{tokens_per_s:,.0f}"], ["share of the peak (MFU)", f"{used:.0%}"]]
rows += [["operations in a year at that rate", f"{sustained * YEAR:.1e}"]]
rows += [[f"{name}: {cost:.3g} FLOPs; years here", f"{cost / sustained / YEAR:,.0f}"] for name, cost in RUNS.items()]
rows += [["memory to train GPT-3 with Adam, GB", f"{memory(175_000_000_000)['total'] / 1e9:,.0f}"]]
plots.table(["what", "on this machine"], rows, "What would GPT-3 cost here?")

sizes = np.logspace(5, 12, 60)
fig, ax = plt.subplots(figsize=(8.2, 3.9))
for k, (label, seconds) in enumerate({"an hour": 3600, "a month": YEAR / 12, "a year": YEAR}.items()):
    # 6 N D is fixed by the time: twice the size leaves half of the tokens.
    tokens = [sustained * seconds / operations(N, 1.0) for N in sizes.tolist()]
    ax.plot(sizes, tokens, label=label, **(plots.line(k) | {"markevery": 12}))
for name, (N, D) in {"GPT-3": (175e9, 300e9), "PaLM": (540e9, 780e9)}.items():
    ax.plot(N, D, "k*", markersize=10)
    ax.annotate(name, (N, D), textcoords="offset points", xytext=(-8, 6), ha="right")
ax.set(xscale="log", yscale="log", xlabel="parameters", ylabel="tokens", ylim=(1e3, 1e14))
ax.set_title("What this machine could train")
ax.legend()
reach = sustained * YEAR / operations(1e8, 1.0)
display.show(
    fig,
    alt="Tokens against parameters, both logarithmic: three falling straight lines for what this machine can train in "
    f"an hour, a month and a year; in a year a model of 100 million parameters sees {reach:.1e} tokens. Stars mark "
    "GPT-3 and PaLM.",
)

# %% [markdown]
r"""
**What to see.** By 6ND, GPT-3 takes $3.15 \cdot 10^{23}$ operations, or 3,646 petaflop/s-days, and PaLM $2.5 \cdot
10^{24}$. The table divides them by what *you* measured. Every line in the picture is a hyperbola, drawn as a straight
line by the logarithmic axes: with the same work a model twice as large sees half as many tokens. Which point of the
line is the best one to choose is the question of chapter 4. And one line of the table has nothing to do with patience:
GPT-3 in training needs 2.8 *terabytes* before the first activation. However long you wait, it does not fit.

The measured share is a share of what your own matrix products reach, for a small model, with short rows. Published
figures relate to the number on the data sheet: PaLM reports 46.2 % for thousands of chips. The two must not be
compared.
"""

# %% [markdown]
r"""
---
## Exercise 13 · Stop and go on  ★ · 20 min

**Idea.** A run of weeks will be interrupted: a machine breaks, a queue takes the GPU back, somebody trips over a cable.
What was done so far must not be lost, and the run must *go on*, not begin again. So it writes a **checkpoint** from
time to time: a file with everything on which the rest of the run depends. The weights alone are not enough. A step
reads

- the **weights**;
- the **optimiser's state**: Adam's two moments, and how many steps they are made of (Exercise 7);
- the **number of the step**, from which the learning rate follows;
- the **cursor**: the place in the data. Where batches are drawn at random, that is the state of the generator.

The test is simple and strict. Train 2k steps in one piece. Then train k steps, throw everything away but the
checkpoint, and train k more. On a CPU the two runs must agree *to the last bit*. Nothing less will do: whoever forgets
the cursor gets no error and no jump in the curve. The model just reads the same pages again, while others are never
read.
"""

# %% [markdown]
r"""
**Predict.** A run of 2,000 steps is stopped after 1,000. Four people resume it; each has forgotten another one of the
four things above. Whose loss curve shows it at once? Whose never?

<details><summary>Answer</summary>

Without the weights the loss is that of a fresh model: everybody sees that. Without the step the schedule begins anew,
with a warm-up in the middle of the run; that is visible in the logged rate, if anybody looks. Without the moments there
is a bump: Adam's first steps after a restart are as large as the rate allows, since it knows one gradient only. It may
be too small to see. Without the cursor nothing looks wrong, ever. The experiment shows what it does to the loss.
</details>

**What you may use:** `torch.optim.AdamW`, `F.cross_entropy`, `torch.randint` with a generator, and `copy.deepcopy`.
Not allowed: the course's own training loop.
"""

# %% exercise="continue_run"
import copy


def continue_run(checkpoint: dict | None, data: Tensor, until: int, cfg) -> tuple[list[float], dict]:
    """Train a bigram table [V, V] on ids [N] up to step `until`; return the new steps' losses and a new checkpoint.

    Row i of the table holds the logits of what follows token i. With checkpoint=None the run begins: step 0, a table
    of zeros, AdamW without weight decay, g = torch.Generator().manual_seed(cfg.seed). Step s = 0, 1, ... draws
    cfg.batch_size places from 0 up to and including N - 2 with g. Its loss is the mean cross-entropy, in nats, of
    predicting the id at place + 1 from the id at place, before the update; its learning rate is
    cfg.lr * (1 - s / cfg.steps). cfg also has vocab_size.

    With a checkpoint of an earlier call, go on from there as if the run had never been stopped: the steps from the
    checkpoint's up to, and without, number `until`, which is never below it and never above cfg.steps. Other runs may
    have begun in between. What a checkpoint holds is yours to choose, as long as it is a dictionary of data: numbers,
    texts, bytes, tensors or arrays, and lists and dictionaries of them. One that is given stays as it is; it may be
    needed once more. Forbidden: the course's training loop.

    >>> from types import SimpleNamespace
    >>> cfg = SimpleNamespace(vocab_size=3, batch_size=8, lr=0.5, steps=20, seed=1)
    >>> data = torch.tensor([0, 1, 2]).repeat(9)
    >>> whole, _ = continue_run(None, data, 6, cfg)
    >>> begun, checkpoint = continue_run(None, data, 4, cfg)
    >>> len(whole), begun + continue_run(checkpoint, data, 6, cfg)[0] == whole
    (6, True)
    """
    ### BEGIN SOLUTION
    table = torch.zeros(cfg.vocab_size, cfg.vocab_size, requires_grad=True)
    optimizer = torch.optim.AdamW([table], lr=cfg.lr, weight_decay=0.0)
    g, step = torch.Generator().manual_seed(cfg.seed), 0
    if checkpoint is not None:
        table.data.copy_(checkpoint["table"])
        optimizer.load_state_dict(copy.deepcopy(checkpoint["optimizer"]))
        g.set_state(checkpoint["generator"])
        step = checkpoint["step"]
    losses = []
    for s in range(step, until):
        places = torch.randint(len(data) - 1, (cfg.batch_size,), generator=g)
        loss = F.cross_entropy(table[data[places]], data[places + 1])
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = cfg.lr * (1 - s / cfg.steps)
        optimizer.step()
        losses.append(loss.item())
    return losses, {
        "step": until,
        "table": table.detach().clone(),
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "generator": g.get_state(),
    }
    ### END SOLUTION


# %% check="continue_run"
check(continue_run)

# %% [markdown]
r"""
**Experiment: what does forgetting look like?** A bigram table of characters, 400 steps, stopped after 200. Your
`continue_run` makes the run in one piece and the run in two. Then the course's version goes on from a checkpoint from
which one thing has been taken away. (Not the step: without it this loop would simply make 200 steps too many.)
"""

# %% tags=["experiment"]
from types import SimpleNamespace

from course_lib import pretraining

run_here = stand_in(continue_run)
reference = corpus.python_reference()
signs = sorted(c for c in set(reference) if reference.count(c) > 20)
place_of = {c: k for k, c in enumerate(signs)}
written = torch.tensor([place_of[c] for c in reference if c in place_of])
STOPPED, UP_TO = 200, 400
table_cfg = SimpleNamespace(vocab_size=len(signs), batch_size=256, lr=0.3, steps=500, seed=1)

one_piece, _ = run_here(None, written, UP_TO, table_cfg)
begun, middle = run_here(None, written, STOPPED, table_cfg)
two_pieces = begun + run_here(middle, written, UP_TO, table_cfg)[0]

_, kept = pretraining.continue_run(None, written, STOPPED, table_cfg)
_, fresh = pretraining.continue_run(None, written, 0, table_cfg)  # what a run has at its beginning
NAMES = {"cursor": "generator", "moments": "optimizer", "weights": "table"}  # in the course's checkpoint
undisturbed, _ = pretraining.continue_run(None, written, UP_TO, table_cfg)
forgetful = {
    name: pretraining.continue_run(kept | {key: fresh[key]}, written, UP_TO, table_cfg)[0]
    for name, key in NAMES.items()
}

fig, axes = plt.subplots(1, 2, figsize=(9.6, 3.6))
shown = slice(STOPPED - 40, STOPPED + 60)
axes[0].plot(range(UP_TO)[shown], two_pieces[shown], label="nothing", **(plots.line(0) | {"markevery": 20}))
for k, (name, losses) in enumerate(forgetful.items(), 1):
    axes[0].plot(range(STOPPED, UP_TO)[:60], losses[:60], label=name, **(plots.line(k) | {"markevery": 15}))
axes[0].axvline(STOPPED, color="0.5", linewidth=1)
axes[0].set(xlabel="step", ylabel="loss of the batch, nats", ylim=(2.1, 3.6), title="Losses around the stop")
axes[0].legend(title="forgotten", fontsize=9, loc="upper left")
WHEN = {"first 20 steps": (0, 20), "the 180 after": (20, 200)}
off = {
    name: [np.mean(losses[a:b]) - np.mean(undisturbed[STOPPED + a : STOPPED + b]) for a, b in WHEN.values()]
    for name, losses in forgetful.items()
}
for k, when in enumerate(WHEN):
    axes[1].bar(np.arange(2) + 0.4 * k - 0.2, [off["cursor"][k], off["moments"][k]], 0.38, label=when, **plots.bar(k))
axes[1].axhline(0, color="0.3", linewidth=1)
axes[1].set(ylabel="mean loss, minus that in one piece", title="Two things that no alarm notices")
axes[1].set_xticks(range(2), ["cursor", "moments"])
axes[1].legend(fontsize=9, loc="upper left")
told = ", ".join(f"{name} {first:+.3f} and then {later:+.3f}" for name, (first, later) in off.items())
display.show(
    fig,
    alt="Left, losses of single batches around step 200, where the run was stopped: without the weights there is a "
    "jump, the others stay within the noise. Right, the mean loss minus that of the run in one piece, over the first "
    f"20 steps and the 180 after: {told}.",
)
own = max(abs(a - b) for a, b in zip(one_piece, two_pieces, strict=True))
print(f"largest difference of your two runs: {own:.1g} nats")

# %% [markdown]
r"""
**What to see.** Your two runs agree in every digit: the largest difference is 0. Without the weights the loss jumps to
ln V and is down again after some twenty steps. Without the moments the next steps are too large, and the loss stays a
little above where it should be: over the 200 steps by five or six hundredths of a nat, with each of six seeds. That is
less than two batches differ, so no eye finds it in the left picture.

The cursor is the treacherous one. Without it the loss of the first twenty steps after the stop is *lower*, by 0.03 to
0.09 nats with each of six seeds. The batches are those of the first steps; the table has learned from them once
already, and a part of what it knows of them is known by heart. A training curve that gets better by itself is no reason
to be glad. And what is worse cannot be seen at all: the pages between were never read.

In a real run the checkpoint is written to a file. It is written under another name first and renamed when it is
complete, so that a crash in the middle leaves the old one in its place. `course_lib.pretraining.Trainer` does that, and
its tests kill a run with a signal and compare the weights bit by bit.
"""

# %% [markdown]
r"""
---
# Part V · What it was good for

A model that continues text is not yet of use to anybody. Its worth shows when it is put to a task for which there are
few labels. In this part you adapt a pretrained network and compare it with one that starts from nothing. Then you bet
on your own understanding: which part of the recipe matters most? Run the setup cell first. The last experiment uses
your functions from Exercise 7, or the course's.
"""
# %% [markdown]
r"""
---
## Exercise 14 · Pretrain, then adapt  ★★ · 40 min

**Idea.** Few tasks come with millions of examples. GPT-1 (Radford et al. 2018) made a recipe of what you have seen in
this chapter: train a language model on plain text first, then *adapt* it to the task, with a small new layer on top.
BERT (Devlin et al. 2019) did the same with a masked model. Two ways to adapt:

- **Frozen features.** The pretrained network, the *backbone*, stays as it is. It turns each text into vectors; only the
  new layer, the *head*, learns. Cheap: the vectors can be computed once.
- **Full fine-tuning.** Everything learns, the backbone from its pretrained weights on, at a small learning rate.

GPT-2 (Radford et al. 2019) went one step further and asked for no examples at all: describe the task in the text and
let the model go on (*zero-shot*). That needs a far larger model than ours. Chapter 5 comes back to adaptation with much
less memory.

**One format for all tasks.** The input of every task is written the same way, with tokens of its own: a *task token*
says what is asked (T5 writes it in words, Whisper in special tokens), then comes the text, then an *end token*, then
*padding* up to the length of the batch:

`[task] t h e   t e x t [end] [pad] [pad]`

**One vector for a text.** The head wants a single vector h for each text. We take the mean of the last hidden states
$h_t$ over all places that are not padding, with a mask $m_t$ that is 1 there and 0 elsewhere:

$$h = \frac{\sum_t m_t h_t}{\sum_t m_t}$$

(GPT-1 takes the state at the end token, BERT that of a token at the beginning.)

**What freezing means.** Two things, and both are easily forgotten. No weight of the backbone may change, so gradients
stop at the head. And the backbone is in *evaluation mode*: with dropout its features would be others each time.
"""

# %% [markdown]
r"""
**Predict.** Three texts in one batch have 10, 20 and 60 places that are not padding; the batch is 60 places long. A
colleague takes the mean over all 60. Which of the three texts suffers, and what does the head learn to recognise?

<details><summary>Answer</summary>

The shortest suffers most: 50 of its 60 vectors belong to padding. They are all nearly the same, so the mean of a short
text is mostly "padding", and how much of it there is tells the length. The head learns to recognise lengths.
</details>

**What you may use:** `torch.optim`, `F.cross_entropy`, `nn.utils.clip_grad_norm_`, and the given class `Classifier`.
Not allowed: the `transformers` and `peft` libraries, and the course's training loop.
"""

# %% exercise="finetune_classifier"
GPT = mine("GPT")  # yours from Chapter 2 if you have solved it, the course's otherwise


def format_task(task: int, x: list[int], length: int, end: int, pad: int) -> list[int]:
    """Write an input in the common format: task token, text, end token, padding; exactly `length` ids.

    Of a text x that is too long, as much of its beginning is kept as fits together with the two tokens. length is at
    least 2. x itself stays unchanged. Forbidden here and below: transformers, peft, ready-made training loops.

    >>> format_task(90, [5, 6, 7], length=6, end=99, pad=0), format_task(90, [5, 6, 7], length=4, end=99, pad=0)
    ([90, 5, 6, 7, 99, 0], [90, 5, 6, 99])
    """
    ### BEGIN SOLUTION
    ids = [task, *x[: length - 2], end]
    return ids + [pad] * (length - len(ids))
    ### END SOLUTION


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the vectors [B, T, C] over the places where mask [B, T] is True: [B, C]; zeros where there is none.

    >>> masked_mean(torch.tensor([[[1.0], [3.0], [100.0]]]), torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """
    ### BEGIN SOLUTION
    total = hidden.masked_fill(~mask[..., None], 0.0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)
    ### END SOLUTION


class Classifier(nn.Module):
    """A pretrained GPT with a head for n_classes classes: ids [B, T] -> logits [B, n_classes]. This class is given.

    backbone is a checkpoint, {"cfg": ..., "weights": state_dict}; its weights are copied.
    """

    def __init__(self, backbone: dict, n_classes: int, pad: int):
        super().__init__()
        self.backbone = GPT(backbone["cfg"])
        self.backbone.load_state_dict(backbone["weights"])
        self.head = nn.Linear(backbone["cfg"].d_model, n_classes)
        self.pad = pad

    def features(self, ids: Tensor) -> Tensor:
        """One vector for each text: the mean of what the final norm gives, without padding."""
        kept = []
        hook = self.backbone.final_norm.register_forward_hook(lambda module, inputs, output: kept.append(output))
        self.backbone(ids)
        hook.remove()
        return masked_mean(kept[0], ids != self.pad)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.features(ids))


def finetune_classifier(
    backbone: dict, data: dict, freeze: bool, steps: int, lr: float, g: torch.Generator, batch_size: int = 16
) -> tuple[nn.Module, list[float]]:
    """Train a Classifier on labelled texts; return it, in evaluation mode, and the list of the losses of all steps.

    data has "ids" [N, T], "labels" [N], "n_classes" and "pad". freeze=True: only the head learns, and the backbone is
    in evaluation mode all the time. freeze=False: everything learns, in training mode. A step takes batch_size
    different examples drawn with g, or all of them where there are fewer; Adam or AdamW (weight_decay=0) at the
    constant rate lr, the gradients clipped to norm 1. Everything random follows from g: seed torch with a number drawn
    from it. The losses are mean cross-entropies of the step's examples, before its update. Work on the device of
    data["ids"]. Forbidden: transformers, peft, ready-made training loops.

    >>> from types import SimpleNamespace
    >>> small = SimpleNamespace(vocab_size=9, context_length=4, n_layers=1, n_heads=2, d_model=16)
    >>> backbone = {"cfg": small, "weights": GPT(small).state_dict()}
    >>> data = {"ids": torch.tensor([[1, 2, 0], [5, 6, 6]]), "labels": torch.tensor([0, 1]), "n_classes": 2, "pad": 0}
    >>> model, losses = finetune_classifier(backbone, data, False, 40, 0.01, torch.Generator().manual_seed(0))
    >>> model(data["ids"]).argmax(-1), len(losses)
    (tensor([0, 1]), 40)
    """
    ### BEGIN SOLUTION
    ids, labels = data["ids"], data["labels"]
    torch.manual_seed(int(torch.randint(2**40, (), generator=g)))
    model = Classifier(backbone, data["n_classes"], data["pad"]).to(ids.device)
    model.train()
    if freeze:
        model.backbone.requires_grad_(False)
        model.backbone.eval()
        with torch.no_grad():  # they never change: computed once, all steps can use them
            features = torch.cat([model.features(part) for part in ids.split(256)])
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=lr, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        chosen = torch.randperm(len(ids), generator=g)[:batch_size].to(ids.device)
        logits = model.head(features[chosen]) if freeze else model(ids[chosen])
        loss = F.cross_entropy(logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses
    ### END SOLUTION


# %% check="finetune_classifier"
check(format_task, masked_mean, finetune_classifier)

# %% [markdown]
r"""
**Experiment: which package does this docstring come from?** Six packages of the standard library, put aside before the
pretraining of Exercise 10. The model of that exercise is the backbone; it has read other docstrings, none of these.
With 8 to 512 labelled docstrings we train (a) everything from random weights, (b) a head on frozen pretrained
features, and (c) everything from the pretrained weights. And because a comparison should include the simple thing: (d)
counting words. *Naive Bayes* takes the class that has used the words of a text most often, and knows nothing
beforehand.

<details><summary><b>Predict:</b> where will pretraining help most, with 8 labels or with 512? And how good will
counting words be?</summary>

The usual picture, with large models: with very few labels all are poor, with very many even a network that starts from
nothing learns, and the help is largest in between. Counting words is a strong opponent whenever the topic shows in the
words, as it does here: "widget", "header", "logger". Your backbone is so small that you should not bet against it.
</details>
"""

# %% tags=["experiment"]
from collections import Counter

format_here, adapt_here = stand_in(format_task), stand_in(finetune_classifier)

PER_PACKAGE = {"quick": (86, 50), "full": (120, 80), "gpu": (120, 80)}[scale()]  # to learn from, to test on
shuffle = np.random.default_rng(0)
texts = {"train": [], "test": []}
for label, name in enumerate(PACKAGES):
    known = sorted({text for text in PUT_ASIDE[name] if len(text) > 30})
    order = shuffle.permutation(len(known))[: sum(PER_PACKAGE)]
    for place, number in enumerate(order):
        texts["train" if place < PER_PACKAGE[0] else "test"].append((known[number], label))
for part in texts.values():
    shuffle.shuffle(part)
LENGTH = cfg.context_length
ids_of = {
    part: torch.tensor([format_here(TASK, numbered(text), LENGTH, END, PAD) for text, _ in pairs], device=DEVICE)
    for part, pairs in texts.items()
}
texts = {part: [(text, int(label)) for text, label in pairs] for part, pairs in texts.items()}
labels_of = {part: torch.tensor([label for _, label in pairs], device=DEVICE) for part, pairs in texts.items()}
# A test that pretraining has seen is none: not one of these docstrings may stand in what the backbone has read.
backbone_read = set(read) | set(held_out_text)
assert not any(text in backbone_read for pairs in texts.values() for text, _ in pairs)


def words(text: str) -> list[str]:
    return "".join(c.lower() if c.isalpha() else " " for c in text[: LENGTH - 2]).split()


def count_words(pairs: list[tuple[str, int]]) -> list[int]:
    """Naive Bayes: which class has used these words most often? One count is added to each."""
    counts = [
        Counter(word for text, label in pairs if label == k for word in words(text)) for k in range(len(PACKAGES))
    ]
    kinds = len(set().union(*counts))
    size = [sum(label == k for _, label in pairs) for k in range(len(PACKAGES))]

    def score(text: str, k: int) -> float:
        chances = (math.log((counts[k][word] + 1) / (counts[k].total() + kinds)) for word in words(text))
        return math.log(size[k] + 1) + sum(chances)

    return [max(range(len(PACKAGES)), key=lambda k, text=text: score(text, k)) for text, _ in texts["test"]]


torch.manual_seed(5)
checkpoint = {"cfg": cfg, "weights": tiny.state_dict()}
fresh = {"cfg": cfg, "weights": GPT(cfg).to(DEVICE).state_dict()}
WAYS = {  # where it starts, whether the backbone is frozen, and the learning rate
    "random start, all learn": (fresh, False, 2e-3),
    "pretrained, frozen": (checkpoint, True, 3e-2),
    "pretrained, all learn": (checkpoint, False, 2e-3),
}
LABELS = {8: 30, 32: 60, 128: 120, 512: 220}  # labels, and steps: more examples take longer to learn from
longer = {"quick": 1, "full": 4, "gpu": 4}[scale()]
accuracy = {name: [] for name in (*WAYS, "counting words")}
for size, steps in LABELS.items():
    data = {"ids": ids_of["train"][:size], "labels": labels_of["train"][:size], "n_classes": len(PACKAGES), "pad": PAD}
    for name, (start, freeze, lr) in WAYS.items():
        many = 600 if freeze else steps * longer  # a step of the head alone costs next to nothing
        adapted, _ = adapt_here(start, data, freeze, many, lr, torch.Generator().manual_seed(size))
        with torch.no_grad():
            guesses = torch.cat([adapted(part).argmax(-1) for part in ids_of["test"].split(100)])
        accuracy[name].append((guesses == labels_of["test"]).double().mean().item())
    right = np.array(count_words(texts["train"][:size])) == labels_of["test"].cpu().numpy()
    accuracy["counting words"].append(right.mean())

fig, ax = plt.subplots(figsize=(8.2, 3.9))
for k, (name, values) in enumerate(accuracy.items()):
    ax.plot(list(LABELS), values, label=name, **plots.line(k))
chance = 1 / len(PACKAGES)
ax.axhline(chance, color="#888888", linewidth=1)
ax.text(8, chance - 0.015, "guessing", va="top", fontsize=9, color="#555555")
margin = 2 * math.sqrt(0.25 / len(texts["test"]))
ax.set(xscale="log", xlabel="labelled docstrings", ylabel="share right on new ones", ylim=(0, 1))
ax.set_xticks(list(LABELS), [str(size) for size in LABELS])
ax.minorticks_off()
ax.set_title(f"Which of six packages? (chance of ±{margin:.0%} in each point)")
ax.legend(fontsize=9, loc="upper left")
display.show(
    fig,
    alt="Share of right answers on new docstrings against the number of labels, 8 to 512. "
    + " ".join(
        f"{name}: {', '.join(f'{value:.0%} with {size}' for size, value in zip(LABELS, values, strict=True))}."
        for name, values in accuracy.items()
    )
    + f" Guessing: {chance:.0%}.",
)

# %% [markdown]
r"""
**What to see, and what not.** At the quick size, three things.

- With 8 or 32 labels all four are not far from guessing. With six classes that is one to five examples of
  each, and little can be learned from so few.
- With 512, the model that was pretrained *and* may learn is ahead of the one that starts from nothing: in our runs by
  seven to eleven points out of a hundred, with a chance of about six in each. That is the effect of GPT-1, as small as
  our model is. And we looked for it: with 70 steps of fine-tuning there was nothing to see, and with tokens of a small
  BPE the random start was ahead, 71% to 64%. A setting that was chosen because it shows something proves less than one
  that was fixed beforehand. Frozen features do not show the effect. They were made to predict the next character, and
  their mean says more about spelling than about topics.
- From 128 labels on, counting words beats all of them, by far. (With 8 it is no better than the others.) A model that
  reads characters has to find out first what a word is, and one to two minutes of pretraining are not enough to know
  what words are *about*.

Was the prediction right that the help is largest in between? Not here: it shows with 512 labels only, and before that
the two are level within chance. With the `full` preset, a backbone of 820,000 parameters that was trained for half an
hour, it shows from 128 labels on, and frozen features show it, too: 45% (frozen) and 39% (all learn) against 29% from a
random start with 128 labels, 57% and 61% against 34% with 512. Counting words has 65% and 86% there. Our backbone is a
better *start*, not yet a better *reader*. The results that made pretraining famous come from models that had read
billions of words. Remember the last line of the picture all the same. Whoever reports a gain by pretraining owes the
reader a simple opponent.

The test is a fair one only because its docstrings were put aside *before* pretraining, and the cell above stops if one
of them is found in what the backbone has read. With text from the web that is hard to guarantee, and has gone wrong
often enough to have a name: *contamination*.
"""

# %% [markdown]
r"""
## Predict first: which part matters most?

You know every part of the recipe now. Do you know what each is *worth*? An **ablation** is the experiment that takes
one part away and changes nothing else. Here is a small decoder: four layers of width 32, pre-norm, learned positions,
200 steps at a high learning rate (0.015), a quarter of them warm-up, clipping at 1. Four variants of it, one change
each:

- **no warm-up**: the rate starts at its peak;
- **no norm**: all normalisations are left out, inside the layers and at the end;
- **post-norm**: the norms stand behind the sublayers, as in 2017, and there is none at the end;
- **no positions**: nothing says where a character stands, only the causal mask is left.

Put them in order *before* you see a curve: which has the lowest loss on held-out text at the end, which the highest?
Write your order down, with one reason for each place. Then run the cell. It trains all five networks, three seeds
each, with *your* `adamw_step`, `lr_at` and `clip_grad_norm`; that takes one to two minutes. Give your order in the
widget. It counts the **pairs** that you have in the right order, six in all. Guessing gets three of them on average.
(The usual summary is *Kendall's tau*: right minus wrong pairs, divided by all of them, from −1 to 1.)
"""

# %% tags=["experiment"]
from course_lib.pretraining.ablation_widget import predict_order
from course_lib.pretraining.ablations import ABLATIONS, Recipe, Setup, train_ablation

own_step, own_schedule, own_clip = stand_in("adamw_step"), stand_in("lr_at"), stand_in("clip_grad_norm")

reference_text = corpus.python_reference()
alphabet = sorted(c for c in set(reference_text) if reference_text.count(c) > 20)
number_of = {c: k for k, c in enumerate(alphabet)}
characters = torch.tensor([number_of[c] for c in reference_text if c in number_of], device=DEVICE)
cut = len(characters) * 9 // 10  # the last tenth is held out

larger = scale() != "quick"
setup = Setup(len(alphabet), steps=1000 if larger else 200, seeds=tuple(range(5 if larger else 3)))
ablation_runs = {
    name: train_ablation(
        characters[:cut],
        characters[cut:],
        setup,
        recipe,
        step=own_step,
        schedule=own_schedule,
        clip=own_clip,
        every=setup.steps // 10,
        name=name,
    )
    for name, recipe in {"everything": Recipe(), **ABLATIONS}.items()
}
predict_order(ablation_runs)

# %% [markdown]
r"""
**What to see.** At the quick size the order, from the lowest loss, is post-norm, no norm, no positions, no warm-up.
With three other seeds it was the same. Only the bands of the first two touched there; the steps to the third and to
the last were wider than the seeds are apart. The network with everything lies near the one without norms, and in the
other three seeds one run of it ended a tenth of a nat higher: never trust a single run. Most people expect another
order, so ask of each result what it says.

- **No warm-up comes last.** At this learning rate the first steps of Adam are the most dangerous: its means know one or
  two gradients only, and every weight is moved by nearly the full rate. What is spoiled there is not made up for in 200
  steps. At a fifth of the rate nothing of the difference was left.
- **No positions costs surprisingly little.** The causal mask already tells the first place from the tenth, as it sees
  more. And for much of what a network learns in 200 steps, which character follows which, one look back is enough.
- **No norm does not hurt** here. Four layers are not deep enough for numbers to grow out of range, and clipping catches
  the worst.
- **Post-norm wins.** That does not contradict chapter 2, where twelve layers of it fell behind without a warm-up. Here
  there are four, and a warm-up. With six layers and a rate of 0.02, its three seeds ended at 2.6, 2.9 and 3.1. Pre-norm
  is not chosen because it is better when all goes well. It is chosen because it hardly ever goes wrong.

With the `full` preset (1,000 steps, five seeds) the last two change places: post-norm 1.79, everything 1.83, no norm
1.84, no warm-up 2.08, no positions 2.12. Everything and no norm cannot be told apart there, and the bands of the last
two touch. Perhaps a longer run makes up for more of the bad start; and the longer it is, the more there is to be
learned from places further back.

So an ablation answers the question *what is this part worth here*: at this depth, this rate, this number of steps. It
is an honest answer, and a narrow one. Change the learning rate to a fifth (`lr=0.003` in `Setup`), predict again, and
you will find another one in the last place.
"""
# %% [markdown]
r"""
---
## Quiz

Ten questions on the whole chapter. The radio buttons explain each choice; what counts is the dictionary in the cell
below them. (Without a running kernel you see the questions only.)
"""

# %% tags=["experiment"]
quiz()

# %% exercise="quiz"
# Write a letter for each question, for example 1: "b".
quiz_answers = {1: "", 2: "", 3: "", 4: "", 5: "", 6: "", 7: "", 8: "", 9: "", 10: ""}
### BEGIN SOLUTION
quiz_answers = {1: "b", 2: "d", 3: "a", 4: "c", 5: "d", 6: "b", 7: "c", 8: "a", 9: "b", 10: "d"}
### END SOLUTION

# %% check="quiz"
check("quiz_answers")

# %% [markdown]
r"""
## Essay

A public library has digitised **2 billion tokens** of local newspapers, from 1850 to today. It wants a small language
model of them that helps readers to search and to transcribe, and it can rent **one GPU for a month**: 80 GB of memory,
and say $10^{14}$ FLOP/s, sustained. You plan the pretraining. In 250 to 400 words:

1. Decide on an objective, on the number of parameters, on how the data are prepared, on optimiser and schedule, and on
   what you do when the loss spikes. Show the arithmetic of the budget, for operations and for memory. Argue the number
   of parameters from memory, from how often the text is repeated, and from what you measured. (Chapter 4 has the rule.)
2. Support at least three of your decisions with a number or a picture from *your* run of this chapter, and say what it
   shows.
3. Say how you will know, before the month is over, that the run is worth continuing. And name one thing that your
   measurements cannot tell you, and the experiment that would.
"""

# %% [markdown] essay="essay" points=5
"""
*A model answer (1 point for each: decisions complete and consistent; the budget computed, with units, for operations
and memory (6ND alone would pay for 22 billion parameters and one reading, which at 16 bytes for each are about 350 GB
and do not fit: who stops there gets no point for it); three pieces of evidence that are quoted correctly and support
the decisions; data handled with care, that is, duplicates, held-out text and personal data; a test during the run, and
an honest limit with a fitting experiment).*

A month has 2.6 million seconds, so 1e14 FLOP/s give 2.6e20 operations. By 6ND, with D = 2e9 tokens read four times,
that would pay for 2.6e20 / (6 x 8e9) = 5.4 billion parameters. They would need 86 GB for training, and I have 80; and
it is far too many for so little text. The text is what I am short of, not the machine. I plan 300 million parameters
and four passes: 6 x 3e8 x 8e9 = 1.4e19 operations, less than two days. The rest of the month is for trying things out,
and for a second model if the first shows that size still helps. Memory is no problem: 16 bytes for each parameter are
4.8 GB, plus activations.

The objective is causal, because transcription means continuing a line and because one model then serves for scoring and
for writing. Loss over tokens that are real, summed and divided once: micro-batches of newspaper pages differ in length,
and in my run of the accumulation exercise the mean of means was another gradient.

Data first. Newspapers reprint each other, so I remove near-duplicates by MinHash before the split into training and
held-out text, and I split by newspaper and year, not by line. Otherwise held-out text has been seen. Recent decades
name living people: addresses and telephone numbers are redacted, and I report the precision and recall measured on
planted examples, as in the exercise, not a promise.

AdamW with a warm-up and a cosine to a tenth. In the ablations the network without a warm-up was the last of all, and
the bands of the seeds did not touch. I would not read more than that out of 200 steps: post-norm won there, and I
would not use it at 24 layers. Checkpoints every hour; at a spike I go back and leave out the batches, as the guard
does.

Each hour I look at bits per byte on held-out text, beside an n-gram model and a compressor. If after a tenth of the
run it does not clearly beat both, I stop.

What I cannot tell: whether a lower loss means better transcriptions. I would transcribe two hundred lines by hand, and
measure the errors of several checkpoints against their losses.
"""

# %% [markdown]
r"""
## Papers, and what to look for

**Counting and vectors.**

- **Brants et al. 2007**, *Large Language Models in Machine Translation*. Equation 5 is Stupid Backoff. Look for why
  the authors do without probabilities, and for what that saves them at that size.
- **Chen, Goodman 1999**, *An Empirical Study of Smoothing Techniques for Language Modeling*. Kneser-Ney and its rivals,
  side by side. Look for how the differences depend on the amount of text.
- **Levy, Goldberg 2014**, *Neural Word Embedding as Implicit Matrix Factorization*. Look for the step from a network
  that is trained to a matrix that is counted.

**Objectives.**

- **Radford et al. 2018**, *Improving Language Understanding by Generative Pre-Training* (GPT). Section 3 is
  pretraining and fine-tuning in a few equations. Look for the auxiliary loss.
- **Devlin et al. 2019**, *BERT* (arXiv 1810.04805). Section 3.1 and the ablations: what is a look from both sides
  worth?
- **Raffel et al. 2020**, *Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer* (T5,
  arXiv 1910.10683). The long section 3 changes one thing at a time. It is the model for every ablation that you will
  do.

**Training.**

- **Kingma, Ba 2015**, *Adam* (arXiv 1412.6980), and **Loshchilov, Hutter 2019**, *Decoupled Weight Decay
  Regularization* (arXiv 1711.05101). Put the two algorithms side by side and find the line in which they differ.
- **Pascanu et al. 2013**, *On the difficulty of training recurrent neural networks* (arXiv 1211.5063). Algorithm 1 is
  clipping by the norm.
- **Hu et al. 2024**, *MiniCPM* (arXiv 2404.06395), and **Hägele et al. 2024**, *Scaling Laws and Compute-Optimal
  Training Beyond Fixed Training Durations* (arXiv 2405.18392). Warm-up, a long constant stretch, a short decay. Look
  for what it allows that a cosine does not.
- **Micikevicius et al. 2018**, *Mixed Precision Training* (arXiv 1710.03740). Section 3.1 is the master copy. Look for
  the histogram that shows which updates would be lost.
- **Chowdhery et al. 2022**, *PaLM* (arXiv 2204.02311). Section 5.1 is about spikes: what they did, and why they think
  that the data alone are not to blame. Section 4.1 and appendix B define MFU.
- **Rajbhandari et al. 2020**, *ZeRO* (arXiv 1910.02054). Section 3 asks where the memory goes.

**Data.**

- **Lee et al. 2022**, *Deduplicating Training Data Makes Language Models Better* (arXiv 2107.06499). Look for the
  sentence that occurs tens of thousands of times, and for how much less a model then recites.
- **Broder 1997**, *On the resemblance and containment of documents*. Shingles, and the smallest values of a random
  order: where MinHash comes from. Look for the second measure, containment, and for what it finds that resemblance does
  not.
- **Grattafiori et al. 2024**, *The Llama 3 Herd of Models* (arXiv 2407.21783). Section 3 is pretraining: the data and
  how they were cleaned, and the mask between documents. Look for what is said about it on long sequences.
- **Rae et al. 2021**, *Scaling Language Models: Methods, Analysis & Insights from Training Gopher* (arXiv 2112.11446).
  The appendix lists the quality rules. Ask of each which good text it throws away.

**Cost.**

- **Kaplan et al. 2020**, *Scaling Laws for Neural Language Models* (arXiv 2001.08361). Section 2.1 counts parameters
  and operations, and is where chapter 4 begins.
- **Brown et al. 2020**, *Language Models are Few-Shot Learners* (GPT-3, arXiv 2005.14165). The appendix has a table of
  operations; check a row of it with your own function.
"""

# %% [markdown]
r"""
## What this small scale shows, and what it does not

**It shows exactly** whatever is an identity or a count: how a loss is averaged, what a mask lets through, that AdamW
is not Adam with a penalty, that micro-batches add up to the large batch, that packing loses no token, how rounding
behaves, how many operations and bytes a run takes. None of this depends on size.

**It shows the mechanism of** training itself. A network goes from guessing through frequencies of characters to words
that look like words; small steps vanish in half precision; a bad batch throws a run off, and rewinding helps;
duplicates between training and held-out text flatter a model. All of that happens in large runs, too.

**It does not show** what large models can *do*. Our networks have up to a few million parameters, thousands of times
less than what is in use, and see a few million characters of one kind of text. They learn its spelling and its
phrases, not its meaning. It does not show which objective, schedule or architecture is *best*. The ablations are the
clearest example: in 200 steps the variant with post-norm wins, for four layers of width 32, with this learning rate.
From that nothing follows for eighty layers. Our runs last minutes, so they show nothing of what goes wrong in the
third week: broken machines, data that run out, a loss that creeps. And the text is Python's documentation. It is
clean, uniform, and written by few people, which is just what the web is not.

Where you see a number of ours, ask what it would take to change it. Most often the answer is: more seeds, more steps,
or other data.

**What comes next.** You have trained one model and know what it cost. Chapter 4 asks the question that decides where
the money goes: for a given budget, how large should the model be, and how much text should it read? The answer is a
law that you fit to runs like yours. Chapters 5 to 9 take the model from there: adapt it, align it, let it reason, look
things up, and answer quickly. The loop that you wrote here stays the same in all of them.
"""

# %% tags=["experiment"]
progress()
