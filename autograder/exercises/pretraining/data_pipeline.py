"""Exercise 8: from a heap of texts to a corpus: duplicates, near-duplicates, junk and personal data."""

import numpy as np

from autograder.alike import same
from autograder.compare import equal, true
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.pretraining import data_parts as parts
from autograder.exercises.pretraining import data_wrong as wrong
from autograder.exercises.pretraining.data_parts import document, expect_documents
from autograder.rng import Rng
from autograder.student import Student, type_name
from course_lib import pretraining


class Minhash(Exercise):
    """Clean a heap of texts: drop copies, find near-copies without comparing all pairs, filter, and redact."""

    title = "A data pipeline"
    difficulty = 2
    minutes = 80
    id = "minhash"
    functions = (
        "exact_dedup",
        "shingles",
        "minhash",
        "lsh_candidates",
        "duplicate_clusters",
        "quality_filter",
        "redact_pii",
    )
    reference = pretraining
    forbid = ("datasketch", "sklearn", "networkx", "scipy")
    hints = (
        "Seven small functions; take them one at a time, check after each. For every one, ask what counts as the same: "
        "two texts, two words, two signatures, two clusters, a person and a version number.",
        'exact_dedup: keep a key of each text in seen; " ".join(text.split()) makes white space alike. shingles: the '
        "words first, then a set of runs: how many begin, if there are n words? minhash: x = the numbers of all "
        "shingles as a column; x * a + b is a table [shingles, num_perm] that wraps around by itself in uint64; >> 32, "
        "then the minimum of each column. lsh_candidates: for each band, a dictionary from the band's numbers to the "
        "documents that have them. duplicate_clusters: parent = list(range(n)); follow parents to the top, and let the "
        "smaller top win.",
        r"shingles: words = re.findall(r'[^\W_]+', text.lower()), and range(max(1, len(words) - k + 1)). "
        "lsh: key = sigs[i, b * rows : (b + 1) * rows].tobytes(); combinations(members, 2). Filter: "
        "np.quantile(known, q, method='inverted_cdf'), keep >=. Addresses: "
        r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w), then ipaddress.ip_address(...).is_global. E-mail: "
        r"[\w.%+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}(?!\.?\w|[(\[]). Telephone: (?<!\w)\+\d(?:[ -]?\d){7,14}(?!\.?\w|[ -]\d); "
        "without the last part it would take a piece of a number that is too long.",
    )

    @check(hint="White space does not count, letter case does. The first of each stays, whole; seen knows old shards.")
    def drops_exact_copies(self, student: Student, rng: Rng) -> None:
        texts = ["b c", "a", "b  c", "a\n", "bc", "B c", " a", rng.word(4, 8)]
        docs = [document(text, f"licence {n}") for n, text in enumerate(texts)]
        got, after = student.exact_dedup.with_arguments(docs, set())
        expect_documents(got, [docs[n] for n in (0, 1, 4, 5, 7)], "the result")
        seen = after[1] if len(after) > 1 else None
        true(isinstance(seen, set) and bool(seen), "the set seen is still empty: the next shard would know nothing")
        more = [document("new"), document("a ", "MIT"), document(texts[-1])]
        expect_documents(student.exact_dedup(more, seen), more[:1], "for a second shard with the same seen, the result")
        expect_documents(student.exact_dedup(more), more, "without seen, the result")

    @check(hint="Lower case, words of letters and digits only, every run of k of them once. Short texts have one run.")
    def makes_runs_of_words(self, student: Student, rng: Rng) -> None:
        drawn = " ".join(rng.words(9, shortest=2, longest=4))
        fixed = (("The cat, the CAT!\nthe cat", 2), ("snake_case is 2 words", 3), ("one two", 5), ("Café, naïve", 2))
        for text, k in (*fixed, (drawn, 4)):
            got = student.shingles(text, k)
            true(isinstance(got, set), f"the shingles are {type_name(got)}, expected a set: each run counts once")
            equal(got, parts.runs(text, k), what=f"shingles({text!r}, {k})")
        equal(student.shingles(" ...", 3), set(), what="a text without a word")

    @check(hint="For each pair a, b: the least of (a x + b) mod 2^64 >> 32 over the numbers x of the shingles.")
    def signs_the_same_on_every_machine(self, student: Student, rng: Rng) -> None:
        text = " ".join(rng.words(20))
        for k, count, seed in ((3, 8, rng.randint(1, 99)), (2, 5, 7)):
            parts.expect_signature(student, text, k, count, seed)
        parts.expect_signature(student, text.title().replace(" ", ", "), 3, 8, 2)
        parts.expect_signature(student, "--", 3, 4, 1)

    @check(hint="In one band at least, all numbers must agree; band 0 meets band 0 only. Pairs are (i, j), i < j.")
    def finds_candidates_by_bands(self, student: Student, rng: Rng) -> None:
        small = [[1, 2, 3, 4], [1, 2, 0, 0], [0, 0, 3, 5], [0, 5, 1, 2], [1, 2, 7, 8], [9, 3, 4, 6]]
        empty = np.full((2, 8), parts.LARGEST, dtype=np.uint32)
        drawn = np.concatenate([parts.drawn_table(rng, 10, 8), empty])
        for sigs, bands in ((np.array(small, dtype=np.uint32), 2), (drawn, 2), (parts.drawn_table(rng, 12, 7), 3)):
            got = student.lsh_candidates(sigs, bands)
            true(isinstance(got, set), f"the candidates are {type_name(got)}, expected a set of pairs (i, j)")
            shape = f"for {len(sigs)} signatures of {sigs.shape[1]} numbers and {bands} bands"
            equal(got, parts.agreeing(sigs, bands), what=f"{shape}, lsh_candidates")

    @check(hint="Verify every candidate with the sets themselves. What hangs together by a chain is one cluster.")
    def joins_what_is_really_alike(self, student: Student, rng: Rng) -> None:
        words = rng.sample([a + b for a in "bcdfgklmnp" for b in "aeiou"], 14)
        docs = [" ".join(words[i : i + 8]) for i in range(6)]  # neighbours share 7 of 9, the next but one 6 of 10
        near = {(0, 1), (2, 3), (1, 2), (0, 2), (4, 5)}
        looping = [f"{words[0]} {words[1]} " * 3 + words[2], f"{words[0]} {words[1]} {words[2]}", " ".join(words[5:9])]
        short = [" ".join(words[:4]), " ".join(words[:2]), " ".join(words[1:4])]
        met = [docs[0], docs[1], docs[3], docs[2]]  # (1, 3) joins what has been joined before
        for texts, pairs, threshold, k in (
            (docs, near, 0.7, 1),
            (met, {(0, 1), (2, 3), (1, 3)}, 0.7, 1),
            (docs, {(0, 1), (3, 4), (0, 5), (1, 3)}, 0.7, 1),
            (looping, {(0, 1), (1, 2)}, 0.75, 1),
            (short, {(0, 1), (0, 2)}, 0.75, 1),
        ):
            got = student.duplicate_clusters(texts, pairs, threshold, k)
            what = f"for {len(texts)} texts, the pairs {sorted(pairs)} and a threshold of {threshold}, the result"
            want = parts.walked(texts, pairs, threshold, k)
            if not same(got, want):
                parts.blame_shingles(student, texts, k)
            equal(got, want, what=what)

    @check(hint="The threshold comes from reference, by default from docs. Keep what is not below it, in its order.")
    def filters_by_a_threshold_from_the_reference(self, student: Student, rng: Rng) -> None:
        lengths = rng.sample(range(1, 30), 9)  # with nine, np.quantile's usual kind of 0.5 is one of the scores, too
        docs = [document("x" * n, f"licence {n}") for n in lengths]
        # Mostly short ones: whoever takes the threshold from docs keeps something else.
        reference = [document("y" * n) for n in sorted(lengths)[:4]]

        def score(text: object) -> float:
            if not isinstance(text, str):
                raise TypeError("the scorer takes a text, and was given something else")
            return float(len(text))

        for q, known in ((0.5, None), (0.75, None), (0.5, reference), (0.0, reference)):
            threshold = parts.quantile([len(d.text) for d in known or docs], q)
            want = [doc for doc in docs if len(doc.text) >= threshold]
            got = student.quality_filter(docs, score, q, *([] if known is None else [known]))
            what = f"for q = {q}{' and a reference of four short documents' if known else ''}, the result"
            expect_documents(got, want, what)

    @check(hint="Is it whole, and not a part of something longer? Is the address public? Does a bracket follow?")
    def redacts_persons_and_not_programs(self, student: Student, rng: Rng) -> None:
        name, digits = rng.word(3, 8), "".join(str(rng.randint(1, 9)) for _ in range(4))
        for text, want in (
            (f"Write to {name}.b@example.org, or {name}@uni.ac.uk.", "Write to <EMAIL>, or <EMAIL>."),
            ("The servers 8.8.8.8 and 140.82.121.4 answer.", "The servers <IP_ADDRESS> and <IP_ADDRESS> answer."),
            (f"Call +44 20 7946 {digits}!", "Call <PHONE>!"),
            (f"Call us (+44 20 7946 {digits}).", "Call us (<PHONE>)."),
            (f"Call +44 20 7946 {digits}. Or +44207946{digits}.", "Call <PHONE>. Or <PHONE>."),
            ("The first is at 8.8.8.8.", "The first is at <IP_ADDRESS>."),
            ("y = x@w.mean(0) + b", None),
            ("y = x@w.mean.T(0)", None),
            ("here: 127.0.0.1, 192.168.0.12", None),
            ("now version 8.1.2.3, then version: 8.1.2.4", None),
            ("section 11.10.2.3.4, build 1.2.3.45678", None),
            ("999.1.1.1", None),
            (f"order 20794{digits}6, 2024-01-02", None),
            ("x = +35236450.6", None),
            (f"not +44 20 7946 {digits}.5, and not +44 20 7946 {digits} 1234 56", None),
        ):
            equal(student.redact_pii(text), text if want is None else want, what=f"redact_pii({text!r})")

    spaces_count = mistake("compares texts as they are; white space does not count", of="exact_dedup")(
        wrong.spaces_count
    )
    spaces_dropped = mistake("takes all white space out; 'b c' and 'bc' are not the same", of="exact_dedup")(
        wrong.spaces_dropped
    )
    case_ignored = mistake("ignores letter case; here 'B c' is another text than 'b c'", of="exact_dedup")(
        wrong.case_ignored
    )
    only_texts = mistake("returns the texts, and so loses the licence; keep the documents", of="exact_dedup")(
        wrong.only_texts
    )
    the_last_stays = mistake("keeps the last of each; the first one stays", of="exact_dedup")(wrong.the_last_stays)
    every_shard_anew = mistake("does not add to seen; copies in the next shard would stay", of="exact_dedup")(
        wrong.every_shard_anew
    )
    repeats_counted = mistake("returns a list with repeats; a run that occurs twice is one shingle", of="shingles")(
        wrong.repeats_counted
    )
    of_characters = mistake("takes runs of characters; here they are runs of words", of="shingles")(wrong.of_characters)
    punctuation_stays = mistake("cuts at white space only; punctuation does not count", of="shingles")(
        wrong.punctuation_stays
    )
    ascii_only = mistake("knows the letters a to z only; é and ï are letters, too", of="shingles")(wrong.ascii_only)
    capitals_stay = mistake("tells capitals apart; letter case does not count", of="shingles")(wrong.capitals_stay)
    side_by_side = mistake("lays the runs side by side; they overlap, one begins at every word", of="shingles")(
        wrong.side_by_side
    )
    last_run_missing = mistake("forgets the last run", of="shingles")(wrong.last_run_missing)
    nothing_when_short = mistake(
        "has nothing for a text of fewer than k words; its words together are one shingle", of="shingles"
    )(wrong.nothing_when_short)
    salted_hash = mistake(
        "takes other numbers than stable_hash gives; Python's hash(), for one, is new in every process"
    )(wrong.salted_hash)
    maxima = mistake("takes the greatest value of each hash function; MinHash is the least")(wrong.maxima)
    lower_bits = mistake("takes the lower half of the product; its bits are hardly mixed, the upper 32 are")(
        wrong.lower_bits
    )
    one_function = mistake("takes the smallest values of one hash function; each number has a function of its own")(
        wrong.one_function
    )
    of_words = mistake("ignores k, and signs words instead of runs of words")(wrong.of_words)
    always_five = mistake("takes shingles of 5 words, whatever k is; hand k on to shingles")(wrong.always_five)
    always_one_seed = mistake("ignores the seed")(wrong.always_one_seed)
    any_number = mistake("lets a single equal number make a candidate; a whole band must agree", of="lsh_candidates")(
        wrong.any_number
    )
    all_bands = mistake("asks for all bands; one that agrees is enough", of="lsh_candidates")(wrong.all_bands)
    bands_mixed = mistake("compares one band with another; each band has buckets of its own", of="lsh_candidates")(
        wrong.bands_mixed
    )
    bands_as_rows = mistake("takes bands for the number of rows in a band", of="lsh_candidates")(wrong.bands_as_rows)
    overlapping_bands = mistake("lets the bands overlap; they lie side by side", of="lsh_candidates")(
        wrong.overlapping_bands
    )
    only_the_next = mistake(
        "pairs a document only with the next one of its bucket; all of a bucket are pairs", of="lsh_candidates"
    )(wrong.only_the_next)
    both_ways = mistake("gives each pair twice, as (i, j) and as (j, i)", of="lsh_candidates")(wrong.both_ways)
    empty_ones_too = mistake(
        "makes candidates of texts without a word; their signatures are all alike and say nothing", of="lsh_candidates"
    )(wrong.empty_ones_too)
    not_verified = mistake("believes every candidate; verify it with the true similarity", of="duplicate_clusters")(
        wrong.not_verified
    )
    only_direct_pairs = mistake(
        "leaves pairs as they are; pairs that share a document are one cluster (union-find)", of="duplicate_clusters"
    )(wrong.only_direct_pairs)
    clusters_that_meet = mistake(
        "does not join two clusters that have grown before they meet", of="duplicate_clusters"
    )(wrong.clusters_that_meet)
    above_the_threshold = mistake(
        "asks for more than the threshold; a pair right at it counts", of="duplicate_clusters"
    )(wrong.above_the_threshold)
    by_the_smaller = mistake(
        "divides by the smaller set; Jaccard divides by what both have together", of="duplicate_clusters"
    )(wrong.by_the_smaller)
    all_pairs = mistake("compares all documents; candidates are there so that nobody has to", of="duplicate_clusters")(
        wrong.all_pairs
    )
    single_ones_too = mistake(
        "lists documents without a double, too; a cluster has two members at least", of="duplicate_clusters"
    )(wrong.single_ones_too)
    fitted_on_what_it_filters = mistake(
        "takes the threshold from the documents that it filters; it comes from the reference", of="quality_filter"
    )(wrong.fitted_on_what_it_filters)
    q_as_threshold = mistake("takes q itself for the threshold; it is a share of the scores", of="quality_filter")(
        wrong.q_as_threshold
    )
    between_scores = mistake(
        "takes a threshold between two scores; np.quantile needs method='inverted_cdf'", of="quality_filter"
    )(wrong.between_scores)
    scores_documents = mistake("hands documents to scorer; it takes their texts", of="quality_filter")(
        wrong.scores_documents
    )
    strictly_above = mistake("drops what is right at the threshold", of="quality_filter")(wrong.strictly_above)
    the_worst = mistake("keeps the worst documents", of="quality_filter")(wrong.the_worst)
    sorted_by_score = mistake("sorts by score; documents stay in their order", of="quality_filter")(
        wrong.sorted_by_score
    )
    inside_longer_numbers = mistake("finds addresses inside longer numbers; a match must be whole", of="redact_pii")(
        wrong.inside_longer_numbers
    )
    private_addresses = mistake(
        "redacts addresses that are nobody's, such as 127.0.0.1; ask ipaddress whether it is public", of="redact_pii"
    )(wrong.private_addresses)
    version_numbers = mistake("takes a version number for an address", of="redact_pii")(wrong.version_numbers)
    matrix_products = mistake(
        "takes Python's matrix product for an e-mail address; an opening bracket follows it", of="redact_pii"
    )(wrong.matrix_products)
    full_stop_swallowed = mistake("swallows the full stop behind an e-mail address", of="redact_pii")(
        wrong.full_stop_swallowed
    )
    parts_of_products = mistake(
        "takes a part of a matrix product for an e-mail address; a dot and a letter follow it, so it is not whole",
        of="redact_pii",
    )(wrong.parts_of_products)
    none_before_a_full_stop = mistake(
        "misses telephone numbers before a full stop, or cuts them short; only a dot with more behind it rules out",
        of="redact_pii",
    )(wrong.none_before_a_full_stop)
    parts_of_numbers = mistake(
        "takes the beginning of a longer row of digits for a telephone number; a match must be whole", of="redact_pii"
    )(wrong.parts_of_numbers)
    any_long_number = mistake("takes any long number for a telephone number; ask for the plus", of="redact_pii")(
        wrong.any_long_number
    )
    signed_numbers = mistake("takes a number with a sign and a decimal point for a telephone number", of="redact_pii")(
        wrong.signed_numbers
    )
    first_only = mistake("replaces the first find only", of="redact_pii")(wrong.first_only)
