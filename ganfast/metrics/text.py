"""Scores of generated text, from sacrebleu and rouge-score (``pip install 'ganfast[text]'``)."""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU, 0 to 100, as sacrebleu computes it by default.

    Args:
        texts: generated texts.
        references: for each text, one or more references.

    Raises:
        ValueError: there are no texts, or a text has no reference.
        ModuleNotFoundError: sacrebleu is not installed.
    """
    _check(texts, references)
    sacrebleu = _optional("sacrebleu")
    most = max(map(len, references))
    streams = [[own[i] if i < len(own) else None for own in references] for i in range(most)]
    return float(sacrebleu.corpus_bleu(list(texts), streams).score)


def self_bleu(texts: Sequence[str], order: int = 4) -> float:
    """Mean BLEU, 0 to 100, of each text against all others; high if the texts are alike.

    It is sacrebleu's sentence BLEU with exponential smoothing (Texygen, Zhu et al. 2018).

    Args:
        texts: generated texts.
        order: longest n-gram.

    Raises:
        ValueError: there are fewer than 2 texts.
        ModuleNotFoundError: sacrebleu is not installed.
    """
    if isinstance(texts, str) or len(texts) < 2:
        raise ValueError(f"texts must hold at least 2 texts, got {texts!r:.60}")
    metric = _optional("sacrebleu.metrics.bleu").BLEU(max_ngram_order=order, effective_order=True)
    scores = [
        metric.sentence_score(text, [*texts[:i], *texts[i + 1 :]]).score
        for i, text in enumerate(texts)
    ]
    return float(sum(scores) / len(scores))


def rouge(
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    kinds: Sequence[str] = ("rouge1", "rouge2", "rougeL"),
) -> dict[str, float]:
    """Mean F-measures, 0 to 1, of rouge-score, with the best reference of each text.

    Args:
        texts, references: as for `bleu`.
        kinds: rouge-score's names.

    Raises:
        ValueError: as `bleu`.
        ModuleNotFoundError: rouge-score is not installed.
    """
    _check(texts, references)
    scorer = _optional("rouge_score.rouge_scorer").RougeScorer(list(kinds))
    found = [
        scorer.score_multi(list(own), text) for text, own in zip(texts, references, strict=True)
    ]
    return {kind: sum(scores[kind].fmeasure for scores in found) / len(found) for kind in kinds}


def _check(texts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if isinstance(texts, str) or any(isinstance(own, str) for own in references):
        raise ValueError(
            "texts must be a list of texts, and references a list of lists of texts, got a text"
        )
    if not texts or len(texts) != len(references):
        raise ValueError(
            f"texts must hold at least 1 text, and references a list for each, "
            f"got {len(texts)} and {len(references)}"
        )
    if not all(references):
        raise ValueError("references must hold at least 1 for each text, got a text with none")


def _optional(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name != package:
            raise
        raise ModuleNotFoundError(
            f"{package} is not installed; install it with pip install 'ganfast[text]'"
        ) from error
