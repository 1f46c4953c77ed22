"""What a run goes on from: adapters and the state of their optimizers, whole and without pickle.

A run on several processes, sharded or not, goes on with any other number of them.

Randomness needs no keeping: an iteration's is made of the seed and its number alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agentmem.errors import ConfigError, boundary
from agentmem.train.adapters import Adapted, Which
from agentmem.train.learner import Learner
from agentmem.train.sharding import part, whole

_OPTIMIZER = "optimizer-{}.safetensors"


class Kept(NamedTuple):
    """All that a run goes on from, whole."""

    adapters: Mapping[Which, Mapping[str, Tensor]]
    optimizers: Mapping[str, Mapping[str, Tensor]]


def gathered(learner: Learner) -> Kept:
    """A copy of what there is to keep; of a sharded model all processes ask at once."""
    adapted = learner.adapted
    states = {name: {f"{place}.{key}": whole(torch.as_tensor(value)).detach().to("cpu", copy=True).contiguous()
                     for place, own in optimizer.state_dict()["state"].items() for key, value in own.items()}
              for name, optimizer in learner.optimizers.items()}  # fmt: skip
    return Kept({name: adapted.weights(name) for name in adapted.names}, states)


def save(learner: Learner, folder: Path, kept: Kept | None = None) -> None:
    """Write the adapters, each in PEFT's form in a folder of its name, and the optimizers beside them.

    Args:
        learner: of the run.
        folder: is there, and empty.
        kept: what `gathered` gave; None gathers it now.
    """
    from safetensors.torch import save_file

    kept = kept or gathered(learner)
    learner.adapted.save(folder, kept.adapters)
    for name, tensors in kept.optimizers.items():
        save_file(dict(tensors), folder / _OPTIMIZER.format(name))
    (folder / "adapters.json").write_text(json.dumps(list(learner.adapted.names)), "utf-8")


def read(learner: Learner, folder: Path) -> None:
    """Take over what `save` wrote. Raises ConfigError when it is of another base or of another kind of run."""
    from safetensors.torch import load_file

    with boundary(ConfigError, f"{folder}: no checkpoint"):
        names = json.loads((folder / "adapters.json").read_text("utf-8"))
    if set(names) != set(learner.adapted.names):
        raise ConfigError(f"{folder}: has the adapters {', '.join(names)}, not {', '.join(learner.adapted.names)}; "
                          "resume with the settings that the run began with")  # fmt: skip
    for name in learner.adapted.names:
        learner.adapted.read(name, folder / name)
    for name, optimizer in learner.optimizers.items():
        with boundary(ConfigError, f"{folder}: the optimizer of {name}"):
            _restore(optimizer, load_file(folder / _OPTIMIZER.format(name)))


def _restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        place, _, key = name.partition(".")
        state.setdefault(int(place), {})[key] = part(value, parameters[int(place)])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def optimizers(adapted: Adapted, rates: Mapping[Which, float]) -> dict[str, torch.optim.Optimizer]:
    """AdamW for each adapter that learns, without weight decay: low-rank changes begin at nothing."""
    return {name: torch.optim.AdamW(adapted.parameters_of(name), lr=rate, weight_decay=0.0)
            for name, rate in rates.items()}  # fmt: skip
