"""Turn what is remembered into the prompt of the answer, and tell which memories an answer used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from langchain_core.messages import AnyMessage, BaseMessage, SystemMessage

from agentmem.memory import Fact, Memory, Preference, StandingInstruction, full_text, words
from agentmem.prompts import render

if TYPE_CHECKING:
    from agentmem.models.embed import Embedder

USED_COSINE = 0.45
"""A sentence of the answer this close to a memory counts as using it: a first value, not yet measured."""

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n+")


def memory_prompt(memories: Sequence[Memory], *, turns: Sequence[str] = (), today: date) -> str:
    """The text of the system message that shows the memory; empty when there is nothing to show.

    Args:
        memories: what to follow: standing instructions that apply, preferences, facts.
        turns: earlier things said, "role: text" each, oldest first.
        today: the day of the answer.
    """
    if not memories and not turns:
        return ""
    return render("reply", memory=show(memories), earlier=_earlier(turns), today=today.isoformat())


def reply_prompt(messages: Sequence[AnyMessage], memory: str) -> list[BaseMessage]:
    """The messages to answer from: one system message with the memory, then the conversation.

    Args:
        messages: the conversation, last message the one to answer. Its own system messages stay first.
        memory: see `memory_prompt`; an empty one leaves the conversation as it is, and costs no tokens.
    """
    if not memory:
        return list(messages)
    own = [message for message in messages if message.type == "system"]
    talk = [message for message in messages if message.type != "system"]
    return [*own, SystemMessage(memory), *talk]


def show(memories: Sequence[Memory]) -> str:
    """The memories as the model reads them: what the user is like, then what to do.

    Of the presentations tried on the local models this one was followed most often (LOG.md, 2026-11-24).
    """
    about = [f"- {memory.text}" for memory in memories if isinstance(memory, Fact | Preference)]
    rules = [
        f"- {memory.text}" if memory.when == "always" else f"- When {memory.when}: {memory.text}"
        for memory in memories
        if isinstance(memory, StandingInstruction)
    ]
    parts = [("The user:", about), ("Rules for every reply:", rules)]
    return "\n\n".join("\n".join([head, *lines]) for head, lines in parts if lines)


def _earlier(turns: Sequence[str]) -> str:
    return "\n\nEarlier conversations:\n" + "\n".join(turns) if turns else ""


def used_memories(reply: str, memories: Sequence[Memory], embedder: Embedder) -> tuple[str, ...]:
    """Ids of the memories that the answer visibly follows, in the order given.

    A memory counts as used when a sentence of the answer is close to it in meaning, or when the answer repeats two
    longer words of it that no other memory has. Models name their sources unreliably, small ones not at all; this looks
    at the answer instead. It cannot see a memory followed by leaving something out.
    """
    sentences = [sentence for sentence in _SENTENCE_END.split(reply) if sentence.strip()]
    if not sentences or not memories:
        return ()
    texts = [full_text(memory) for memory in memories]
    vectors = embedder.encode([*sentences, *texts])
    closest_m = (vectors[len(sentences) :] @ vectors[: len(sentences)].T).max(axis=1)
    said = set(words(reply))
    return tuple(
        memory.id
        for place, memory in enumerate(memories)
        if closest_m[place] >= USED_COSINE or len(_own_words(place, texts) & said) >= 2
    )


def _own_words(place: int, texts: Sequence[str]) -> set[str]:
    """Longer words that only this memory has."""
    others = {word for other, text in enumerate(texts) if other != place for word in words(text)}
    return {word for word in words(texts[place]) if len(word) >= 4} - others
