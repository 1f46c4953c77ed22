"""Fit the encoder of slots: two texts lie near each other when one could take the place of the other.

"Has a Nokia" and "picked up a Pixel yesterday" fill one slot, "my brother's Pixel" and "plans to buy a phone" do not.
Each step brings an old memory and what replaces or repeats it together, against everything else in the batch and
against messages that come near and leave it true (InfoNCE, van den Oord et al. 2018, arXiv 1807.03748).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from agentmem.models.minilm import base, mean_tokens
from agentmem.models.pairs import SLOT_TOKENS, Adapter
from agentmem.policy.wording import memory_text
from agentmem.train.judges.pairs import Watch, adapter_of, optimiser, with_low_rank
from agentmem.train.judges.records import held_out, records
from agentmem.train.judges.relations import filled, told

SCALE = 20.0
"""Cosines are multiplied by it before the softmax."""

BY_HAND = 0.6
"""Share of the triples taken from updates.jsonl; the rest is filled from attributes.jsonl."""


class Triple(NamedTuple):
    """An old memory, what fills the same slot, and what comes near and does not."""

    old: str
    new: str
    apart: str
    group: str
    """Two of one group are never in one batch."""


class Recipe(NamedTuple):
    """How the encoder is fitted."""

    rank: int = 32
    steps: int = 220
    batch: int = 24
    rate: float = 1e-3
    seed: int = 0


def triples(rng: random.Random, held: bool = False) -> Iterator[Triple]:
    """Triples without end, of the families that are held out or of the others."""
    updates = [one for one in records("updates") if held_out(one["family"]) == held]
    attributes = [one for one in records("attributes") if held_out(one["attribute"]) == held]
    while True:
        yield (
            _of_update(rng.choice(updates), rng)
            if rng.random() < BY_HAND
            else _of_attribute(rng.choice(attributes), rng)
        )


def _of_update(record: dict[str, Any], rng: random.Random) -> Triple:
    closing = rng.choice(record["closes"])
    forms = [told(closing), closing["said"], closing["memory"], memory_text(closing["said"])]
    new = rng.choice(forms if rng.random() < 0.8 else record["repeats"])
    old = rng.choice([record["old"], record["old_said"], memory_text(record["old_said"])])
    return Triple(old, new, rng.choice(record["keeps"]), record["family"])


def _of_attribute(one: dict[str, Any], rng: random.Random) -> Triple:
    old, new, third = rng.sample(one["values"], 3)
    plain = [text for text in (one["changed"] if one["one"] else one["said"]) if "{old}" not in text]
    before = filled(rng.choice((one["memory"], one["said"], plain)), old, old, rng)
    before = rng.choice((before, memory_text(before)))
    if one["one"]:
        forms = (one["changed"], one["changed"], one["said"], one["memory"], one["ended"])
        after = filled(rng.choice(forms), new, old, rng)
        return Triple(before, after, filled(one["near"], new, old, rng), one["attribute"])
    again = filled(one["ended"], new, old, rng) if rng.random() < 0.5 else filled(one["said"], old, old, rng)
    return Triple(before, again, filled(plain, new, third, rng), one["attribute"])


def fit_slots(recipe: Recipe, about: dict[str, str], watch: Watch) -> Adapter:
    """Low-rank changes of MiniLM; the head stays empty."""
    torch.manual_seed(recipe.seed)
    source = triples(random.Random(recipe.seed))
    tokenizer, model = base()
    tuned, low_rank, config = with_low_rank(model, recipe.rank, dropout=0.05)
    optimizer, schedule = optimiser([{"params": low_rank, "lr": recipe.rate}], recipe.steps)
    tuned.train()
    losses: list[float] = []
    for step in range(1, recipe.steps + 1):
        batch = _batch(source, recipe.batch)
        old_BD = mean_tokens(tuned, tokenizer, [one.old for one in batch], "cpu", SLOT_TOKENS)
        new_ND = mean_tokens(tuned, tokenizer, [*(one.new for one in batch), *(one.apart for one in batch[::2])],
                             "cpu", SLOT_TOKENS)  # fmt: skip
        scores_BN = SCALE * old_BD @ new_ND.T
        gold_B = torch.arange(len(batch))
        loss = torch.nn.functional.cross_entropy(scores_BN, gold_B)
        loss = loss + 0.5 * torch.nn.functional.cross_entropy(scores_BN[:, : len(batch)].T, gold_B)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(low_rank, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.item())
        if step % 20 == 0 or step == recipe.steps:
            watch(step, recipe.steps, float(np.mean(losses)))
            losses.clear()
    return adapter_of(tuned, None, (), config, about)


def _batch(source: Iterator[Triple], size: int) -> list[Triple]:
    """Triples of different groups: two of one would be each other's false negatives."""
    batch: dict[str, Triple] = {}
    while len(batch) < size:
        one = next(source)
        batch.setdefault(one.group, one)
    return list(batch.values())


def held_out_pairs(rng: random.Random) -> dict[str, Sequence[tuple[str, str]]]:
    """Pairs of held-out families: same (old, new), near (old, apart), other (old, new of another group)."""
    source = triples(rng, held=True)
    batches = [_batch(source, 20) for _ in range(20)]
    return {
        "same": [(one.old, one.new) for batch in batches for one in batch],
        "near": [(one.old, one.apart) for batch in batches for one in batch],
        "other": [(one.old, two.new) for batch in batches for one, two in zip(batch, batch[1:], strict=False)],
    }
