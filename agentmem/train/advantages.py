"""Credit: from the rewards of trajectories, and of their turns, to a number for each turn.

Plain functions of numbers; a group is all trajectories of one history. Names of dimensions: G trajectories of a group,
T turns of one trajectory. Formulas: GRPO as in TRL's GRPOTrainer (unbiased standard deviation, 1e-4 beside it), RLOO
(arXiv 2402.14740), and step advantages of OPRL / iStar (arXiv 2509.19199).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Estimator = Literal["grpo", "rloo"]
Scale = Literal["group", "batch", "none"]
Pool = Literal["group", "turn", "batch"]
Spread = Literal["pool", "batch"]

EPSILON = 1e-4
"""Beside a standard deviation of rewards, as in TRL."""

Floats = NDArray[np.float64]


def outcome_advantages(
    rewards: Sequence[Sequence[float]], estimator: Estimator = "grpo", scale: Scale = "group"
) -> list[Floats]:
    """An advantage a trajectory, (G,) for each group; they sum to 0 in a group.

    Args:
        rewards: of each group's trajectories; a group of one gets 0: there is nothing to compare it with.
        estimator: "grpo" takes the mean of the group away, "rloo" the mean of the others.
        scale: by which standard deviation "grpo" divides: of the group, of all rewards of the batch, or by none.
            "rloo" never divides.
    """
    groups = [np.asarray(own, np.float64) for own in rewards]
    if estimator == "rloo":
        return [_against_others(own_G) for own_G in groups]
    everything = np.concatenate(groups) if groups else np.zeros(0)
    found = []
    for own_G in groups:
        centred_G = own_G - own_G.mean() if len(set(own_G.tolist())) > 1 else np.zeros(len(own_G))
        over = own_G if scale == "group" else everything
        found.append(centred_G if scale == "none" else centred_G / (_deviation(over) + EPSILON))
    return found


def _against_others(rewards_G: Floats) -> Floats:
    count = len(rewards_G)
    return (rewards_G - rewards_G.mean()) * count / (count - 1) if len(set(rewards_G.tolist())) > 1 else np.zeros(count)


def _deviation(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def step_advantages(
    rewards: Sequence[Sequence[Sequence[float]]],
    pool: Pool = "group",
    floor: float = 1e-6,
    spread: Spread = "pool",
    most: float | None = None,
) -> list[list[Floats]]:
    """An advantage a turn, (T,) for each trajectory of each group: how its step reward compares with others.

    Args:
        rewards: r[group][trajectory][turn].
        pool: what a turn is compared with, by its mean: all turns of its group, the same turn of the group's other
            trajectories, or all turns of the batch.
        floor: least standard deviation to divide by: before the first update of a process reward model every step
            reward is 0 but for rounding.
        spread: whose standard deviation is divided by: the pool's, or that of all turns of the batch after their
            pools' means are taken away. In a pool of turns that are nearly alike the first makes much of little.
        most: greatest advantage, either way; None for any. Rare answers get extreme step rewards.
    """
    pools: dict[tuple[int, ...], list[float]] = {}

    def pool_of(group: int, turn: int) -> tuple[int, ...]:
        return {"group": (group,), "turn": (group, turn), "batch": ()}[pool]

    for group, trajectories in enumerate(rewards):
        for own in trajectories:
            for turn, reward in enumerate(own):
                pools.setdefault(pool_of(group, turn), []).append(float(reward))
    means = {name: float(np.mean(values)) for name, values in pools.items()}
    deviations = {name: float(np.std(values)) for name, values in pools.items()}
    if spread == "batch":
        squares = [(value - means[name]) ** 2 for name, values in pools.items() for value in values]
        deviations = dict.fromkeys(pools, float(np.sqrt(np.mean(squares or [0.0]))))
    bound = np.inf if most is None else most

    def advantage(group: int, turn: int, reward: float) -> float:
        name = pool_of(group, turn)
        return float(np.clip((reward - means[name]) / max(deviations[name], floor), -bound, bound))

    return [[np.array([advantage(group, turn, reward) for turn, reward in enumerate(own)]) for own in trajectories]
            for group, trajectories in enumerate(rewards)]  # fmt: skip


def joined(
    outcome: Sequence[Floats],
    step: Sequence[Sequence[Floats]] | None,
    lengths: Sequence[Sequence[int]],
    alpha: float,
    skip_degenerate: bool = False,
) -> list[list[Floats]]:
    """A = A_outcome + alpha * A_step, (T,) for each trajectory of each group.

    Args:
        outcome: as `outcome_advantages` gives them.
        step: as `step_advantages` gives them; None copies the outcome to every turn.
        lengths: turns of each trajectory of each group.
        alpha: weight of the steps.
        skip_degenerate: leave the steps of groups out whose trajectories all earned the same.
    """
    found = []
    for place, (own_G, turns) in enumerate(zip(outcome, lengths, strict=True)):
        group = [np.full(count, value) for value, count in zip(own_G, turns, strict=True)]
        if step is not None and alpha and not (skip_degenerate and not np.any(own_G)):
            group = [whole + alpha * own_T for whole, own_T in zip(group, step[place], strict=True)]
        found.append(group)
    return found


# -- pairs, for the process reward model -----------------------------------------------------------------------------

Pairing = Literal["binary", "margin", "best-worst"]


def pairs(rewards: Sequence[float], pairing: Pairing = "margin", margin: float = 0.0) -> list[tuple[int, int]]:
    """(better, worse) trajectories of one group.

    Args:
        rewards: (G,) of the group.
        pairing: "binary" pairs each success (a reward above `margin`) with each failure, "margin" all whose rewards are
            more than `margin` apart, "best-worst" only the best with the worst, if they are so far apart.
        margin: see there.
    """
    order = range(len(rewards))
    if pairing == "binary":
        return [(a, b) for a in order for b in order if rewards[a] > margin >= rewards[b]]
    if pairing == "best-worst":
        best, worst = (max(order, key=rewards.__getitem__), min(order, key=rewards.__getitem__)) if rewards else (0, 0)
        return [(best, worst)] if rewards and rewards[best] - rewards[worst] > margin else []
    return [(a, b) for a in order for b in order if rewards[a] - rewards[b] > margin]
