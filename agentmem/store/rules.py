"""Which changes are made: ops checked once more against the memory as it is at the moment of writing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from agentmem.errors import MemoryNotFoundError, WriteConflictError
from agentmem.memory import Add, Close, Evidence, Forget, Memory, MemoryOp, Update, full_text, new_id, words
from agentmem.store.replay import PagesDraft
from agentmem.store.values import Refusal, Snapshot

DELETED = "deleted by hand"
"""Why a memory was closed whose line the person took out of memory.md."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the checks need to know besides the memory."""

    by_policy: bool
    """Whether a policy proposes, whose inference never overwrites what the person wrote by hand."""
    today: date
    said_on: Callable[[Evidence], date | None]
    """Day on which a quote was said, by its stored conversation."""
    rng: random.Random


def admit(
    ops: Iterable[MemoryOp], draft: PagesDraft, version: int, base: Snapshot | None, rules: Rules
) -> tuple[list[MemoryOp], list[Refusal]]:
    """Carry out on `draft` what may be done; returns those ops as really made, and the refusals.

    Raises MemoryNotFoundError for an id that never was, and WriteConflictError where a memory is no longer what it
    was in `base`; then nothing counts as done.
    """
    ops = list(ops)
    if base is not None:
        _check_unchanged(ops, draft, {memory.id: memory for memory in base.memories})
    deleted = [memory for memory in _closed(draft) if memory.closed_because == DELETED] if rules.by_policy else []
    done: list[MemoryOp] = []
    refused: list[Refusal] = []
    for op in ops:
        reason = _why_not(op, draft, deleted, rules)
        if reason is not None:
            refused.append(Refusal(op=op, reason=reason))
            continue
        op = _resolved(op, draft, rules)
        if not isinstance(op, Forget):  # erasing is done on all files at once, by the caller
            draft.act(op, version)
        done.append(op)
    return done, refused


def targets(op: MemoryOp) -> tuple[str, ...]:
    """Ids of the known memories that an op changes."""
    match op:
        case Update():
            return op.replaces
        case Close():
            return (op.id,)
        case Forget():
            return (op.id,) if op.id is not None else ()
        case _:
            return ()


def _closed(draft: PagesDraft) -> list[Memory]:
    return [draft.history.entry(id).memory for id in draft.history]


def _check_unchanged(ops: list[MemoryOp], draft: PagesDraft, before: dict[str, Memory]) -> None:
    for id in {id for op in ops for id in targets(op)} & before.keys():
        now = draft.get(id)
        if now != before[id]:
            what = "was forgotten" if now is None else "was changed"
            raise WriteConflictError(f"^{id} {what} by somebody else since it was read; read the memory and try again")


def _why_not(op: MemoryOp, draft: PagesDraft, deleted: list[Memory], rules: Rules) -> str | None:
    """The reason against an op, None when there is none. Raises MemoryNotFoundError."""
    for id in targets(op):
        if id not in draft:
            raise MemoryNotFoundError(f"no memory ^{id}; `agentmem show --all` lists them")
    if isinstance(op, Add) and draft.get(op.memory.id) == op.memory:
        return f"^{op.memory.id} is already there"
    if isinstance(op, Close) and op.id in draft.history:
        return f"^{op.id} is closed already"
    if not rules.by_policy or isinstance(op, Forget):
        return None
    if isinstance(op, Add | Update):
        for memory in deleted:
            latest = _latest(op.memory.evidence, op.memory.valid_at, rules)
            if _repeats(op.memory, memory) and not _after(latest, memory.invalid_at):
                return f"you deleted ^{memory.id} by hand on {memory.invalid_at}, and nothing newer says so again"
    return _why_not_over_a_hand_edit(op, draft, rules)


def _why_not_over_a_hand_edit(op: MemoryOp, draft: PagesDraft, rules: Rules) -> str | None:
    for id in targets(op):
        edited = (known := draft.get(id)) and known.edited_at
        if not edited:
            continue
        if isinstance(op, Update) and op.memory.id == id:
            return f"^{id} was written by hand on {edited}; it can be succeeded by something newer, not corrected"
        if isinstance(op, Update):
            stated = op.memory.basis == "stated" and bool(op.memory.evidence)
            said = _latest(op.memory.evidence, op.memory.valid_at, rules)
        else:
            assert isinstance(op, Close)  # Add and Forget change no known memory here
            stated = op.evidence is not None
            said = _latest((op.evidence,), op.on, rules) if op.evidence else None
        if not stated or not _after(said, edited):
            return f"^{id} was written by hand on {edited}, and nothing the user stated after that day says otherwise"
    return None


def _latest(evidence: Iterable[Evidence], otherwise: date | None, rules: Rules) -> date | None:
    """Last day on which any of this was said; `otherwise` where the conversations do not tell."""
    said = [day for item in evidence if (day := rules.said_on(item)) is not None]
    return max(said) if said else otherwise


def _after(day: date | None, other: date | None) -> bool:
    return day is not None and (other is None or day > other)


def _repeats(new: Memory, old: Memory) -> bool:
    """The same words, or the same words of the user again."""
    if new.kind == old.kind and words(full_text(new)) == words(full_text(old)):
        return True
    places = {(item.session, item.turn, item.quote) for item in old.evidence}
    return bool(new.evidence) and all((item.session, item.turn, item.quote) in places for item in new.evidence)


def _resolved(op: MemoryOp, draft: PagesDraft, rules: Rules) -> MemoryOp:
    """The op with everything said that a replay needs: a free id, and the day on which a successor takes over."""
    if not isinstance(op, Add | Update):
        return op
    memory = op.memory
    in_place = isinstance(op, Update) and memory.id in op.replaces
    if not in_place and memory.id in draft:
        taken = {*draft.memory, *draft.history}
        memory = memory.model_copy(update={"id": new_id(memory.kind, taken, rules.rng)})
    if isinstance(op, Update) and memory.valid_at is None and set(op.replaces) != {memory.id}:
        memory = memory.model_copy(update={"valid_at": rules.today})
    return op.model_copy(update={"memory": memory})
