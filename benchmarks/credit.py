"""Kinds of credit compared: python -m benchmarks.credit [--seeds 8] [--iterations 80] [--out runs/credit].

A tiny transformer is trained from scratch to do the made-up memory task (agentmem/train/synthetic.py) sloppily, and
then fine-tuned from there: outcome copied to all turns (GRPO, RLOO) and step rewards (OPRL, by pool). Every kind sees
the same histories in the same order. Curves with bands, and rollouts needed to reach what GRPO ends with.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from transformers import LlamaConfig, LlamaForCausalLM

from agentmem.train import checkpoints
from agentmem.train.adapters import Adapted, Which
from agentmem.train.advantages import step_advantages
from agentmem.train.learner import Learner
from agentmem.train.recipes import Outcome, RFTRecipe, StepCredit
from agentmem.train.rows import Row, padded
from agentmem.train.samplers import AdaptedSampler
from agentmem.train.synthetic import (
    ADD,
    END,
    NONE,
    SLOT,
    SLOTS,
    VALUE,
    VALUES,
    VOCABULARY,
    Lives,
    Notes,
    Turn,
    life,
    prompt_of,
    right_action,
)  # fmt: skip
from agentmem.train.trainer import Trainer
from agentmem.train.values import Group

HISTORIES, GROUP, TURNS = 4, 8, 10
RATE = 3e-3
STEPS = StepCredit(beta=0.5, rate=6e-3, spread="batch", most=0.5)
"""Tuned on two seeds that are not among the reported ones (100 and 101), see LOG.md."""

KINDS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "rloo": {"outcome": Outcome(estimator="rloo")},
    "oprl-group": {"credit": "oprl", "steps": STEPS},
    "oprl-turn": {"credit": "oprl", "steps": STEPS.model_copy(update={"pool": "turn"})},
    "oprl-batch": {"credit": "oprl", "steps": STEPS.model_copy(update={"pool": "batch"})},
}


def tiny_model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, hidden_size=48, intermediate_size=96, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=4)
    )  # fmt: skip


def sloppy_model(seed: int, steps: int = 400, right: float = 0.5) -> LlamaForCausalLM:
    """A transformer of 49,000 weights, trained on actions of which a share is right and the rest made up."""
    torch.manual_seed(seed)
    model = tiny_model()
    rng = random.Random(f"sloppy/{seed}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = [row for _ in range(13) for row in _sloppy_life(rng, right)]
        batch = padded(rows, "cpu")
        places = (batch.attention_BL.cumsum(1) - 1).clamp(min=0)
        logits = model(input_ids=batch.ids_BL, attention_mask=batch.attention_BL, position_ids=places).logits
        said = logits[:, -batch.written - 1 : -1].log_softmax(-1)
        told = said.gather(-1, batch.ids_BL[:, -batch.written :, None])[..., 0]
        loss = -(told * batch.mask_BT).sum() / batch.mask_BT.sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model.eval()


def _sloppy_life(rng: random.Random, right: float) -> list[Row]:
    notes, rows = Notes(3), []
    for turn in life(rng, TURNS).turns:
        action = right_action(turn)
        if rng.random() > right:
            made_up = [ADD, SLOT + rng.randrange(SLOTS), VALUE + rng.randrange(VALUES), END]
            action = made_up if rng.random() < 0.5 else [NONE, END]
        rows.append(Row(prompt_of(notes, turn), action))
        notes.write(action)
    return rows


def trainer_of(
    kind: str, seed: int, start: dict[str, torch.Tensor], changes: dict[str, Any], of: type[Trainer] = Trainer
) -> Trainer:
    """A run of this kind, from the weights `start`, with changes to its recipe."""
    model = tiny_model()
    model.load_state_dict(start)
    recipe = RFTRecipe.model_validate(
        {"rate": RATE, "seed": seed, "tokens": 8192, "rollouts": {"histories": HISTORIES, "group": GROUP},
         **KINDS[kind], **changes})  # fmt: skip
    names: tuple[Which, ...] = ("policy", "prm") if recipe.credit == "oprl" else ("policy",)
    adapted = Adapted(model, rank=8, alpha=16, names=names, seed=seed)
    rates = {"policy": recipe.rate, "prm": recipe.steps.rate}
    optimizers = checkpoints.optimizers(adapted, {name: rates[name] for name in names})
    learner = Learner(adapted, optimizers, tokens=recipe.tokens,
                      norms={"policy": recipe.norm, "prm": recipe.steps.norm})  # fmt: skip
    return of(learner, Lives(AdaptedSampler(adapted, {END}, rows=512), seed=seed, turns=TURNS), recipe)


def curve(trainer: Trainer, iterations: int) -> list[float]:
    """Mean reward of every iteration's rollouts."""
    return [trainer.iterate(number).metrics["reward/mean"] for number in range(iterations)]


