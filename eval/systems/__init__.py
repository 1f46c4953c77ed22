"""The systems that can be evaluated, by name: agentmem, the baselines, peers, and the user's own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from agentmem.config import DEFAULT_MODEL
from agentmem.errors import ConfigError, boundary
from agentmem.memory import Value
from eval.systems.base import BOTH, Context, Guarded, System, UserMemory, turn_hit, usage_of

__all__ = ["BOTH", "SYSTEMS", "Context", "Guarded", "System", "SystemSpec", "UserMemory", "make_system", "turn_hit",
           "usage_of"]  # fmt: skip


class SystemSpec(Value):
    """A system and its options, as named on the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    label: str
    """As given: agentmem, agentmem:prompted, bm25, mem0, pkg.module:Name, …"""
    model: str = DEFAULT_MODEL
    """Chat model of systems whose memories are written by one."""
    embedder: str = "minilm"
    reranker: str = "ms-marco"
    """agentmem: what reads the best hits again, none or another."""
    presentation: str = ""
    """agentmem: how the memory is shown to a model, instead of its default."""
    k: int = 8
    """Hits that go into a prompt."""
    unit: str = "turn"
    """Baselines: what is searched, turn or session."""

    @property
    def policy(self) -> str:
        """What comes after the colon."""
        return self.label.partition(":")[2]


def _agentmem(spec: SystemSpec) -> System:
    from eval.systems.agentmem import AgentmemSystem

    return AgentmemSystem(spec)


def _without(spec: SystemSpec) -> System:
    from eval.systems.ablations import AblatedSystem

    return AblatedSystem(spec)


def _baseline(spec: SystemSpec) -> System:
    from eval.systems.baselines import baseline

    return baseline(spec)


def _mem0(spec: SystemSpec) -> System:
    from eval.systems.mem0 import Mem0System

    return Mem0System(spec)


def _langmem(spec: SystemSpec) -> System:
    from eval.systems.langmem import LangMemSystem

    return LangMemSystem(spec)


SYSTEMS: dict[str, tuple[Callable[[SystemSpec], System], str]] = {
    "agentmem": (
        _agentmem,
        "agentmem with the offline policy; agentmem:trained, :prompted or agentmem:FOLDER for that policy, or that "
        "trained adapter; agentmem:full_history, :whole_memory, :retrieve for a route",
    ),
    "without": (_without, "agentmem without one of its mechanisms: without:reranker, … (eval/systems/ablations.py)"),
    "no-memory": (_baseline, "remembers nothing"),
    "full-context": (_baseline, "shows everything that was said, the newest first to fit"),
    "grep": (_baseline, "turns that contain most of the query's words, the newest first"),
    "bm25": (_baseline, "turns ranked by BM25"),
    "minilm": (_baseline, "turns ranked by MiniLM cosine"),
    "hybrid": (_baseline, "bm25 and minilm fused by reciprocal rank"),
    "close-everything": (_baseline, "a control: every user turn is a memory, and closes all before it"),
    "mem0": (_mem0, "mem0 on Qdrant, messages as they are; mem0:infer: memories written by the chat model"),
    "langmem": (_langmem, "langmem's store, messages as they are; langmem:infer: memories written by the chat model"),
}
"""How to make each system, and one line on it. `store-everything`, the other control, is any baseline: bm25."""


def make_system(spec: SystemSpec) -> System:
    """The system of a spec. Raises ConfigError for an unknown name or one that cannot be made."""
    name = spec.label.partition(":")[0]
    if name in SYSTEMS:
        return SYSTEMS[name][0](spec)
    if ":" not in spec.label:
        raise ConfigError(f"system {spec.label!r}: choose one of {', '.join(SYSTEMS)}, or your own as pkg.module:Name")
    return _own(spec)


def _own(spec: SystemSpec) -> System:
    """A class or function of the user's, called without arguments; or an object that is a system already."""
    module, _, attribute = spec.label.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with boundary(ConfigError, f"system {spec.label}"):
        found: Any = getattr(importlib.import_module(module), attribute)
        made = found() if isinstance(found, type) or not hasattr(found, "open") else found
    if not hasattr(made, "open"):
        raise ConfigError(f"system {spec.label}: has no method open(folder); see eval/systems/base.py")
    return made
