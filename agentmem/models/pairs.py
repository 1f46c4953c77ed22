"""Small models over MiniLM: two texts read together, and which slot of a person's life a text fills.

The base is all-MiniLM-L6-v2, which is here anyway as the default embedder; a task adds low-rank changes to it (LoRA,
Hu et al. 2021, arXiv 2106.09685) and a linear head over the first token, a few megabytes of safetensors. All tasks of a
process share its one copy (agentmem/models/minilm.py).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import ModelError, boundary
from agentmem.models.likelihood import best_device
from agentmem.models.minilm import DIM, mean_tokens, shared

if TYPE_CHECKING:
    import torch

Pair = tuple[str, str]

MAX_TOKENS = 160
"""Of both texts together; the longer one is cut."""

SLOT_TOKENS = 48
"""Of a text that is looked at for its slot; what comes later is seldom what it is about."""

BATCH = 32

TARGETS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
"""The linear layers of a BERT block that are changed; a name stands for every layer that ends in it."""


class Adapter(NamedTuple):
    """What a task adds to the base."""

    labels: tuple[str, ...]
    low_rank: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    """By weight of the base: A (rank, in) and B (out, rank); B @ A is added to it."""
    head_weight: NDArray[np.float32]
    """(labels, dim)"""
    head_bias: NDArray[np.float32]
    """(labels,)"""
    about: Mapping[str, str]
    """What it was fitted from."""


def save_adapter(adapter: Adapter, path: Path) -> None:
    """Write an adapter as safetensors: low-rank weights in a byte each with a scale a rank, the head in half precision.

    What is read again differs by a 200th of the largest weight of its rank at most.
    """
    from safetensors.numpy import save_file

    tensors = {"head.weight": adapter.head_weight.astype(np.float16), "head.bias": adapter.head_bias.astype(np.float16)}
    for name, sides in adapter.low_rank.items():
        for side, weight, of_rank in zip("AB", sides, (1, 0), strict=True):
            scale = np.abs(weight).max(axis=of_rank, keepdims=True) / 127
            tensors[f"{name}.{side}"] = np.round(weight / np.maximum(scale, 1e-12)).astype(np.int8)
            tensors[f"{name}.{side}.scale"] = scale.astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
        str(path),
        metadata={**adapter.about, "labels": json.dumps(adapter.labels)},
    )


def load_adapter(path: Path) -> Adapter:
    """The adapter in `path`. Raises ModelError when it cannot be read."""
    from safetensors import safe_open

    with boundary(ModelError, f"{path}"), safe_open(str(path), framework="numpy") as file:
        about = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118  no dict
        names = [name.removesuffix(".A") for name in tensors if name.endswith(".A")]
        for name in [name for name in tensors if name.endswith(".scale")]:
            tensors[name.removesuffix(".scale")] *= tensors[name]
        return Adapter(
            labels=tuple(json.loads(about.pop("labels"))),
            low_rank={name: (tensors[f"{name}.A"], tensors[f"{name}.B"]) for name in names},
            head_weight=tensors["head.weight"],
            head_bias=tensors["head.bias"],
            about=about,
        )


class PairModel:
    """The base with one adapter. Loads at the first pair; safe to share between threads.

    Args:
        path: of the adapter.
        device: cpu, cuda or mps; None chooses. On a CPU 16 short pairs take about 20 ms.
    """

    def __init__(self, path: Path, device: str | None = None) -> None:
        self._path, self._device = path, device
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def probabilities(self, pairs: Sequence[Pair], /) -> NDArray[np.float32]:
        """(len(pairs), labels of the adapter); rows sum to 1. Raises ModelError."""
        with self._lock, boundary(ModelError, f"pair model {self._path.name}"):
            if self._loaded is None:
                self._loaded = _Loaded(self._path, self._device)
            return self._loaded.probabilities(pairs)


class SlotEncoder:
    """The base with an adapter that brings texts together which fill one slot. Loads at the first text; thread-safe."""

    dim = DIM

    def __init__(self, path: Path, device: str | None = None) -> None:
        self.name = path.stem
        self._path, self._device = path, device
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Unit vectors (len(texts), dim). Raises ModelError."""
        with self._lock, boundary(ModelError, f"slot encoder {self._path.name}"):
            if self._loaded is None:
                self._loaded = _Loaded(self._path, self._device)
            return self._loaded.vectors(texts)


class _Loaded:
    """An adapter in memory, beside the base that all share."""

    def __init__(self, path: Path, device: str | None) -> None:
        import torch

        adapter = load_adapter(path)
        device = device or best_device()
        self._base = shared(device)
        self._low_rank = {name: (torch.from_numpy(a_RI.T).to(device), torch.from_numpy(b_OR.T).to(device))
                          for name, (a_RI, b_OR) in adapter.low_rank.items()}  # fmt: skip
        self._weight_DC = torch.from_numpy(adapter.head_weight.T).to(device)
        self._bias_C = torch.from_numpy(adapter.head_bias).to(device)

    def probabilities(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        rows: list[NDArray[np.float32]] = [np.zeros((0, len(self._bias_C)), np.float32)]
        order = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))  # batches of like lengths
        with self._base.changed(self._low_rank) as (tokenizer, model):
            for start in range(0, len(order), BATCH):
                batch = [pairs[place] for place in order[start : start + BATCH]]
                logits_BC = first_tokens(model, tokenizer, batch, model.device) @ self._weight_DC + self._bias_C
                rows.append(logits_BC.softmax(-1).float().cpu().numpy())
        found = np.concatenate(rows)
        back = np.empty_like(found)
        back[order] = found
        return back

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [np.zeros((0, DIM), np.float32)]
        with self._base.changed(self._low_rank) as (tokenizer, model):
            for start in range(0, len(texts), BATCH):
                found = mean_tokens(model, tokenizer, texts[start : start + BATCH], model.device, SLOT_TOKENS)
                rows.append(found.float().cpu().numpy())
        return np.concatenate(rows)


def first_tokens(model: Any, tokenizer: Any, pairs: Sequence[Pair], device: str) -> torch.Tensor:
    """(len(pairs), dim): the last hidden state of the first token."""
    first, second = zip(*pairs, strict=True)
    encoded = tokenizer(
        list(first), list(second), truncation="longest_first", max_length=MAX_TOKENS, padding=True, return_tensors="pt"
    )
    return model(**encoded.to(device)).last_hidden_state[:, 0]
