"""How LoCoMo scores short answers: stemmed token F1, and abstention.

After task_eval/evaluation.py of github.com/snap-research/locomo (written anew). The authors stem with NLTK's variant of
Porter's algorithm, this with Porter's own; they differ in few words.
"""

from __future__ import annotations

import re
import string
from collections import Counter

import snowballstemmer

MULTI_HOP, TEMPORAL, OPEN_DOMAIN, SINGLE_HOP, ADVERSARIAL = 1, 2, 3, 4, 5
"""The numbers of the categories."""

ABSTAINED = ("no information available", "not mentioned")
"""What an answer must contain to count as an abstention."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the|and)\b")
_STEMMER = snowballstemmer.stemmer("porter")


def answer_score(answer: str, gold: str, category: int) -> float:
    """The score of an answer, from 0 to 1, as its category is scored.

    - multi-hop: the mean over the gold answer's parts, split at commas, of the best F1 of a part of the answer;
    - open-domain: F1 with the gold answer up to a semicolon;
    - temporal, single-hop: F1;
    - adversarial (no answer is there): 1 for an abstention.
    """
    if category == ADVERSARIAL:
        return float(any(one in answer.lower() for one in ABSTAINED))
    if category == MULTI_HOP:
        parts = gold.split(",")
        return sum(max(token_f1(own, part) for own in answer.split(",")) for part in parts) / len(parts)
    return token_f1(answer, gold.split(";")[0] if category == OPEN_DOMAIN else gold)


def token_f1(answer: str, gold: str) -> float:
    """F1 of the two bags of stems."""
    own, wanted = _stems(answer), _stems(gold)
    common = sum((Counter(own) & Counter(wanted)).values())
    if not common:
        return 0.0
    precision, recall = common / len(own), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _stems(text: str) -> list[str]:
    kept = _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION))
    return _STEMMER.stemWords(kept.split())
