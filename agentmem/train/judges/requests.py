"""What two judges of requests are fitted to: whether to ask something first, and which memory is to be forgotten."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from agentmem.models.judges import ELICITATION, FORGETTING, joined
from agentmem.policy.lines import lines
from agentmem.train.judges.pairs import Example
from agentmem.train.judges.records import held_out, records

COPIES = 2
"""Each request is shown with its memory in this many orders."""

MAX_WORDS = 40
"""Of a line that is taken as small talk or a task."""

STRANGERS = 3
"""Memories of other people that are added to each request to forget: most of a real memory is about something else."""

Split = tuple[list[Example], dict[str, list[Example]]]


def elicitation(rng: random.Random) -> Split:
    """(request, what is known): answer it, or ask first.

    Most of what people say needs no question, so half of the examples are small talk, questions and tasks that do not,
    with the memory of somebody else.
    """
    own = records("elicit")
    train = [one for record in own if not held_out(record["family"]) for one in _asked(record, rng)]
    held = [_plain(record) for record in own if held_out(record["family"])]
    memories = [record["memory"] for record in own] + [list(record["memory"].values()) for record in records("forget")]
    said = [line for line in lines() if line.label == "none" and len(line.text.split()) < MAX_WORDS]
    talk = [
        Example((line.text, joined(_some(rng.choice(memories), rng))), ELICITATION.index("answer"), line.scenario)
        for line in said
    ]
    splits = [line.split for line in said]
    train += [one for one, split in zip(talk, splits, strict=True) if split == "train"]
    return train, {"requests": held, "talk": [one for one, split in zip(talk, splits, strict=True) if split == "test"]}


def _plain(record: dict[str, Any]) -> Example:
    label = ELICITATION.index("ask" if record["ask"] else "answer")
    return Example((record["request"], joined(record["memory"])), label, record["family"])


def _asked(record: dict[str, Any], rng: random.Random) -> Iterator[Example]:
    """The request with its memory in several orders: where a line stands says nothing."""
    plain = _plain(record)
    yield plain
    for _ in range(COPIES - 1):
        order = rng.sample(record["memory"], len(record["memory"]))
        yield plain._replace(pair=(record["request"], joined(order)))


def _some(memory: list[str], rng: random.Random) -> list[str]:
    return rng.sample(memory, rng.randint(0, len(memory)))


def forgetting(rng: random.Random) -> Split:
    """(request, memory): the request means it, or not."""
    own = records("forget")
    every = [line for record in own for line in record["memory"].values()]
    found = [example for record in own for example in _meant(record, every, rng)]
    train = [one for one in found if not held_out(one.group)]
    return train, {"requests": [one for one in found if held_out(one.group)]}


def _meant(record: dict[str, Any], every: list[str], rng: random.Random) -> Iterator[Example]:
    for id, line in record["memory"].items():
        label = FORGETTING.index("forget" if id in record["forgets"] else "keep")
        yield Example((record["request"], line), label, record["family"])
    if len(record["forgets"]) < len(record["memory"]):  # else it means everything
        for line in rng.sample(every, STRANGERS):
            if line not in record["memory"].values():
                yield Example((record["request"], line), FORGETTING.index("keep"), record["family"])
