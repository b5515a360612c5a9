"""The wrong versions of exercise 8's functions: each is right but for one thing."""

import re

import numpy as np

from autograder.exercises.pretraining import data_parts as parts
from course_lib import pretraining


def deduplicated(docs, seen, key):
    seen = set() if seen is None else seen
    return [doc for doc in docs if key(doc.text) not in seen and not seen.add(key(doc.text))]


def spaces_count(docs, seen=None):
    return deduplicated(docs, seen, lambda text: text)


def spaces_dropped(docs, seen=None):
    return deduplicated(docs, seen, lambda text: "".join(text.split()))


def case_ignored(docs, seen=None):
    return deduplicated(docs, seen, lambda text: " ".join(text.lower().split()))


def only_texts(docs, seen=None):
    return [doc.text for doc in pretraining.exact_dedup(docs, seen)]


def the_last_stays(docs, seen=None):
    return pretraining.exact_dedup(docs[::-1], seen)[::-1]


def every_shard_anew(docs, seen=None):
    return pretraining.exact_dedup(docs, set(seen or ()))


def repeats_counted(text, k=5):
    words = re.findall(r"[^\W_]+", text.lower())
    return [" ".join(words[i : i + k]) for i in range(max(1, len(words) - k + 1))] if words else []


def of_characters(text, k=5):
    return {text.lower()[i : i + k] for i in range(len(text) - k + 1)}


def punctuation_stays(text, k=5):
    words = text.lower().split()
    return {" ".join(words[i : i + k]) for i in range(max(1, len(words) - k + 1))} if words else set()


def ascii_only(text, k=5):
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {" ".join(words[i : i + k]) for i in range(max(1, len(words) - k + 1))} if words else set()


def capitals_stay(text, k=5):
    words = re.findall(r"[^\W_]+", text)
    return {" ".join(words[i : i + k]) for i in range(max(1, len(words) - k + 1))} if words else set()


def side_by_side(text, k=5):
    words = re.findall(r"[^\W_]+", text.lower())
    return {" ".join(words[i : i + k]) for i in range(0, max(1, len(words) - k + 1), k)} if words else set()


def last_run_missing(text, k=5):
    words = re.findall(r"[^\W_]+", text.lower())
    return {" ".join(words[i : i + k]) for i in range(max(1, len(words) - k))} if words else set()


def nothing_when_short(text, k=5):
    words = re.findall(r"[^\W_]+", text.lower())
    return {" ".join(words[i : i + k]) for i in range(len(words) - k + 1)}


def salted_hash(doc, k=5, num_perm=128, seed=0):
    items = {"".join(map(chr, (len(item), *item.encode()))) for item in pretraining.shingles(doc, k)}
    return parts.signature(items, num_perm, seed, number=lambda item: hash(item) % 2**32)


def maxima(doc, k=5, num_perm=128, seed=0):
    return parts.signature(pretraining.shingles(doc, k), num_perm, seed, pick=max)


def lower_bits(doc, k=5, num_perm=128, seed=0):
    return parts.signature(pretraining.shingles(doc, k), num_perm, seed, shift=0)


def one_function(doc, k=5, num_perm=128, seed=0):
    return parts.bottom(pretraining.shingles(doc, k), num_perm, seed)


def of_words(doc, k=5, num_perm=128, seed=0):
    return pretraining.minhash(doc, 1, num_perm, seed)


def always_five(doc, k=5, num_perm=128, seed=0):
    return pretraining.minhash(doc, 5, num_perm, seed)


def always_one_seed(doc, k=5, num_perm=128, seed=0):
    return pretraining.minhash(doc, k, num_perm, 0)


