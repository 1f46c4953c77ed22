"""Memories and changes as people read them, and as the JSON contract has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from agentmem.cli.common import say
from agentmem.memory import Add, Close, Evidence, Forget, Kind, Memory, MemoryOp, StandingInstruction, Update, full_text

TITLES: dict[Kind, str] = {"instruction": "Standing instructions", "preference": "Preferences", "fact": "About"}
KIND_OF_ID: dict[str, Kind] = {"p": "preference", "i": "instruction", "f": "fact"}
_SIGNS = {"add": ("+", "green"), "update": ("~", "yellow"), "close": ("-", "red"), "forget": ("x", "red")}


# JSON


def memory_json(memory: Memory) -> dict[str, Any]:
    """A memory with every field; `when` is null but for instructions."""
    fields = memory.model_dump(mode="json")
    evidence = [evidence_json(one) for one in memory.evidence]
    first = {"id": memory.id, "kind": memory.kind, "text": memory.text, "when": fields.pop("when", None)}
    return {**first, **fields, "status": memory.status, "evidence": evidence}


def evidence_json(evidence: Evidence) -> dict[str, Any]:
    """quote, session, turn; context only where there is one."""
    return evidence.model_dump(mode="json", exclude_none=True)


def op_json(op: MemoryOp, known: Mapping[str, Memory]) -> dict[str, Any]:
    """One change. `known` gives a closed memory its words; a forgotten one has none any more."""
    memory = _memory_of(op, known)
    evidence = [op.evidence] if isinstance(op, Close) and op.evidence else memory.evidence if memory else ()
    id = op.memory.id if isinstance(op, Add | Update) else op.id
    fields: dict[str, Any] = {
        "op": op.op,
        "kind": KIND_OF_ID[id[0]] if id else None,  # words that were in no memory
        "text": memory.text if memory else None,
        "when": memory.when if isinstance(memory, StandingInstruction) else None,
        "evidence": [evidence_json(one) for one in evidence],
        "id": id,
    }
    if isinstance(op, Update):
        fields["replaces"] = list(op.replaces)
    if isinstance(op, Close):
        fields |= {"on": op.on.isoformat(), "because": op.because}
    return fields


def _memory_of(op: MemoryOp, known: Mapping[str, Memory]) -> Memory | None:
    if isinstance(op, Add | Update):
        return op.memory
    return known.get(op.id) if isinstance(op, Close) else None  # what is forgotten has no words any more


# Lines


def print_memories(memories: Iterable[Memory], console: Console) -> None:
    """Memories under the headings of memory.md, each with its evidence."""
    by_kind: dict[Kind, list[Memory]] = {kind: [] for kind in TITLES}
    for memory in memories:
        by_kind[memory.kind].append(memory)
    for kind, own in by_kind.items():
        if own:
            say((TITLES[kind], "bold"), to=console)
            for memory in own:
                print_memory(memory, console)
            say("", to=console)


def print_memory(memory: Memory, console: Console) -> None:
    """One memory with its evidence and dates."""
    style = "" if memory.status == "active" else "strike dim"
    say("  ", (full_text(memory), style), (f"  ^{memory.id}", "dim"), to=console)
    for evidence in memory.evidence:
        say((f'      "{evidence.quote}" ({evidence.session}, turn {evidence.turn})', "dim"), to=console)
    facts = [f"{memory.basis}, confidence {memory.confidence:g}"] if memory.basis == "inferred" else []
    facts += [f"since {memory.valid_at}"] if memory.valid_at else []
    facts += [f"until {memory.invalid_at}"] if memory.invalid_at else []
    facts += [f"because {memory.closed_because}"] if memory.closed_because else []
    if facts:
        say((f"      {' · '.join(facts)}", "dim"), to=console)


def print_op(
    op: MemoryOp, known: Mapping[str, Memory], console: Console, *, indent: str = "", dim: bool = False
) -> None:
    """One change on one line, signed as in the action language."""
    sign, colour = _SIGNS[op.op]
    memory = _memory_of(op, known)
    id = op.memory.id if isinstance(op, Add | Update) else op.id
    words = full_text(memory) if memory else "(removed)" if isinstance(op, Forget) else ""
    kind = KIND_OF_ID[id[0]] if id else "words"
    tail = f"  ({op.because})" if isinstance(op, Close) else ""
    tail += f"  ^{id}" if id else ""
    say((f"{indent}{sign} ", "dim" if dim else colour), (f"{kind:<11} ", "dim"), (words, "dim" if dim else ""),
        (tail, "dim"), to=console)  # fmt: skip
