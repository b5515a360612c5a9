"""Test cells for chapter 1 as an instructor writes them for plain nbgrader: one per exercise, asserts only.

They ask for about what the course's checks ask for, hidden ones included, with inputs of about the same size.
"""

ASSERTS = {
    "repair_mojibake": """
import random
assert utf8_bytes("") == [] and utf8_bytes("é!") == [195, 169, 33]
for text in ("plain", "naïve café", "日本語", "😀 and ½", "\\u0000x"):
    assert utf8_bytes(text) == list(bytearray(text, "utf-8"))
for wrong in ("mac_roman", "latin-1", "cp437"):
    for text in ("→", "déjà", "Ünïcödé", "plain"):
        assert repair_mojibake(text.encode().decode(wrong), wrong) == text
twice = "é".encode().decode("latin-1").encode().decode("latin-1")
assert repair_mojibake(twice, "latin-1") == "Ã©"
assert repair_mojibake("déjà vu") == "déjà vu" and repair_mojibake("日本") == "日本" and repair_mojibake("") == ""
""",
    "merge": """
import random
from collections import Counter
assert get_pair_counts([1, 2, 1, 2, 3]) == Counter({(1, 2): 2, (2, 1): 1, (2, 3): 1})
assert get_pair_counts([7, 7, 7], weight=10) == {(7, 7): 20}
assert get_pair_counts([]) == Counter() == get_pair_counts([5])
assert merge([1, 2, 1, 2, 3], (1, 2), 9) == [9, 9, 3] and merge([7, 7, 7], (7, 7), 9) == [9, 7]
assert merge([], (1, 2), 9) == [] and merge(["a", "b"], ("a", "b"), "ab") == ["ab"]
rng = random.Random(2)
for _ in range(40):
    ids = [rng.randint(1, 3) for _ in range(rng.randint(0, 20))]
    kept, pair = list(ids), (rng.randint(1, 3), rng.randint(1, 3))
    assert get_pair_counts(ids) == Counter(zip(ids, ids[1:]))
    text = "".join(map(chr, ids)).replace("".join(map(chr, pair)), chr(300))
    assert merge(ids, pair, 300) == [ord(char) for char in text] and ids == kept
""",
    "train_bpe": """
import random
corpus_ = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
assert train_bpe(corpus_, 4) == [("e", "s"), ("es", "t"), ("est", "</w>"), ("l", "o")]
assert train_bpe({"a": 3}, 10) == [("a", "</w>")] and train_bpe({}, 5) == []
assert train_bpe(corpus_, 0) == [] and train_bpe({"ab": 1, "cd": 1}, 1) == [("a", "b")]
assert train_bpe({"aaaa": 1}, 2) == [("a", "a"), ("aa", "</w>")]
rng = random.Random(3)
for _ in range(4):
    words = {"".join(rng.choices("abcd", k=rng.randint(1, 6))): rng.randint(1, 9) for _ in range(12)}
    state, expected = {w: [*w, "</w>"] for w in words}, []
    for _ in range(12):
        pairs = [p for w in words for p in zip(state[w], state[w][1:]) for _ in range(words[w])]
        if not pairs:
            break
        best = min(set(pairs), key=lambda p: (-pairs.count(p), p))
        expected.append(best)
        for w, symbols in state.items():
            i = 0
            while i + 1 < len(symbols):
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i : i + 2] = ["".join(best)]
                i += 1
    assert train_bpe(words, 12) == expected
    assert train_bpe(dict(reversed(words.items())), 12) == expected
""",
    "train_byte_bpe": """
assert pretokenize("We've  12 cats.") == ["We", "'ve", " ", " 12", " cats", "."]
assert pretokenize("a-b", pattern="[a-z]") == ["a", "-", "b"] and pretokenize("") == []
for text in ("  two  spaces ", "日本 12345 naïve!", "tabs\\tand\\nlines\\n\\n"):
    assert "".join(pretokenize(text)) == text and all(pretokenize(text))
table = bytes_to_unicode()
assert len(table) == len(set(table.values())) == 256 and table[ord(" ")] == "Ġ" and table[0] == "Ā"
assert all(table[b] == chr(b) for b in (*range(33, 127), *range(161, 173), *range(174, 256)))
vocab, merges = train_byte_bpe("low lower lowest", 259)
assert merges == [(108, 111), (256, 119), (32, 257)] and vocab[258] == b" low" and len(vocab) == 259
assert train_byte_bpe("", 300) == ({i: bytes([i]) for i in range(256)}, [])
vocab, merges = train_byte_bpe("é é é", 1000)
assert merges == [(195, 169), (32, 256)] and vocab[257] == " é".encode()
text = "the cat sat on the mat, the rat sat on the cat " * 3
vocab, merges = train_byte_bpe(text, 256 + 12)
assert len(vocab) == 268 and all(vocab[256 + k] == vocab[a] + vocab[b] for k, (a, b) in enumerate(merges))
assert vocab[merges[0][0]] + vocab[merges[0][1]] == b"at"
assert train_byte_bpe("aa bb", 300, pattern=r"\\S+|\\s+")[1] == [(97, 97), (98, 98)]
""",
    "encode": """
assert encode("slow lows", [(108, 111), (256, 119), (32, 257)]) == [115, 257, 258, 115]
assert encode("", [(1, 2)]) == [] and encode("abc", []) == [97, 98, 99]
assert encode("abc", [(98, 99), (97, 98)]) == [97, 256]
assert encode("aaa", [(97, 97)]) == [256, 97]
vocab, merges = train_byte_bpe("low lower lowest newest widest " * 4, 256 + 20)
for text in ("lowest widest", "naïve 日本", "  spaces", "a\\nb", ""):
    assert decode(encode(text, merges), vocab) == text
assert decode([104, 195, 169], {104: b"h", 195: b"\\xc3", 169: b"\\xa9"}) == "hé"
assert decode([195], {195: b"\\xc3"}) == "\\ufffd" and decode([], {}) == ""
""",
    "encode_with_special": """
to_bytes = lambda text: list(text.encode())
special_ = {"<|end|>": 300, "<|end|>>": 301, "<s>": 302}
assert encode_with_special("hi<|end|>", to_bytes, special_, allowed={"<|end|>"}, bos_id=9) == [9, 104, 105, 300]
assert encode_with_special("hi<|end|>", to_bytes, special_) == to_bytes("hi<|end|>")
assert encode_with_special("a<|end|>>b", to_bytes, special_, allowed=set(special_)) == [97, 301, 98]
assert encode_with_special("<s><s>", to_bytes, special_, allowed=["<s>"]) == [302, 302]
assert encode_with_special("", to_bytes, special_, bos_id=5) == [5] and encode_with_special("", to_bytes, {}) == []
seen = []
encode_with_special("a <s> b", lambda text: seen.append(text) or [], special_, allowed={"<s>"})
assert seen == ["a ", " b"]
try:
    encode_with_special("x", to_bytes, special_, allowed={"<pad>"})
except ValueError:
    pass
else:
    raise AssertionError("an unknown special string must be a ValueError")
""",
    "wordpiece_encode": """
import random
assert wordpiece_score(10, 20, 50) == 0.01 and abs(wordpiece_score(3, 7, 11) - 3 / 77) < 1e-12
vocab_ = {"un", "##aff", "##able", "##a", "a", "##b", "[UNK]"}
assert wordpiece_encode("unaffable", vocab_) == ["un", "##aff", "##able"]
assert wordpiece_encode("unaffably", vocab_) == ["[UNK]"] and wordpiece_encode("", vocab_) == []
assert wordpiece_encode("abb", vocab_) == ["a", "##b", "##b"]
assert wordpiece_encode("abx", vocab_, unk="?") == ["?"] and wordpiece_encode("abb", vocab_, max_chars=2) == ["[UNK]"]
rng = random.Random(7)
for _ in range(30):
    known = {("##" if rng.random() < 0.6 else "") + "".join(rng.choices("ab", k=rng.randint(1, 3))) for _ in range(9)}
    word, place, expected = "".join(rng.choices("ab", k=rng.randint(1, 9))), 0, []
    while place < len(word):
        fits = [p for p in known if p.startswith("##") == (place > 0)]
        fits = [p for p in fits if word.startswith(p.removeprefix("##"), place)]
        if not fits:
            expected = ["[UNK]"]
            break
        expected.append(max(fits, key=len))
        place += len(expected[-1].removeprefix("##"))
    assert wordpiece_encode(word, known) == expected
""",
    "unigram_viterbi": """
import random
assert sp_escape("two  words") == "▁two▁▁words" and sp_escape("") == "▁" and sp_escape("a\\tb") == "▁a\\tb"
assert all(sp_unescape(sp_escape(text)) == text for text in ("", " x ", "a  b"))
assert byte_fallback("é") == ["<0xC3>", "<0xA9>"] and byte_fallback("\\n") == ["<0x0A>"]
pieces, total = unigram_viterbi("abc", {"a": -1.0, "b": -1.0, "c": -1.0, "ab": -1.5, "bc": -1.7})
assert pieces == ["ab", "c"] and abs(total + 2.5) < 1e-9
assert unigram_viterbi("aé", {"a": -1.0}) == (["a", "<0xC3>", "<0xA9>"], -12.0)
assert unigram_viterbi("", {"a": -1.0}) == ([], 0.0)

def best_cut(text, logp):
    if not text:
        return 0.0
    options = [logp[text[:n]] + best_cut(text[n:], logp) for n in range(1, len(text) + 1) if text[:n] in logp]
    if text[0] not in logp:
        options.append(min(logp.values()) - 10 + best_cut(text[1:], logp))
    return max(options)

rng = random.Random(8)
for _ in range(25):
    logp = {"".join(rng.choices("abc", k=rng.randint(1, 3))): -rng.uniform(1, 6) for _ in range(8)}
    text = "".join(rng.choices("abc", k=rng.randint(1, 9)))
    assert abs(unigram_viterbi(text, logp)[1] - best_cut(text, logp)) < 1e-9
long_text = "abc" * 700
assert abs(unigram_viterbi(long_text, {"a": -1.0, "b": -1.0, "c": -1.0, "ab": -1.5})[1] + 700 * 2.5) < 1e-6
""",
    "bits_per_byte": """
import math
assert bytes_per_token([256, 257], "naïve") == 3.0 and bytes_per_token([1], "日本") == 6.0
try:
    bytes_per_token([], "abc")
except ValueError:
    pass
else:
    raise AssertionError("no tokens must be a ValueError")
assert abs(bits_per_byte(100 * math.log(256), 100) - 8) < 1e-9 and abs(bits_per_byte(7.5, 3) - 2.5 / math.log(2)) < 1e-9
assert abs(perplexity(20 * math.log(50), 20) - 50) < 1e-6 and perplexity(0.0, 5) == 1.0
assert perplexity(1e6, 1) == math.inf
""",
    "embedding_params": """
from fractions import Fraction
assert embedding_params(32_000, 4096, tied=True) == 131_072_000
assert embedding_params(32_000, 4096, tied=False) == 262_144_000
assert embedding_params(1, 1, True) == 1 and embedding_params(10**9, 10**5, False) == 2 * 10**14
assert abs(softmax_share(1000, 10, 1) - 0.8928571428571429) < 1e-12 and softmax_share(5, 7, 0) == 1.0
for size, width, layers in ((50_257, 768, 12), (128_256, 4096, 32), (256, 64, 2)):
    exact = Fraction(size * width, size * width + 12 * layers * width * width)
    assert abs(softmax_share(size, width, layers) - float(exact)) < 1e-12
""",
    "train_byte_bpe_fast": """
import random
from collections import Counter
merged, changes = merge_with_changes([5, 1, 2, 6], (1, 2), 9)
assert merged == [5, 9, 6] and changes == {(5, 1): -1, (1, 2): -1, (2, 6): -1, (5, 9): 1, (9, 6): 1}
assert merge_with_changes([7, 7, 7, 7], (7, 7), 9) == ([9, 9], {(7, 7): -3, (9, 9): 1})
rng = random.Random(11)
for _ in range(40):
    ids, kept = [rng.randint(1, 3) for _ in range(rng.randint(1, 25))], None
    kept = list(ids)
    merged, changes = merge_with_changes(ids, (1, 2), 500)
    after = Counter(zip(ids, ids[1:]))
    after.update(changes)
    assert {p: n for p, n in after.items() if n} == Counter(zip(merged, merged[1:])) and ids == kept
for text in ("low low lower newest newest", "aaa aa a", "", "dc ba fe", "naïve naïve 日本 日本 12 12"):
    assert train_byte_bpe_fast(text, 256 + 40) == train_byte_bpe(text, 256 + 40)
words = ["".join(rng.choices("abcdefghijklmnopqrst", k=rng.randint(6, 10))) for _ in range(2800)]
text = " ".join(words + rng.choices(words, k=200))
some = text[:1500]
assert train_byte_bpe_fast(some, 256 + 100) == train_byte_bpe(some, 256 + 100)
vocab, merges = train_byte_bpe_fast(text, 256 + 1800)
assert len(merges) == 1800 and all(vocab[256 + k] == vocab[a] + vocab[b] for k, (a, b) in enumerate(merges))
""",
    "fertility": """
assert split_digits("in 2024!") == ["in ", "2", "0", "2", "4", "!"] and split_digits("") == []
assert split_digits("x²½") == ["x²½"] and split_digits("٣4") == ["٣", "4"]
to_bytes = lambda text: list(text.encode())
assert fertility(to_bytes, ["ab cd", "e"]) == 2.0 and fertility(to_bytes, ["", "ab"]) == 2.0
assert abs(fertility(to_bytes, ["one two", "three"]) - 4.0) < 1e-9
for texts in ([], ["  "]):
    try:
        fertility(to_bytes, texts)
    except ValueError:
        continue
    raise AssertionError("no word must be a ValueError")
""",
    "quiz": """
assert quiz_answers == {1: "a", 2: "c", 3: "d", 4: "b", 5: "c", 6: "b", 7: "a"}
""",
}
