"""A local chat model: GGUF weights run by llama.cpp inside this process (through the package xllamacpp)."""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib
import json
import os
import queue
import secrets
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from agentmem.errors import ConfigError, ModelError, boundary

PROMPT_CACHE_MIB = 256
"""Host memory llama.cpp may keep for prompts seen before; its own default is 8 GiB."""

_DONE = object()


class LocalChatModel(BaseChatModel):
    """Chat with a GGUF file. Loads on the first call; all models of one file and context share one engine.

    Extra arguments of a call (or of `.bind`) go to llama.cpp: grammar (GBNF), max_tokens, temperature, seed, top_p.
    The beginning of a prompt seen before is not read again; that may change the last digits of the logits, and so a
    greedy reply; bind cache_prompt=False where replies must repeat exactly.
    Raises ModelError for a file that is no model, a bad grammar, and a prompt longer than `context`.
    """

    path: Path
    """The GGUF file."""
    label: str = ""
    """Name shown in errors and records; the file's name when empty."""
    max_tokens: int = 300
    temperature: float = 0.0
    seed: int = 0
    context: int = 8192
    """Tokens of prompt and reply together."""
    threads: int | None = None
    """None: one less than the physical cores this process may use (see `default_threads`)."""

    @property
    def _llm_type(self) -> str:
        return "agentmem-local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.name_or_file, "temperature": self.temperature, "seed": self.seed}

    @property
    def name_or_file(self) -> str:
        return self.label or self.path.name

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chunks = [chunk.message for chunk in self._stream(messages, stop, run_manager, **kwargs)]
        message = AIMessage(
            content="".join(str(chunk.content) for chunk in chunks),
            response_metadata=chunks[-1].response_metadata,
            usage_metadata=getattr(chunks[-1], "usage_metadata", None),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request = {
            "messages": convert_to_openai_messages(messages),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "stop": stop or [],
            "stream": True,
            "stream_options": {"include_usage": True},
            **kwargs,
        }
        finish, usage = "stop", {}
        with contextlib.closing(self._engine().stream(request)) as replies:
            for reply in replies:
                if "error" in reply:
                    raise ModelError(f"{self.name_or_file}: {_explain(reply['error'])}")
                usage = reply.get("usage") or usage
                for choice in reply["choices"]:
                    finish = choice["finish_reason"] or finish
                    if text := choice["delta"].get("content"):
                        yield ChatGenerationChunk(message=AIMessageChunk(content=text))
        yield ChatGenerationChunk(message=AIMessageChunk(
            content="",
            response_metadata={"model_name": self.name_or_file, "finish_reason": finish},
            usage_metadata=UsageMetadata(
                input_tokens=usage.get("prompt_tokens", 0),
                output_tokens=usage.get("completion_tokens", 0),
                total_tokens=usage.get("total_tokens", 0),
            ),
        ))  # fmt: skip

    def get_token_ids(self, text: str) -> list[int]:
        """Ids by the model's own tokenizer (under a millisecond once loaded); get_num_tokens counts them."""
        return self._engine().tokenize(text)

    def endpoint(self) -> tuple[str, str]:
        """Base URL and key of the OpenAI-compatible API that the engine serves on 127.0.0.1."""
        return self._engine().endpoint()

    def _engine(self) -> _Engine:
        with _LOADING:  # two threads must not load the same weights twice
            return _engine(self.path.resolve(), self.context, self.threads or default_threads())


class _Engine:
    """llama.cpp with one set of weights. Requests queue up: one at a time uses all cores."""

    def __init__(self, path: Path, context: int, threads: int) -> None:
        xllamacpp: Any = importlib.import_module("xllamacpp")  # heavy, and without types
        self._key = secrets.token_urlsafe(24)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        params.n_parallel = 1
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.cache_ram_mib = PROMPT_CACHE_MIB
        params.warmup = False
        params.verbosity = -1  # llama.cpp prints a page of log per load otherwise
        # The engine always listens on a port of 127.0.0.1, open to any web page by default: lock it.
        params.api_keys = [self._key]
        params.cors_origins = ""
        params.endpoint_slots = params.endpoint_props = params.ui = False
        with boundary(ModelError, f"{path}: not a model that llama.cpp can load, or not enough memory"):
            self._server: Any = xllamacpp.Server(params)

    def stream(self, request: dict[str, Any]) -> Generator[dict[str, Any]]:
        """llama.cpp's chunks as they come. Runs in a thread, so that Ctrl-C and an early close stop the model."""
        replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stopped = threading.Event()

        def take(reply: dict[str, Any]) -> bool:
            replies.put(reply)
            return stopped.is_set()  # True tells llama.cpp to stop

        def work() -> None:
            try:
                self._server.handle_chat_completions(request, take)
            except RuntimeError as error:
                replies.put({"error": {"message": str(error)}})
            finally:
                replies.put(_DONE)

        threading.Thread(target=work, daemon=True, name="agentmem-llama").start()
        try:
            while (reply := replies.get()) is not _DONE:
                yield reply
        finally:
            stopped.set()

    def endpoint(self) -> tuple[str, str]:
        """Base URL and key; gone with this process."""
        return f"{self._server.listening_address}/v1", self._key

    def tokenize(self, text: str) -> list[int]:
        """Token ids, special tokens in the text read as such."""
        address = self._server.listening_address.removeprefix("http://")
        with (
            boundary(ModelError, "counting tokens"),
            contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection,
        ):
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request("POST", "/tokenize", json.dumps({"content": text}), headers)
            return json.loads(connection.getresponse().read())["tokens"]


_LOADING = threading.Lock()
_engine = functools.cache(_Engine)


def _explain(error: dict[str, Any]) -> str:
    """One line on llama.cpp's error, with what to do about it."""
    if error.get("type") == "exceed_context_size_error":
        return (
            f"the prompt has {error['n_prompt_tokens']:,} tokens, more than the context of {error['n_ctx']:,}; "
            "send less, or set `context` higher"
        )
    said = str(error.get("message", error)).splitlines()[0]
    return f"{said} (the GBNF grammar has a mistake)" if "grammar" in said else said


def default_threads() -> int:
    """One less than the physical cores, at least one.

    llama.cpp's threads wait for each other by spinning: on two cores with one busy neighbour (our own index catching
    up is enough) two threads gave 0.8-6 tokens a second and one gave 25-43 (Qwen2.5-Coder-0.5B).
    """
    return max(1, physical_cores() - 1)


def physical_cores() -> int:
    """Cores without hyper-threads, not more than this process or its container is given."""
    if not hasattr(os, "sched_getaffinity"):  # macOS and Windows
        return os.cpu_count() or 1
    mine = os.sched_getaffinity(0)
    siblings = {_read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in mine}
    quota = (_read("/sys/fs/cgroup/cpu.max") or "max 1").split()
    limit = len(siblings) if quota[0] == "max" else max(1, int(quota[0]) // int(quota[1]))
    return min(len(siblings), limit)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def check_file(path: Path) -> Path:
    """`path` when it is a GGUF file. Raises ConfigError, because a wrong name is the usual reason."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such GGUF file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConfigError(f"{path}: not a GGUF file")
    return path
