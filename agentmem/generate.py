"""Turn what is remembered into the prompt of the answer, and tell which memories an answer used."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from langchain_core.messages import AnyMessage, BaseMessage, SystemMessage

from agentmem.config import PresentationName
from agentmem.memory import Memory, StandingInstruction, full_text, words
from agentmem.prompts import render

if TYPE_CHECKING:
    from agentmem.models.embed import Embedder

USED_COSINE = 0.45
"""A sentence of the answer this close to a memory counts as using it: a first value, not yet measured."""

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n+")


def memory_prompt(
    memories: Sequence[Memory],
    *,
    turns: Sequence[str] = (),
    today: date,
    presentation: PresentationName = "lists",
) -> str:
    """The text of the system message that shows the memory; empty when there is nothing to show.

    Args:
        memories: what to follow: standing instructions that apply, preferences, facts.
        turns: earlier things said, "role: text" each, oldest first.
        today: the day of the answer.
        presentation: one of PRESENTATIONS.
    """
    if not memories and not turns:
        return ""
    return render("reply", memory=show(memories, presentation), earlier=_earlier(turns), today=today.isoformat())


def reply_prompt(messages: Sequence[AnyMessage], memory: str, *, ask: bool = False) -> list[BaseMessage]:
    """The messages to answer from: one system message with the memory, then the conversation.

    Args:
        messages: the conversation, last message the one to answer. Its own system messages stay first.
        memory: see `memory_prompt`; an empty one leaves the conversation as it is, and costs no tokens.
        ask: have a question written instead of the answer.
    """
    told = "\n\n".join(text for text in (memory, render("ask") if ask else "") if text)
    if not told:
        return list(messages)
    own = [message for message in messages if message.type == "system"]
    talk = [message for message in messages if message.type != "system"]
    return [*own, SystemMessage(told), *talk]


class Presentation(NamedTuple):
    """How memories are written for the model."""

    about: str = "The user:"
    """Head of what the user is like."""
    rules: str | None = "Rules for every reply:"
    """Head of the instructions; None puts them among the rest."""
    detail: Callable[[Memory], str] = lambda memory: ""
    """What follows each memory's text."""
    newest_first: bool = False
    mark: str = "\n- "
    """Begins each memory."""
    end: str = ""
    """Stands after all of them."""


def _since(memory: Memory) -> str:
    return f" (since {memory.valid_at.isoformat()})" if memory.valid_at else ""


def _quotes(memory: Memory) -> str:
    said = "; ".join(dict.fromkeys(f'"{" ".join(one.quote.split())}"' for one in memory.evidence))
    return f" (the user said: {said})" if said else ""


PRESENTATIONS: dict[PresentationName, Presentation] = {
    "lists": Presentation(),
    "flat": Presentation(about="What you know of the user:", rules=None),
    "dated": Presentation(detail=_since),
    "evidence": Presentation(detail=_quotes),
    "newest": Presentation(newest_first=True),
    "prose": Presentation(about="You remember of the user:", rules=None, mark=" "),
    "reminder": Presentation(
        about="The user has told you this about themselves:",
        rules=None,
        end="\n\nRemember it: what you suggest has to suit this user, also where the user does not repeat it.",
    ),
}


def show(memories: Sequence[Memory], presentation: PresentationName = "lists") -> str:
    """The memories as the model reads them: what the user is like, then what to do."""
    how = PRESENTATIONS[presentation]
    if how.newest_first:
        memories = sorted(memories, key=lambda memory: memory.valid_at or date.min, reverse=True)
    about = [memory for memory in memories if not isinstance(memory, StandingInstruction)]
    rules = [memory for memory in memories if isinstance(memory, StandingInstruction)]
    parts = [(how.about, about), (how.rules, rules)] if how.rules else [(how.about, [*about, *rules])]
    texts = [f"{head}{''.join(how.mark + _line(one) + how.detail(one) for one in own)}" for head, own in parts if own]
    return "\n\n".join(texts) + (how.end if memories else "")


def _line(memory: Memory) -> str:
    if isinstance(memory, StandingInstruction) and memory.when != "always":
        return f"When {memory.when}: {memory.text}"
    return memory.text


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
