"""Recall: four rankings (memories and turns, by meaning and by words) fused into one list of hits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agentmem.index import Entry, MemoryIndex, Rankings
from agentmem.index.entries import telling_words
from agentmem.memory import Hit, HitKind, Source, words
from agentmem.relation import stem

if TYPE_CHECKING:
    from agentmem.models.rerank import Reranker

WORDS_WEIGHT = 1.0
WORDS_HALF = 10.0
"""A match of words adds WORDS_WEIGHT * share * bm25 / (bm25 + WORDS_HALF) to the cosine, share being how many of the
telling words of the query stand in the text: rare names and numbers count much, chance overlap with a long query
little.

Measured with MiniLM on agentmem's own memories and turns: recall@5 of PrefEval's key messages among 300 fillers
(explicit / choice / persona, 40 dialogues each), recall@10 of LoCoMo (400 questions), recall@5 of PersonaBench (noise
.5, 158 questions):

    weight .4, half 30, no share, no lead    .83  .78  .90   .544   .342
    weight .4, half 30, no share, lead .1    .93  .90  .95   .568   .335
    weight 1,  half 10, share,    lead .05   .90  .85  .95   .640   .322
    weight 1,  half 10, share,    lead .1    .93  .88  .95   .636   .315
    weight 1.5, half 10, share,   lead .2    .95  .93  .98   .655   .285

