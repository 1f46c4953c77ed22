"""Rows of tokens: one turn is one row, shared out over devices by their lengths and padded in small batches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor


class Row(NamedTuple):
    """What was shown, and what was written."""

    prompt: Sequence[int]
    written: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.written)


PASS = 64
"""What a pass costs besides its tokens, in tokens: fewer than this are not worth a pass of their own."""

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
    shared_P: Tensor | None = None
    """What stands before every row, where their prompts begin alike: it is read once for all."""


def padded(rows: Sequence[Row], device: torch.device | str, pad: int = 0, shared: int = 0) -> Padded:
    """The rows with padding on the left, so that what was written ends in the last column.

    Args:
        rows: at least one.
        device: of the tensors.
        pad: id of padding.
        shared: so many tokens that all prompts begin with stand apart, in `shared_P`.
    """
    if shared:
        rest = padded([Row(row.prompt[shared:], row.written) for row in rows], device, pad)
        return rest._replace(shared_P=torch.tensor(list(rows[0].prompt[:shared]), device=device))
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


def beginning(rows: Sequence[Row]) -> int:
    """Tokens that all prompts begin with, the last of each left out: it predicts the first token written.

    0 for a single row, which shares nothing, and where a prompt is empty.
    """
    if len(rows) < 2:
        return 0
    prompts = [tuple(row.prompt) for row in rows]
    first, last = min(prompts), max(prompts)  # these two differ the earliest
    same = 0
    while same < len(first) and first[same] == last[same]:
        same += 1
    return max(0, min(same, min(map(len, prompts)) - 1))


def alike(rows: Sequence[Row], places: Sequence[int], budget: int) -> list[list[int]]:
    """The places in batches that read few tokens when what prompts begin with is read once.

    No batch is larger than `batches` would make one, so that it needs no more memory.
    """
    by_length = batches([len(row) for row in rows], places, budget)
    by_prompt: list[list[int]] = []
    order = sorted(places, key=lambda place: (tuple(rows[place].prompt), len(rows[place]), place))
    for _, equal in groupby(order, key=lambda place: tuple(rows[place].prompt)):
        for part in batches([len(row) for row in rows], list(equal), budget):
            joined = [*by_prompt[-1], *part] if by_prompt else part
            fits = max(len(rows[one]) for one in joined) * len(joined) <= budget
            if by_prompt and fits and _tokens(rows, joined) <= _tokens(rows, by_prompt[-1]) + _tokens(rows, part):
                by_prompt[-1] = joined
            else:
                by_prompt.append(part)
    return min(by_length, by_prompt, key=lambda found: sum(_tokens(rows, batch) for batch in found))


def _tokens(rows: Sequence[Row], batch: Sequence[int]) -> int:
    """That a batch reads, with padding and what it costs besides."""
    own = [rows[place] for place in batch]
    shared = beginning(own)
    return PASS + shared + len(own) * (max(map(len, own)) - shared)


def shared_batches(
    lengths: Sequence[int], parts: int, budget: int, rows: Sequence[Row] | None = None
) -> list[list[list[int]]]:
    """The batches of each device; all have equally many, empty ones at the end where there are fewer rows.

    Args:
        lengths: of the rows.
        parts: devices.
        budget: tokens of a batch with its padding.
        rows: given where what prompts begin with is read once: batches are made of rows that begin alike.
    """
    own = [batches(lengths, places, budget) if rows is None else alike(rows, places, budget)
           for places in shares(lengths, parts)]  # fmt: skip
    most = max(map(len, own))
    return [[*found, *([] for _ in range(most - len(found)))] for found in own]
