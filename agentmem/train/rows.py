"""Rows of tokens: one turn is one row, shared out over devices by their lengths and padded in small batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Row(NamedTuple):
    """What was shown, and what was written."""

    prompt: Sequence[int]
    written: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.written)


DUMMY = Row((0,), ())
"""Nothing written, so nothing counts: it keeps devices in step that have fewer batches than others."""


class Padded(NamedTuple):
    """Rows of one forward pass, their ends aligned."""

    ids_BL: Tensor
    attention_BL: Tensor
    """1 at real tokens."""
    written: int
    """The last so many columns hold what was written."""
    mask_BT: Tensor
    """1 at what was written; T = written."""


def padded(rows: Sequence[Row], device: torch.device | str, pad: int = 0) -> Padded:
    """The rows with padding on the left, so that what was written ends in the last column."""
    longest = max(max(len(row.prompt) + len(row.written) for row in rows), 1)
    written = max(max(len(row.written) for row in rows), 1)
    ids, real, counts = [], [], []
    for row in rows:
        own = [*row.prompt, *row.written]
        gap = longest - len(own)
        ids.append([pad] * gap + own)
        real.append([0] * gap + [1] * len(own))
        counts.append([0] * (written - len(row.written)) + [1] * len(row.written))
    as_tensor = torch.tensor
    return Padded(as_tensor(ids, device=device), as_tensor(real, device=device), written,
                  as_tensor(counts, device=device, dtype=torch.float32))  # fmt: skip


def shares(lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Places of rows for each of `parts` devices: the longest first, each to the device with the fewest tokens."""
    loads, found = [0] * parts, [[] for _ in range(parts)]
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        least = min(range(parts), key=lambda part: (loads[part], part))
        loads[least] += lengths[place]
        found[least].append(place)
    return [sorted(own) for own in found]


def batches(lengths: Sequence[int], places: Sequence[int], budget: int) -> list[list[int]]:
    """The places in batches of like length, each of at most `budget` tokens with its padding (or a single row)."""
    found: list[list[int]] = []
    longest = 0
    for place in sorted(places, key=lambda place: (lengths[place], place)):
        longest = max(longest, lengths[place])
        if found and longest * (len(found[-1]) + 1) <= budget:
            found[-1].append(place)
        else:
            found.append([place])
            longest = lengths[place]
    return found


def shared_batches(lengths: Sequence[int], parts: int, budget: int) -> list[list[list[int]]]:
    """The batches of each device; all have equally many, empty ones at the end where there are fewer rows."""
    own = [batches(lengths, places, budget) for places in shares(lengths, parts)]
    most = max(map(len, own))
    return [[*found, *([] for _ in range(most - len(found)))] for found in own]
