"""Losses of the policy and of the process reward model: plain functions of tensors.

Names of dimensions: B rows, T tokens that were written (padded). A mask is 1 at tokens that count. Sums are not yet
divided: a batch is read in pieces, on several devices, and the divisor is the whole batch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Ratio = Literal["token", "step"]


class Clip(NamedTuple):
    """How far the ratio of new and old probability counts: from 1 - low to 1 + high."""

    low: float = 0.2
    high: float = 0.2


class PolicyLoss(NamedTuple):
    """Sums over rows; divide by `policy_divisor` of the whole batch."""

    loss: Tensor
    """(): with the KL penalty."""
    kl: Tensor
    """(): of the penalties, over tokens, before their weights."""
    clipped: Tensor
    """(): tokens (or steps) at which the clipped branch counted."""


def policy_loss(  # noqa: PLR0913
    new_BT: Tensor,
    old_BT: Tensor,
    advantage_B: Tensor,
    mask_BT: Tensor,
    *,
    clip: Clip = Clip(),  # noqa: B008  a frozen value
    ratio: Ratio = "token",
    penalties: Sequence[tuple[Tensor, float]] = (),
) -> PolicyLoss:
    """PPO's clipped loss on rows that are one turn each, with penalties on leaving references.

    -min(r A, clip(r) A), with r the ratio of new and old probability of a token, or of the whole turn (iStar). The
    penalty is the low-variance estimator of Schulman, exp(d) - d - 1 with d = log reference - log new, a token.

    Args:
        new_BT: log-probabilities under the policy that is trained.
        old_BT: the same when it wrote them, by the trainer's own forward pass.
        advantage_B: of each row.
        mask_BT: 1 at tokens that the policy wrote.
        clip: bounds of the ratio.
        ratio: of each token, or of each row's sum.
        penalties: (B, T) log-probabilities under each reference, with the weight of its penalty.
    """
    gap_BT = (new_BT - old_BT) * mask_BT
    gap = gap_BT if ratio == "token" else gap_BT.sum(1, keepdim=True)
    counts = mask_BT if ratio == "token" else mask_BT.amax(1, keepdim=True)
    advantage_B1 = advantage_B[:, None]
    r = gap.exp()
    free, bound = r * advantage_B1, r.clamp(1 - clip.low, 1 + clip.high) * advantage_B1
    loss = -(torch.minimum(free, bound) * counts).sum()
    away = new_BT.new_zeros(())
    for reference_BT, weight in penalties:
        away_BT = (reference_BT - new_BT) * mask_BT
        penalty_BT = (away_BT.exp() - away_BT - 1) * mask_BT
        away = away + penalty_BT.sum().detach()
        # a step-wise loss is a mean over steps: a step's penalty is the mean over its tokens
        per_row = penalty_BT.sum(1) / mask_BT.sum(1).clamp(min=1)
        loss = loss + weight * (penalty_BT if ratio == "token" else per_row).sum()
    return PolicyLoss(loss, away, ((bound < free) * counts).sum().detach())


def policy_divisor(tokens: Sequence[int], ratio: Ratio = "token") -> int:
    """By what the sums of `policy_loss` are divided: all tokens of the batch, or all its steps; at least 1."""
    return max(1, sum(tokens) if ratio == "token" else sum(1 for count in tokens if count))


def pair_coefficients(
    scores: Sequence[float], pairs: Sequence[tuple[int, int]], count: int
) -> tuple[list[float], float]:
    """What each trajectory's score counts in the gradient of the pairwise loss, and the loss.

    The loss is the mean over pairs of -log sigmoid(score of the better - score of the worse). Its gradient is that of
    sum_i c_i score_i with c_i held fixed, so that trajectories can be read one after the other (papers: OPRL, exact
    and of constant memory).

    Args:
        scores: one a trajectory.
        pairs: (better, worse).
        count: pairs of the whole batch, which the mean is over.
    """
    coefficients, loss = [0.0] * len(scores), 0.0
    for better, worse in pairs:
        gap = torch.tensor(scores[better] - scores[worse], dtype=torch.float64)
        share = torch.sigmoid(-gap).item() / count
        coefficients[better] -= share
        coefficients[worse] += share
        loss -= torch.nn.functional.logsigmoid(gap).item() / count
    return coefficients, loss


def step_reward(new_BT: Tensor, old_BT: Tensor, mask_BT: Tensor, beta: float, per_token: bool = False) -> Tensor:
    """(B,) implicit reward of each turn: beta times the sum, or mean, of log-probability won over the old policy."""
    won_B = ((new_BT - old_BT) * mask_BT).sum(1)
    return beta * (won_B / mask_BT.sum(1).clamp(min=1) if per_token else won_B)
