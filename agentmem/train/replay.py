"""Rollouts of earlier iterations that are learned from again, as in ReMix (off-policy reinforcement fine-tuning).

The ratio of the loss is then of the policy as it is and as it was when it wrote them; the clip bounds what is stale.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from agentmem.errors import ConfigError, boundary
from agentmem.train.rows import Row

_FILE = "replay.safetensors"


class Learned(NamedTuple):
    """Turns that an update learns from, in the same order."""

    rows: Sequence[Row]
    old: Sequence[Tensor]
    """(tokens written,) log-probabilities when they were written."""
    advantages: Sequence[float]

    def __add__(self, other: Learned) -> Learned:  # type: ignore[override]
        return Learned([*self.rows, *other.rows], [*self.old, *other.old], [*self.advantages, *other.advantages])


class Replay:
    """Keeps the turns of the last iterations.

    Args:
        iterations: that are kept; 0 keeps none.
    """

    def __init__(self, iterations: int) -> None:
        self._kept: deque[Learned] = deque(maxlen=iterations)

    def add(self, learned: Learned) -> None:
        self._kept.append(learned)

    def copy(self) -> Replay:
        """Of what is kept now."""
        made = Replay(self._kept.maxlen or 0)
        made._kept.extend(self._kept)
        return made

    def drawn(self, rows: int, rng: random.Random) -> Learned:
        """So many kept turns by chance, or all where there are fewer."""
        places = [(one, place) for one in self._kept for place in range(len(one.rows))]
        chosen = rng.sample(places, min(rows, len(places)))
        return Learned([one.rows[place] for one, place in chosen], [one.old[place] for one, place in chosen],
                       [one.advantages[place] for one, place in chosen])  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write what is kept into a checkpoint's folder, if anything is."""
        from safetensors.torch import save_file

        if not self._kept:
            return
        whole = Learned([], [], [])
        for one in self._kept:
            whole += one
        save_file(
            {"iterations": torch.tensor([len(one.rows) for one in self._kept]),
             "prompts": torch.tensor([len(row.prompt) for row in whole.rows]),
             "written": torch.tensor([len(row.written) for row in whole.rows]),
             "ids": torch.tensor([token for row in whole.rows for token in (*row.prompt, *row.written)]),
             "old": torch.cat([one.float() for one in whole.old]),
             "advantages": torch.tensor(whole.advantages, dtype=torch.float64)}, folder / _FILE,
        )  # fmt: skip

    def read(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises ConfigError where it cannot be read."""
        from safetensors.torch import load_file

        self._kept.clear()
        if not self._kept.maxlen or not (folder / _FILE).is_file():
            return
        with boundary(ConfigError, str(folder / _FILE)):
            found = load_file(folder / _FILE)
            lengths = [found[name].tolist() for name in ("prompts", "written")]
            ids, old = iter(found["ids"].tolist()), iter(found["old"].split(lengths[1]))
            rows = iter([Row([next(ids) for _ in range(prompt)], [next(ids) for _ in range(written)])
                         for prompt, written in zip(*lengths, strict=True)])  # fmt: skip
            advantages = iter(found["advantages"].tolist())
            for count in found["iterations"].tolist():
                many = range(count)
                self._kept.append(Learned([next(rows) for _ in many], [next(old) for _ in many],
                                          [next(advantages) for _ in many]))  # fmt: skip
