"""Which standing instructions apply to a request, and which of them it overrides this once."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agentmem.index.entries import telling_words
from agentmem.memory import StandingInstruction, words

if TYPE_CHECKING:
    from agentmem.models.embed import Embedder

APPLIES = 0.26
"""Least cosine of a condition and a request it applies to.

Set with MiniLM on tests/data/applicable.jsonl, towards selecting too many: the prompt shows the condition, so a model
can still see that it does not hold. Overlap of words was tried and added nothing.
"""

CONTRADICTS = 0.3
"""Least cosine of an instruction and the exception that suspends it, unless it is the closest that applies."""

_CONDITION = "I need help with {}"  # puts a condition ("booking flights") nearer to how requests are worded

_EXCEPTION = re.compile(
    r"\b(?:(?:just|only|but) )?(?:this (?:time|once)|for (?:once|a change)|just once|(?:just|only) (?:today|now))\b"
    r"|\b(?:as an exception|exceptionally|(?:instead of|rather than|not) (?:my|the) usual|ignore (?:my|the))\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:no|not|never|without|don['’]t|skip|avoid|nothing|leave out)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n+")


def applicable(
    instructions: Sequence[StandingInstruction], request: str, embedder: Embedder
) -> tuple[StandingInstruction, ...]:
    """The instructions to follow when answering `request`, in the order given.

    One whose condition is "always" applies; another applies when its condition is close to the request in meaning.
    Left out is what the request itself sets aside: "this time an aisle seat", "no bullet points please".

    Args:
        instructions: the active ones.
        request: what the user just said. A blank request has only the unconditional ones.
        embedder: called once for the request; conditions are remembered between calls.
    """
    if not request.strip():
        return tuple(one for one in instructions if one.when == "always")
    conditional = tuple(one for one in instructions if one.when != "always")
    selected = {one.id for one in instructions if one.when == "always"}
    if conditional:
        request_D = embedder.encode([request])[0]
        cosine_N = _units(embedder, tuple(_CONDITION.format(one.when) for one in conditional)) @ request_D
        selected |= {one.id for one, cosine in zip(conditional, cosine_N, strict=True) if cosine >= APPLIES}
    candidates = [one for one in instructions if one.id in selected]
    suspended = _suspended(candidates, request, embedder)
    return tuple(one for one in candidates if one.id not in suspended)


def _suspended(candidates: Sequence[StandingInstruction], request: str, embedder: Embedder) -> set[str]:
    """Ids of the instructions that the request makes an exception to."""
    denied = {one.id for one in candidates if _denied(one, request)}
    exceptions = [part for part in _SENTENCE_END.split(request) if _EXCEPTION.search(part)]
    if not exceptions or not candidates:
        return denied
    texts_ND = _units(embedder, tuple(one.text for one in candidates))
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


@functools.lru_cache(maxsize=32)
def _units(embedder: Embedder, texts: tuple[str, ...]) -> np.ndarray:
    """Unit vectors (len(texts), dim); the same instructions come with every request."""
    return embedder.encode(texts)
