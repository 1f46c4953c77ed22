"""Which standing instructions bear on a request, and which of them it overrides.

A condition is held against the request by its cosine. A judge (agentmem/models/judges.py) reads the request with each
instruction that has none, which may be about something else ("hotels need a gym"). It also reads the instructions with
each other, since one may bring in another: "when I book a flight, find a hotel too". What a request overrides is told
by plain rules. Letting the judge decide about conditions, or about overriding, made it worse (LOG.md, 2026-11-26).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agentmem.index.entries import telling_words
from agentmem.memory import StandingInstruction, full_text, words
from agentmem.models.judges import APPLICABILITY, Bearing, Judge, shipped

if TYPE_CHECKING:
    from agentmem.models.embed import Embedder

APPLIES = 0.26
"""Least cosine of a condition and a request it applies to.

Set with MiniLM on tests/data/applicable.jsonl, towards selecting too many: the prompt shows the condition, so a model
can still see that it does not hold. Overlap of words was tried and added nothing.
"""

FARTHER = 0.25
"""A condition that is so much farther from the request than the nearest one is about something else."""

UNCONDITIONAL = 0.45
"""Least probability, by the judge, of an instruction without a condition: some do not say theirs."""

BROUGHT_IN = 0.9
"""The same for one that another brings in: there are many pairs of instructions, and each may be wrong."""

CONTRADICTS = 0.3
"""Least cosine of an instruction and the exception that suspends it, unless it is the closest that applies."""

ROUNDS = 2
"""An instruction that applies may bring in others, and these again others: so many times."""

MANY = 64
"""Of more instructions, and of more pairs of them in one round, those nearest in meaning are read."""

_CONDITION = "I need help with {}"  # puts a condition ("booking flights") nearer to how requests are worded

_EXCEPTION = re.compile(
    r"\b(?:(?:just|only|but) )?(?:this (?:time|once)|for (?:once|a change)|just once|(?:just|only) (?:today|now))\b"
    r"|\b(?:as an exception|exceptionally|(?:instead of|rather than|not) (?:my|the) usual|ignore (?:my|the))\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:no|not|never|without|don['’]t|skip|avoid|nothing|leave out)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n+")


def applicable(
    instructions: Sequence[StandingInstruction], request: str, embedder: Embedder, judge: Judge | None = None
) -> tuple[StandingInstruction, ...]:
    """The instructions to follow when answering `request`, in the order given.

    Args:
        instructions: the active ones.
        request: what the user just said. A blank request has only the unconditional ones.
        embedder: chooses the nearest where there are very many, and helps the judge.
        judge: (n, APPLICABILITY) probabilities; None takes the one that ships, joined with the embedder.

    Raises:
        ModelError: a model failed.
    """
    if not request.strip() or not instructions:
        return tuple(one for one in instructions if one.when == "always")
    judge = judge or Bearing(shipped("applicability"), embedder)
    near_N = _nearness(instructions, request, embedder)
    read = [instructions[place] for place in sorted(np.argsort(-near_N, kind="stable")[:MANY].tolist())]
    unfit = _unfit([one for one in read if one.when == "always"], request, judge)
    conditions = [near for one, near in zip(instructions, near_N.tolist(), strict=True) if one.when != "always"]
    least = max(APPLIES, max(conditions, default=0.0) - FARTHER)
    chosen = {one.id for one, near in zip(instructions, near_N, strict=True) if near >= least} - unfit
    chosen |= _brought_in(read, chosen, embedder, judge)
    candidates = [one for one in instructions if one.id in chosen]
    suspended = _suspended(candidates, request, embedder)
    return tuple(one for one in candidates if one.id not in suspended)


def _nearness(instructions: Sequence[StandingInstruction], request: str, embedder: Embedder) -> NDArray[np.float32]:
    """Cosine of the request with each condition; 1 without a condition, so that these are always read."""
    texts = [_CONDITION.format(one.when) for one in instructions]
    near_N = embedder.encode(texts) @ embedder.encode([request])[0]
    return np.where([one.when == "always" for one in instructions], np.float32(1), near_N)


def _unfit(unconditional: Sequence[StandingInstruction], request: str, judge: Judge) -> set[str]:
    """Ids of instructions without a condition that are about something else."""
    if not unconditional:
        return set()
    chances = judge.probabilities([(request, full_text(one)) for one in unconditional])
    return {one.id for one, chance in zip(unconditional, chances[:, APPLICABILITY.index("applies")], strict=True)
            if chance < UNCONDITIONAL}  # fmt: skip


def _brought_in(
    instructions: Sequence[StandingInstruction], chosen: set[str], embedder: Embedder, judge: Judge
) -> set[str]:
    """Ids of the instructions that apply to what those in `chosen` ask for; of very many pairs the nearest are read."""
    found: set[str] = set()
    asking = [one for one in instructions if one.id in chosen]
    for _ in range(ROUNDS):
        others = [one for one in instructions if one.id not in chosen | found]
        if not asking or not others:
            break
        first, second = [full_text(one) for one in asking], [full_text(one) for one in others]
        cosine_AO = embedder.encode(first) @ embedder.encode(second).T
        nearest = np.argsort(-cosine_AO, axis=None, kind="stable")[:MANY]
        places = [divmod(place, len(others)) for place in nearest.tolist()]
        chances = judge.probabilities([(first[asks], second[other]) for asks, other in places])
        applies = chances[:, APPLICABILITY.index("applies")] >= BROUGHT_IN
        brought = {other for (_, other), applied in zip(places, applies, strict=True) if applied}
        asking = [others[place] for place in sorted(brought)]
        found |= {one.id for one in asking}
    return found


def _suspended(candidates: Sequence[StandingInstruction], request: str, embedder: Embedder) -> set[str]:
    """Ids of the instructions that the request makes an exception to."""
    denied = {one.id for one in candidates if _denied(one, request)}
    exceptions = [part for part in _SENTENCE_END.split(request) if _EXCEPTION.search(part)]
    if not exceptions or not candidates:
        return denied
    texts_ND = embedder.encode([one.text for one in candidates])
    cosine_N = (texts_ND @ embedder.encode(exceptions).T).max(axis=1)
    close = {one.id for one, cosine in zip(candidates, cosine_N, strict=True) if cosine >= CONTRADICTS}
    conditional = [(cosine, one.id) for one, cosine in zip(candidates, cosine_N, strict=True) if one.when != "always"]
    closest = {max(conditional)[1]} if conditional and not close else set()
    return denied | close | closest


def _denied(instruction: StandingInstruction, request: str) -> bool:
    """Whether the request says "no" shortly before a word of an instruction that does not say "no" itself."""
    if _NEGATION.search(instruction.text):
        return False
    asked_for = {word for word in telling_words(instruction.text) if len(word) > 3}
    return any(
        asked_for & set(words(request[match.end() :].split(",")[0])[:3]) for match in _NEGATION.finditer(request)
    )
