"""What writes a policy's turns during rollouts."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Protocol

import torch

from agentmem.models.sampling import RowProcessor, sample
from agentmem.train.adapters import Adapted


class Sampler(Protocol):
    """Writes what the policy would write, by chance."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        rng: random.Random,
        processors: Sequence[RowProcessor] = (),
    ) -> list[list[int]]:
        """New token ids after each prompt, the stop that ended them included.

        Args:
            prompts: token ids.
            max_tokens: of one answer.
            rng: the same again gives the same again.
            processors: hold answers to a grammar, where the sampler can; each is asked for the places of a batch.
        """
        ...


class AdaptedSampler:
    """Samples from the adapted model that is trained, in batches with a cache of keys and values.

    Args:
        adapted: the model.
        stops: tokens that end an answer.
        temperature: that the rows are then read at, too.
        rows: prompts of one batch; None: 64 on a CPU, and 512 elsewhere, where a batch takes as long as one prompt.
    """

    def __init__(
        self, adapted: Adapted, stops: Collection[int], temperature: float = 1.0, rows: int | None = None
    ) -> None:
        self._adapted, self._stops, self._temperature = adapted, stops, temperature
        self._rows = rows or (64 if adapted.device.type == "cpu" else 512)

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        rng: random.Random,
        processors: Sequence[RowProcessor] = (),
    ) -> list[list[int]]:
        generator = torch.Generator(self._adapted.device).manual_seed(rng.getrandbits(48))
        order = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
        batches = [order[start : start + self._rows] for start in range(0, len(order), self._rows)]
        found: list[list[int]] = [[] for _ in prompts]
        with self._adapted.only("policy"):
            for batch in batches:
                written = sample(
                    self._adapted.model, [prompts[place] for place in batch], stops=self._stops, max_tokens=max_tokens,
                    temperature=self._temperature, generator=generator, processors=[of(batch) for of in processors],
                )  # fmt: skip
                for place, ids in zip(batch, written, strict=True):
                    found[place] = ids
        return found


class ScriptedSampler:
    """Writes what it is told, again and again: a fake, for tests of environments and rewards.

    Args:
        answers: token ids; the next one for each prompt, from the first again after the last.
    """

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self._answers, self._next = answers, 0
        self.prompts: list[Sequence[int]] = []

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        rng: random.Random,
        processors: Sequence[RowProcessor] = (),
    ) -> list[list[int]]:
        found = []
        for prompt in prompts:
            self.prompts.append(prompt)
            found.append(list(self._answers[self._next % len(self._answers)])[:max_tokens])
            self._next += 1
        return found
