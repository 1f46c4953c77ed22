"""What a request to forget means: which memories, and what was said in the conversation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from agentmem.memory import words
from agentmem.models.embed import Embedder
from agentmem.models.judges import FORGETTING, Judge
from agentmem.policy.abroad import is_abroad
from agentmem.policy.asked import means_everything, names_nothing, what
from agentmem.policy.edits import Edit
from agentmem.relation import stem
from agentmem.store.common import COMMON

MEANT = 0.5
"""Probability from which on a request to forget means a memory."""
PERHAPS = 0.2
"""The same where it would else mean none: its sentences would go from the conversations while the memory stayed."""
JUDGED, NEARNESS, NEAR = 0.6, 8.0, 0.35
"""Weights of the judge's odds and of the cosine (beyond NEAR) in that probability."""

LONG = 4
"""Letters of a word that can tell what a request in another language is about."""
SPEAKS_OF = 0.35
"""Cosine from which on a request that shares a word with a sentence of the conversation means it."""

_JUST = re.compile(
    r"\b(?:just (?:said|told|wrote|mentioned)|(?:forget|save|store|remember|keep|erase|delete) (?:that|this|it)\W*$"
    r"|my last (?:message|sentence))",
    re.I,
)
_OLD = re.compile(r"\b(?:old|previous|former|outdated)\b", re.I)
_NEW = re.compile(r"\b(?:new|now|instead|from now on|moved)\b", re.I)
_WEAK = set(
    words(
        "i me my we our us a an the and or but to of in on at for with from is am are was were be been it that this"
        " these those i'm i've don't do not no"
        " longer anymore any more please forget delete erase remove remember you your what about said told memory have"
        " has had will would can could"
        " stop quit stopped like likes love loves hate hates prefer prefers always never"
    )
)


def forget_edits(quote: str, meant: Sequence[str]) -> list[Edit]:
    """`x` for each memory the request means; without an alias when it means none, none when it names nothing at all."""
    if not meant and names_nothing(quote):  # "no, remove all" of a file: its words may stay where they were said
        return []
    return [Edit(sign="x", aliases=(alias,), quotes=(quote,)) for alias in meant] or [Edit(sign="x", quotes=(quote,))]


def meant(request: str, texts: Mapping[str, str], embedder: Embedder, judge: Judge) -> list[str]:
    """Aliases of the memories that a request to forget means: by its judge and by nearness in meaning, together.

    On the held-out families of agentmem/train/data/forget.jsonl (66 requests that are heard) the set is exactly right
    for .56 with the judge and .35 without it (`python -m agentmem.train.judges.worth forgetting`).
    """
    if not texts or means_everything(request):
        return list(texts)
    if names_nothing(request):
        return []
    chances = judge.probabilities([(request, text) for text in texts.values()])
    odds = np.log(chances[:, FORGETTING.index("forget")] + 1e-6) - np.log(chances[:, FORGETTING.index("keep")] + 1e-6)
    near = embedder.encode(list(texts.values())) @ embedder.encode([what(request)])[0]
    chance_N = 1 / (1 + np.exp(-(JUDGED * odds + NEARNESS * (near - NEAR))))
    if is_abroad(request):  # neither the judge nor the embedder learned other languages well
        likeliest = [list(texts)[int(chance_N.argmax())]] if chance_N.max() >= PERHAPS else []
        return _sharing(request, texts) or likeliest
    found = [alias for alias, chance in zip(texts, chance_N, strict=True) if chance >= MEANT]
    if not found and chance_N.max() >= PERHAPS:
        found = [list(texts)[int(chance_N.argmax())]]
    if not found:  # "where I live": worded shortly, so a shared word has to do
        own = content(what(request))
        sharing = [(cosine, alias) for cosine, (alias, text) in zip(near.tolist(), texts.items(), strict=True)
                   if own & content(text)]  # fmt: skip
        found = [max(sharing)[1]] if sharing else []
    return found


def _sharing(request: str, texts: Mapping[str, str]) -> list[str]:
    """Aliases of the memories that share the most longer words with the request, if any does."""
    own = content(" ".join(word for word in words(request) if len(word) >= LONG and word not in COMMON))
    shared = {alias: len(own & content(text)) for alias, text in texts.items()}
    most = max(shared.values())
    return [alias for alias, many in shared.items() if most and many == most]


def speaks_of(request: str, said: str, turns: int, cosine: float) -> bool:
    """Whether a request to forget means something that is said in the same conversation.

    Args:
        request: the sentence that asks.
        said: another sentence.
        turns: messages from that one to the request; what is said in a later one is news, not what was meant.
        cosine: of both.
    """
    if turns < 0 or (_OLD.search(request) and _NEW.search(said)):  # "forget my old address. my new one is …"
        return False
    if _JUST.search(request):  # "forget what I just said"
        return turns <= 2
    return bool(content(what(request)) & content(said)) and cosine >= SPEAKS_OF


def content(text: str) -> set[str]:
    """Stems of the content words, cut to five letters so that "plays" meets "playing", "diagnosis" "diagnosed"."""
    return {stem(word)[:5] for word in words(text) if word not in _WEAK}
