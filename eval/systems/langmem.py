"""langmem, offline: LangGraph's InMemoryStore with our embedder; its store manager writes memories with a local model.

With infer off every message is put into the store as it was said (what its memory tools do with a text); with infer on
`create_memory_store_manager` reads each session. Only the text of a memory is embedded, not the JSON around it.

llama.cpp does not read the tool calls of the small Qwen models, which write them in a form of their own, so that
langmem would store nothing. `ToolCaller` decodes calls under a grammar of the tools' schemas: what is called is then
always readable, and calling nothing stays possible.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agentmem.errors import ConfigError
from agentmem.models.embed import Embedder, Remembering, get_embedder
from agentmem.models.local import LocalChatModel
from agentmem.session import Session
from eval.errors import SystemFailedError
from eval.systems.base import UserMemory
from eval.systems.peers import AsEmbeddings, Kept, PeerMemory, add_usage, chat_server, local_model, require, said_turns

PLACE = ("memories", "user")
"""Namespace of the memories in the store."""

_TOOLS = """Call the tools that are needed, and nothing else. Your whole answer is one JSON object of this form:
{"calls": [{"name": "<tool>", "arguments": {...}}, ...]}
With nothing to call, answer {"calls": []}.

Tools:
"""


class LangMemSystem:
    """langmem, with its memories written by a chat model (`infer`) or not."""

    def __init__(self, spec) -> None:  # noqa: ANN001  SystemSpec, which imports this module
        if spec.policy not in ("", "infer"):
            raise ConfigError(f"system {spec.label!r}: choose langmem or langmem:infer")
        require(spec.label, "langmem")
        self.name, self._k, self._infer = spec.label, spec.k, spec.policy == "infer"
        self._model_name = spec.model if self._infer else ""
        self._model = _chat_model(spec.label, spec.model) if self._infer else None
        self._embedder = Remembering(get_embedder(spec.embedder), size=200_000)
        self.usage: Counter[str] = Counter()
        """Calls of the chat model, and their prompt_tokens and completion_tokens."""

    @property
    def config(self) -> dict[str, object]:
        return {"infer": self._infer, "model": self._model_name, "embedder": self._embedder.name}

    def open(self, folder: Path) -> UserMemory:
        return self.fresh()

    def fresh(self) -> _LangMem:
        """An empty memory."""
        store = open_store(self._embedder, "content.content" if self._infer else "content")
        manager = None
        if self._model is not None:
            made = import_module("langmem").create_memory_store_manager
            manager = made(self._model, namespace=PLACE, store=store)
        return _LangMem(self, store, manager)


def open_store(embedder: Embedder, field: str = "content") -> Any:
    """LangGraph's InMemoryStore; `field` of a value is what is embedded."""
    index = {"dims": embedder.dim, "embed": AsEmbeddings(embedder), "fields": [field]}
    return import_module("langgraph.store.memory").InMemoryStore(index=index)


def put_all(store: Any, values: Sequence[tuple[str, dict[str, Any]]], place: tuple[str, ...] = PLACE) -> None:
    """Put many (key, value) at once, which embeds them together.

    InMemoryStore fails on a batch that holds one text twice: what is said again goes into a later batch.
    """
    put = import_module("langgraph.store.base").PutOp
    batches: list[list[Any]] = []
    said: Counter[str] = Counter()
    for key, value in values:
        text = json.dumps(value, sort_keys=True)
        if said[text] == len(batches):
            batches.append([])
        batches[said[text]].append(put(place, key, value))
        said[text] += 1
    for batch in batches:
        store.batch(batch)