def any_number(sigs, bands):
    return parts.pairs_in(parts.bucketed(sigs, sigs.shape[1] // bands * bands, 1))


def all_bands(sigs, bands):
    rows = sigs.shape[1] // bands
    return parts.pairs_in(parts.bucketed(sigs[:, : rows * bands], 1, rows * bands))


def bands_mixed(sigs, bands):
    return parts.pairs_in(parts.bucketed(sigs, bands, sigs.shape[1] // bands), by_band=False)


def bands_as_rows(sigs, bands):
    return parts.pairs_in(parts.bucketed(sigs, sigs.shape[1] // bands, bands))


def overlapping_bands(sigs, bands):
    rows = sigs.shape[1] // bands
    return parts.pairs_in(parts.bucketed(sigs, sigs.shape[1] - rows + 1, rows, key=lambda band, rows: band))


def only_the_next(sigs, bands):
    return parts.pairs_in(parts.bucketed(sigs, bands, sigs.shape[1] // bands), only_next=True)


def both_ways(sigs, bands):
    found = pretraining.lsh_candidates(sigs, bands)
    return found | {(j, i) for i, j in found}


def empty_ones_too(sigs, bands):
    empty = np.flatnonzero((sigs == parts.LARGEST).all(1)).tolist()
    return pretraining.lsh_candidates(sigs, bands) | {(i, j) for i in empty for j in empty if i < j}


def not_verified(docs, pairs, threshold=0.8, k=5):
    return pretraining.duplicate_clusters(["same"] * len(docs), pairs, threshold, k)


def only_direct_pairs(docs, pairs, threshold=0.8, k=5):
    return [list(pair) for pair in sorted(pairs) if pretraining.duplicate_clusters(docs, [pair], threshold, k)]


def clusters_that_meet(docs, pairs, threshold=0.8, k=5):
    clusters: list[list[int]] = []
    for i, j in sorted(pairs, key=lambda pair: (pair[1] - pair[0], pair)):
        if pretraining.duplicate_clusters(docs, [(i, j)], threshold, k):
            home = next((c for c in clusters if i in c or j in c), None)
            if home is None:
                clusters.append([i, j])
            else:
                home += [n for n in (i, j) if n not in home and not any(n in c for c in clusters)]
    return sorted(sorted(c) for c in clusters)


def above_the_threshold(docs, pairs, threshold=0.8, k=5):
    return pretraining.duplicate_clusters(docs, pairs, min(1.0, threshold + 1e-6), k)


def by_the_smaller(docs, pairs, threshold=0.8, k=5):
    sets = [pretraining.shingles(doc, k) for doc in docs]
    good = [(i, j) for i, j in pairs if len(sets[i] & sets[j]) >= threshold * min(len(sets[i]), len(sets[j]))]
    return pretraining.duplicate_clusters(["same"] * len(docs), good, threshold, k)


def all_pairs(docs, pairs, threshold=0.8, k=5):
    return pretraining.duplicate_clusters(
        docs, [(i, j) for i in range(len(docs)) for j in range(i + 1, len(docs))], threshold, k
    )


def single_ones_too(docs, pairs, threshold=0.8, k=5):
    found = pretraining.duplicate_clusters(docs, pairs, threshold, k)
    return sorted([*found, *([i] for i in range(len(docs)) if not any(i in c for c in found))])


def fitted_on_what_it_filters(docs, scorer, q, reference=None):
    return pretraining.quality_filter(docs, scorer, q)


def q_as_threshold(docs, scorer, q, reference=None):
    return [doc for doc in docs if scorer(doc.text) >= q]


def between_scores(docs, scorer, q, reference=None):
    threshold = np.quantile([scorer(doc.text) for doc in reference or docs], q)
    return [doc for doc in docs if scorer(doc.text) >= threshold]


def scores_documents(docs, scorer, q, reference=None):
    threshold = parts.quantile([scorer(doc) for doc in reference or docs], q)
    return [doc for doc in docs if scorer(doc) >= threshold]


def strictly_above(docs, scorer, q, reference=None):
    threshold = parts.quantile([scorer(doc.text) for doc in reference or docs], q)
    return [doc for doc in docs if scorer(doc.text) > threshold]


def the_worst(docs, scorer, q, reference=None):
    threshold = parts.quantile([scorer(doc.text) for doc in reference or docs], q)
    return [doc for doc in docs if scorer(doc.text) <= threshold]


def sorted_by_score(docs, scorer, q, reference=None):
    return sorted(pretraining.quality_filter(docs, scorer, q, reference), key=lambda doc: -scorer(doc.text))


def inside_longer_numbers(text):
    return parts.redacted(text, ip=r"\d{1,3}(?:\.\d{1,3}){3}")


def private_addresses(text):
    return parts.redacted(text, public=False)


def version_numbers(text):
    return parts.redacted(text, versions=False)


def matrix_products(text):
    return parts.redacted(text, email=r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")


def full_stop_swallowed(text):
    return parts.redacted(text, email=r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\.?(?!\w|[(\[])")


def parts_of_products(text):
    return parts.redacted(text, email=r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![\w(\[])")


def any_long_number(text):
    return parts.redacted(text, phone=r"(?<![\w.+])\+?\d(?:[ -]?\d){7,14}(?!\.?\w|[ -]\d)")


def none_before_a_full_stop(text):
    return parts.redacted(text, phone=r"(?<![\w+])\+\d(?:[ -]?\d){7,14}(?![\d.])")


def parts_of_numbers(text):
    return parts.redacted(text, phone=r"(?<![\w+])\+\d(?:[ -]?\d){7,14}(?!\.?\d)")


def signed_numbers(text):
    return parts.redacted(text, phone=r"(?<![\w+])\+\d(?:[ -]?\d){7,14}")


def first_only(text):
    return parts.redacted(text, count=1)
