"""One process of a run that samples from the model it trains, which is sharded. Run by test_train_processes."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from agentmem.models.likelihood import OptionScorer
from agentmem.train import checkpoints
from agentmem.train.adapters import Adapted, Which
from agentmem.train.learner import Learner
from agentmem.train.recipes import Outcome, RFTRecipe, Rollouts, StepCredit
from agentmem.train.samplers import AdaptedSampler
from agentmem.train.synthetic import END
from agentmem.train.trainer import Trainer
from agentmem.train.values import Group, Step, Trajectory
from tests.test_train_trainer import ROWS, adapted, tiny

NAMES: tuple[Which, ...] = ("policy", "prm", "reference")


class Words:
    """Reads numbers as the tokens that they are."""

    def __call__(self, text: str, **_) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}


class Sampled:
    """Histories of one to three turns, played by the policy and judged by the base: what comes of one depends on
    nothing else, so that it does not matter which process plays it. Their numbers of passes all differ."""

    def __init__(self, model) -> None:
        self._model, self._sampler = model, AdaptedSampler(model, {END})
        self._scorer = OptionScorer(model.model, Words())

    def __len__(self) -> int:
        return 6

    def play(self, places, times, rng):
        with self._model.only("base"):  # the first pass of all is one without adapters, in inference mode
            self._scorer.score(["9"], [["10"]])
        return [Group(str(place), [self._one(random.Random(100 * place + time)) for time in range(times)])
                for place in places]  # fmt: skip

    def _one(self, rng: random.Random) -> Trajectory:
        steps = []
        for _ in range(rng.randrange(1, 4)):
            prompt = [rng.randrange(9, 33) for _ in range(rng.randrange(2, 9))]
            steps += [Step(prompt, self._sampler.sample([prompt], rng.randrange(1, 6), rng)[0])]
        said = " ".join(str(token) for step in steps for token in step.ids)
        with self._model.only("base"):
            [found] = self._scorer.score([said], [["9 10", "11"]])
        return Trajectory(steps, float(found.mean[0]))


def learner_of(model: Adapted, accelerator) -> Learner:
    optimizers = {name: torch.optim.AdamW(model.parameters_of(name), lr=0.01) for name in ("policy", "prm")}
    return Learner(model, optimizers, accelerator=accelerator, tokens=24, norms={"policy": 1.0, "prm": 10.0})


def train(learner: Learner, iterations: list[int]) -> dict[str, torch.Tensor]:
    recipe = RFTRecipe(credit="oprl", rate=0.01, rollouts=Rollouts(histories=3, group=3),
                       outcome=Outcome(kl=0.1), steps=StepCredit(rate=0.01, pool="turn"))  # fmt: skip
    trainer = Trainer(learner, Sampled(learner.adapted), recipe)
    metrics = {number: trainer.iterate(number).metrics for number in iterations}
    return {f"metric.{number}.{name}": torch.tensor(value) for number, own in metrics.items()
            for name, value in own.items() if not name.startswith("speed")}  # fmt: skip


def save(learner: Learner, folder: Path) -> None:
    kept = checkpoints.gathered(learner)
    if not learner.rank:
        folder.mkdir()
        checkpoints.save(learner, folder, kept)
    if learner.ranks > 1:
        torch.distributed.barrier()


def alone(out: Path, iterations: list[int], start: Path | None = None) -> dict[str, torch.Tensor]:
    learner = learner_of(adapted(NAMES), None)
    if start is not None:
        checkpoints.read(learner, start)
    told = train(learner, iterations)
    save(learner, out)
    return told


def sharded(out: Path) -> None:
    """Two iterations with a checkpoint between them, from which it goes on with another model; with checkpointing."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = adapted(NAMES, checkpointing=True)
    model.shard()
    learner = learner_of(model, accelerator)
    told = train(learner, [0])
    save(learner, out / "half")
    other = adapted(NAMES, seed=9, checkpointing=True)
    other.shard()
    learner = learner_of(other, accelerator)
    checkpoints.read(learner, out / "half")
    told |= train(learner, [1])
    save(learner, out / "whole")
    held = sum(value.to_local().numel() for value in other.parameters())  # type: ignore[attr-defined]
    save_file(told | {"held": torch.tensor(held)}, out / f"told-{learner.rank}.safetensors")
    mixed = Adapted(tiny().bfloat16(), rank=4, names=NAMES)
    before = learner_of(mixed, None).logprobs(ROWS, "policy")
    mixed.shard()
    after = learner_of(mixed, accelerator).logprobs(ROWS, "policy")
    for one, two in zip(before, after, strict=True):
        torch.testing.assert_close(one, two)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sharded(Path(sys.argv[1]))
