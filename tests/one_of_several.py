"""One process of a training run: makes two iterations and writes the adapters. Run by test_train_processes."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from agentmem.train.learner import Learner
from agentmem.train.recipes import Outcome, RFTRecipe, Rollouts, StepCredit
from agentmem.train.trainer import Trainer
from agentmem.train.values import Group, Step, Trajectory
from tests.test_train_trainer import adapted


class Given:
    """Trajectories that depend on the history alone: whoever plays it, the same is trained on."""

    def __len__(self) -> int:
        return 6

    def play(self, places, times, rng):
        return [Group(str(place), [_trajectory(random.Random(100 * place + time)) for time in range(times)])
                for place in places]  # fmt: skip


def _trajectory(rng: random.Random) -> Trajectory:
    steps = [Step([rng.randrange(9, 33) for _ in range(rng.randrange(2, 9))],
                  [rng.randrange(9, 33) for _ in range(rng.randrange(1, 5))]) for _ in range(3)]  # fmt: skip
    return Trajectory(steps, rng.random())


def main(out: Path, several: bool) -> None:
    accelerator = None
    if several:
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=True)
    model = adapted()
    optimizers = {name: torch.optim.AdamW(model.parameters_of(name), lr=0.01) for name in ("policy", "prm")}
    learner = Learner(model, optimizers, accelerator=accelerator, tokens=24, norms={"policy": 1.0, "prm": 10.0})
    recipe = RFTRecipe(credit="oprl", rate=0.01, rollouts=Rollouts(histories=3, group=3),
                       outcome=Outcome(kl=0.1), steps=StepCredit(rate=0.01, pool="turn"))  # fmt: skip
    trainer = Trainer(learner, Given(), recipe)
    metrics = [trainer.iterate(number).metrics for number in range(2)]
    kept = {f"{which}.{name}": value for which in ("policy", "prm") for name, value in model.weights(which).items()}
    kept |= {f"metric.{number}.{name}": torch.tensor(value) for number, own in enumerate(metrics)
             for name, value in own.items() if not name.startswith("speed")}  # fmt: skip
    save_file(kept, out / f"{learner.rank}-of-{learner.ranks}.safetensors")
    if several:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "several")
