"""Tokenization, from bytes to trained tokenizers (chapter 1)."""

from course_lib.tokenization.byte_alphabet import bytes_to_unicode
from course_lib.tokenization.byte_bpe import decode, encode, train_byte_bpe
from course_lib.tokenization.byte_bpe_fast import train_byte_bpe_fast
from course_lib.tokenization.measures import bits_per_byte, bytes_per_token, fertility, perplexity, split_digits
from course_lib.tokenization.pairs import get_pair_counts, merge, merge_with_changes
from course_lib.tokenization.pretokenizer import CL100K_PATTERN, GPT2_PATTERN, pretokenize
from course_lib.tokenization.sentencepiece import byte_fallback, sp_escape, sp_unescape
from course_lib.tokenization.special import encode_with_special
from course_lib.tokenization.tiktoken_ranks import load_tiktoken_ranks, save_tiktoken_ranks, tokenizer_from_ranks
from course_lib.tokenization.tokenizer import Tokenizer, load_tokenizer_json
from course_lib.tokenization.tokenizer_json import save_tokenizer_json
from course_lib.tokenization.unigram import unigram_viterbi
from course_lib.tokenization.unigram_train import (
    train_unigram,
    unigram_em_step,
    unigram_expected_counts,
    unigram_prune,
    unigram_words,
)
from course_lib.tokenization.utf8 import repair_mojibake, utf8_bytes
from course_lib.tokenization.vocabulary import embedding_params, softmax_share
from course_lib.tokenization.word_bpe import train_bpe
from course_lib.tokenization.wordpiece import wordpiece_encode, wordpiece_score
from course_lib.tokenization.wordpiece_train import train_wordpiece

__all__ = [
    "CL100K_PATTERN",
    "GPT2_PATTERN",
    "Tokenizer",
    "bits_per_byte",
    "byte_fallback",
    "bytes_per_token",
    "bytes_to_unicode",
    "decode",
    "embedding_params",
    "encode",
    "encode_with_special",
    "fertility",
    "get_pair_counts",
    "load_tiktoken_ranks",
    "load_tokenizer_json",
    "merge",
    "merge_with_changes",
    "perplexity",
    "pretokenize",
    "repair_mojibake",
    "save_tiktoken_ranks",
    "save_tokenizer_json",
    "softmax_share",
    "sp_escape",
    "sp_unescape",
    "split_digits",
    "tokenizer_from_ranks",
    "train_bpe",
    "train_byte_bpe",
    "train_byte_bpe_fast",
    "train_unigram",
    "train_wordpiece",
    "unigram_em_step",
    "unigram_expected_counts",
    "unigram_prune",
    "unigram_viterbi",
    "unigram_words",
    "utf8_bytes",
    "wordpiece_encode",
    "wordpiece_score",
]
