"""Reads rows with an adapter and changes it, on all devices of a run together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from agentmem.train.adapters import Adapted, Which
from agentmem.train.rows import DUMMY, Padded, Row, beginning, padded, shared_batches
from agentmem.train.sharding import whole

Loss = Callable[[Tensor, Padded, Sequence[int]], Tensor]
"""Of (new log-probabilities (B, T), the padded rows, their places): this batch's part of the loss."""


class Learner:
    """An adapted model with an optimizer for each adapter that learns.

    Every process has all rows (they are token ids) and reads its share; gradients are summed over processes by hand,
    since two adapters in one module are trained in turn, which DistributedDataParallel does not follow (it lets the
    second one drift apart). Over a sharded model (`Adapted.shard`) each backward sums them. A loss is therefore already
    divided by what the whole batch is divided by.

    Args:
        adapted: the model.
        optimizers: of each adapter that learns.
        accelerator: an `accelerate.Accelerator`; None is this process alone.
        tokens: of one forward pass, padding included.
        temperature: that rows were sampled at.
        norms: greatest norm of an adapter's gradient.
    """

    def __init__(
        self,
        adapted: Adapted,
        optimizers: Mapping[str, torch.optim.Optimizer],
        *,
        accelerator: Any = None,
        tokens: int = 4096,
        temperature: float = 1.0,
        norms: Mapping[str, float] | None = None,
    ) -> None:
        self.adapted = adapted
        self.optimizers: dict[str, torch.optim.Optimizer] = dict(optimizers)
        self._accelerator = accelerator
        self._tokens, self._temperature = tokens, temperature
        self._norms = dict(norms or {})
        self.ranks: int = accelerator.num_processes if accelerator else 1
        self.rank: int = accelerator.process_index if accelerator else 0

    def _own(self, rows: Sequence[Row]) -> list[list[int]]:
        if not rows:
            return []
        alike = rows if self.adapted.shares_prompts else None
        return shared_batches([len(row) for row in rows], self.ranks, self._tokens, alike)[self.rank]

    def _read(self, rows: Sequence[Row], places: Sequence[int]) -> tuple[Tensor, Padded]:
        own = [rows[place] for place in places] or [DUMMY]
        shared = beginning(own) if self.adapted.shares_prompts else 0
        batch = padded(own, self.adapted.device, shared=shared)
        return self.adapted(batch, self._temperature), batch

    def logprobs(self, rows: Sequence[Row], which: Which) -> list[Tensor]:
        """(tokens written,) log-probabilities of each row under an adapter, without gradients; on the CPU."""
        found: dict[int, Tensor] = {}
        with torch.no_grad(), self.adapted.only(which):
            for places in self._own(rows):
                logp_BT, _ = self._read(rows, places)
                for own_T, place in zip(logp_BT.cpu(), places, strict=False):
                    count = len(rows[place].written)
                    found[place] = own_T[len(own_T) - count :].clone()
        for other in self.gathered(found):
            found |= other
        return [found[place] for place in range(len(rows))]

    def backward(self, rows: Sequence[Row], which: Which, loss: Loss) -> None:
        """Add the gradient of a loss over all rows to an adapter, a batch at a time.

        Each batch's backward runs before another adapter can come into use: with activation checkpointing it would be
        recomputed under the wrong one.
        """
        self.adapted.begin_backward()
        with self.adapted.only(which):
            for places in self._own(rows):
                logp_BT, batch = self._read(rows, places)
                own = loss(logp_BT, batch, places) if places else logp_BT.sum() * 0.0
                own.backward()

    def step(self, which: Which, rate: float | None = None) -> float:
        """Sum the gradients over processes, clip them, and step; gives their norm before clipping.

        A norm that is no number changes nothing: one bad batch must not destroy what was learned.

        Args:
            which: the adapter.
            rate: learning rate of this step; None leaves the optimizer's.
        """
        parameters = self.adapted.parameters_of(which)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if self.ranks > 1 and not self.adapted.sharded:
                torch.distributed.all_reduce(parameter.grad)
        most = self._norms.get(which, float("inf"))
        norm = float(whole(torch.nn.utils.clip_grad_norm_(parameters, most, error_if_nonfinite=False)))
        optimizer = self.optimizers[which]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] if rate is None else rate
        if math.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # a gradient of zeros would still decay the weights under AdamW
        return norm

    def gathered(self, value: Any) -> list[Any]:
        """The value of every process, in their order."""
        if self.ranks == 1:
            return [value]
        from accelerate.utils import gather_object

        return gather_object([value])


def aligned(values: Sequence[Tensor], width: int, device: torch.device | str) -> Tensor:
    """(B, width) rows of different lengths with their ends aligned, 0 before them; as `padded` lays rows out."""
    found = torch.zeros(len(values), width, device=device)
    for row, own_T in zip(found, values, strict=True):
        if len(own_T):
            row[width - len(own_T) :] = own_T.to(device)
    return found
