"""What the sentence reader is fitted to: sentences of users, each with what stood before it and what it is worth."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from agentmem.policy.edits import parse_edits
from agentmem.policy.lines import LABELS, context_of, lines
from agentmem.policy.spans import statements
from agentmem.train.judges.pairs import Example
from agentmem.train.judges.records import held_out, records

_KINDS = {"p": "preference", "i": "instruction", "f": "fact"}
_LIKING = re.compile(r"(?i)(?:likes|loves|prefers|hates|dislikes|enjoys|favou?rite|wants|avoids|can't stand|finds)\b")
_STANDING = re.compile(r"(?i)(?:when|always|for|if|every)\b.*(?:=>|:|,)|always|.*=>")
_PASSING = re.compile(r"\b(?:again|no longer|now|anymore)\b")
PERSONAL = re.compile(r"\b(?:I'm|my|our|we)\b")

INSTRUCTIONS = 4
"""So many of each profile's instructions are taken: a dozen of one person's would weigh too much."""


def examples(rng: random.Random) -> list[Example]:
    """All examples; the group of one is its family. The test part of the dialogues is for reports alone."""
    dialogues = [record for record in records("dialogues") if record.get("split") != "test"]
    found = [example for record in dialogues for example in of_dialogue(record)]
    for record in records("updates"):
        found += _alone(record, record["old_said"], kind_of(record["old"]))
        for one in record["closes"]:
            found += _alone(record, one["said"], kind_of(one["memory"]), _joined(one.get("before", "")))
    for record in records("forget"):
        if record["heard"]:
            found += _alone(record, record["request"], "forget")
        elif not _PASSING.search(record["request"]):
            found += _alone(record, record["request"], "none")
    for record in records("elicit"):
        if not PERSONAL.search(record["request"]):
            found += _alone(record, record["request"], "none")
    for record in records("applicable"):
        for id in rng.sample(sorted(record["instructions"]), INSTRUCTIONS):
            found.append(_example(record["instructions"][id].strip(), "", "instruction", record))
        for request in record["requests"]:
            found += [
                _example(said, context, "none", record)
                for said, context in _sentences([{"role": "user", "content": request["text"]}], 0)
            ]
    return found


def split(rng: random.Random) -> tuple[list[Example], dict[str, list[Example]]]:
    """Examples for training, and two held-out sets: families of the records, and the older single lines."""
    own = examples(rng)
    train = [one for one in own if not held_out(one.group)]
    train += [Example((line.text, ""), LABELS.index(line.label), line.scenario) for line in lines("train")]
    alone = [Example((line.text, ""), LABELS.index(line.label), line.scenario) for line in lines("test")]
    return train, {"records": [one for one in own if held_out(one.group)], "lines": alone}


def of_dialogue(record: dict[str, Any]) -> Iterator[Example]:
    """Each sentence of each user message: what an edit quotes is worth what the edit writes, the rest nothing."""
    quoted = _quotes(record["edits"])
    for turn, message in enumerate(record["messages"]):
        if message["role"] == "user":
            for said, context in _sentences(record["messages"], turn):
                label = next((label for quote, label in quoted if _same_stretch(quote, said)), "none")
                yield _example(said, context, label, record)


def _sentences(messages: Sequence[dict[str, str]], turn: int) -> Iterator[tuple[str, str]]:
    said = messages[turn]["content"]
    for span in statements(said):
        yield said[span.start : span.end], context_of(messages, turn, span.start)


def _alone(record: dict[str, Any], text: str, label: str, context: str = "") -> Iterator[Example]:
    """The text if it is a single sentence: of several, nobody says which one it is."""
    spans = statements(text)
    if len(spans) == 1:
        yield _example(text[spans[0].start : spans[0].end], context, label, record)


def _example(said: str, context: str, label: str, record: dict[str, Any]) -> Example:
    return Example((said, context), LABELS.index(label), record["family"])


def _quotes(edits: Iterable[str]) -> list[tuple[str, str]]:
    found = []
    for edit in parse_edits("\n".join(edits)).edits:
        kind = _KINDS[edit.aliases[0][0]] if edit.aliases else str(edit.kind)
        found += [(quote, "forget" if edit.sign == "x" else kind) for quote in edit.quotes]
    return found


def _same_stretch(quote: str, sentence: str) -> bool:
    """Whether one holds the other, or a quote over two sentences holds most of this one."""
    mine, theirs = re.findall(r"\w+", quote.lower()), re.findall(r"\w+", sentence.lower())
    quote, sentence = " ".join(mine), " ".join(theirs)
    if not mine or not theirs:
        return False
    if quote in sentence or (len(theirs) > 2 and sentence in quote):
        return True
    ends = (count for count in range(min(len(mine), len(theirs)), 3, -1)
            if " ".join(theirs[:count]) in quote or " ".join(theirs[-count:]) in quote)  # fmt: skip
    return next(ends, 0) >= max(4, 0.6 * len(theirs))


def kind_of(memory: str) -> str:
    """Of a line of a memory, by its words."""
    if _STANDING.match(memory):
        return "instruction"
    return "preference" if _LIKING.match(memory) else "fact"


def _joined(before: str | list[str]) -> str:
    return before if isinstance(before, str) else " / ".join(before)
