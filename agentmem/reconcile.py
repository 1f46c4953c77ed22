"""Hold proposed changes against what is known: duplicates, contradictions, dates, and what must never be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from agentmem.memory import (
    Add,
    Close,
    Evidence,
    Forget,
    Memory,
    MemoryOp,
    StandingInstruction,
    Update,
    full_text,
)
from agentmem.models.embed import Remembering
from agentmem.relation import compared_texts, relate
from agentmem.sensitive import delicate, secret
from agentmem.store import Refusal

if TYPE_CHECKING:
    from agentmem.models.embed import Embedder

MANY = 2
"""Known memories that one new statement can contradict at once."""


def reconcile(
    ops: Sequence[MemoryOp], memories: Iterable[Memory], *, embedder: Embedder, today: date
) -> tuple[list[MemoryOp], list[Refusal]]:
    """The changes to make, and those refused with their reasons.

    - What is known already becomes more evidence for it; the same evidence again is refused.
    - What contradicts a known memory succeeds it, when it is not older by the conversations' own dates; an older
      statement that comes late is added to the history, closed on the day of the newer one.
    - Secrets, delicate matters that were only inferred, and dates in the future are refused.

    Args:
        ops: as proposed, in order; later ones see what earlier ones did.
        memories: the active ones that may be concerned.
        embedder: for distances in meaning.
        today: no memory may begin after it.
    """
    known = {memory.id: memory for memory in memories}
    embedder = Remembering(embedder)
    embedder.encode(
        compared_texts([*known.values(), *(op.memory for op in ops if isinstance(op, Add))])
    )  # in one batch
    kept: list[MemoryOp] = []
    refused: list[Refusal] = []
    for op in ops:
        reason = _unfit(op, known, today)
        if reason is None:
            settled = _settle(op, known, embedder) if isinstance(op, Add) else op
            if isinstance(settled, str):
                reason = settled
            else:
                kept.append(settled)
                carry_out(settled, known)
        if reason is not None:
            refused.append(Refusal(op=op, reason=reason))
    return kept, refused


def _unfit(op: MemoryOp, known: Mapping[str, Memory], today: date) -> str | None:
    """Why an op cannot be made whatever else is known; None if it can."""
    named = op.replaces if isinstance(op, Update) else (op.id,) if isinstance(op, Close | Forget) and op.id else ()
    for id in named:
        if id not in known:
            return f"no active memory has the id {id}"
    if isinstance(op, Forget):
        return None
    begins = op.on if isinstance(op, Close) else op.memory.valid_at
    if begins is not None and begins > today:
        return f"{begins} is in the future; check the date of the conversation"
    for id in named:
        since = known[id].valid_at
        if begins is not None and since is not None and begins < since:
            return f"older ({begins}) than what it would change ({since})"
    return None if isinstance(op, Close) else _unkeepable(op.memory)


def _unkeepable(memory: Memory) -> str | None:
    said = [full_text(memory), *(evidence.quote for evidence in memory.evidence)]
    for text in said:
        if reason := secret(text):
            return f"{reason} is never kept"
    if memory.basis == "inferred" and (topic := delicate(memory.text)):
        return f"{topic} is kept only when the user states it, never inferred"
    return None


def _settle(op: Add, known: Mapping[str, Memory], embedder: Embedder) -> MemoryOp | str:
    """What an Add really is: an Add, more evidence for a known memory, or a succession; or why it is refused."""
    new, candidates = op.memory, [memory for memory in known.values() if _comparable(memory, op.memory)]
    if not candidates:
        return op
    relations = relate(new, candidates, embedder)
    for old, relation in zip(candidates, relations, strict=True):
        if relation == "duplicate":
            return _confirmed(old, new)
    replaced = [old for old, relation in zip(candidates, relations, strict=True) if relation == "succession"]
    if len(replaced) > MANY:  # a statement that contradicts so much is about something else
        return op
    if not replaced:
        return op
    newest = max((old.valid_at for old in replaced if old.valid_at), default=None)
    if newest is not None and new.valid_at is not None and new.valid_at < newest:
        late = {"invalid_at": newest, "closed_because": "something newer was known already"}
        return Add(memory=new.model_copy(update=late))
    return Update(replaces=tuple(old.id for old in replaced), memory=new)


def _comparable(old: Memory, new: Memory) -> bool:
    """Policies waver between preference and fact; an instruction is compared with instructions."""
    return isinstance(old, StandingInstruction) == isinstance(new, StandingInstruction)


def _confirmed(old: Memory, new: Memory) -> MemoryOp | str:
    """The known memory with the new evidence; a reason if there is none."""
    if old.edited_at is not None:
        return f"known already ({old.id}), in the person's own words"
    places = {_place(evidence) for evidence in old.evidence}
    more = tuple(evidence for evidence in new.evidence if _place(evidence) not in places)
    if not more:
        return f"known already ({old.id})"
    begins = [day for day in (old.valid_at, new.valid_at) if day is not None]
    return Update(
        replaces=(old.id,),
        memory=old.model_copy(
            update={
                "evidence": (*old.evidence, *more),
                "basis": "stated" if "stated" in (old.basis, new.basis) else "inferred",
                # two independent sayings: both would have to be mistaken
                "confidence": round(1 - (1 - old.confidence) * (1 - new.confidence), 2),
                "valid_at": min(begins) if begins else None,
            }
        ),
    )


def _place(evidence: Evidence) -> tuple[str, int]:
    return evidence.session, evidence.turn


def carry_out(op: MemoryOp, known: dict[str, Memory]) -> None:
    """Let `known` be what it is after `op`."""
    if isinstance(op, Update):
        for id in op.replaces:
            known.pop(id, None)
    if isinstance(op, Add | Update) and op.memory.status == "active":
        known[op.memory.id] = op.memory
    elif isinstance(op, Close | Forget) and op.id:
        known.pop(op.id, None)
