"""Agent: one user's memory behind three verbs, observe, recall and respond."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langgraph.types import Checkpointer

from agentmem.agent.graph import OBSERVE, RESPOND, build
from agentmem.agent.nodes import MemoryNodes, MemoryState
from agentmem.agent.parts import Parts
from agentmem.agent.results import Context, Observed, Recall, Reply, ReplyStream
from agentmem.config import Config, Setting, check
from agentmem.errors import MemoryNotFoundError
from agentmem.memory import HitKind, Memory
from agentmem.route import count_tokens
from agentmem.session import Message, Session, make_session
from agentmem.store import Change, Forgotten

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langgraph.graph.state import CompiledStateGraph

    from agentmem.models.embed import Embedder
    from agentmem.policy import MemoryPolicy


class Agent:
    """A memory of one user, kept as Markdown under `root/<user>/`.

    Args:
        user: name of the user: letters, digits and . _ - @ +, at most 100.
        root: folder of all users; made on the first write.
        model: a LangChain chat model or a name such as "local:smollm2-135m", "openai:gpt-5-mini"; only `respond` and
            the prompted policy need one.
        policy: "auto" (trained; offline while its base cannot be had), "trained", "offline", "prompted", the folder
            of an adapter of yours, or your own MemoryPolicy.
        embedder: "minilm", "hash" (for tests), a sentence-transformers name or folder, or your own Embedder.
        checkpointer: any LangGraph checkpointer, for `graph`. What it keeps is yours: `forget` does not reach into it.
        config: all settings; the arguments above win over it. Only the command line reads agentmem.toml.
        seed: makes the ids of new memories reproducible.

    Raises:
        ConfigError: a setting, name or user that cannot work.
    """

    def __init__(
        self,
        user: str | None = None,
        *,
        root: str | Path | None = None,
        model: str | BaseChatModel | None = None,
        policy: str | MemoryPolicy | None = None,
        embedder: str | Embedder | None = None,
        checkpointer: Checkpointer = None,
        config: Config | None = None,
        seed: int | None = None,
    ) -> None:
        named = {"user": user, "root": root, "model": model, "policy": policy, "embedder": embedder}
        given = {key: value for key, value in named.items() if isinstance(value, str | Path)}
        settings = {**(config or Config()).model_dump(), **given}
        self.config = check({key: Setting(value, "Agent") for key, value in settings.items()})
        self._parts = Parts(
            self.config,
            model=None if isinstance(model, str) else model,
            policy=None if isinstance(policy, str) else policy,
            embedder=None if isinstance(embedder, str) else embedder,
            seed=seed,
        )
        self._checkpointer = checkpointer
        self.nodes = MemoryNodes(self._parts)

    # -- the graphs -------------------------------------------------------------------------------------------------

    @cached_property
    def graph(self) -> CompiledStateGraph[MemoryState, None, MemoryState, MemoryState]:
        """One chat turn: answer the last message, then learn from it. Takes {"messages": […]}; sync or async."""
        return build(self.nodes, [*RESPOND, *OBSERVE], "agentmem", self._checkpointer)

    @cached_property
    def observe_graph(self) -> CompiledStateGraph[MemoryState, None, MemoryState, MemoryState]:
        """Only learning."""
        return build(self.nodes, OBSERVE, "observe")

    @cached_property
    def respond_graph(self) -> CompiledStateGraph[MemoryState, None, MemoryState, MemoryState]:
        """Only answering."""
        return build(self.nodes, RESPOND, "respond")

    @cached_property
    def context_graph(self) -> CompiledStateGraph[MemoryState, None, MemoryState, MemoryState]:
        """Only what comes before an answer: which memories and turns are shown."""
        return build(self.nodes, RESPOND[:-1], "context")

    # -- the three verbs --------------------------------------------------------------------------------------------

    def observe(
        self, messages: Session | Iterable[Any], *, session: str | None = None, date: date | None = None
    ) -> Observed:
        """Learn from a conversation. Seen again, also when it has grown, only its new turns are read.

        Args:
            messages: a Session, or messages as OpenAI-style dicts, LangChain messages or ours.
            session: id of the conversation; by default derived from its first message.
            date: its day, when the messages carry no time; by default today.

        Raises:
            SessionError: messages that cannot be read; StoreError: files that cannot be written; ModelError.
        """
        own = messages if isinstance(messages, Session) else make_session(messages, id=session, date=date)
        state = self.observe_graph.invoke(_input(own))
        return Observed(
            session=own.id,
            version=state["version"],
            ops=state["ops"],
            refused=state["refused"],
            skipped=state["skipped"],
        )

    def recall(
        self,
        query: str,
        *,
        k: int | None = None,
        at: date | None = None,
        kinds: Collection[HitKind] = ("memory", "turn"),
    ) -> Recall:
        """Find the memories and turns (or one of the `kinds`) that bear on `query`, best first; as of the day `at`."""
        hits = self._parts.search(query, at=at, k=k, kinds=kinds)
        return Recall(
            hits=tuple(hits), route=self._parts.choose_route().name, tokens=sum(count_tokens(hit.text) for hit in hits)
        )

    def context(
        self, messages: Session | Iterable[Any], *, session: str | None = None, today: date | None = None
    ) -> Context:
        """What `respond` would put into the prompt to answer the last message; for a chat model that you call yourself.

        Args:
            messages: the conversation; its last user message is the one to answer.
            session: id of the conversation, whose own turns are not shown again.
            today: the day of the answer, when it is not today.
        """
        own = messages if isinstance(messages, Session) else make_session(messages, id=session)
        state: Any = self.context_graph.invoke(_input(own))
        return self.nodes.context(state, today=today)

    def respond(self, messages: Session | Iterable[Any], *, session: str | None = None) -> Reply:
        """Answer the last message of a conversation with what is remembered. Learns nothing: call `observe` too."""
        own = messages if isinstance(messages, Session) else make_session(messages, id=session)
        return Reply.model_validate(self.respond_graph.invoke(_input(own))["reply"])

    def stream(self, messages: Session | Iterable[Any], *, session: str | None = None) -> ReplyStream:
        """Like `respond`, piece by piece; the whole Reply is `.reply` of the stream once it is read."""
        own = messages if isinstance(messages, Session) else make_session(messages, id=session)
        return ReplyStream(self._pieces(own))

    def _pieces(self, session: Session) -> Iterator[str | Reply]:
        events: Iterator[Any] = self.respond_graph.stream(_input(session), stream_mode=["messages", "updates"])
        for mode, event in events:
            if mode == "messages" and event[1]["langgraph_node"] == "generate":
                # the finished message comes once more after its pieces
                if event[0].type == "AIMessageChunk" and event[0].text:
                    yield event[0].text
            elif mode == "updates" and "generate" in event:
                yield Reply.model_validate(event["generate"]["reply"])

    # -- reading and changing the memory ----------------------------------------------------------------------------

    def memories(self, *, at: date | None = None, all: bool = False) -> tuple[Memory, ...]:
        """The active memories; those that held on the day `at`; or, with `all`, the closed ones too."""
        snapshot = self._parts.store.load()
        if at is not None:
            return tuple(memory for memory in snapshot.memories if memory.holds_on(at))
        return snapshot.memories if all else snapshot.active

    def history(self) -> tuple[Change, ...]:
        """Every change of the memory that the journal still has, oldest first."""
        return self._parts.store.history()

    def undo(self) -> Change:
        """Take the last change back. Raises StoreError when there is none, or a forget is in the way."""
        change = self._parts.store.undo()
        self._parts.index_later()
        return change

    def forget(self, what: str) -> Forgotten:
        """Erase everywhere: the memory with this id, or every memory and every sentence that says `what`.

        Raises:
            MemoryNotFoundError: nothing with this id or these words is stored.
        """
        ids = self.find_forgettable(what)
        said = any(_mentions(line, what) for line in self._parts.history_lines())
        if len(what.strip()) < 2 or not ids and not said:
            raise MemoryNotFoundError(
                f"nothing to forget: no memory has the id or the words {what!r}; `agentmem show --all` lists them"
            )
        forgotten = self._parts.store.forget(ids, text=None if ids == (what,) else what)
        self._parts.fresh_index()
        return forgotten

    def find_forgettable(self, what: str) -> tuple[str, ...]:
        """Ids of the memories that `forget(what)` would erase: the one with this id, or those with these words."""
        memories = self._parts.store.load().memories
        if len(what.strip()) < 2:  # a letter stands in nearly everything
            return ()
        if any(memory.id == what for memory in memories):
            return (what,)
        return tuple(memory.id for memory in memories if _says(memory, what))

    def doctor(self, *, repair: bool = False) -> list[str]:
        """Problems of the files and of the index, one line each; `repair` rebuilds the index first."""
        if repair:
            self._parts.rebuild_index()
        return [*self._parts.store.doctor(), *self._parts.check_index()]

    def close(self) -> None:
        """Let the search index follow and let go of its files. Also done by `with Agent(…) as agent:`."""
        self._parts.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _says(memory: Memory, what: str) -> bool:
    said = [memory.text, getattr(memory, "when", ""), *(evidence.quote for evidence in memory.evidence)]
    return any(_mentions(text, what) for text in said)


def _mentions(text: str, what: str) -> bool:
    """Whether whole words of `text` are `what`: "cat" is not in "education"."""
    return re.search(rf"(?<!\w){re.escape(what.strip())}(?!\w)", text, re.IGNORECASE) is not None


def _input(session: Session) -> MemoryState:
    return {
        "messages": [_langchain(message) for message in session.messages],
        "session": session.id,
        "date": session.date.isoformat() if session.date else None,
    }


def _langchain(message: Message) -> AnyMessage:
    kept = {"at": message.at.isoformat()} if message.at else {}
    if message.role == "user":
        return HumanMessage(message.content, additional_kwargs=kept)
    if message.role == "assistant":
        return AIMessage(message.content, additional_kwargs=kept)
    # a tool's answer needs a call id in LangChain; here it is only text that was not said by the user
    return SystemMessage(message.content, additional_kwargs={**kept, "role": message.role})
