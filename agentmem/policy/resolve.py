"""Between a conversation and the action language: what a policy is shown, and what its edits come to."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from datetime import date

from pydantic import ValidationError

from agentmem.memory import (
    Add,
    Close,
    Evidence,
    Fact,
    Forget,
    Kind,
    Memory,
    MemoryOp,
    Preference,
    StandingInstruction,
    Update,
    full_text,
    new_id,
    one_line,
    words,
)
from agentmem.policy.answers import question_of
from agentmem.policy.base import Observation, Worth
from agentmem.policy.edits import Edit, format_edit
from agentmem.route import count_tokens
from agentmem.store import Refusal

STATED, INFERRED = 0.95, 0.7
"""Confidence of an edit: what the user said outright may still be a slip of the tongue; what was concluded from a
choice or a complaint is right about two times in three."""

MEMORY_TOKENS = 1500
"""Above this size a policy is shown the memories that share most words with the new messages."""

MARK_CHARS = 300
"""Of a user's message that are read before and after a marked sentence."""

ASSISTANT_CHARS = 600
"""A longer assistant turn is shown without its middle: it is context, never evidence."""


# -- what a policy is shown ------------------------------------------------------------------------------------------


def aliases_of(observation: Observation) -> dict[str, str]:
    """Alias -> memory id, over all known memories: p1, p2, i1, f1 …, valid for this observation."""
    counts: dict[str, int] = {}
    names = {}
    for memory in observation.memories:
        letter = memory.kind[0]
        counts[letter] = counts.get(letter, 0) + 1
        names[f"{letter}{counts[letter]}"] = memory.id
    return names


def texts_of(observation: Observation) -> dict[str, str]:
    """Alias -> text, over all known memories."""
    by_id = {memory.id: full_text(memory) for memory in observation.memories}
    return {alias: by_id[id] for alias, id in aliases_of(observation).items()}


def render_observation(observation: Observation) -> tuple[str, dict[str, str]]:
    """What a policy reads, and the aliases it may use: the memory in short form, then the new messages.

    Of a mark it reads what stands near: its message after the one before, and the memories nearest to it.
    """
    mark = observation.mark
    shown = shown_memories(observation)
    lines = [f"{alias}: {full_text(memory)}" for alias, memory in shown.items()]
    if mark is None and len(shown) < len(observation.memories):
        lines.append(f"({len(observation.memories) - len(shown)} more are not shown)")
    head = "Memory:\n" + ("\n".join(lines) or "(empty)") + "\n\n"
    asked = "" if mark is None else f"\n{_ASKED[mark.worth]}: {' '.join(mark.text.split())}"
    return head + conversation(observation) + asked, {alias: memory.id for alias, memory in shown.items()}


_ASKED: dict[Worth, str] = {"none": "Keep", "fact": "Keep as fact", "preference": "Keep as preference",
                            "inferred": "Keep as preference?", "instruction": "Keep as instruction",
                            "replace": "Change", "close": "Close", "forget": "Forget"}  # fmt: skip


def conversation(observation: Observation) -> str:
    """The new messages as a policy reads them, after the one before them for context."""
    mark = observation.mark
    first = max((observation.start if mark is None else mark.turn) - 1, 0)
    day = observation.session.date or observation.today
    lines = [f"Conversation of {day.isoformat()}:"]
    for message in observation.session.messages[first : None if mark is None else mark.turn + 1]:
        said = message.content if message.role == "user" else shortened(message.content)
        if mark is not None and message.role == "user":
            said = _around(mark.text, said)
        lines.append(f"{message.role}: {said}")
    return "\n".join(lines)