# -- how good the credit is: python -m benchmarks.credit --look -------------------------------------------------------


class Looking(Trainer):
    """Keeps how well step rewards tell right from wrong actions, in turns that tell something: an AUC a reading."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.aucs: list[float] = []

    def _turns(self, group: Group) -> Sequence[Turn]:
        assert isinstance(self.environment, Lives)
        return self.environment.lives[int(group.name.removeprefix("life "))].turns

    def _right(self, batch: Any) -> list[list[list[bool]]]:
        """[group][trajectory][turn]"""
        wanted = [[right_action(turn) for turn in self._turns(group)] for group in batch.groups]
        return [[[list(step.ids) == action for step, action in zip(one.steps, actions, strict=True)]
                 for one in group.scored] for group, actions in zip(batch.groups, wanted, strict=True)]  # fmt: skip

    def _step_rewards(self, batch: Any, old: Any) -> list[float]:
        found = super()._step_rewards(batch, old)
        tells = [turn.tells is not None for group in batch.groups for _ in group.scored for turn in self._turns(group)]
        right = [ok for group in self._right(batch) for one in group for ok in one]
        own = [(reward, ok) for reward, ok, counts in zip(found, right, tells, strict=True) if counts]
        self.aucs.append(float(roc_auc_score([ok for _, ok in own], [reward for reward, _ in own])))
        return found


class Oracle(Looking):
    """Step credit that knows what is right."""

    def _step_credit(self, batch: Any, old: Any) -> Any:
        own = self.recipe.steps
        rewards = [[[float(ok) for ok in one] for one in group] for group in self._right(batch)]
        return step_advantages(rewards, own.pool, own.floor), {}


def look(seed: int, iterations: int) -> None:
    """AUC of step rewards where the policy stands still and where it moves, by quarters of the iterations, and the
    rewards of GRPO and of perfect step credit, by fifths."""
    start = sloppy_model(seed).state_dict()
    still = {"rate": 1e-12, "steps": {"beta": 0.5, "rate": 3e-3, "alpha": 0.0}}
    ways = {"still, rate 3e-3": still, "moving, rate 3e-3": {"steps": still["steps"]},
            "moving, rate 1e-2": {"steps": {"beta": 0.5, "rate": 1e-2, "alpha": 0.0}},
            "moving, from start": {"steps": {**still["steps"], "reference": "start"}}}  # fmt: skip
    for name, changes in ways.items():
        trainer = trainer_of("oprl-turn", seed, start, changes, Looking)
        curve(trainer, iterations)
        assert isinstance(trainer, Looking)
        after = trainer.aucs[1::2]  # of each pair the second one is after the update
        quarters = np.array_split(np.array(after), 4)
        print(
            f"AUC {name}: {' '.join(f'{part.mean():.2f}' for part in quarters)} (quarters of {iterations})", flush=True
        )
    for kind, of in (("grpo", Trainer), ("oprl-turn", Oracle)):
        changes = {"steps": {"pool": "turn"}} if of is Oracle else {}
        parts = np.array_split(np.array(curve(trainer_of(kind, seed, start, changes, of), iterations)), 5)
        print(
            f"reward {'oracle' if of is Oracle else kind}: {' '.join(f'{part.mean():.3f}' for part in parts)} (fifths)"
        )


def smoothed(rewards: Sequence[float], over: int = 10) -> np.ndarray:
    """(iterations,) mean of the last `over` iterations, fewer at the beginning."""
    sums = np.cumsum([0.0, *rewards])
    ends = np.arange(1, len(rewards) + 1)
    starts = np.maximum(0, ends - over)
    return (sums[ends] - sums[starts]) / (ends - starts)


def to_reach(rewards: Sequence[float], goal: float) -> int | None:
    """Rollouts after which the smoothed reward first reaches `goal`; None when it never does."""
    over = np.flatnonzero(smoothed(rewards) >= goal)
    return int(over[0] + 1) * HISTORIES * GROUP if len(over) else None


def summary(out: Path) -> str:
    """A table of all curves in `out`, as Markdown, and curves.png beside them: mean and standard error over seeds."""
    curves: dict[str, dict[int, list[float]]] = {}
    for path in sorted(out.glob("*-[0-9]*.json")):
        kind, _, seed = path.stem.rpartition("-")
        curves.setdefault(kind, {})[int(seed)] = json.loads(path.read_text())
    seeds = sorted(set.intersection(*(set(own) for own in curves.values())))
    goals = {seed: float(smoothed(curves["grpo"][seed])[-1]) for seed in seeds}
    lines = ["| credit | seeds | reward at the end | rollouts to reach GRPO's end (median) | reached by |",
             "| --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for kind in [kind for kind in KINDS if kind in curves]:
        ends = np.array([smoothed(curves[kind][seed])[-1] for seed in seeds])
        needed = [to_reach(curves[kind][seed], goals[seed]) for seed in seeds]
        reached = [count for count in needed if count is not None]
        error = ends.std(ddof=1) / np.sqrt(len(ends)) if len(ends) > 1 else 0.0
        median = f"{np.median([np.inf if count is None else count for count in needed]):,.0f}"
        end = f"{ends.mean():.3f} ± {error:.3f}"
        lines.append(f"| {kind} | {len(seeds)} | {end} | {median} | {len(reached)} of {len(seeds)} |")
    _draw({kind: np.stack([smoothed(own[seed]) for seed in seeds]) for kind, own in curves.items()}, out / "curves.png")
    return "\n".join(lines)


def _draw(curves: dict[str, np.ndarray], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.5))
    for kind, rewards_SI in curves.items():
        rollouts = np.arange(1, rewards_SI.shape[1] + 1) * HISTORIES * GROUP
        mean, error = rewards_SI.mean(0), rewards_SI.std(0) / np.sqrt(max(1, len(rewards_SI) - 1))
        axes.plot(rollouts, mean, label=kind)
        axes.fill_between(rollouts, mean - error, mean + error, alpha=0.2)
    axes.set(xlabel="rollouts", ylabel="mean reward (last 10 iterations)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=80)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--out", type=Path, default=Path("runs/credit"))
    parser.add_argument("--set", default="{}", help="JSON of changes to the recipe, for trying")
    parser.add_argument("--look", action="store_true", help="how good step credit is, of the first seed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.look:
        look(options.first_seed, options.iterations)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    changes = json.loads(options.set)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        start = sloppy_model(seed).state_dict()
        for kind in options.kinds.split(","):
            path = options.out / f"{kind}-{seed}.json"
            if not path.exists():
                rewards = curve(trainer_of(kind, seed, start, changes), options.iterations)
                path.write_text(json.dumps(rewards))
                last = smoothed(rewards)
                print(f"{kind} seed {seed}: {last[0]:.3f} -> {last[len(last) // 2]:.3f} -> {last[-1]:.3f}", flush=True)
    print(summary(options.out))


if __name__ == "__main__":
    main()
