"""agentmem as a system under evaluation, through its public Agent; where a policy alone is asked, through that."""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import get_usage_metadata_callback

from agentmem import Agent
from agentmem.agent import OBSERVE, build
from agentmem.applicable import applicable
from agentmem.config import Config
from agentmem.elicit import worth_asking
from agentmem.errors import ConfigError
from agentmem.memory import Add, Forget, Hit, HitKind, Memory, StandingInstruction
from agentmem.models.chat import get_chat_model
from agentmem.models.embed import Embedder, Remembering, get_embedder
from agentmem.policy import MemoryPolicy, Observation, Proposal, get_policy
from agentmem.policy.wording import when_and_text
from agentmem.route import count_tokens
from agentmem.session import Session
from agentmem.store import MemoryStore
from eval.systems.base import BOTH, Context, UserMemory, numbered_id

if TYPE_CHECKING:
    from eval.systems import SystemSpec

DAY = date(2026, 1, 1)
"""The day of every answer, and of conversations that do not say theirs: nothing depends on when a run is made."""

_LARGE = 10**9
_BUDGETS = {
    "full_history": {"memory_budget": _LARGE, "history_budget": _LARGE},
    "whole_memory": {"memory_budget": _LARGE, "history_budget": 0},
    "retrieve": {"memory_budget": 0, "history_budget": 0},
}
"""Budgets under which agentmem chooses each route."""


class AgentmemSystem:
    """agentmem with one policy (the offline one unless another is named), route and presentation."""

    def __init__(self, spec: SystemSpec) -> None:
        if spec.policy == "auto":  # which of two it is depends on the network
            raise ConfigError(f"system {spec.label!r}: name what is measured, agentmem:trained or agentmem:offline")
        route = spec.policy if spec.policy in _BUDGETS else ""
        settings: dict[str, Any] = {"policy": spec.policy if spec.policy and not route else "offline"}
        settings |= {"presentation": spec.presentation} if spec.presentation else {}
        settings |= _BUDGETS.get(route, {})
        reranker = "none" if spec.embedder == "hash" else spec.reranker  # as fast and as blind as that embedder
        self._config = Config(model=spec.model, embedder=spec.embedder, reranker=reranker, k=spec.k, **settings)
        self.name = spec.label
        self.usage: Counter[str] = Counter()

    @functools.cached_property
    def _embedder(self) -> Embedder:
        """One for all users: the same texts (a benchmark's fillers) are embedded once a process."""
        return Remembering(get_embedder(self._config.embedder), size=200_000)

    @functools.cached_property
    def _policy(self) -> MemoryPolicy:
        """One for all users, too: the weights of an adapter are loaded once a process."""
        config = self._config
        return get_policy(
            config.policy,
            embedder=lambda: self._embedder,
            model=lambda: get_chat_model(config.model, max_tokens=config.max_reply_tokens, cache=config.cache),
            cache=config.cache,
            device=config.device,
        )

    @property
    def config(self) -> dict[str, object]:
        depends_on = {"policy", "embedder", "k", "reranker", "memory_budget", "history_budget", "presentation"}
        named = self._config.model_dump(mode="json", include=depends_on)
        return {**named, "history_budget": self._config.history_limit()}

    def open(self, folder: Path) -> UserMemory:
        return _AgentMemory(self._config, self._embedder, folder, self.usage, lambda: self._policy)


class _AgentMemory(UserMemory):
    name = "agentmem"

    def __init__(
        self,
        config: Config,
        embedder: Embedder,
        folder: Path,
        usage: Counter[str],
        policy: Callable[[], MemoryPolicy],
    ) -> None:
        self._config, self._embedder, self._folder, self._usage = config, embedder, folder, usage
        self._policy = policy
        self._agent = Agent("user", root=folder, config=config, embedder=embedder, seed=0)
        # The index follows when something is searched: many of these memories never are, and embedding is what costs.
        self._agent.observe_graph = build(self._agent.nodes, [step for step in OBSERVE if step != "index"], "observe")

    def observe(self, session: Session) -> None:
        if session.date is None:
            session = session.model_copy(update={"date": DAY})
        with self._counted():
            observed = self._agent.observe(session)
        if any(isinstance(op, Forget) for op in observed.ops):
            self._agent.recall("forgotten", k=1)  # here it follows at once, as it does in the agent's own graph

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Tokens of the chat model that a prompted policy asks."""
        with get_usage_metadata_callback() as calls:
            yield
        for used in calls.usage_metadata.values():
            self._usage.update(prompt_tokens=used["input_tokens"], completion_tokens=used["output_tokens"])

    def search(self, query: str, k: int, *, kinds: Collection[HitKind] = BOTH, at: date | None = None) -> Sequence[Hit]:
        return self._agent.recall(query, k=k, at=at, kinds=kinds).hits

    def memories(self) -> Sequence[Memory]:
        return self._agent.memories(all=True)

    def applicable(self, profile: Sequence[str], request: str) -> Sequence[str]:
        instructions = [_instruction(said, place) for place, said in enumerate(profile)]
        chosen = {one.id for one in applicable(instructions, request, self._embedder)}
        return [said for said, one in zip(profile, instructions, strict=True) if one.id in chosen]

    def asks(self, known: Sequence[str], request: str) -> bool:
        return worth_asking(request, known, self._embedder)

    def propose(self, observation: Observation) -> Proposal:
        policy = self._policy()
        with self._counted():
            [proposal] = policy.propose([observation])
        # the offline policy writes edits and then the text
        return proposal.model_copy(update={"raw": ""}) if policy.name == "offline" else proposal

    def context(self, request: str, *, budget: int | None = 2000) -> Context:
        if budget is None:
            found = self._agent.context([{"role": "user", "content": request}], today=DAY)
            return Context(text=found.text, tokens=count_tokens(found.text), route=found.route)
        routed = self._config.memory_budget not in (0, _LARGE)
        settings = {"memory_budget": budget} if routed else {}
        k = self._config.k
        while True:
            config = self._config.model_copy(update={**settings, "k": k})
            with Agent("user", root=self._folder, config=config, embedder=self._embedder) as agent:
                found = agent.context([{"role": "user", "content": request}], today=DAY)
            tokens = count_tokens(found.text)
            if tokens <= budget or found.route == "full_history":
                break
            if found.route == "whole_memory":  # it fits, but not with what stands around it
                settings = {"memory_budget": 0, "history_budget": 0}
            elif k > 1:
                k -= 1
            else:
                break
        text = found.text if tokens <= budget else found.text[: 4 * budget]
        return Context(text=text, tokens=count_tokens(text), route=found.route)

    def fork(self, folder: Path) -> UserMemory:
        self._agent.close()
        shutil.copytree(self._folder, folder)
        return _AgentMemory(self._config, self._embedder, folder, self._usage, self._policy)

    def absorb(self, other: UserMemory, *, first: bool = False) -> None:
        assert isinstance(other, _AgentMemory)
        store = MemoryStore(self._folder, "user")
        source = MemoryStore(other._folder, "user")
        for session in source.sessions():
            store.save_session(session)
            store.mark_observed(session.id, len(session.messages))
        store.apply([Add(memory=memory) for memory in source.load().memories], author="import")

    def root(self) -> Path:
        return self._folder

    def close(self) -> None:
        self._agent.close()


def _instruction(said: str, place: int) -> StandingInstruction:
    """The instruction that the offline policy makes of these words."""
    when, text = when_and_text(said)
    return StandingInstruction(id=numbered_id("i", place), when=when or "always", text=text)