class _LangMem(PeerMemory):
    def __init__(self, system: LangMemSystem, store: Any, manager: Any) -> None:
        super().__init__(system.name, system._infer, system._k)
        self._system, self._store, self._manager = system, store, manager
        self._kept: dict[str, Kept] = {}
        """By key, in the order in which they were first put; texts and sources, since the store keeps only values."""

    def observe(self, session: Session) -> None:
        self._sessions[session.id] = session
        said = said_turns(session)
        if self._infer:
            self._read(session, [{"role": role, "content": text} for _, role, text in said])
            return
        new = [Kept(f"{session.id}#{turn}", text, session.id, turn, role) for turn, role, text in said]
        for one in new:
            self._store.put(PLACE, one.id, {"content": one.text})
        self._kept |= {one.id: one for one in new}

    def _read(self, session: Session, messages: list[dict[str, str]]) -> None:
        """One run of the store manager. Raises SystemFailedError when no reply of the model has a call to read."""
        if not messages:
            return
        heard = _Heard()
        self._manager.invoke({"messages": messages}, config={"callbacks": [heard]})
        for usage in heard.usage:
            add_usage(self._system.usage, usage["input_tokens"], usage["output_tokens"])
        if not heard.readable:
            raise SystemFailedError(f"{self.name}: the model called no tool, and langmem stored nothing")
        now = {item.key: item.value["content"]["content"] for item in self._items()}
        self._kept = {key: one._replace(text=now[key]) for key, one in self._kept.items() if key in now}
        for key, text in now.items():
            if key not in self._kept:
                self._kept[key] = Kept(key, text, session.id, None)

    def _items(self) -> list[Any]:
        return self._store.search(PLACE, limit=10**9)

    def _found(self, query: str, k: int, at: date | None) -> Iterable[Kept]:
        # the store compares the query with everything anyway; as of a day, what came later is left out here
        items = self._store.search(PLACE, query=query, limit=k if at is None else 10**9)
        found = [self._kept[item.key]._replace(score=item.score or 0.0) for item in items]
        return [one for one in found if at is None or self._said(one) <= at][:k]

    def _said(self, one: Kept) -> date:
        session = self._sessions[one.session]
        return (session.date if one.turn is None else session.date_of(one.turn)) or date.min

    def _all(self) -> Iterable[Kept]:
        return self._kept.values()

    def applicable(self, profile: Sequence[str], request: str) -> Sequence[str]:
        """The profile is put into a store of its own, and searched; the best one is taken."""
        store = open_store(self._system._embedder)
        put_all(store, [(str(place), {"content": said}) for place, said in enumerate(profile)])
        return [item.value["content"] for item in store.search(PLACE, query=request, limit=1)]

    def fork(self, folder: Path) -> UserMemory:
        copy = self._system.fresh()
        copy.absorb(self)
        return copy

    def absorb(self, other: UserMemory, *, first: bool = False) -> None:
        assert isinstance(other, _LangMem)
        self._sessions |= other._sessions
        put_all(self._store, [(item.key, item.value) for item in other._items()])
        self._kept |= other._kept


class _Heard(BaseCallbackHandler):
    """Hears the model's replies, since langmem drops those it cannot read."""

    def __init__(self) -> None:
        self.readable = False
        self.usage: list[dict[str, int]] = []

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        message = getattr(response.generations[0][0], "message", None)
        if isinstance(message, AIMessage):
            self.readable |= bool(message.tool_calls) or message.response_metadata.get("calls") == 0
            if message.usage_metadata:
                self.usage.append(dict(message.usage_metadata))  # pyright: ignore[reportArgumentType]


class ToolCaller(BaseChatModel):
    """A local model whose tool calls are decoded under a JSON schema of the tools."""

    inner: LocalChatModel

    @property
    def _llm_type(self) -> str:
        return "agentmem-local-tools"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, AIMessage]:
        """`tool_choice` is not followed: calling nothing is always possible."""
        return self.bind(tools=[convert_to_openai_tool(tool)["function"] for tool in tools])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        tools = kwargs["tools"]
        told = SystemMessage(_TOOLS + "\n".join(json.dumps(tool) for tool in tools))
        form = {"type": "json_schema", "json_schema": {"name": "calls", "schema": calls_schema(tools)}}
        # not `invoke`: that would tell the callbacks of this call of two replies
        reply = self.inner._generate(_merged(messages, told), response_format=form).generations[0].message
        assert isinstance(reply, AIMessage)
        try:
            calls = json.loads(str(reply.content))["calls"]
        except ValueError:  # cut at max_tokens: no call, and so SystemFailedError
            calls = None
        message = AIMessage(
            content=str(reply.content),
            tool_calls=[{"name": call["name"], "args": call["arguments"], "id": str(uuid.uuid4())}
                        for call in calls or []],
            response_metadata={"calls": None if calls is None else len(calls)},
            usage_metadata=reply.usage_metadata,
        )  # fmt: skip
        return ChatResult(generations=[ChatGeneration(message=message)])


def _merged(messages: list[BaseMessage], told: SystemMessage) -> list[BaseMessage]:
    """The messages with the tools told in one system message at the beginning, as chat templates want it."""
    if messages and isinstance(messages[0], SystemMessage):
        return [SystemMessage(f"{messages[0].content}\n\n{told.content}"), *messages[1:]]
    return [told, *messages]


def calls_schema(tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """JSON schema of {"calls": [{"name", "arguments"}]} over these tools; at most 8 calls."""
    defs: dict[str, Any] = {}
    forms = []
    for tool in tools:
        arguments = {key: value for key, value in tool["parameters"].items() if key != "$defs"}
        defs |= tool["parameters"].get("$defs", {})
        call = {"name": {"const": tool["name"]}, "arguments": arguments}
        forms.append({"type": "object", "properties": call, "required": ["name", "arguments"]})
    calls = {"type": "array", "maxItems": 8, "items": {"anyOf": forms}}
    schema: dict[str, Any] = {"type": "object", "properties": {"calls": calls}, "required": ["calls"]}
    return schema | ({"$defs": defs} if defs else {})


def _chat_model(system: str, name: str) -> BaseChatModel:
    """The model that writes memories; a local one decodes its calls under a grammar."""
    if name.startswith("local:"):
        return ToolCaller(inner=local_model(name))
    chat = chat_server(system, name)
    return import_module("langchain_openai").ChatOpenAI(
        model=chat.model, base_url=chat.url, api_key=chat.key, temperature=0
    )