def shortened(said: str) -> str:
    """An assistant turn, a long one without its middle."""
    if len(said) <= ASSISTANT_CHARS:
        return said
    return said[: ASSISTANT_CHARS // 2] + " […] " + said[-ASSISTANT_CHARS // 2 :]


def _around(text: str, said: str) -> str:
    """What a user says near a marked sentence; of another message the end."""
    place = said.find(text)
    start, end = (place, place + len(text)) if place >= 0 else (len(said), len(said))
    first, last = max(0, start - MARK_CHARS), min(len(said), end + MARK_CHARS)
    first = 0 if first == 0 else said.find(" ", first, start) + 1 or first
    last = len(said) if last == len(said) else max(said.rfind(" ", end, last), end)
    return ("[…] " if first else "") + said[first:last] + (" […]" if last < len(said) else "")


def shown_memories(observation: Observation, tokens: int = MEMORY_TOKENS) -> dict[str, Memory]:
    """By alias, as many memories as fit `tokens`, in file order.

    Those go first that share the most words with the new messages. Of a mark those near it.
    """
    by_id = {memory.id: memory for memory in observation.memories}
    memories = {alias: by_id[id] for alias, id in aliases_of(observation).items()}
    if observation.mark is not None:
        return {alias: memory for alias, memory in memories.items() if memory.id in observation.mark.near}
    costs = {alias: count_tokens(full_text(memory)) + 3 for alias, memory in memories.items()}
    if sum(costs.values()) <= tokens:
        return memories
    said = {word for message in observation.session.messages[observation.start :] for word in words(message.content)}
    shared = {alias: len(said & set(words(full_text(memory)))) for alias, memory in memories.items()}
    left, chosen = tokens, set()
    for alias in sorted(memories, key=lambda alias: -shared[alias]):
        if costs[alias] <= left:
            left -= costs[alias]
            chosen.add(alias)
    return {alias: memory for alias, memory in memories.items() if alias in chosen}


# -- from edits to ops -----------------------------------------------------------------------------------------------

_PLAIN = str.maketrans("‘’‚“”„–—\u00a0\u2011", "'''\"\"\"-- -")
_TAKEN = (
    r"(?:sounds?|looks?|seems?|feels?|works?|suits?|fits?|is|isn['’]t|was|would|will|does|doesn['’]t|please|for me)\b"
)
_POINTS_BACK = re.compile(
    r"\b(?:option|number|choice)\s*#?\d|\byes\b|\bthe other (?:one|option)s?\b|\b(?:this|that)['’]s\b"
    r"|\b(?:the )?(?:first|second|third|fourth|last|former|latter|this|that|these|those|both|neither)"
    rf"(?: (?:one|option|choice|idea|suggestion)s?\b|(?=\s*(?:$|[,.;:!?]| {_TAKEN})))",
    re.IGNORECASE,
)
"""An answer is understood by what it answers; "last week" and "the one that I like" point to nothing."""


def to_ops(
    edits: Sequence[Edit], observation: Observation, *, rng: random.Random
) -> tuple[list[MemoryOp], list[Refusal]]:
    """Resolve aliases and quotes. An edit with an unknown alias, or whose quote no user message has, is refused."""
    aliases = aliases_of(observation)
    taken = {memory.id for memory in observation.memories}
    ops: list[MemoryOp] = []
    refused: list[Refusal] = []
    for edit in edits:
        try:
            op = _to_op(edit, observation, aliases, rng, taken)
        except ValidationError as error:
            refused.append(Refusal(reason=f"{error.errors()[0]['msg']}: {format_edit(edit)}"))
        except ValueError as error:
            refused.append(Refusal(reason=f"{error}: {format_edit(edit)}"))
        else:
            ops.append(op)
            taken |= {op.memory.id} if isinstance(op, Add | Update) else set()
    return ops, refused


def _to_op(
    edit: Edit, observation: Observation, aliases: Mapping[str, str], rng: random.Random, taken: set[str]
) -> MemoryOp:
    unknown = [alias for alias in edit.aliases if alias not in aliases]
    if unknown:
        raise ValueError(f"no memory is called {unknown[0]}")
    ids = tuple(dict.fromkeys(aliases[alias] for alias in edit.aliases))
    if not edit.quotes:  # of a rewrite, which quotes nobody
        raise ValueError("nothing that the user says here supports it")
    evidence = tuple(find_evidence(quote, observation, edit.inferred) for quote in edit.quotes)
    day = edit.day or observation.session.date_of(evidence[0].turn) or observation.today
    if edit.sign == "-":
        return Close(id=ids[0], on=day, because=f"the user said: {one_line(edit.quotes[0])}", evidence=evidence[0])
    if edit.sign == "x":
        return Forget(id=ids[0] if ids else None, evidence=evidence[0])
    kind: Kind = edit.kind or next(memory.kind for memory in observation.memories if memory.id == ids[0])
    memory = _memory(edit, kind, new_id(kind, taken, rng), evidence, day)
    return Add(memory=memory) if edit.sign == "+" else Update(replaces=ids, memory=memory)


def _memory(edit: Edit, kind: Kind, id: str, evidence: tuple[Evidence, ...], day: date) -> Memory:
    shared = {
        "id": id,
        "evidence": evidence,
        "valid_at": day,
        "basis": "inferred" if edit.inferred else "stated",
        "confidence": (INFERRED if edit.inferred else STATED) * edit.sure,
    }
    if kind == "instruction":
        return StandingInstruction(text=edit.text, when=edit.when or "always", **shared)  # type: ignore[arg-type]
    text = edit.text if edit.when is None else f"{edit.when} => {edit.text}"
    return (Preference if kind == "preference" else Fact)(text=text, **shared)  # type: ignore[arg-type]


def find_evidence(quote: str, observation: Observation, inferred: bool = False) -> Evidence:
    """The place of a quote among the user's messages, new ones first; the user's exact characters become the quote.

    Differences of typography (curly quotes, dashes, runs of blanks) are bridged, nothing else. Raises ValueError.
    """
    messages = observation.session.messages
    users = [turn for turn, message in enumerate(messages) if message.role == "user"]
    answers = {turn for turn in users if question_of(messages, turn, quote.strip())}  # "no" is not that of "I know"
    for turn in sorted(users, key=lambda turn: (turn < observation.start, turn not in answers, turn)):
        exact = _verbatim(quote, messages[turn].content)
        if exact is not None:
            before = turn - 1 if turn and messages[turn - 1].role == "assistant" else None
            points_back = inferred or _POINTS_BACK.search(exact) is not None or turn in answers
            return Evidence(
                quote=exact, session=observation.session.id, turn=turn, context=before if points_back else None
            )
    if any(_verbatim(quote, message.content) for message in messages if message.role != "user"):
        raise ValueError("the quote was not said by the user")
    raise ValueError("the quote is in no message of the user")


def _verbatim(quote: str, message: str) -> str | None:
    """The part of `message` that `quote` quotes; None if there is none."""
    quote = quote.strip()
    if quote in message:
        return quote
    pattern = r"\s+".join(map(re.escape, quote.translate(_PLAIN).split()))
    match = re.search(pattern, message.translate(_PLAIN))  # translate keeps the length, so the places agree
    return message[match.start() : match.end()] if match else None
