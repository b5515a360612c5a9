"""The quiz of chapter 2."""

from autograder.questions import Question, QuizExercise


class Quiz(QuizExercise):
    """Twelve questions on the whole chapter."""

    title = "Quiz"
    minutes = 15
    questions = (
        Question(
            "A GPT uses one table for its input embedding and, tied, for its output head. Which rows of that table get "
            "a gradient from one batch?",
            {
                "a": (
                    "The rows of the tokens in the batch.",
                    "That is true of the lookup alone. The head compares with every row to make the softmax.",
                ),
                "b": (
                    "All of them.",
                    "The head's softmax involves every row. The lookup adds its share to the rows of the input "
                    "tokens, once for each time a token occurs.",
                ),
                "c": (
                    "The rows of the tokens that were to be predicted.",
                    "Those are pulled up, but the softmax pushes all the others down: they get a gradient too.",
                ),
                "d": (
                    "None: a lookup cannot be differentiated.",
                    "A lookup is a product with a one-hot matrix. Its gradient is a sum over equal ids.",
                ),
            },
            "b",
        ),
        Question(
            "Queries and keys have 64 independent entries of variance 1. Why is their product divided by 8?",
            {
                "a": (
                    "So that the weights of a row add up to 1.",
                    "The softmax does that, whatever its input is.",
                ),
                "b": (
                    "So that the product lies between -1 and 1.",
                    "Nothing bounds it. Divided by 8 its standard deviation is 1, and some products are larger.",
                ),
                "c": (
                    "So that its variance is 1 instead of 64.",
                    "A sum of 64 products of variance 1 has variance 64, standard deviation 8. Without the division "
                    "the softmax would nearly pick a single key, and its gradient would be tiny.",
                ),
                "d": (
                    "So that a model of 8 heads stays in balance.",
                    "The number of heads does not matter. 8 is the square root of 64, the width of one head.",
                ),
            },
            "c",
        ),
        Question(
            "The first Mistral 7B has 32 layers; each lets a position see 4,096 positions, itself included, and there "
            "are no global tokens. From how far back can anything reach the last position?",
            {
                "a": (
                    "About 131,000 positions.",
                    "Each layer reaches 4,095 further: 32 times that is 131,040. What arrives has passed 32 layers.",
                ),
                "b": (
                    "4,095 positions.",
                    "That is one layer. The keys of the next layer have themselves looked back by a window.",
                ),
                "c": (
                    "From anywhere: global tokens carry it.",
                    "Longformer has global tokens. This model has a window and nothing else.",
                ),
                "d": (
                    "From anywhere: the residual stream carries it.",
                    "The residual stream of a position stays at that position. Only attention moves anything.",
                ),
            },
            "a",
        ),
        Question(
            "A model has 32 query heads and 8 key-value heads. Compared with 32 key-value heads, what changes?",
            {
                "a": (
                    "The cache shrinks to a quarter; query head 9 uses key-value head 1, as 9 modulo 8 is 1.",
                    "The cache is right. But neighbours share: heads 0 to 3 use head 0, so head 9 uses head 2.",
                ),
                "b": (
                    "The table of attention weights shrinks to a quarter; query head 9 uses key-value head 2.",
                    "The heads are right. But each of the 32 query heads still has weights of its own.",
                ),
                "c": (
                    "Attention takes a quarter of the time in training; the cache stays as it is.",
                    "The other way round: nearly the same work with the queries, but far fewer keys and values to "
                    "keep.",
                ),
                "d": (
                    "The cache shrinks to a quarter; query head 9 uses key-value head 2, as 9 // 4 is 2.",
                    "Four query heads in a row share one key-value head, and only keys and values are kept.",
                ),
            },
            "d",
        ),
        Question(
            "What does RoPE do to position 7?",
            {
                "a": (
                    "It adds a learned vector for position 7 to the embedding.",
                    "That is a table of learned positions, as in GPT-2. RoPE learns nothing and adds nothing.",
                ),
                "b": (
                    "It rotates the key by the distance to the query that looks at it.",
                    "Then a key would need another rotation for each query. It is rotated once, by its own position.",
                ),
                "c": (
                    "It rotates its query and its key by 7 times fixed angles.",
                    "By its absolute position. In the product of a query and a key only the difference of the two "
                    "rotations is left, so the score depends on the offset. Values are not rotated.",
                ),
                "d": (
                    "It rotates its query, key and value by 7 times fixed angles.",
                    "Not the value: what is carried home should not depend on where it was found.",
                ),
            },
            "c",
        ),
        Question(
            "An ALiBi head has slope 1/4. What happens to the score of a key 8 positions back?",
            {
                "a": (
                    "2 is subtracted from it before the softmax.",
                    "Slope times distance: 1/4 of 8. The penalty grows with the distance; the slope itself is fixed, "
                    "one for each head, and not learned.",
                ),
                "b": (
                    "1/4 is subtracted from it, as from every other key.",
                    "A bias that is the same for all keys would change nothing: the softmax does not notice it.",
                ),
                "c": (
                    "A number for distance 8 that was learned is added.",
                    "That is a relative bias with a learned table. ALiBi has no parameters.",
                ),
                "d": (
                    "Its weight after the softmax is reduced by 2.",
                    "Then weights could be negative and would not add up to 1. It happens before the softmax.",
                ),
            },
            "a",
        ),
        Question(
            "What does putting the normalisation before attention and feed-forward layer, instead of after, bring?",
            {
                "a": (
                    "A lower loss at any depth.",
                    "Not in general: with few layers post-LN may end up lower.",
                ),
                "b": (
                    "Nothing, once the learning rate is warmed up.",
                    "Pre-LN hardly needs the warm-up, a deep post-LN model does: that is a difference.",
                ),
                "c": (
                    "A model that needs no normalisation at the end.",
                    "On the contrary: nothing normalises the sum of all layers, so a final norm comes before the head.",
                ),
                "d": (
                    "Gradients of a sensible size from the first step on, also in deep models.",
                    "So a deep model trains without warm-up. That does not make it the better choice in every case.",
                ),
            },
            "d",
        ),
        Question(
            "How does FlashAttention get faster than computing the T x T table?",
            {
                "a": (
                    "It leaves out weights that are too small to matter.",
                    "It leaves out nothing: the result is the same up to rounding.",
                ),
                "b": (
                    "It keeps tiles in fast memory, so that far fewer numbers travel to and from slow memory.",
                    "The arithmetic is that of attention, in the backward pass even more. What it saves is traffic.",
                ),
                "c": (
                    "It needs fewer multiplications, growing with T instead of T squared.",
                    "Still T squared. Its memory grows with T, because the table is never stored.",
                ),
                "d": (
                    "It normalises each block of keys on its own.",
                    "That would be wrong: it carries maximum and sum from block to block, and rescales.",
                ),
            },
            "b",
        ),
        Question(
            "1,024 tokens, 8 experts, two of them for each token, capacity factor 1.25. How many assignments can one "
            "expert take?",
            {
                "a": (
                    "160",
                    "That is 1.25 times 1,024 / 8: it forgets that every token makes two assignments.",
                ),
                "b": (
                    "256",
                    "That is the fair share. The factor gives each expert a quarter more.",
                ),
                "c": (
                    "2, as 1.25 is rounded up",
                    "1.25 is the capacity factor, not the capacity. It multiplies the fair share.",
                ),
                "d": (
                    "320",
                    "1.25 times 2 times 1,024 / 8. What an expert cannot take is dropped and passes by the residual.",
                ),
            },
            "d",
        ),
        Question(
            "A model generates its millionth token. What does one layer of linear attention have to keep of the past?",
            {
                "a": (
                    "For each head one matrix and one vector of fixed size.",
                    "The sum of phi(k) v^T and the sum of phi(k). That is cheap, and it is all that is left of a "
                    "million tokens: they all share that matrix.",
                ),
                "b": (
                    "A key and a value for each token.",
                    "That is softmax attention: exp(q k) cannot be taken apart, so all keys must stay.",
                ),
                "c": (
                    "Nothing: the current token is enough.",
                    "The past enters through the two sums; without them the answer could not depend on it.",
                ),
                "d": (
                    "The last D tokens.",
                    "There is no window. Every token is in the sums, however long ago it came.",
                ),
            },
            "a",
        ),
        Question(
            "You plot the size of d h_T / d x_t against the distance T - t, with a logarithmic axis. A tanh RNN with "
            "small recurrent weights shows a falling straight line. Why?",
            {
                "a": (
                    "Its weights shrink from step to step.",
                    "The weights are the same at every step. What shrinks is the product of the Jacobians.",
                ),
                "b": (
                    "Gradients are clipped at each step.",
                    "Clipping would scale large ones down to a level. Nothing is clipped here.",
                ),
                "c": (
                    "Each step multiplies by a Jacobian that shortens vectors by about the same factor.",
                    "A product of T - t such factors falls exponentially, which is a straight line on that axis. "
                    "Attention has a path of one step to every position.",
                ),
                "d": (
                    "Distant inputs carry less information.",
                    "The derivative does not know what the inputs mean. A copying task fails for the same reason.",
                ),
            },
            "c",
        ),
        Question(
            "A vision transformer cuts a colour image of 224 x 224 into patches of 16 x 16. What does it see?",
            {
                "a": (
                    "588 tokens of 256 numbers",
                    "That would be a token for each patch and colour. One patch holds its three colours.",
                ),
                "b": (
                    "196 tokens of 768 numbers",
                    "14 times 14 patches, each with 3 times 16 times 16 numbers. A class token may come on top.",
                ),
                "c": (
                    "50,176 tokens of 3 numbers",
                    "That would be a token for each pixel, and attention over 50,176 of them.",
                ),
                "d": (
                    "43,681 tokens of 768 numbers",
                    "That would be a patch at every one of 209 x 209 places. Patches do not overlap.",
                ),
            },
            "b",
        ),
    )
