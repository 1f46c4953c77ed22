"""What rewards and metrics share: a reward and the metric of the same name are one function."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from agentmem.memory import Memory, full_text, words


def says(text: str, value: str) -> bool:
    """Whether `value` stands in `text` as whole words, whatever case and blanks: "cat" is not in "education"."""
    pattern = r"\s+".join(re.escape(word) for word in value.split())
    return re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE) is not None


def held(memories: Iterable[Memory], value: str) -> bool:
    """Whether one of the memories says `value`, in its text or condition (its quotes do not count)."""
    return any(says(full_text(memory), value) for memory in memories)


def exact(answer: str, gold: str) -> bool:
    """Whether two answers have the same words in the same order, whatever case and punctuation."""
    return words(answer) == words(gold)


def word_f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall of the answer's words, as SQuAD counts them; 1 for two empty texts."""
    mine, theirs = Counter(words(answer)), Counter(words(gold))
    shared = sum((mine & theirs).values())
    if not mine or not theirs:
        return float(mine == theirs)
    return 2 * shared / (sum(mine.values()) + sum(theirs.values()))
