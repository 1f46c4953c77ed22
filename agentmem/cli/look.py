"""Commands that only read: show, recall, history."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer

from agentmem.cli.common import Common, counted, day_option, emit, flag, known_store, open_agent, open_store, out, say


def show(
    common: Common,
    *,
    all: Annotated[bool, flag("--all", help="Also what no longer holds.")] = False,
    at: Annotated[date | None, day_option("--at", "What held on that day.")] = None,
) -> None:
    """Show what is remembered, with the evidence."""
    from agentmem.cli.view import memory_json, print_memories

    snapshot = open_store(common).load()
    memories = snapshot.memories if all or at else snapshot.active
    if at is not None:
        memories = tuple(memory for memory in memories if memory.holds_on(at))
    if common.json:
        emit({"memories": [memory_json(memory) for memory in memories], "version": snapshot.version})
        return
    if not memories:
        hint = "" if at or all or snapshot.closed else "; try `agentmem chat` or `agentmem observe FILE`"
        say(f"Nothing is remembered about {common.config.user}{f' on {at}' if at else ''}{hint}.")
        return
    print_memories(memories, out())
    closed = len(snapshot.closed)
    if closed and not (all or at):
        say((f"{counted(closed, 'memory no longer holds', 'memories no longer hold')}; see --all.", "dim"))


def recall(
    common: Common,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for, in your words.", show_default=False)],
    *,
    k: Annotated[int | None, typer.Option("--k", metavar="N", min=1, help="How many at most (default: 8).")] = None,
    at: Annotated[date | None, day_option("--at", "As of that day.")] = None,
) -> None:
    """Find the memories and the earlier turns that bear on a question."""
    known_store(common)
    with open_agent(common) as agent:
        found = agent.recall(query, k=k, at=at)
    if common.json:
        emit(found.model_dump(mode="json"))
        return
    for hit in found.hits:
        where = ", ".join(f"{source.session} turn {source.turn}" for source in hit.sources)
        say((f"{hit.score:.2f} ", "bold"), hit.text, (f"  ^{hit.id}" if hit.kind == "memory" else "", "dim"))
        say((f"     {hit.why}{f' · {where}' if where else ''}", "dim"))
    if not found.hits:
        say("Nothing that is remembered bears on this.")


def history(
    common: Common,
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Only the latest N changes.")] = 20,
) -> None:
    """Show how the memory came about: every change, who made it, when."""
    from agentmem.cli.view import op_json, print_op

    store = known_store(common)
    changes = store.history()
    known = {memory.id: memory for memory in store.load().memories}
    if common.json:
        emit({"changes": [{"version": change.version, "at": change.at.isoformat(), "author": change.author,
                           "policy": change.policy, "model": change.model,
                           "ops": [op_json(op, known) for op in change.ops]} for change in changes]})  # fmt: skip
        return
    if len(changes) > limit:
        say((f"… {counted(len(changes) - limit, 'earlier change')}; see --limit", "dim"))
    console = out()
    for change in changes[-limit:]:
        by = " ".join(part for part in (change.author, change.policy, change.model) if part)
        say((f"{change.version} ", "bold"), (f"{change.at:%Y-%m-%d %H:%M} by {by}", "dim"), to=console)
        for op in change.ops:
            print_op(op, known, console, indent="  ")
    if not changes:
        say(f"Nothing has changed in the memory of {common.config.user} yet.")
