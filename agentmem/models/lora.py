"""LoRA adapters in PEFT's form, read and merged without PEFT (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agentmem.errors import ConfigError, boundary

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PARTS = "adapter_model-*-of-*.safetensors"
"""In place of WEIGHTS where one file would be too large; `agentmem train export` makes one file of them again."""

_BEYOND = (
    "use_rslora", "use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "modules_to_save",
    "rank_pattern", "alpha_pattern", "trainable_token_indices", "target_parameters", "layer_replication",
    "alora_invocation_tokens", "kasa_config", "monteclora_config", "velora_config", "arrow_config",
)  # fmt: skip
"""Settings of PEFT 0.21 under which an adapter is more than W + scale * B @ A."""

_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Values of init_lora_weights that leave the base as it was; the others (pissa, olora, loftq, …) change it too."""

_NAME = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")


class LoraAdapter(NamedTuple):
    """What an adapter adds to its base."""

    folder: Path
    base: str
    """Name of the base it was trained on."""
    scale: float
    low_rank: Mapping[str, tuple[Tensor, Tensor]]
    """By linear layer of the base: A (rank, in) and B (out, rank); scale * B @ A is added to its weight (out, in)."""


def adapter_folder(path: Path) -> Path:
    """`path` when an adapter lies in it, else its folder that holds one; of several, the one called `policy`.

    Raises ConfigError.
    """
    if (path / CONFIG).is_file():
        return path
    inside = sorted(found.parent for found in path.glob(f"*/{CONFIG}"))
    if not inside:
        raise ConfigError(f"{path}: no trained adapter lies there; its folder holds {CONFIG}")
    chosen = inside if len(inside) == 1 else [folder for folder in inside if folder.name == "policy"]
    if not chosen:
        names = ", ".join(folder.name for folder in inside)
        raise ConfigError(f"{path}: holds several adapters ({names}); name one of these folders")
    return chosen[0]


def adapter_config(folder: Path) -> dict[str, Any]:
    """The settings of the adapter in `folder`. Raises ConfigError when it is no plain LoRA."""
    with boundary(ConfigError, f"adapter {folder}: {CONFIG}"):
        config = dict(json.loads((folder / CONFIG).read_text("utf-8")))
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ConfigError(f"adapter {folder}: is of PEFT's type {kind}; only LORA can be used")
    beyond = [name for name in _BEYOND if config.get(name)]
    beyond += ["bias"] if config.get("bias", "none") != "none" else []
    beyond += [] if config.get("init_lora_weights") in _PLAIN_STARTS else ["init_lora_weights"]
    if beyond:
        raise ConfigError(f"adapter {folder}: uses {', '.join(beyond)}; only plain LoRA of linear layers can be used")
    weight_files(folder)
    return config


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights, in order. Raises ConfigError when one is missing."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    parts = sorted(folder.glob(PARTS))
    if not parts:
        raise ConfigError(f"adapter {folder}: has no {WEIGHTS}; save it as safetensors")
    count = parts[0].stem.rpartition("-")[2]
    if len(parts) != int(count) or any(not part.stem.endswith(f"-of-{count}") for part in parts):
        raise ConfigError(f"adapter {folder}: has {len(parts)} parts of {int(count)}; copy the others there too")
    return parts


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights in `folder` by PEFT's names, from one file or several. Raises ConfigError when one is missing."""
    from safetensors.torch import load_file

    return {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}


def read_adapter(folder: Path) -> LoraAdapter:
    """The adapter in `folder`, on the CPU. Raises ConfigError when it cannot be read or is no plain LoRA."""
    config = adapter_config(folder)
    with boundary(ConfigError, f"adapter {folder}: {WEIGHTS}"):
        tensors = read_weights(folder)
        rank, scale = int(config["r"]), config["lora_alpha"] / config["r"]
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise ConfigError(f"adapter {folder}: holds {name}; only plain LoRA of linear layers can be used")
        sides.setdefault(match["layer"], {})[match["side"]] = tensor
    for layer, pair in sides.items():
        if pair.keys() != {"A", "B"} or not rank == pair["A"].shape[0] == pair["B"].shape[1]:
            raise ConfigError(f"adapter {folder}: {layer} has no A and B of rank {rank}")
    if not sides:
        raise ConfigError(f"adapter {folder}: {WEIGHTS} is empty")
    low_rank = {layer: (pair["A"], pair["B"]) for layer, pair in sides.items()}
    return LoraAdapter(folder, str(config.get("base_model_name_or_path") or ""), scale, low_rank)


def merge(model: Any, adapter: LoraAdapter) -> None:
    """Add the adapter to the weights of a transformers model, for good; computed in float32.

    Raises ConfigError, and changes nothing, when a layer is missing or of another shape.
    """
    import torch

    layers = dict(model.named_modules())
    embedding = model.get_input_embeddings().weight
    for name, (a_RI, b_OR) in adapter.low_rank.items():
        layer, wanted = layers.get(name), (b_OR.shape[0], a_RI.shape[1])
        found = tuple(layer.weight.shape) if isinstance(layer, torch.nn.Linear) else None
        if found != wanted:
            raise ConfigError(
                f"adapter {adapter.folder}: was made for base {adapter.base!r}, whose {name} is {wanted}, out and in; "
                f"here it is {found or 'no linear layer'}"
            )
        if layers[name].weight is embedding:
            raise ConfigError(f"adapter {adapter.folder}: changes {name}, which the base shares with its embeddings")
    with torch.no_grad():
        for name, (a_RI, b_OR) in adapter.low_rank.items():
            weight_OI = layers[name].weight
            a_RI, b_OR = a_RI.to(weight_OI.device, torch.float32), b_OR.to(weight_OI.device, torch.float32)
            weight_OI.copy_(weight_OI.float() + adapter.scale * (b_OR @ a_RI))
