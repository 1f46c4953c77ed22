"""Measures that several benchmarks share: pure functions of hits and memories."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import date

from agentmem.memory import Hit, Memory, Source, full_text
from agentmem.route import MESSAGE_TOKENS, count_tokens


def unique_sources(hits: Iterable[Hit], k: int | None = None) -> list[Source]:
    """The turns that hits rest on, in the order of the hits, each once, cut at k."""
    return list(dict.fromkeys(source for hit in hits for source in hit.sources))[:k]


def unique_sessions(hits: Iterable[Hit], k: int | None = None) -> list[str]:
    """The sessions that hits rest on, in the order of the hits, each once, cut at k."""
    return list(dict.fromkeys(source.session for hit in hits for source in hit.sources))[:k]


def recall(found: Sequence[object], gold: Collection[object], k: int) -> float:
    """Share of the gold items among the first k found."""
    return len(set(found[:k]) & set(gold)) / len(set(gold))


def ndcg(found: Sequence[object], gold: Collection[object], k: int) -> float:
    """Normalised discounted cumulative gain at k with gains of 0 and 1 (Järvelin and Kekäläinen 2002)."""
    wanted = set(gold)
    gain = sum(1 / math.log2(rank + 1) for rank, item in enumerate(found[:k], start=1) if item in wanted)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
    return gain / best


def first_said(memory: Memory) -> tuple[date, int]:
    """When a memory was first said, to order memories by: its day, and the turn it rests on first."""
    return memory.valid_at or date.min, min((evidence.turn for evidence in memory.evidence), default=0)


def within(memories: Iterable[Memory], budget: int) -> list[Memory]:
    """The active memories that fit into `budget` tokens, the newest first; undated ones count as the oldest.

    The same cut for every system: what was said longest ago falls out first, of equals what comes first in the list. A
    memory that does not fit is left out, and shorter older ones may follow.
    """
    active = [memory for memory in memories if memory.status == "active"]
    newest = sorted(enumerate(active), key=lambda one: (first_said(one[1]), one[0]), reverse=True)
    kept, left = [], budget
    for _, memory in newest:
        cost = count_tokens(full_text(memory)) + MESSAGE_TOKENS
        if cost <= left:
            kept.append(memory)
            left -= cost
    return kept
