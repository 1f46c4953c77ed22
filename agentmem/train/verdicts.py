"""Verdicts of a chat model: how far an answer says what is right. For the reward `judge`, and for evaluations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from agentmem.errors import ModelError, OutputError, boundary
from agentmem.models.local import LocalChatModel
from agentmem.prompts import render

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

REPLY_TOKENS = 2000
"""Of a reply, with the reasoning that some models count as part of it."""
AT_ONCE = 8
"""Calls of the judge that run at the same time."""
BEST = 4
"""Of the scale in prompts/verdict.md."""

_VERDICT = re.compile(r"^\W*(?:verdict\W*)?([0-9]+)(?: ?/ ?4)?\W*$", re.IGNORECASE | re.MULTILINE)


_GRAMMAR = f'root ::= "VERDICT: " [0-{BEST}]'
"""Small local models are held to it: else most of their verdicts could not be read."""


class Answered(NamedTuple):
    """A question, an answer to it, and what is right."""

    question: str
    answer: str
    gold: str


class ChatJudge:
    """Asks a chat model for verdicts; the same input is asked once as long as the judge lives.

    Args:
        model: the chat model.
        at_once: calls at the same time; 1 asks one after the other.
    """

    def __init__(self, model: BaseChatModel, *, at_once: int = AT_ONCE) -> None:
        self._model = model.bind(grammar=_GRAMMAR) if isinstance(model, LocalChatModel) else model
        self._at_once = at_once
        self._known: dict[Answered, float] = {}

    def verdicts(self, answered: Sequence[Answered]) -> list[float | ModelError]:
        """0 to 1 each, or why there is none: a failure is never 0. What failed is asked again once, and next time."""
        found: dict[Answered, float | ModelError] = {}
        for prompt in (self._first, self._again):
            left = [one for one in dict.fromkeys(answered) if one not in self._known]
            asked = self._asked([prompt(one, found.get(one)) for one in left])
            found |= dict(zip(left, asked, strict=True))
            self._known |= {one: value for one, value in found.items() if not isinstance(value, ModelError)}
        return [self._known[one] if one in self._known else found[one] for one in answered]

    def _asked(self, prompts: list[Any]) -> list[float | ModelError]:
        """One try each. An error of a setting, such as a missing key, is raised."""
        if not prompts:
            return []
        replies = self._model.batch(prompts, {"max_concurrency": self._at_once}, return_exceptions=True)
        return [_read(reply) for reply in replies]

    @staticmethod
    def _first(one: Answered, before: object) -> list[BaseMessage]:
        from langchain_core.messages import HumanMessage

        return [HumanMessage(render("verdict", **one._asdict()))]

    @classmethod
    def _again(cls, one: Answered, before: object) -> list[BaseMessage]:
        """After a reply that could not be read, with that reply: a model that draws nothing would repeat itself."""
        from langchain_core.messages import AIMessage, HumanMessage

        if not isinstance(before, OutputError):
            return cls._first(one, None)
        said = HumanMessage(f"That is no verdict. Reply with one line: VERDICT: and a digit from 0 to {BEST}.")
        return [*cls._first(one, None), AIMessage(before.raw), said]


def _read(reply: object) -> float | ModelError:
    try:
        with boundary(ModelError, "judge"):
            if isinstance(reply, BaseException):
                raise reply
            return verdict(str(getattr(reply, "text", reply)))
    except ModelError as error:
        return error


def verdict(text: str) -> float:
    """The last line of a reply that is a verdict, as 0 to 1. Raises OutputError when there is none."""
    found = _VERDICT.findall(text)
    if not found or int(found[-1]) > BEST:
        said = " ".join(text.split())[:80]
        raise OutputError(f"judge: no line VERDICT: 0 to {BEST} in its reply, which begins {said!r}", raw=text)
    return int(found[-1]) / BEST


def get_judge(name: str) -> ChatJudge:
    """The chat model `name`, see models.chat.get_chat_model, as a judge. Raises ConfigError, ModelError."""
    from agentmem.models.chat import get_chat_model

    return ChatJudge(get_chat_model(name, max_tokens=REPLY_TOKENS))
