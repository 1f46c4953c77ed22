"""What a sentence of the user's is worth: the labels of the judge that reads it, and what it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Label = Literal["none", "preference", "instruction", "fact", "forget"]
LABELS: tuple[Label, ...] = get_args(Label)

CONTEXT = 240
"""Characters of what was said before a sentence that are read with it."""
_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Line:
    """One hand-written line: what somebody might say in a chat, and what it is."""

    text: str
    label: Label
    scenario: str
    """Lines of one scenario are all for training or all held out."""
    split: str


def lines(split: str | None = None) -> list[Line]:
    """The hand-written lines that ship with the package; `split` is "train", "test" or None for both."""
    text = (_DATA / "lines.jsonl").read_text(encoding="utf-8")
    own = [Line(**json.loads(line)) for line in text.splitlines()]
    return [line for line in own if split in (None, line.split)]


def context_of(messages: Sequence[Mapping[str, str]], turn: int, start: int, chars: int = CONTEXT) -> str:
    """What stands before the sentence that begins at `start` of message `turn`: its own message, else the last two."""
    parts = [messages[turn]["content"][:start].strip()]
    for other in reversed(messages[max(0, turn - 2) : turn]):
        if sum(map(len, parts)) > chars:
            break
        parts.insert(0, other["content"].strip()[-chars:])
    return " / ".join(part for part in parts if part)[-chars:]
