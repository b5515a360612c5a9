"""The quiz of chapter 3."""

from autograder.questions import Question, QuizExercise


class Quiz(QuizExercise):
    """Ten questions on the whole chapter."""

    title = "Quiz"
    minutes = 12
    questions = (
        Question(
            "Stupid Backoff gives every word of the vocabulary a score after one context. What do these scores add up "
            "to?",
            {
                "a": (
                    "To 1: they are probabilities.",
                    "The unseen words' scores come on top of shares that already add up to 1: nothing is taken away.",
                ),
                "b": (
                    "In general not to 1; they are scores, and no perplexity follows from them.",
                    "Seen words keep their full shares, and the others get something besides. Kneser-Ney discounts "
                    "first, so its numbers do add up.",
                ),
                "c": (
                    "To 0.4: that is what alpha is for.",
                    "Alpha is the factor for one step back to a shorter context, not the sum of anything.",
                ),
                "d": (
                    "To 0 if the context was never seen.",
                    "Then it backs off to a shorter context, with a factor of 0.4 for each step.",
                ),
            },
            "b",
        ),
        Question(
            "A batch has two texts: one with 2 predicted tokens and a mean loss of 4 nats, one with 18 and a mean loss "
            "of 2. What is the loss of the batch, token by token?",
            {
                "a": (
                    "3.0 nats",
                    "That is the mean of the two means. It counts each token of the short text nine times as much.",
                ),
                "b": (
                    "6.0 nats",
                    "Losses of tokens are averaged, not added up, and means even less so.",
                ),
                "c": (
                    "44.0 nats",
                    "That is the sum over all 20 tokens; it still has to be divided by 20.",
                ),
                "d": (
                    "2.2 nats",
                    "(2 times 4 + 18 times 2) / 20. Every token counts the same, wherever it stands.",
                ),
            },
            "d",
        ),
        Question(
            "Somebody trains a GPT to predict its own input instead of the next token: the targets are not shifted. "
            "What happens?",
            {
                "a": (
                    "The loss falls close to 0 within a few steps, and the samples are worthless.",
                    "Each place sees itself through the mask, so copying is enough. A loss that is too good wants an "
                    "explanation.",
                ),
                "b": (
                    "The loss stays at ln V.",
                    "On the contrary: the answer stands in the input, and the model only has to copy it.",
                ),
                "c": (
                    "Nothing changes, because the causal mask hides the answer.",
                    "The mask hides what comes after a place. The place itself is visible.",
                ),
                "d": (
                    "An error is raised, because shapes do not fit.",
                    "The shapes fit exactly. That is what makes the mistake so quiet.",
                ),
            },
            "a",
        ),
        Question(
            "Masked language modelling picks 15 per cent of the tokens. What becomes of the picked ones, and where is "
            "the loss?",
            {
                "a": (
                    "All become [MASK]; the loss is on them.",
                    "Then the model would never see a picked token as it is, and in use there are no masks at all.",
                ),
                "b": (
                    "80 per cent become [MASK], 10 another token, 10 stay; the loss is on those that became [MASK].",
                    "The loss is on all picked ones, those that look unchanged too: the model cannot know which.",
                ),
                "c": (
                    "80 per cent become [MASK], 10 a random token, 10 stay as they are; the loss is on all picked.",
                    "So every token may be a wrong one, and each needs a representation that depends on its context.",
                ),
                "d": (
                    "80 per cent become [MASK], 10 another token, 10 stay; the loss is on all tokens of the text.",
                    "85 per cent of them were not changed, and copying is no task.",
                ),
            },
            "c",
        ),
        Question(
            "Why does AdamW shrink the weights beside the gradient step, and not through the gradient?",
            {
                "a": (
                    "Because it saves memory.",
                    "The moments take the same memory either way.",
                ),
                "b": (
                    "Because weight decay prevents overfitting only in this form.",
                    "Large models see most of their text once and hardly overfit; that is not where the two differ.",
                ),
                "c": (
                    "Because the bias correction would otherwise be wrong.",
                    "The correction concerns the start of the running means, whatever goes into them.",
                ),
                "d": (
                    "Because Adam would divide the decay by the root of v: large gradients would mean little decay.",
                    "What goes through the gradient is rescaled with it. Beside it, all weights shrink at the same "
                    "rate.",
                ),
            },
            "d",
        ),
        Question(
            "The common norm of all gradients is 5, and the limit of clipping is 1. What happens to two tensors whose "
            "own norms are 4 and 3?",
            {
                "a": (
                    "Both are cut to norm 1.",
                    "That is clipping tensor by tensor. It changes the direction of the step.",
                ),
                "b": (
                    "They get norms 0.8 and 0.6.",
                    "One factor, 1/5, for all: the common norm becomes 1 and the direction stays.",
                ),
                "c": (
                    "Every entry is cut to the range from -1 to 1.",
                    "That is clipping by value, another method, which also turns the direction.",
                ),
                "d": (
                    "Nothing: each is checked against the limit of its own.",
                    "There is one limit, for the norm of everything together.",
                ),
            },
            "b",
        ),
        Question(
            "Two files differ in one comment. What finds that they are nearly the same?",
            {
                "a": (
                    "A hash of each file.",
                    "One changed character gives another hash. That finds exact copies only.",
                ),
                "b": (
                    "Python's hash() of their words, compared between runs.",
                    "For strings it changes from process to process, so nothing could be compared with what was "
                    "stored.",
                ),
                "c": (
                    "MinHash signatures of their shingles, cut into bands, and a check of the candidates.",
                    "The share of equal entries estimates the Jaccard similarity; bands find candidates without "
                    "comparing all pairs.",
                ),
                "d": (
                    "Their lengths: copies are equally long.",
                    "Nearly the same files differ in length, and thousands of different ones agree in it.",
                ),
            },
            "c",
        ),
        Question(
            "Short documents are packed into rows of 1,024 tokens. What does a block-diagonal mask change?",
            {
                "a": (
                    "A token sees only tokens of its own document.",
                    "Without it, the beginning of a document is predicted from the end of an unrelated one.",
                ),
                "b": (
                    "The rows are filled up with padding.",
                    "Packing is there so that no place is wasted on padding.",
                ),
                "c": (
                    "A token may look at later tokens of its document.",
                    "The mask stays causal inside each block.",
                ),
                "d": (
                    "The end-of-text tokens are no longer predicted.",
                    "They are targets like the others: a model has to learn where a document ends.",
                ),
            },
            "a",
        ),
        Question(
            "A weight is 1 in bfloat16, and each step adds 0.002 to it; after each step it is rounded. Where is it "
            "after a thousand steps?",
            {
                "a": (
                    "At 3: rounding errors cancel.",
                    "They would if they went both ways. Here every step is rounded back, always in the same direction.",
                ),
                "b": (
                    "At 1: above 1 the neighbours are 1/128 apart, and 0.002 is less than half of that.",
                    "1.002 is nearer to 1 than to 1.0078. A master copy in float32 adds the steps up.",
                ),
                "c": (
                    "At about 2.95: each step loses a little.",
                    "Each step loses everything; rounding is to the nearest neighbour, and that is 1.",
                ),
                "d": (
                    "At 0: too small numbers become zero.",
                    "That is underflow, and far from here: bfloat16 has the exponents of float32. What is lost are "
                    "digits.",
                ),
            },
            "b",
        ),
        Question(
            "A model of 1 billion parameters is trained on 20 billion tokens with Adam in mixed precision. What does "
            "it take, by 6ND and without activations?",
            {
                "a": (
                    "4e19 operations and 2 GB",
                    "That is the forward pass alone, 2ND, and the memory of the weights alone.",
                ),
                "b": (
                    "1.2e20 operations and 2 GB",
                    "The operations are right. In training, gradients, master copy and two moments come on top.",
                ),
                "c": (
                    "4e19 operations and 16 GB",
                    "The memory is right. The way back costs twice as much as the way forward.",
                ),
                "d": (
                    "1.2e20 operations and 16 GB",
                    "6 times 1e9 times 2e10, and 2 + 2 + 4 + 8 bytes for each parameter.",
                ),
            },
            "d",
        ),
    )
