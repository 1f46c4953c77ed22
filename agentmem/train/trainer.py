"""Reinforcement fine-tuning of a memory policy: GRPO, RLOO, and online process reward learning (OPRL).

One iteration, in the order of arXiv 2509.19199: roll out with the policy as it is; rewards of trajectories; pairs;
update the process reward model; step rewards from the updated one; advantages; update the policy.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from agentmem.train.advantages import Floats, joined, outcome_advantages, pairs, step_advantages
from agentmem.train.learner import Learner, aligned
from agentmem.train.losses import Clip, pair_coefficients, policy_divisor, policy_loss, step_reward
from agentmem.train.recipes import RFTRecipe
from agentmem.train.replay import Learned, Replay
from agentmem.train.rows import Padded, Row
from agentmem.train.values import Group


class Environment(Protocol):
    """Where a policy acts: it plays histories several times and scores each way through."""

    def __len__(self) -> int:
        """Histories that there are."""
        ...

    def play(self, places: Sequence[int], times: int, rng: random.Random) -> list[Group]:
        """A group of trajectories of each history, sampled from the policy as it is now.

        Args:
            places: of the histories, from 0.
            times: trajectories of each.
            rng: the same again gives the same again.
        """
        ...


@dataclass(frozen=True)
class Iteration:
    """What one iteration came to."""

    metrics: Mapping[str, float]
    groups: Sequence[Group]
    advantages: Sequence[Sequence[Floats | None]]
    """[group][trajectory], (turns,); None where a trajectory was left out."""


@dataclass(frozen=True)
class _Batch:
    """The scored trajectories of all groups, and their turns as rows, in the same order."""

    groups: Sequence[Group]
    rows: Sequence[Row]
    turns: Sequence[Sequence[int]]
    """[group][trajectory]: turns."""
    rewards: Sequence[Sequence[float]]
    """[group][trajectory]"""

    @classmethod
    def of(cls, groups: Sequence[Group]) -> _Batch:
        kept = [group for group in groups if group.scored]
        rows = [Row(step.prompt_ids, step.ids) for group in kept for one in group.scored for step in one.steps]
        turns = [[len(one.steps) for one in group.scored] for group in kept]
        return cls(kept, rows, turns, [[one.reward or 0.0 for one in group.scored] for group in kept])

    def nested(self, values: Sequence[float]) -> list[list[list[float]]]:
        """A value a row as [group][trajectory][turn]."""
        left = iter(values)
        return [[[next(left) for _ in range(count)] for count in own] for own in self.turns]


class Trainer:
    """One run: makes iterations, one after the other.

    Args:
        learner: the adapted model with its optimizers: of "policy", and of "prm" where credit is "oprl".
        environment: where the policy acts.
        recipe: of the run.
        ready: a block for each iteration's rollouts, entered by all processes; see `samplers.VLLMServerSampler.ready`.
    """

    def __init__(
        self,
        learner: Learner,
        environment: Environment,
        recipe: RFTRecipe,
        ready: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.learner, self.environment, self.recipe, self._ready = learner, environment, recipe, ready
        self.replay = Replay(recipe.replay.iterations)

    def iterate(self, iteration: int) -> Iteration:
        """Make iteration number `iteration`, counted from 0; its randomness depends on nothing else."""
        own, started = self.recipe, time.monotonic()
        self._reset(iteration)
        rng = random.Random(f"{own.seed}/{iteration}/{self.learner.rank}")
        with self._ready(), self.learner.adapted.in_step():
            mine = self.environment.play(self._histories(iteration), own.rollouts.group, rng)
        groups = _in_order(self.learner.gathered(mine))
        played = time.monotonic()
        metrics = rollout_metrics(groups)
        batch = _Batch.of(groups)
        if not batch.rows:
            return Iteration({**metrics, "speed/seconds": time.monotonic() - started}, groups, _placed(groups, []))
        steps, learned, old = None, {}, None
        if own.credit == "oprl" or own.outcome.epochs > 1 or own.replay.iterations:
            old = self.learner.logprobs(batch.rows, "policy")
        if own.credit == "oprl":
            assert old is not None
            steps, learned = self._step_credit(batch, self._reference(batch.rows) if self._from_start else old)
        outcome = outcome_advantages(batch.rewards, own.outcome.estimator, own.outcome.scale)
        advantages = joined(outcome, steps, batch.turns, self._alpha(iteration), own.steps.skip_degenerate)
        metrics |= learned | self._update(batch, old, advantages, iteration)
        trained, seconds = sum(len(row) for row in batch.rows), time.monotonic() - started
        metrics |= {"speed/seconds": seconds, "speed/rollout_share": (played - started) / seconds,
                    "speed/tokens_per_second": trained / seconds}  # fmt: skip
        return Iteration(metrics, groups, _placed(groups, advantages))

    def _histories(self, iteration: int) -> list[int]:
        """Places of the histories that this process plays: each comes once before any comes again."""
        many, there = self.recipe.rollouts.histories, len(self.environment)
        found = []
        for number in range(iteration * many, (iteration + 1) * many):
            order = list(range(there))
            random.Random(f"{self.recipe.seed}/order/{number // there}").shuffle(order)
            found.append(order[number % there])
        return found[self.learner.rank :: self.learner.ranks]

    def _alpha(self, iteration: int) -> float:
        own = self.recipe.steps
        return own.alpha * (min(1.0, (iteration + 1) / own.warmup) if own.warmup else 1.0)

    # -- the process reward model

    @property
    def _from_start(self) -> bool:
        return self.recipe.steps.reference == "start"

    def _step_credit(self, batch: _Batch, old: Sequence[Tensor]) -> tuple[list[list[Floats]], dict[str, float]]:
        """Step advantages from the updated process reward model, and what its update came to."""
        metrics = self._update_prm(batch, old)
        rewards = batch.nested(self._step_rewards(batch, old))
        flat = [value for group in rewards for one in group for value in one]
        metrics |= {"prm/step_reward": float(np.mean(flat)), "prm/step_reward_deviation": float(np.std(flat))}
        own = self.recipe.steps
        return step_advantages(rewards, own.pool, own.floor, own.spread, own.most), metrics

    def _step_rewards(self, batch: _Batch, old: Sequence[Tensor]) -> list[float]:
        """A reward a row, under the process reward model as it is now."""
        own, new = self.recipe.steps, self.learner.logprobs(batch.rows, "prm")
        return [float(step_reward(a[None].double(), b[None].double(), torch.ones(1, len(a)), own.beta, own.per_token))
                for a, b in zip(new, old, strict=True)]  # fmt: skip

    def _update_prm(self, batch: _Batch, old: Sequence[Tensor]) -> dict[str, float]:
        """One exact update in constant memory: scores, a coefficient a trajectory, gradients a few rows at a time.

        The authors' release cuts this gradient, so its process reward model never learns; the paper does not.
        """
        own = self.recipe.steps
        scores = [[sum(turns) for turns in group] for group in batch.nested(self._step_rewards(batch, old))]
        found = [pairs(rewards, own.pairs, own.margin) for rewards in batch.rewards]
        count = sum(map(len, found))
        if not count:
            return {"prm/pairs": 0.0}
        loss, right, weights = 0.0, 0, []
        for group, group_pairs, turns in zip(scores, found, batch.turns, strict=True):
            coefficients, part = pair_coefficients(group, group_pairs, count)
            loss += part
            right += sum(group[better] > group[worse] for better, worse in group_pairs)
            weights += [value for value, many in zip(coefficients, turns, strict=True) for _ in range(many)]

        def part_of_loss(new_BT: Tensor, rows: Padded, places: Sequence[int]) -> Tensor:
            old_BT = aligned([old[place] for place in places], rows.written, new_BT.device)
            weight_B = torch.tensor([weights[place] for place in places], device=new_BT.device)
            return (weight_B * step_reward(new_BT, old_BT, rows.mask_BT, own.beta, own.per_token)).sum()

        self.learner.backward(batch.rows, "prm", part_of_loss)
        norm = self.learner.step("prm")
        return {"prm/pairs": float(count), "prm/loss": loss, "prm/pair_accuracy": right / count, "prm/norm": norm}

    # -- the policy

    def _update(
        self, batch: _Batch, old: Sequence[Tensor] | None, advantages: Sequence[Sequence[Floats]], iteration: int
    ) -> dict[str, float]:
        """Without `old` the policy is still what it was: its own log-probabilities are the old ones."""
        own, rows = self.recipe.outcome, batch.rows
        per_row = [float(value) for group in advantages for one in group for value in one]
        if self.recipe.replay.iterations:
            assert old is not None
            rows, old, per_row = self._replayed(Learned(rows, old, per_row), iteration)
        divisor = policy_divisor([len(row.written) for row in rows], own.ratio)
        tokens = max(1, sum(len(row.written) for row in rows))
        penalties = self._penalties(rows)
        sums = {"policy/loss": 0.0, "policy/kl": 0.0, "policy/clipped": 0.0}

        def part_of_loss(new_BT: Tensor, part: Padded, places: Sequence[int]) -> Tensor:
            def lay_out(values: Sequence[Tensor]) -> Tensor:
                return aligned([values[place] for place in places], part.written, new_BT.device)

            found = policy_loss(
                new_BT, lay_out(old) if old else new_BT.detach(),
                torch.tensor([per_row[place] for place in places], device=new_BT.device),
                part.mask_BT, clip=Clip(own.clip_low, own.clip_high), ratio=own.ratio,
                penalties=[(lay_out(reference), weight) for reference, weight in penalties],
            )  # fmt: skip
            sums["policy/loss"] += found.loss.item() / divisor
            sums["policy/kl"] += found.kl.item() / tokens
            sums["policy/clipped"] += found.clipped.item() / divisor
            return found.loss / divisor

        norm = 0.0
        for _ in range(own.epochs):
            for name in sums:
                sums[name] = 0.0
            self.learner.backward(rows, "policy", part_of_loss)
            norm = self.learner.step("policy", self._rate(iteration))
        totals = [sum(values) for values in zip(*(one.values() for one in self.learner.gathered(sums)), strict=True)]
        metrics = dict(zip(sums, totals, strict=True))
        if not own.kl:
            del metrics["policy/kl"]
        return {**metrics, "policy/norm": norm}

    def _replayed(self, new: Learned, iteration: int) -> Learned:
        """The new turns and kept ones beside them; the new ones are kept for later."""
        rng = random.Random(f"{self.recipe.seed}/replay/{iteration}")
        kept = self.replay.drawn(round(self.recipe.replay.share * len(new.rows)), rng)
        self.replay.add(new)
        return new + kept

    def _penalties(self, rows: Sequence[Row]) -> list[tuple[list[Tensor], float]]:
        """Log-probabilities that the policy is held near, each with the weight of the penalty."""
        kl, previous = self.recipe.outcome.kl, self.recipe.replay.previous
        found = []
        if kl * (1 - previous):
            found.append((self._reference(rows), kl * (1 - previous)))
        if kl * previous:
            found.append((self.learner.logprobs(rows, "policy"), kl * previous))
        return found

    def _reset(self, iteration: int) -> None:
        if self.recipe.replay.reset and iteration == self.recipe.replay.reset:
            adapted = self.learner.adapted
            adapted.write("reference", adapted.weights("policy"))

    def _reference(self, rows: Sequence[Row]) -> list[Tensor]:
        """Log-probabilities of what the run began with."""
        adapted = self.learner.adapted
        return self.learner.logprobs(rows, "reference" if "reference" in adapted.names else "base")

    def _rate(self, iteration: int) -> float:
        own = self.recipe
        return own.rate * (min(1.0, (iteration + 1) / own.warmup) if own.warmup else 1.0)


def _in_order(shares: Sequence[Sequence[Group]]) -> list[Group]:
    """The groups of all processes as one process has them: each played every so-many-th history."""
    longest = max(map(len, shares))
    return [share[place] for place in range(longest) for share in shares if place < len(share)]


def rollout_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Rewards and their parts, failures, and how much was written."""
    every = [one for group in groups for one in group.trajectories]
    scored = [one for one in every if one.reward is not None]
    metrics = {"rollout/trajectories": float(len(every)), "rollout/failed": float(len(every) - len(scored))}
    if not scored:
        return metrics
    rewards = [one.reward or 0.0 for one in scored]
    metrics |= {"reward/mean": float(np.mean(rewards)), "reward/deviation": float(np.std(rewards)),
                "reward/best": max(rewards)}  # fmt: skip
    alike = [len({one.reward for one in group.scored}) == 1 for group in groups if group.scored]
    metrics["reward/degenerate_groups"] = float(np.mean(alike))
    for part in sorted({name for one in scored for name in one.parts}):
        metrics[f"reward/part/{part}"] = float(np.mean([one.parts[part] for one in scored if part in one.parts]))
    for name in sorted({name for one in scored for name in one.measured}):
        metrics[f"rollout/{name}"] = float(np.mean([one.measured[name] for one in scored if name in one.measured]))
    written = [len(step.ids) for one in scored for step in one.steps]
    if written:
        metrics["rollout/tokens_a_turn"] = float(np.mean(written))
    return metrics


def _placed(groups: Sequence[Group], advantages: Sequence[Sequence[Floats]]) -> list[list[Floats | None]]:
    """The advantages beside all trajectories, the failed ones too."""
    left = iter(advantages)
    found: list[list[Floats | None]] = []
    for group in groups:
        own = iter(next(left, ()) if group.scored else ())
        found.append([next(own, None) if one.reward is not None else None for one in group.trajectories])
    return found
