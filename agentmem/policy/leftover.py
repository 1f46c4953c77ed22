"""What a small model left out of a sentence: it words one thing of "my sister emigrated and left me her cats, Pim and
Tolly", and seldom a second one. What the user named shows it, or a second thing said of oneself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentmem.policy.edits import Edit
from agentmem.policy.forgetting import content
from agentmem.policy.spans import Span, is_own, parts

_NAME = re.compile(r"(?<=\s)(?!I\b|I['’])[A-Z][\w&'’-]*\w|\b\w*\d\w*")
"""A capital in the midst of a sentence, or a number."""


def unnamed(sentence: str, edits: Sequence[Edit]) -> list[Span]:
    """Parts of a sentence that name what no text of these edits does."""
    texts = " ".join(_texts(edits)).casefold()
    names = {name for name in _names(sentence) if name not in texts}
    return [part for part in _several(sentence, edits) if names & _words(sentence[part.start : part.end])]


def unsaid(sentence: str, edits: Sequence[Edit]) -> list[Span]:
    """Parts of a sentence with a subject of their own ("… and I never eat meat") of which no text says a word."""
    told = content(" ".join(_texts(edits)))
    several = _several(sentence, edits)
    said = {part: sentence[part.start : part.end] for part in several if is_own(sentence[part.start : part.end])}
    return [part for part, text in said.items() if (own := content(text)) and not own & told]


def _several(sentence: str, edits: Sequence[Edit]) -> list[Span]:
    """Its parts; none where nothing is written or one thing alone is said. A rule names what it is about in words of
    its own, so nothing is looked for beside instructions."""
    found = parts(sentence)
    rule = any(edit.kind == "instruction" for edit in edits)
    return found if len(found) > 1 and _texts(edits) and not rule else []


def _texts(edits: Sequence[Edit]) -> list[str]:
    return [f"{edit.when or ''} {edit.text}" for edit in edits if edit.text]


def _names(sentence: str) -> set[str]:
    """What it names, in lower case."""
    return {match.casefold() for match in _NAME.findall(sentence)}


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w&'’-]*\w", text.casefold()))
