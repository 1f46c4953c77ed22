"""What a small model left out of a sentence: it words one thing of "my sister emigrated and left me her cats, Pim and
Tolly", and seldom a second one. What the user named is what shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentmem.policy.edits import Edit
from agentmem.policy.spans import Span, parts

_NAME = re.compile(r"(?<=\s)(?!I\b|I['’])[A-Z][\w&'’-]*\w|\b\w*\d\w*")
"""A capital in the midst of a sentence, or a number."""


def left_out(sentence: str, edits: Sequence[Edit]) -> list[Span]:
    """Parts of a sentence that name what no text of these edits does; none where nothing is written or one thing alone
    is said. A rule names what it is about in words of its own, so nothing is looked for beside instructions."""
    texts = " ".join(f"{edit.when or ''} {edit.text}" for edit in edits if edit.text).casefold()
    unsaid = {name for name in _names(sentence) if name not in texts}
    found = parts(sentence)
    if not texts or not unsaid or len(found) < 2 or any(edit.kind == "instruction" for edit in edits):
        return []
    return [part for part in found if unsaid & _words(sentence[part.start : part.end])]


def _names(sentence: str) -> set[str]:
    """What it names, in lower case."""
    return {match.casefold() for match in _NAME.findall(sentence)}


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w&'’-]*\w", text.casefold()))
