"""The graphs, built from the nodes. The only place that knows their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer

from agentmem.agent.nodes import MemoryNodes, MemoryState

OBSERVE = ("propose", "reconcile", "store", "index")
RESPOND = ("route", "select", "retrieve", "elicit", "generate")


def build(
    nodes: MemoryNodes,
    steps: Sequence[str],
    name: str,
    checkpointer: Checkpointer = None,
    interrupt_before: Sequence[str] = (),
) -> CompiledStateGraph[MemoryState, None, MemoryState, MemoryState]:
    """Compile a graph that takes `steps` (names of methods of MemoryNodes) one after the other.

    RESPOND + OBSERVE is a whole chat turn: the reply first, since a person waits for it.
    """
    graph = StateGraph(MemoryState)
    for step in steps:
        graph.add_node(step, getattr(nodes, step))
    for before, after in zip([START, *steps], [*steps, END], strict=True):
        if before == "propose":
            graph.add_conditional_edges(before, _whether_new, {"new": after, "seen": END})
        else:
            graph.add_edge(before, after)
    return graph.compile(checkpointer=checkpointer, interrupt_before=list(interrupt_before), name=name)


def _whether_new(state: MemoryState) -> Literal["new", "seen"]:
    """A conversation without new turns changes nothing: reconcile, store and index are not visited."""
    return "new" if state["skipped"] < state["turns"] else "seen"
