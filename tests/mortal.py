"""One process of a run by `rft`, of which rank 1 may die on the way. Run by test_train_processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from agentmem.train import rft as module
from agentmem.train.adapters import Adapted
from agentmem.train.histories import read_examples
from agentmem.train.recipes import RFTRecipe, read_recipe
from agentmem.train.sharding import whole

CHANGES = {"save_every": 1, "rollouts.group": 2, "rollouts.histories": 2, "rollouts.max_tokens": 4}


def train(data: Path, base: Path, out: Path, *, iterations: int = 4, resume: bool = False) -> None:
    recipe = read_recipe(RFTRecipe, None, {**CHANGES, "iterations": iterations})
    setup = module.Setup(base=str(base), rewards={"edits": 1.0, "unreadable": -1.0}, reconcile=False, rank=4)
    module.rft(read_examples(data), out, recipe, setup, resume=resume)


def check_sharded(model: Adapted, base: Path) -> None:
    """Every process gave its part of the base's weights as they are on the disk."""
    assert model.sharded
    weights, seen = load_file(base / "model.safetensors"), 0
    for name, value in model.model.get_base_model().named_parameters():
        plain = name.replace(".base_layer", "")
        if plain in weights:
            assert torch.equal(whole(value.detach()), weights[plain]), plain
            seen += 1
    assert seen == len(weights)


if __name__ == "__main__":
    real = module.iterate

    def iterate(trainer, number):
        if number == 0 and "ACCELERATE_USE_FSDP" in os.environ:
            check_sharded(trainer.learner.adapted, base)
        if os.environ["DIE_AT"] == str(number) and trainer.learner.rank == 1:
            os._exit(9)
        return real(trainer, number)

    module.iterate = iterate
    data, base, out = (Path(word) for word in sys.argv[1:4])
    train(data, base, out, resume="--resume" in sys.argv)
