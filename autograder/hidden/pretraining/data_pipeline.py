"""Hidden checks of exercise 8, and other ways to solve it."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections import defaultdict
from itertools import combinations

import numpy as np

from autograder.compare import equal, true
from autograder.exercise import check, variant
from autograder.exercises.pretraining import data_parts as parts
from autograder.exercises.pretraining import data_pipeline as public
from autograder.exercises.pretraining.data_parts import document, expect_documents, expect_signature, near
from autograder.rng import Rng
from autograder.student import Student


class Minhash(public.Minhash):
    @check(hint="No document, the same one many times, texts that are empty, letters beyond ASCII, and three shards.")
    def drops_copies_across_many_shards(self, student: Student, rng: Rng) -> None:
        expect_documents(student.exact_dedup([]), [], "for no documents, the result")
        words = [*rng.words(4, shortest=2), "", "naïve 北京"]
        seen, known = set(), set()
        for shard in range(3):
            docs = [document(rng.choice(["", "\t"]) + rng.choice(words) + " ", str(n)) for n in range(7)]
            fresh = []
            for doc in docs:
                if doc.text.strip() not in known:
                    known.add(doc.text.strip())
                    fresh.append(doc)
            got, after = student.exact_dedup.with_arguments(docs, seen)
            expect_documents(got, fresh, f"for shard {shard}, the result")
            seen = after[1]

    @check(hint="The share of equal numbers in two signatures estimates how much of their shingles two texts share.")
    def estimates_how_alike_two_texts_are(self, student: Student, rng: Rng) -> None:
        text = " ".join(rng.words(60, shortest=3))
        first = expect_signature(student, text, 3, 96, 1)
        for changed in (2, 5, 12):
            other = near(text, rng, changed)
            j = float(parts.similarity(text, other, 3))
            found = float((first == expect_signature(student, other, 3, 96, 1)).mean())
            message = f"two texts with a similarity of {j:.2f} are estimated at {found:.2f}"
            true(abs(found - j) <= parts.spread(j, 96), message)

    @check(hint="Copies with one word changed must come out together; texts that share a third must not.")
    def finds_planted_copies_from_end_to_end(self, student: Student, rng: Rng) -> None:
        originals = [" ".join(rng.words(40, shortest=3)) for _ in range(3)]
        docs = [*originals, *(near(text, rng, 1) for text in originals), near(originals[0], rng, 12), "", ""]
        sigs = np.stack([expect_signature(student, text, 3, 42, 5) for text in docs])
        pairs = student.lsh_candidates(sigs, 6)
        equal(pairs, parts.agreeing(sigs, 6), what="the candidates")
        got = student.duplicate_clusters(docs, pairs, 0.8, 3)
        equal(got, parts.walked(docs, pairs, 0.8, 3), what="the clusters")

    @check(hint="Try a chain whose pairs come in any order, no pairs at all, and texts without a word.")
    def joins_chains_of_any_length(self, student: Student, rng: Rng) -> None:
        words = [f"w{n}" for n in range(30)]
        docs = [" ".join(words[i : i + 8]) for i in range(14)]
        links = rng.sample([(i, i + 1) for i in range(13)], 10)
        got = student.duplicate_clusters(docs, set(links), 0.7, 1)
        equal(got, parts.walked(docs, links, 0.7, 1), what=f"for the pairs {sorted(links)}, the result")
        equal(student.duplicate_clusters(docs, set(), 0.7, 1), [], what="without candidates, the result")

    @check(hint="Whole sentences: what is personal must go, all of it, and nothing else may change.")
    def redacts_with_precision_and_recall(self, student: Student, rng: Rng) -> None:
        name, other = rng.word(3, 7), rng.word(3, 7)
        personal = {
            f"{name}_{other}+list@mail.example.com": "<EMAIL>",
            f"{name}{rng.randint(1, 99)}@{other}.org": "<EMAIL>",
            f"8.{rng.randint(10, 99)}.{rng.randint(1, 99)}.7": "<IP_ADDRESS>",
            f"+49 30 {rng.randint(100, 999)} {rng.randint(1000, 9999)}": "<PHONE>",
            f"+1-202-555-{rng.randint(1000, 9999)}": "<PHONE>",
        }
        harmless = [
            "y = a@b.T", "h = q@k.sum(-1)", "z = q@w.rows[0]", "@cache", f"{name}@", "10.1.2.3", "0.0.0.0",
            "300.4.5.6", "1.2.3", "8.8.8.8.8", "version 10.20.30.40", "1234567890", "+1", "2024-05-06", "x[1:2]",
            "(+35236450.62)", "x = +352364501.6",
        ]  # fmt: skip
        for text in harmless:
            equal(student.redact_pii(text), text, what=f"redact_pii({text!r})")
        for text, mark in personal.items():
            for before, after in (
                ("", ""),
                ("Ask ", " today."),
                ("<", ">"),
                ("one: ", ", two"),
                ("(", ")."),
                ("At ", "."),
            ):
                equal(student.redact_pii(before + text + after), before + mark + after, what=f"redact_pii for {text!r}")
        mixed = [*personal, *harmless]
        rng.shuffle(mixed)
        want = "\n".join(personal.get(text, text) for text in mixed)
        equal(student.redact_pii("\n".join(mixed)), want, what="redact_pii for many lines")

    @variant
    class Plain:
        """Loops and dictionaries; clusters by walking through a graph."""

        def exact_dedup(docs, seen=None):
            if seen is None:
                seen = set()
            kept = []
            for doc in docs:
                digest = hashlib.sha256(re.sub(r"\s+", " ", doc.text).strip().encode()).hexdigest()
                if digest in seen:
                    continue
                seen.add(digest)
                kept.append(doc)
            return kept

        def shingles(text, k=5):
            words = "".join(c if c.isalnum() else " " for c in text.casefold()).split()
            if len(words) <= k:
                return {" ".join(words)} if words else set()
            return {" ".join(run) for run in zip(*(words[i:] for i in range(k)), strict=False)}

        def minhash(doc, k=5, num_perm=128, seed=0):
            out = [2**32 - 1] * num_perm
            pairs = parts.functions(num_perm, seed)
            for shingle in parts.runs(doc, k):
                x = parts.number_of(shingle)
                for i, (a, b) in enumerate(pairs):
                    out[i] = min(out[i], (a * x + b) % 2**64 // 2**32)
            return np.array(out, dtype=np.uint32)

        def lsh_candidates(sigs, bands):
            rows, found = sigs.shape[1] // bands, set()
            for b in range(bands):
                buckets = defaultdict(list)
                for i in range(len(sigs)):
                    if not np.all(sigs[i] == 2**32 - 1):
                        buckets[tuple(sigs[i, b * rows : (b + 1) * rows].tolist())].append(i)
                for members in buckets.values():
                    found |= set(combinations(members, 2))
            return found

        def duplicate_clusters(docs, pairs, threshold=0.8, k=5):
            neighbours = defaultdict(set)
            for i, j in pairs:
                a, b = parts.runs(docs[i], k), parts.runs(docs[j], k)
                if not (a | b) or len(a & b) / len(a | b) >= threshold:
                    neighbours[i].add(j)
                    neighbours[j].add(i)
            done, clusters = set(), []
            for start in range(len(docs)):
                if start in done or start not in neighbours:
                    continue
                stack, cluster = [start], set()
                while stack:
                    n = stack.pop()
                    if n not in cluster:
                        cluster.add(n)
                        stack.extend(neighbours[n])
                done |= cluster
                clusters.append(sorted(cluster))
            return clusters

        def quality_filter(docs, scorer, q, reference=None):
            known = sorted(scorer(d.text) for d in (docs if reference is None else reference))
            place = max(0, int(np.ceil(q * len(known))) - 1)
            return [d for d in docs if scorer(d.text) >= known[place]]

        def redact_pii(text):
            pattern = (
                r"(?P<EMAIL>[\w.%+-]+@(?:[\w-]+\.)+[a-zA-Z]{2,}(?!\.?\w|[(\[]))"
                r"|(?P<IP_ADDRESS>(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w))"
                r"|(?P<PHONE>(?<!\w)\+\d(?:[ -]?\d){7,14}(?!\.?\w|[ -]\d))"
            )

            def mark(match):
                if match.lastgroup == "IP_ADDRESS":
                    if text[: match.start()].lower().rstrip(": ").endswith("version"):
                        return match[0]
                    try:
                        if not ipaddress.ip_address(match[0]).is_global:
                            return match[0]
                    except ValueError:
                        return match[0]
                return f"<{match.lastgroup}>"

            return re.sub(pattern, mark, text)

    @variant
    class Arrays:
        """NumPy where it helps: all values of all hash functions at once, bands by comparison of columns."""

        def minhash(doc, k=5, num_perm=128, seed=0):
            items = parts.runs(doc, k)
            if not items:
                return np.full(num_perm, 2**32 - 1, dtype=np.uint32)
            x = np.array([parts.number_of(s) for s in items], dtype=np.uint64)
            a, b = (np.array(c, dtype=np.uint64) for c in zip(*parts.functions(num_perm, seed), strict=True))
            return ((np.outer(a, x) + b[:, None]) >> np.uint64(32)).min(axis=1).astype(np.uint32)

        def lsh_candidates(sigs, bands):
            rows = sigs.shape[1] // bands
            cut = sigs[:, : rows * bands].reshape(len(sigs), bands, rows)
            same = (cut[:, None] == cut[None]).all(-1).any(-1)
            full = (sigs != 2**32 - 1).any(1)
            i, j = np.nonzero(np.triu(same & full[:, None] & full[None], 1))
            return set(zip(i.tolist(), j.tolist(), strict=True))

        def duplicate_clusters(docs, pairs, threshold=0.8, k=5):
            label = list(range(len(docs)))
            for i, j in pairs:
                if parts.similarity(docs[i], docs[j], k) >= threshold and label[i] != label[j]:
                    old, new = max(label[i], label[j]), min(label[i], label[j])
                    label = [new if x == old else x for x in label]
            groups = defaultdict(list)
            for n, x in enumerate(label):
                groups[x].append(n)
            return [groups[x] for x in sorted(groups) if len(groups[x]) > 1]

        def quality_filter(docs, scorer, q, reference=None):
            known = [scorer(d.text) for d in (reference or docs)]
            threshold = np.quantile(known, q, method="inverted_cdf")
            return list(filter(lambda d: scorer(d.text) >= threshold, docs))
