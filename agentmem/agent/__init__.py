"""The agent: LangGraph graphs over one user's memory. The only module that knows LangGraph."""

from agentmem.agent.agent import Agent
from agentmem.agent.graph import OBSERVE, RESPOND, build
from agentmem.agent.nodes import MemoryNodes, MemoryState
from agentmem.agent.results import Context, Observed, Recall, Reply, ReplyStream

__all__ = [
    "OBSERVE",
    "RESPOND",
    "Agent",
    "Context",
    "MemoryNodes",
    "MemoryState",
    "Observed",
    "Recall",
    "Reply",
    "ReplyStream",
    "build",
]
