"""One model shared out over processes (FSDP2): each holds a part of every weight, and all take part in every pass.

Layers are gathered one after the other in each pass, so processes must make equally many of them; what they read may
differ. `InStep` sees to it where nobody knows beforehand how many there will be.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from agentmem.errors import ConfigError


def shard(model: Any, device: str) -> None:
    """Leave each process its part of every weight: decoder layer by decoder layer, then what is left.

    Weights may lie on the CPU before: they move to the device a layer at a time, so that the whole model never has to
    fit. Gradients are summed over processes, not averaged: a loss is already divided by what the whole batch is. The
    root is put away after each pass too, so that the parameters found outside of passes are always the parts.

    Args:
        model: a PEFT model, its flags (`requires_grad`) as they are to be.
        device: kind of device: cpu (gloo) or cuda.

    Raises:
        ConfigError: the model does not say what its layers are.
    """
    base = model.get_base_model()
    names = set(getattr(base, "_no_split_modules", None) or ())
    layers = [module for module in base.modules() if type(module).__name__ in names]
    if not layers:
        raise ConfigError(f"{type(base).__name__}: does not name its layers, so it cannot be sharded (FSDP); "
                          "train without FSDP")  # fmt: skip
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for module in [*layers, model]:
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has neither mean nor scaled sums
    # The first pass fixes flags and kind of the gathered weights: it must be neither one without adapters, whose
    # gradients would then be lost, nor one in inference mode, whose tensors autograd refuses.
    with torch.no_grad():
        idle_pass(model)


def idle_pass(model: Any) -> None:
    """A pass that nobody needs."""
    model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=False)


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which a process may hold a part; of a sharded one all processes must ask at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """This process' part of a tensor that every process has, sharded as `like` is; itself where that is not."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


class InStep:
    """Lets processes make different numbers of passes through one sharded model.

    Before each pass in a block every process says that it is at work. One that has come to the end of its block makes
    idle passes for as long as somebody else is; all leave together.

    Args:
        model: as `shard` left it.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._on = model, False
        model.register_forward_pre_hook(self._announce, prepend=True)

    @contextlib.contextmanager
    def block(self) -> Iterator[None]:
        self._on = True
        try:
            yield
        finally:
            self._on = False
        with torch.no_grad():
            while self._at_work(False):
                idle_pass(self._model)

    def begin(self) -> None:
        """Before a pass with gradients: forget the order of the passes without, which only a backward pass would."""
        self._model.reset_iter_state()

    def _announce(self, *_: Any) -> None:
        if self._on:
            self._at_work(True)

    def _at_work(self, own: bool) -> bool:
        """Whether any process is."""
        count = torch.tensor([float(own)], device=next(self._model.parameters()).device)
        torch.distributed.all_reduce(count)
        return bool(count.item())