Each row is `python -m eval run BENCH --system agentmem` with these constants: prefeval-retrieval --limit 120, locomo
--limit 400 --groups 4, personabench; "no share" with share = 1. Adding scores beats fusing ranks, because a rank says
nothing of how good the best of a ranking is.
"""

MEMORY_LEAD = 0.1
"""What a written memory has ahead of a mere turn: somebody judged that it will matter."""

READ = 16
"""So many of what was found are read by the reranker, together with the query."""
READ_WEIGHT = 1.5
READ_SCALE = 4.0
"""A text that is read adds READ_WEIGHT * sigmoid(logit / READ_SCALE) to its score."""

DEPTH = 4
"""Each ranking is asked for this many times k."""


def recall(
    index: MemoryIndex,
    query: str,
    k: int,
    *,
    at: date | None = None,
    vector: np.ndarray | None = None,
    without: Collection[str] = (),
    kinds: Collection[HitKind] = ("memory", "turn"),
    reranker: Reranker | None = None,
) -> list[Hit]:
    """The k memories and turns that say most about `query`, best first; none for a blank query.

    A memory and the turns it rests on are one thing, found by whichever of them fits better, and shown as the memory.
    Such a turn is shown beside it only if it holds words of the query that the memory does not.

    Args:
        index: a synced index.
        query: any text.
        k: hits of both kinds together.
        at: as of this day: memories that held then, turns said up to then.
        vector: the query's unit vector (dim,), if the caller has it; else it is embedded, once.
        without: ids of sessions whose turns are left out, such as the one being answered.
        kinds: whether memories, turns or both are searched.
        reranker: reads the best READ of what was found with the query; None leaves the order as it is.

    Raises:
        SearchError: the index cannot be read; the next sync makes it anew.
        ModelError: the reranker failed.
    """
    if not query.strip() or k <= 0:
        return []
    if vector is None:
        vector = index.embed(query)
    depth = DEPTH * k
    asked = frozenset(map(stem, telling_words(query)))
    memories = _fuse(index.search_memories(query, depth, at=at, vector=vector), asked) if "memory" in kinds else []
    turns = _fuse(index.search_turns(query, depth, at=at, vector=vector), asked) if "turn" in kinds else []
    turns = [turn for turn in turns if turn.entry.origins()[0].session not in without]
    found = [*_lifted(memories, turns), *_new(turns, memories, asked)]
    found.sort(key=lambda candidate: -candidate.score)  # stable: of two equals the memory comes first
    if reranker is not None and len(found) > 1:
        found = _reread(query, found, turns, reranker)
    return [_hit(candidate) for candidate in found[:k]]


class _Candidate(NamedTuple):
    entry: Entry
    score: float
    why: str


def _fuse(found: Rankings, asked: frozenset[str]) -> list[_Candidate]:
    """One candidate for each memory or turn, by cosine and bm25 together; of a long turn its best piece.

    Args:
        found: the two rankings.
        asked: stems of the telling words of the query.
    """
    dense, lexical = _by_key(found.dense), _by_key(found.lexical)
    # What only the words found is less close in meaning than all that was found by meaning.
    floor = min((cosine for _, cosine, _ in dense.values()), default=0.0)
    candidates = []
    for key, (entry, _, _) in (lexical | dense).items():
        score, why = floor, []
        if key in dense:
            _, score, rank = dense[key]
            why.append(f"meaning {score:.2f} (#{rank})")
        if key in lexical:
            _, bm25, rank = lexical[key]
            share = len(asked & _stems(entry.text)) / max(1, len(asked))
            score += WORDS_WEIGHT * share * bm25 / (bm25 + WORDS_HALF)
            why.append(f"words #{rank}")
        candidates.append(_Candidate(entry, score, " + ".join(why)))
    return candidates


def _by_key(ranking: Sequence[tuple[Entry, float]]) -> dict[str, tuple[Entry, float, int]]:
    """Entry, score and rank of each memory or whole turn; the first piece of a turn is its best one."""
    best: dict[str, tuple[Entry, float, int]] = {}
    for entry, score in ranking:
        key = entry.id if entry.shelf != "turns" else entry.sources
        if key not in best:
            best[key] = (entry, score, len(best) + 1)
    return best


def _lifted(memories: Sequence[_Candidate], turns: Sequence[_Candidate]) -> list[_Candidate]:
    """The memories, each with its lead, and with the score of the best turn it rests on if that is higher."""
    if not turns:
        return list(memories)
    of_turn = {turn.entry.origins()[0]: turn for turn in turns}
    lifted = []
    for memory in memories:
        best = max((of_turn[one] for one in memory.entry.origins() if one in of_turn),
                   key=lambda turn: turn.score, default=memory)  # fmt: skip
        if best.score > memory.score:
            memory = memory._replace(score=best.score, why=f"its turn: {best.why}")
        lifted.append(memory._replace(score=memory.score + MEMORY_LEAD))
    return lifted


def _reread(
    query: str, found: Sequence[_Candidate], turns: Sequence[_Candidate], reranker: Reranker
) -> list[_Candidate]:
    """The best READ candidates in the order of score and reranker together; a memory is read as the turn it rests on,
    which says more, if that was found."""
    of_turn = {turn.entry.origins()[0]: turn.entry.text for turn in turns}
    head = found[:READ]
    texts = [next((of_turn[one] for one in candidate.entry.origins() if one in of_turn), candidate.entry.text)
             for candidate in head]  # fmt: skip
    answers_N = 1 / (1 + np.exp(-reranker.scores(query, texts) / READ_SCALE))
    read = [
        candidate._replace(
            score=candidate.score + READ_WEIGHT * float(answers), why=f"{candidate.why} + read {answers:.2f}"
        )
        for candidate, answers in zip(head, answers_N, strict=True)
    ]
    return [*sorted(read, key=lambda candidate: -candidate.score), *found[READ:]]


def _new(turns: Sequence[_Candidate], memories: Sequence[_Candidate], asked: frozenset[str]) -> list[_Candidate]:
    """The turns that say more of what is asked than the memories found that rest on them."""
    told: dict[Source, set[str]] = {}  # by turn: the words of the memories that rest on it
    for memory in memories:
        for origin in memory.entry.origins():
            told.setdefault(origin, set()).update(_stems(memory.entry.text))

    def says_more(turn: _Candidate) -> bool:
        (origin,) = turn.entry.origins()
        return origin not in told or not asked & _stems(turn.entry.text) <= told[origin]

    return [turn for turn in turns if says_more(turn)]


def _stems(text: str) -> frozenset[str]:
    return frozenset(map(stem, words(text)))


def _hit(candidate: _Candidate) -> Hit:
    entry, score, why = candidate
    origins = entry.origins()
    if entry.shelf == "turns":
        (turn,) = origins
        return Hit(
            kind="turn", id=f"{turn.session}#{turn.turn}", text=entry.text, score=score, why=why, sources=origins
        )
    return Hit(kind="memory", id=entry.id, text=entry.text, score=score, why=why, sources=origins)
