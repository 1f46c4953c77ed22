"""Answers that a reader writes, for the benchmarks that score them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agentmem.errors import ModelError, boundary
from agentmem.models.chat import get_chat_model
from agentmem.route import count_tokens

if TYPE_CHECKING:
    from eval.harness import Run


class Answer(NamedTuple):
    """What a reader wrote, and what it cost."""

    text: str
    prompt_tokens: int
    """As the model counted them, else estimated."""
    completion_tokens: int


def ask(run: Run, prompt: str, *, max_tokens: int) -> Answer:
    """The answer of the run's reader (settings.reader, made once a process) to one prompt, at temperature 0.

    Raises:
        ConfigError: there is no such model.
        ModelError: it failed.
    """
    name = run.settings.reader
    model = run.once(f"reader {name} {max_tokens}", lambda: get_chat_model(name, max_tokens=max_tokens))
    with boundary(ModelError, f"reader {name}"):
        reply = model.invoke(prompt)
    used = reply.usage_metadata or {}
    return Answer(
        text=reply.text,
        prompt_tokens=used.get("input_tokens") or count_tokens(prompt),
        completion_tokens=used.get("output_tokens") or count_tokens(reply.text),
    )
