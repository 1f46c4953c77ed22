"""One process of a run by `rft`, of which rank 1 may die on the way. Run by test_train_processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agentmem.train import rft as module
from agentmem.train.histories import read_examples
from agentmem.train.recipes import RFTRecipe, read_recipe

if __name__ == "__main__":
    data, base, out = (Path(word) for word in sys.argv[1:4])
    real = module.iterate

    def iterate(trainer, number):
        if os.environ["DIE_AT"] == str(number) and trainer.learner.rank == 1:
            os._exit(9)
        return real(trainer, number)

    module.iterate = iterate
    changes = {"iterations": 4, "save_every": 1, "rollouts.group": 2, "rollouts.histories": 2, "rollouts.max_tokens": 4}
    recipe = read_recipe(RFTRecipe, None, changes)
    setup = module.Setup(base=str(base), rewards={"edits": 1.0, "unreadable": -1.0}, reconcile=False, rank=4)
    module.rft(read_examples(data), out, recipe, setup, resume="--resume" in sys.argv)
