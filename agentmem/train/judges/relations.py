"""What the judge of updates is fitted to: what the user now says, an old memory, and what the one is to the other.

Two sources: updates written by hand (updates.jsonl), and hand-written sentences about attributes of a person, filled
with values (attributes.jsonl). Each form of a text (the user's words, a line of the memory) stands in every class:
where lines of the memory stood in one class only, the model learned the form and not the matter.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from agentmem.models.judges import RELATIONS
from agentmem.policy.wording import memory_text
from agentmem.train.judges.pairs import Example
from agentmem.train.judges.records import held_out, records

ROUNDS = 10
"""Times that each attribute is filled with values."""


def split(rng: random.Random) -> tuple[list[Example], dict[str, list[Example]]]:
    """Examples for training, and those of the held-out families by source."""
    updates = records("updates")
    by_hand = [example for record in updates for example in of_update(record, updates, rng)]
    attributes = records("attributes")
    made = [example for one in attributes for example in of_attribute(one, attributes, rng)]
    train = [one for one in [*by_hand, *made] if not held_out(one.group)]
    return train, {
        "updates": [one for one in by_hand if held_out(one.group)],
        "attributes": [one for one in made if held_out(one.group)],
    }


# -- updates -----------------------------------------------------------------------------------------------------------


def of_update(record: dict[str, Any], others: Sequence[dict[str, Any]], rng: random.Random) -> Iterator[Example]:
    """What closes, repeats or leaves the old memory, each in the user's words and as a line of the memory."""
    olds = (record["old"], memory_text(record["old_said"]))
    pairs = [(told(one), "closes") for one in record["closes"]]
    pairs += [(one["memory"], "closes") for one in record["closes"]]
    pairs += [(said, "repeats") for said in record["repeats"]]
    pairs += [(memory_text(said), "repeats") for said in record["repeats"][:1]]
    pairs += [(said, "unrelated") for said in record["keeps"]]
    pairs += [(memory_text(said), "unrelated") for said in record["keeps"][:2]]
    for other in rng.sample(others, 7):
        if other["family"] != record["family"]:
            closing = rng.choice(other["closes"])
            pairs.append((rng.choice((closing["memory"], closing["memory"], other["old"], told(closing))), "unrelated"))
    for new, label in pairs:
        yield Example((new, rng.choice(olds)), RELATIONS.index(label), record["family"])
    yield Example((record["old_said"], record["old"]), RELATIONS.index("repeats"), record["family"])
    yield Example((record["old"], memory_text(record["old_said"])), RELATIONS.index("repeats"), record["family"])


def told(one: dict[str, Any]) -> str:
    """What closes a memory, after what was said before it."""
    before = one.get("before", "")
    before = before if isinstance(before, str) else " / ".join(before)
    return f"{before} / {one['said']}" if before else one["said"]


# -- attributes --------------------------------------------------------------------------------------------------------


def of_attribute(one: dict[str, Any], others: Sequence[dict[str, Any]], rng: random.Random) -> Iterator[Example]:
    """An attribute with two of its values: the old one remembered, the new one said, in every combination that decides.

    What a person has several of (`one` is false) is closed only where the user says that the old one is over.
    """
    for _ in range(ROUNDS):
        old, new, third = rng.sample(one["values"], 3)
        other = rng.choice([other for other in others if other["attribute"] != one["attribute"]])
        foreign = rng.choice(other["values"])
        changes = "closes" if one["one"] else "unrelated"
        change = rng.choice(one["changed"])
        pairs = [
            (filled([change], new, old, rng), "closes" if "{old}" in change else changes),
            (filled(one["said"], new, old, rng), changes),
            (filled(one["memory"], new, old, rng), changes),
            (filled(one["ended"], new, old, rng), "closes"),
            (filled(one["ended"], new, third, rng), "unrelated"),
            (filled(one["said"], old, old, rng), "repeats"),
            (filled(one["memory"], old, old, rng), "repeats"),
            (filled(one["near"], new, old, rng), "unrelated"),
            (filled(one["near"], new, old, rng), "unrelated"),
            (filled(other["changed"], foreign, rng.choice(other["values"]), rng), "unrelated"),
            (filled(other["memory"], foreign, foreign, rng), "unrelated"),
        ]
        for text, label in pairs:
            told = rng.choice((one["memory"], one["memory"], one["said"]))
            remembered = memory_text(filled(told, old, old, rng))
            yield Example((text, remembered), RELATIONS.index(label), one["attribute"])


def filled(templates: Sequence[str], value: Any, old: Any, rng: random.Random) -> str:
    """One of the sentences with its values in one of their wordings."""
    text = (
        rng.choice(templates).replace("{old}", rng.choice(_wordings(old))).replace("{}", rng.choice(_wordings(value)))
    )
    return text[:1].upper() + text[1:] if rng.random() < 0.5 else text


def _wordings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
