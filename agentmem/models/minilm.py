"""all-MiniLM-L6-v2: one copy of a process, which embeds texts, and under the adapters of judges reads pairs.

Without sentence-transformers, whose import takes 1.7 s and 140 MB; the vectors are the same.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import ModelError, boundary
from agentmem.models.embed import BATCH, fingerprint, minilm_folder
from agentmem.models.likelihood import best_device
from agentmem.models.quiet import quiet_loading

if TYPE_CHECKING:
    import torch

LowRank = Mapping[str, tuple["torch.Tensor", "torch.Tensor"]]
"""By linear layer A (in, rank) and B (rank, out): x @ A @ B is added to what it gives."""

DIM = 384

TOKENS = 256
"""Of an embedded text; what comes later is cut."""


class MiniLM:
    """The embedder. Safe to share between threads.

    Args:
        device: cpu, cuda or mps; None chooses.

    Raises:
        ModelError: the weights cannot be had or read.
    """

    dim = DIM

    def __init__(self, device: str | None = None) -> None:
        self._base = shared(device or best_device())
        self.name = f"all-MiniLM-L6-v2@{fingerprint(minilm_folder())}"

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Unit vectors (len(texts), dim). Raises ModelError."""
        found_ND = np.zeros((len(texts), DIM), np.float32)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # batches of like lengths
        with boundary(ModelError, f"embedder {self.name}"):
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                with self._base.changed({}) as (tokenizer, model):
                    vectors = mean_tokens(model, tokenizer, [texts[place] for place in batch], model.device, TOKENS)
                found_ND[batch] = vectors.float().cpu().numpy()
        return found_ND


class Base:
    """The transformer on one device. What an adapter changes is added while it reads, in each thread its own."""

    def __init__(self, device: str) -> None:
        import torch

        self._tokenizer, model = base()
        self._model = model.to(device).eval()
        self._lock = threading.Lock()  # the fast tokenizer raises "Already borrowed" when two threads use it
        self._of_thread = threading.local()
        for name, layer in model.named_modules():
            if isinstance(layer, torch.nn.Linear):
                layer.register_forward_hook(functools.partial(self._add, name))

    @contextmanager
    def changed(self, low_rank: LowRank) -> Iterator[tuple[Any, Any]]:
        """Tokenizer and transformer, changed for this thread alone, and without gradients."""
        import torch

        self._of_thread.low_rank = low_rank
        with torch.inference_mode():
            yield self._tokenized, self._model

    def _tokenized(self, *texts: Any, **settings: Any) -> Any:
        with self._lock:
            return self._tokenizer(*texts, **settings)

    def _add(self, name: str, layer: Any, given: tuple[torch.Tensor], out_BTO: torch.Tensor) -> None:
        low_rank: LowRank = self._of_thread.low_rank
        if name in low_rank:
            a_IR, b_RO = low_rank[name]
            out_BTO.flatten(0, -2).addmm_(given[0].flatten(0, -2) @ a_IR, b_RO)


def shared(device: str) -> Base:
    """The one of this process on a device, loaded at the first call. Raises ModelError."""
    with _LOADING:
        return _base_on(device)


_LOADING = threading.Lock()
_base_on = functools.cache(Base)


def base() -> tuple[Any, Any]:
    """Tokenizer and transformer without its pooling, a new copy. Raises ModelError."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else a warning after every fork
    folder = minilm_folder()
    with boundary(ModelError, f"all-MiniLM-L6-v2 {folder}"), quiet_loading():
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer, AutoModel.from_pretrained(folder, local_files_only=True)


def mean_tokens(model: Any, tokenizer: Any, texts: Sequence[str], device: str, tokens: int) -> torch.Tensor:
    """(len(texts), dim): unit vectors of the mean of the last hidden states of at most so many tokens."""
    import torch

    encoded = tokenizer(list(texts), truncation=True, max_length=tokens, padding=True, return_tensors="pt").to(device)
    mask_BT1 = encoded["attention_mask"].unsqueeze(-1)
    hidden_BTD = model(**encoded).last_hidden_state
    return torch.nn.functional.normalize((hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1), dim=-1)
