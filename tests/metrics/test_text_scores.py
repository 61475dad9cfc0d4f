"""BLEU, self-BLEU and ROUGE: cases that can be worked out by hand."""

import math

import pytest

from ganfast.metrics import bleu, rouge, self_bleu

TEXT = "the cat sat on the mat today"


def test_bleu_of_equal_texts_is_100():
    assert bleu([TEXT], [[TEXT]]) == pytest.approx(100)
    assert bleu([TEXT, TEXT], [["something else", TEXT], [TEXT]]) == pytest.approx(100)


def test_bleu_by_hand():
    # 7 words, one changed at the end: precisions 6/7, 5/6, 4/5, 3/4, no brevity penalty.
    found = bleu(["the cat sat on the mat now"], [[TEXT]])
    assert found == pytest.approx(100 * math.prod((6 / 7, 5 / 6, 4 / 5, 3 / 4)) ** 0.25)


def test_bleu_punishes_brevity():
    # The first 6 of 7 words: precisions 1, penalty exp(1 - 7/6).
    found = bleu(["the cat sat on the mat"], [[TEXT]])
    assert found == pytest.approx(100 * math.exp(1 - 7 / 6))


def test_self_bleu():
    assert self_bleu([TEXT, TEXT, TEXT]) == pytest.approx(100)
    different = self_bleu([TEXT, "seven purple elephants quietly danced under moonlight"])
    assert different < 10


def test_rouge_by_hand():
    found = rouge(["the cat sat"], [["the cat ran", "a dog"]])
    assert found["rouge1"] == pytest.approx(2 / 3)
    assert found["rouge2"] == pytest.approx(1 / 2)
    assert found["rougeL"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bleu("text", [["text"]]), "got a text"),
        (lambda: bleu(["text"], ["text"]), "got a text"),
        (lambda: bleu([], []), "at least 1 text"),
        (lambda: rouge(["a", "b"], [["a"]]), "got 2 and 1"),
        (lambda: rouge(["a"], [[]]), "at least 1 for each text"),
        (lambda: self_bleu(["a"]), "at least 2 texts"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
