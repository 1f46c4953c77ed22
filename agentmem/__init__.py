"""agentmem: a memory of the user for any chatbot, in Markdown that the user can read."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentmem.errors import AgentMemError
from agentmem.memory import Evidence, Fact, Hit, Memory, MemoryOp, Preference, StandingInstruction
from agentmem.session import Message, Session

if TYPE_CHECKING:
    from agentmem.agent import Agent
    from agentmem.policy import MemoryPolicy
    from agentmem.store import MemoryStore

__version__ = "0.1.0"
__all__ = ["Agent", "AgentMemError", "Evidence", "Fact", "Hit", "Memory", "MemoryOp", "MemoryPolicy", "MemoryStore",
           "Message", "Preference", "Session", "StandingInstruction"]  # fmt: skip

# Loaded when first used: LangGraph alone takes two seconds, too long for `agentmem --help`.
_LAZY = {"Agent": "agentmem.agent", "MemoryPolicy": "agentmem.policy", "MemoryStore": "agentmem.store"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'agentmem' has no attribute {name!r}")
