"""The nodes: one step each, from a state to what changes in it. Put them into your own graph, or use `Agent.graph`.

Everything in the state is plain (strings, numbers, lists, dicts), so that any checkpointer can keep it and a run can be
interrupted between nodes, for example before `store`, to let a person approve what is to be remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.message import add_messages

from agentmem.agent.parts import Parts
from agentmem.agent.results import Context, Reply
from agentmem.applicable import applicable
from agentmem.elicit import worth_asking
from agentmem.errors import ModelError, SessionError, boundary
from agentmem.generate import memory_prompt, reply_prompt, used_memories
from agentmem.memory import MEMORY_OPS, Add, Forget, Memory, MemoryOp, StandingInstruction, Update, full_text
from agentmem.policy import Observation
from agentmem.policy.resolve import to_ops
from agentmem.reconcile import reconcile
from agentmem.route import RouteName, count_tokens
from agentmem.session import Session, as_message, make_session
from agentmem.store import Refusal

FEW = 200
"""Up to so many memories a proposal is compared with all of them; above it, with those that a search finds."""

NEIGHBOURS = 12
"""Memories that such a search brings for each proposal, by meaning and as many by words."""


ONLY_WORDS = (
    "the request to forget matches no memory: only its words were erased from the kept conversations; "
    "`agentmem forget ID` erases a memory"
)


class MemoryState(TypedDict, total=False):
    """State of the graphs. `messages` is the only input needed; the nodes write the rest."""

    messages: Annotated[list[AnyMessage], add_messages]
    session: str | None
    """Id of the conversation; else the thread_id, else derived from the first message."""
    date: str | None
    """Day of the conversation (ISO), when its messages carry no time."""
    turns: int
    skipped: int
    ops: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    version: int
    route: RouteName
    instructions: list[str]
    memories: list[str]
    earlier: list[str]
    ask: bool
    """Whether a question comes before the answer."""
    reply: dict[str, Any]


class MemoryNodes:
    """The nine steps over one user's memory; each method is a node."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # -- observe: propose -> reconcile -> store -> index ------------------------------------------------------------

    def propose(self, state: MemoryState, config: RunnableConfig) -> MemoryState:
        """Keep the conversation and let the policy read what is new in it."""
        parts, session = self._parts, session_of(state, config)
        policy = parts.policy  # before anything is written: its name may be wrong
        snapshot = parts.store.load()
        start = parts.store.save_session(session)
        read: MemoryState = {
            "session": session.id,
            "turns": len(session.messages),
            "skipped": start,
            "ops": [],
            "refused": [],
            "version": snapshot.version,
        }
        if start >= len(session.messages):
            return read
        observation = Observation(memories=snapshot.active, session=session, start=start, today=parts.today())
        with boundary(ModelError, f"policy {policy.name}"):
            [proposal] = policy.propose([observation])
        ops, refused = to_ops(proposal.edits, observation, rng=parts.rng)
        unread = [Refusal(reason=problem) for problem in proposal.problems]
        if snapshot.active:
            unread += [Refusal(op=op, reason=ONLY_WORDS) for op in ops if isinstance(op, Forget) and op.id is None]
        return {**read, "ops": _dump(ops), "refused": _plain([*unread, *refused])}

    def reconcile(self, state: MemoryState) -> MemoryState:
        """Hold the proposals against what is known: duplicates, contradictions, dates, secrets."""
        proposed = MEMORY_OPS.validate_python(state["ops"])
        if not proposed:
            return {}
        ops, refused = reconcile(
            proposed, self._known_about(proposed), embedder=self._parts.embedder, today=self._parts.today()
        )
        return {"ops": _dump(ops), "refused": [*state["refused"], *_plain(refused)]}

    def store(self, state: MemoryState) -> MemoryState:
        """Write the changes into the Markdown files; only then do the turns count as observed."""
        parts, ops = self._parts, MEMORY_OPS.validate_python(state["ops"])
        written: MemoryState = {}
        if ops:
            applied = parts.store.apply(ops, policy=parts.policy.name, model=parts.policy_model)
            written = {
                "version": applied.snapshot.version,
                "ops": _dump(applied.ops),
                "refused": [*state["refused"], *_plain(applied.refused)],
            }
        parts.store.mark_observed(str(state["session"]), state["turns"])
        return written

    def index(self, state: MemoryState) -> MemoryState:
        """Let the search index follow: in a quiet moment, but at once, into new files, after a forget."""
        if any(op["op"] == "forget" for op in state["ops"]):
            self._parts.fresh_index()
        else:
            self._parts.index_later()
        return {}

    # -- respond: route -> select -> retrieve -> elicit -> generate -------------------------------------------------

    def route(self, state: MemoryState, config: RunnableConfig) -> MemoryState:
        """Choose how to read the memory: full history while small, whole memory while it fits, else retrieval."""
        request_of(state)  # nothing to answer is said before anything is read
        return {"route": self._parts.choose_route(without=session_of(state, config).id).name}

    def select(self, state: MemoryState) -> MemoryState:
        """Select the standing instructions that apply to this request."""
        active = self._parts.store.load().active
        instructions = [memory for memory in active if isinstance(memory, StandingInstruction)]
        chosen = applicable(instructions, request_of(state), self._parts.embedder) if instructions else []
        return {"instructions": [memory.id for memory in chosen]}

    def retrieve(self, state: MemoryState, config: RunnableConfig) -> MemoryState:
        """Fetch the preferences and facts, and the earlier turns, that the route asks for."""
        about = [memory.id for memory in self._parts.store.load().active if not isinstance(memory, StandingInstruction)]
        if state["route"] == "full_history":
            return {"memories": about, "earlier": self._parts.history_lines(without=session_of(state, config).id)}
        if state["route"] == "whole_memory":
            return {"memories": about, "earlier": []}
        hits = self._parts.search(request_of(state), without=session_of(state, config).id)
        return {
            "memories": [hit.id for hit in hits if hit.id in set(about)],
            "earlier": [hit.text for hit in hits if hit.kind == "turn"],
        }

    def elicit(self, state: MemoryState) -> MemoryState:
        """Decide whether to ask one question first."""
        if not self._parts.config.elicit:
            return {"ask": False}
        known = [full_text(memory) for memory in self._shown(state)]
        replied = next((str(message.content) for message in reversed(state["messages"]) if message.type == "ai"), "")
        return {"ask": worth_asking(request_of(state), known, self._parts.embedder, replied=replied)}

    def generate(self, state: MemoryState) -> MemoryState:
        """Answer from the conversation and the memory, and name the memories the answer used."""
        context = self.context(state)
        prompt = reply_prompt(state["messages"], context.text, ask=context.ask)
        with boundary(ModelError, "chat model"):
            text = self._parts.model.invoke(prompt).text.strip()
        reply = Reply(
            text=text,
            asked=context.ask and text.endswith("?"),
            used=used_memories(text, self._shown(state), self._parts.embedder),
            shown=context.shown,
            route=context.route,
            tokens=context.tokens,
        )
        return {"messages": [AIMessage(text)], "reply": reply.model_dump(mode="json")}

    def context(self, state: MemoryState, today: date | None = None) -> Context:
        """What goes into the prompt, once it has been chosen by route, select and retrieve. Not a node."""
        shown = self._shown(state)
        return Context(
            text=memory_prompt(
                shown,
                turns=state["earlier"],
                today=today or self._parts.today(),
                presentation=self._parts.config.presentation,
            ),
            shown=tuple(memory.id for memory in shown),
            route=state["route"],
            ask=state.get("ask", False),
            tokens=sum(count_tokens(line) for line in [*map(full_text, shown), *state["earlier"]]),
        )

    # -- shared by several nodes ------------------------------------------------------------------------------------

    def _shown(self, state: MemoryState) -> list[Memory]:
        known = {memory.id: memory for memory in self._parts.store.load().active}
        return [known[id] for id in [*state["memories"], *state["instructions"]] if id in known]

    def _known_about(self, proposed: Iterable[MemoryOp]) -> Sequence[Memory]:
        """Active memories near enough to a proposal to be its duplicate or its contradiction."""
        snapshot = self._parts.store.load()
        texts = [full_text(op.memory) for op in proposed if isinstance(op, Add | Update)]
        named = {id for op in proposed for id in _named(op)}
        if len(snapshot.active) <= FEW or not texts:
            return snapshot.active
        index = self._parts.fresh_index()
        for text, vector in zip(texts, self._parts.embedder.encode(texts), strict=True):
            found = index.search_memories(text, NEIGHBOURS, vector=vector)
            named |= {entry.id for entry, _ in [*found.dense, *found.lexical]}
        return [memory for memory in snapshot.active if memory.id in named]


def session_of(state: MemoryState, config: RunnableConfig) -> Session:
    """The conversation in the state, under its own id, else the thread's, else one derived from its first message."""
    named = state.get("session") or config.get("configurable", {}).get("thread_id")
    day = state.get("date")
    return make_session(state["messages"], id=named, date=date.fromisoformat(day) if day else None)


def request_of(state: MemoryState) -> str:
    """The user's last message. Raises SessionError when there is none to answer."""
    for message in reversed(state["messages"]):
        if message.type == "human":
            return as_message(message).content
    raise SessionError("nothing to answer: the conversation has no user message")


def _named(op: MemoryOp) -> tuple[str, ...]:
    if isinstance(op, Update):
        return op.replaces
    return () if isinstance(op, Add) or op.id is None else (op.id,)


def _dump(ops: Iterable[MemoryOp]) -> list[dict[str, Any]]:
    return [op.model_dump(mode="json") for op in ops]


def _plain(refusals: Iterable[Refusal]) -> list[dict[str, Any]]:
    return [refusal.model_dump(mode="json") for refusal in refusals]
