"""Who answers probe questions from a memory alone: frozen, so that only the memory can make answers better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import ModelError, boundary
from agentmem.models.embed import Embedder
from agentmem.models.likelihood import OptionScorer
from agentmem.models.sampling import answer_text, prompt_ids, sample, stop_ids
from agentmem.prompts import render
from agentmem.train.adapters import Adapted

REPLY_TOKENS = 48
"""Of a free answer."""


class Answerer(Protocol):
    """Answers questions about a user of whom it knows a memory and nothing else."""

    def likelihoods(self, memory: str, said: Sequence[str], options: Sequence[str], /) -> NDArray[np.float64]:
        """(options,) log-probability a token of each option as the next reply.

        Args:
            memory: text of the memory; empty for none.
            said: the conversation so far, the user's turns and the answerer's by turns, the user's first.
            options: possible next turns.

        Raises:
            ModelError: it failed.
        """
        ...

    def reply(self, memory: str, question: str, /) -> str:
        """An answer of its own. Raises ModelError."""
        ...


def conversation(memory: str, said: Sequence[str]) -> list[dict[str, str]]:
    """The chat messages that an answerer reads."""
    told = [{"role": "system", "content": render("probe", memory=memory)}] if memory else []
    roles = ("user", "assistant")
    return told + [{"role": roles[place % 2], "content": text} for place, text in enumerate(said)]


class CausalAnswerer:
    """A causal model: another one, or the base of the policy with its adapters off.

    Args:
        model: a transformers model; of an `Adapted` its `model`.
        tokenizer: with a chat template.
        adapted: the adapted model that `model` belongs to: its adapters are off while it answers.
    """

    def __init__(self, model: Any, tokenizer: Any, adapted: Adapted | None = None) -> None:
        self._model, self._tokenizer, self._adapted = model, tokenizer, adapted
        self._scorer = OptionScorer(model, tokenizer)
        self._stops = stop_ids(model, tokenizer)

    def likelihoods(self, memory: str, said: Sequence[str], options: Sequence[str], /) -> NDArray[np.float64]:
        if len(said) % 2:
            prompt = self._scorer.chat_prompt(conversation(memory, said))
            return self._off(lambda: self._scorer.score([prompt], [options])[0].mean)
        # the user's turn comes next: the template is cut where it would begin
        mark = "\u241e"
        whole = self._tokenizer.apply_chat_template(conversation(memory, [*said, mark]), tokenize=False)
        prompt = whole[: whole.index(mark)]
        return self._off(lambda: self._scorer.score([prompt], [options])[0].mean)

    def reply(self, memory: str, question: str, /) -> str:
        ids = prompt_ids(self._tokenizer, conversation(memory, [question]))
        with boundary(ModelError, "answerer"):
            [written] = self._off(lambda: sample(self._model, [ids], stops=self._stops, max_tokens=REPLY_TOKENS))
        return answer_text(self._tokenizer, written, self._stops) or str(self._tokenizer.decode(written))

    def _off(self, ask: Any) -> Any:
        if self._adapted is None:
            return ask()
        with self._adapted.only("base"):
            return ask()


class EmbeddingAnswerer:
    """Chooses by nearness in meaning: for tests, and where a language model is too slow or too weak to judge.

    An option's score is its cosine with the question, plus that with the line of the memory nearest to it, over a
    temperature. It writes no replies.
    """

    TEMPERATURE = 0.1

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def likelihoods(self, memory: str, said: Sequence[str], options: Sequence[str], /) -> NDArray[np.float64]:
        lines = [line for line in memory.splitlines() if line.strip()]
        options_ND = self._embedder.encode(list(options))
        score_N = (options_ND @ self._embedder.encode([said[-1]])[0]).astype(np.float64)
        if lines:
            score_N = score_N + (options_ND @ self._embedder.encode(lines).T).max(1)
        logits_N = score_N / self.TEMPERATURE
        return logits_N - np.logaddexp.reduce(logits_N)

    def reply(self, memory: str, question: str, /) -> str:
        raise ModelError("an answerer by embeddings writes no replies; choose rewards by options, or another answerer")
