"""What the judge of changes is fitted to: a sentence of the user's in its dialogue, and a memory it changes or not."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agentmem.memory import full_text
from agentmem.models.embed import Embedder
from agentmem.models.judges import CHANGES, RELATIONS
from agentmem.models.pairs import Adapter
from agentmem.policy.marks import change_pairs, of_sentences
from agentmem.policy.resolve import aliases_of
from agentmem.train.judges.marks import Labelled, labelled
from agentmem.train.judges.pairs import Example
from agentmem.train.judges.records import held_out

IDLE = 0.15
"""Share of the sentences that call for nothing which are read beside the memories: there are many more of them."""


def split(rng: random.Random, embedder: Embedder) -> tuple[list[Example], dict[str, list[Example]]]:
    """Examples for training, and those of the families that are held out."""
    found = [example for one in labelled(rng, embedder) for example in _of(one, rng)]
    train = [one for one in found if not held_out(one.group)]
    return train, {"held out": [one for one in found if held_out(one.group)]}


def begun(relations: Adapter) -> Adapter:
    """The judge of relations as what this one starts from: it knows what closes a memory, out of a dialogue."""
    closes = RELATIONS.index("closes")

    def halved(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([np.delete(rows, closes, axis=0).mean(0), rows[closes]])

    return relations._replace(
        labels=CHANGES, head_weight=halved(relations.head_weight), head_bias=halved(relations.head_bias)
    )


def _of(one: Labelled, rng: random.Random) -> Iterator[Example]:
    names = aliases_of(one.seen)
    texts = {memory.id: full_text(memory) for memory in one.seen.memories}
    wanted = of_sentences(one.seen, one.edits, [said.sentence for said in one.said])
    for said, label, edits in zip(one.said, one.labels, wanted, strict=True):
        if label == "forget" or (label == "none" and rng.random() >= IDLE):
            continue
        targets = {names[alias] for edit in edits if edit.sign in "~-" for alias in edit.aliases}
        for id, pair in zip(said.known, change_pairs(said, texts), strict=True):
            yield Example(pair, CHANGES.index("changes" if id in targets else "keeps"), one.family)
