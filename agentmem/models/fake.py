"""A chat model, an embedder and a policy's writer without weights, for tests: ours and yours."""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from numpy.typing import NDArray
from pydantic import PrivateAttr

from agentmem.errors import ModelError
from agentmem.memory import words

_FILLERS = frozenset(
    words(
        "a about all also am an and any are as at be been but by can could did do does for from get got had has have "
        "he her his how i if in into is it its just me my no not of on or our please she should so some that the their "
        "them then there they this to too up us was we were what when where which who will with would you your"
    )
)


class FakeEmbedder:
    """Hashed bag of stemmed words: deterministic, instant, and sentences that share words are close.

    Knows no synonyms; function words count little, so that "I like tea" and "I like golf" are not neighbours.
    """

    def __init__(self, dim: int = 512) -> None:
        self.dim = dim
        self.name = f"hash-{dim}"

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """(len(texts), dim), float32, unit length; a text without words gets a fixed direction of its own."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in words(text) or ["\0"]:
                row[zlib.crc32(_stem(word).encode()) % self.dim] += 0.15 if word in _FILLERS else 1.0
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-9)


@functools.cache
def _stem(word: str) -> str:
    """Cut the commonest English endings: cooking, cooks, cooked -> cook; cities, city -> citi; likes, like -> lik."""
    word = word.replace("’", "'").split("'")[0]
    for ending in ("ing", "ed", "ies", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + ("i" if ending == "ies" else "")
            break
    return re.sub(r"(?<=..)[ey]$", lambda end: "i" if end[0] == "y" else "", word)


class FakeChatModel(BaseChatModel):
    """Answers from a list, in order, or from a function of the messages; remembers what it was asked.

    Example:
        model = FakeChatModel(["Bonjour.", "="])
        model.invoke("Hello").content  # "Bonjour."
        model.calls[0][0].content      # "Hello"
    """

    replies: Sequence[str] | Callable[[list[BaseMessage]], str]

    _calls: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _settings: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    def __init__(self, replies: Sequence[str] | Callable[[list[BaseMessage]], str] = (), **fields: Any) -> None:
        super().__init__(replies=replies, **fields)  # pyright: ignore[reportCallIssue]  fields of pydantic

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """The messages of every call so far."""
        return self._calls

    @property
    def settings(self) -> list[dict[str, Any]]:
        """What came with each call besides the messages: stop, and bound arguments such as grammar."""
        return self._settings

    @property
    def _llm_type(self) -> str:
        return "fake"

    def get_token_ids(self, text: str) -> list[int]:
        """One id a word; LangChain's own would load a tokenizer from the network."""
        return [zlib.crc32(word.encode()) for word in text.split()]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = self._reply(messages, stop, kwargs)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in re.findall(r"\s*\S+|\s+$", self._reply(messages, stop, kwargs)) or [""]:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    def _reply(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> str:
        self._calls.append(list(messages))
        self._settings.append({"stop": stop, **kwargs} if stop else dict(kwargs))
        if callable(self.replies):
            text = self.replies(messages)
        elif len(self._calls) <= len(self.replies):
            text = self.replies[len(self._calls) - 1]
        else:
            raise ModelError(
                f"FakeChatModel: call {len(self._calls)}, but it was given {len(self.replies)} replies; "
                f"the last message was {str(messages[-1].content)[:80]!r}"
            )
        for mark in stop or ():
            text = text.split(mark, 1)[0]
        return text


class FakeWriter:
    """Writes for a TrainedPolicy: from a list, in order, or by a function of a prompt's last message.

    Example:
        writer = FakeWriter(["="])
        TrainedPolicy(writer).propose([observation])
        writer.calls  # a list of (messages, aliases), a prompt each, for every call
    """

    def __init__(self, replies: Sequence[str] | Callable[[str], str]) -> None:
        self._replies = replies if callable(replies) else list(replies)
        self.calls: list[list[tuple[Sequence[Mapping[str, str]], Sequence[str]]]] = []

    def write(self, prompts: Sequence[Sequence[Mapping[str, str]]], aliases: Sequence[Sequence[str]], /) -> list[str]:
        """One reply a prompt. Raises ModelError when the list is at its end."""
        self.calls.append(list(zip(prompts, aliases, strict=True)))
        if callable(self._replies):
            return [self._replies(messages[-1]["content"]) for messages in prompts]
        if len(prompts) > len(self._replies):
            raise ModelError(f"FakeWriter: {len(prompts)} prompts, but {len(self._replies)} replies are left")
        given, self._replies = self._replies[: len(prompts)], self._replies[len(prompts) :]
        return given
