"""The reader: a model that chooses among given replies to a question, with what a memory system tells it.

A local model chooses the reply that it finds likeliest as its own answer (option log-likelihood); any other model is
asked for a letter. What was answered once is kept on disk, so that systems and runs share the answers that do not
depend on a memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from agentmem.errors import ConfigError, ModelError, OutputError, boundary
from agentmem.memory import words
from agentmem.models.chat import get_chat_model
from agentmem.route import count_tokens
from eval.prompts import render

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

    from agentmem.models.likelihood import OptionScorer

Wording = Literal["choose", "choose_reworded", "choose_options_first"]
Format = Literal["list", "letters", "prose"]

LETTERS = "ABCDEFGHIJ"
MAX_TOKENS = 8
"""Longest answer of a model that is asked for a letter."""

RULE = "mean"
"""A local model chooses by the mean log-likelihood of a reply's tokens; RULE is part of what answers are kept by."""


class Prompt(NamedTuple):
    """One multiple-choice question, ready to be asked."""

    context: str
    """What the model is told of the user, as a system message; empty: nothing, and no message."""
    question: str
    options: tuple[str, ...]
    wording: Wording = "choose"
    format: Format = "list"


class Choice(NamedTuple):
    """What the reader chose."""

    place: int
    """Of the chosen option."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    """What asking took, when it was asked."""
    kept: bool = False
    """Whether the answer came from the disk."""


class Reader:
    """A model that chooses, and the answers it gave before."""

    def __init__(self, name: str, answers: Answers | None = None) -> None:
        """Take the name of a model, see agentmem.models.chat.get_chat_model. It is loaded when it is first asked."""
        self.name = name
        self._answers = answers

    def choose(self, prompt: Prompt) -> Choice:
        """Which of the options the model chooses.

        Raises:
            ConfigError: there is no such model.
            ModelError: it failed, or (OutputError) its answer names no option.
        """
        key = _key(self.kind, self.messages(prompt), prompt.options)
        known = self._answers.get(key) if self._answers else None
        if known is not None:
            return known._replace(kept=True)
        started = time.perf_counter()
        choice = self._ask(prompt)._replace(seconds=round(time.perf_counter() - started, 3))
        if self._answers:
            self._answers.put(key, choice)
        return choice

    @property
    def kind(self) -> str:
        """What else the answers depend on besides the prompt: the model, and how it is asked."""
        raise NotImplementedError

    def messages(self, prompt: Prompt) -> list[dict[str, str]]:
        """The prompt as a conversation."""
        raise NotImplementedError

    def _ask(self, prompt: Prompt) -> Choice:
        raise NotImplementedError


class LikelihoodReader(Reader):
    """A local model: the likeliest reply."""

    @cached_property
    def dtype(self) -> str:
        from agentmem.models.likelihood import fast_dtype

        return fast_dtype()

    @property
    def kind(self) -> str:
        return f"{self.name} {self.dtype} {RULE}"

    @cached_property
    def scorer(self) -> OptionScorer:
        """The loaded model."""
        from agentmem.models.likelihood import OptionScorer, load_causal
        from agentmem.models.weights import fetch

        model = self.name.partition(":")[2]
        path = Path(model).expanduser() if model.endswith(".gguf") else fetch(model)
        return OptionScorer(*load_causal(path, dtype=self.dtype))

    def messages(self, prompt: Prompt) -> list[dict[str, str]]:
        return _messages(prompt, "Repeat that reply, nothing else.")

    def _ask(self, prompt: Prompt) -> Choice:
        text = self.scorer.chat_prompt(self.messages(prompt))
        (found,) = self.scorer.score([text], [prompt.options])
        tokens = len(self.scorer.tokenizer(text, add_special_tokens=False)["input_ids"])
        return Choice(int(getattr(found, RULE).argmax()), tokens, 0, 0.0)


class LetterReader(Reader):
    """Any chat model: the letter that it writes."""

    def __init__(self, name: str, answers: Answers | None = None, model: BaseChatModel | None = None) -> None:
        """Take a name, or a model of your own under that name."""
        super().__init__(name, answers)
        self._given = model

    @cached_property
    def _model(self) -> BaseChatModel:
        return self._given or get_chat_model(self.name, max_tokens=MAX_TOKENS)

    @property
    def kind(self) -> str:
        return f"{self.name} letter"

    def messages(self, prompt: Prompt) -> list[dict[str, str]]:
        names = "" if prompt.format == "letters" else " (A is the first of them, B the second, and so on)"
        return _messages(prompt, f"Answer with its letter{names}, nothing else.")

    def _ask(self, prompt: Prompt) -> Choice:
        messages = self.messages(prompt)
        with boundary(ModelError, f"reader {self.name}"):
            reply = self._model.invoke(messages)
        used: Any = reply.usage_metadata or {}
        return Choice(
            _letter(reply.text, len(prompt.options)),
            used.get("input_tokens") or sum(count_tokens(message["content"]) for message in messages),
            used.get("output_tokens") or count_tokens(reply.text),
            0.0,
        )


def get_reader(name: str, answers: Answers | None = None) -> Reader:
    """The reader called `name`: by likelihood where the model is local, else by letter.

    "fake", for tests, names the reply that shares most words with what it is told of the user.
    """
    if name.startswith("local:"):
        return LikelihoodReader(name, answers)
    if name == "fake":
        from agentmem.models.fake import FakeChatModel

        return LetterReader(name, model=FakeChatModel(_likest))
    return LetterReader(name, answers)


def _messages(prompt: Prompt, answer: str) -> list[dict[str, str]]:
    asked = render(
        prompt.wording, question=prompt.question, options=_listed(prompt.options, prompt.format), answer=answer
    )
    told = [{"role": "system", "content": prompt.context}] if prompt.context else []
    return [*told, {"role": "user", "content": asked}]


def _listed(options: Sequence[str], format: Format) -> str:
    if format == "list":
        return "\n".join(f"- {option}" for option in options)
    if format == "letters":
        return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    begins = ["One reply is", *["Another is"] * (len(options) - 2), "The last is"]
    return " ".join(f'{begin}: "{option}"' for begin, option in zip(begins, options, strict=True))


_LETTER = re.compile(r"(?<![\w'’])([A-J])(?![\w'’])(?!\s+(?!or\b|and\b)[a-z])|\(([a-j])\)|\A\W*([a-j])\W*\Z")
"""A letter that stands alone: not the article of "A reply that suits", nor the pronoun of "I think"."""


def _letter(text: str, options: int) -> int:
    """Place of the option that an answer names. Raises OutputError when it names none, or several."""
    named = {LETTERS.index("".join(groups).upper()) for groups in _LETTER.findall(text)}
    if len(named) != 1 or max(named) >= options:
        raise OutputError(f"reader: the answer names no option, or several: {text[:80]!r}", text)
    return named.pop()


_OPTION = re.compile(r'^(?:- |[A-J]\. )(.+)$| is: "(.+?)"', re.MULTILINE)


def _likest(messages: Sequence[BaseMessage]) -> str:
    told = {word for message in messages[:-1] for word in words(message.text)}
    options = [first or second for first, second in _OPTION.findall(messages[-1].text)]
    shared = [len(told & set(words(option))) for option in options]
    return LETTERS[shared.index(max(shared))]


def _key(kind: str, messages: Sequence[dict[str, str]], options: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([kind, messages, options]).encode()).hexdigest()


# -- answers on disk ------------------------------------------------------------------------------------------------


class Answers:
    """Choices by the hash of what was asked, in an SQLite file that several processes may use."""

    def __init__(self, folder: Path | None = None) -> None:
        """Take the folder of the file; by default AGENTMEM_EVAL_CACHE, else `eval` in the user's cache folder."""
        self.path = (folder or _folder()) / "answers.sqlite"
        with boundary(ConfigError, f"{self.path}: cannot be made; set AGENTMEM_EVAL_CACHE to another folder"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as file, file:
                file.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, choice TEXT NOT NULL)")

    def get(self, key: str) -> Choice | None:
        """The choice kept under this key."""
        with closing(self._open()) as file:
            row = file.execute("SELECT choice FROM answers WHERE key = ?", (key,)).fetchone()
        return Choice(*json.loads(row[0])) if row else None

    def put(self, key: str, choice: Choice) -> None:
        """Keep a choice."""
        with closing(self._open()) as file, file:
            file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(choice)))

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)


def _folder() -> Path:
    if named := os.environ.get("AGENTMEM_EVAL_CACHE"):
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("agentmem", appauthor=False) / "eval"
