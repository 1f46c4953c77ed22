"""A tagger: the small language model reads a whole conversation, and says what each marked place in it calls for.

The base is that of the policy that ships (SmolLM2-135M); the task adds low-rank changes to it and a linear head over
the last hidden state, a few megabytes (agentmem/models/pairs.py has the form of the file). A causal model sees what
comes before a place only, so what is asked of stands again at the end of the text, where all has been read (the echo
of arXiv 2402.15449).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import ModelError, boundary
from agentmem.models.adapted import base_path
from agentmem.models.likelihood import fast_dtype, load_causal
from agentmem.models.lora import LoraAdapter, merge
from agentmem.models.pairs import load_adapter

if TYPE_CHECKING:
    import torch

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a decoder block that are changed."""

BATCH_TOKENS = 4096
"""Of one pass, padding included."""

BASE = "base"
"""Names the base in what an adapter says of itself."""


class Text(NamedTuple):
    """What is read, and where it is asked of."""

    text: str
    ends: tuple[int, ...]
    """Characters before the end of each stretch that is asked of, in order."""


class Tagger(Protocol):
    """Says what stretches of texts call for."""

    def probabilities(self, texts: Sequence[Text], /) -> list[NDArray[np.float32]]:
        """Of each text (ends, labels); rows sum to 1. Raises ModelError."""
        ...


class TagModel:
    """The base with one adapter merged into it. Loads at the first text; safe to share between threads.

    Args:
        path: of the adapter.
        cache: folder of downloaded models, for the base; None is the user's cache folder.
        device: cpu, cuda or mps; None chooses.
    """

    def __init__(self, path: Path, cache: Path | None = None, device: str | None = None) -> None:
        self._path, self._cache, self._device = path, cache, device
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def probabilities(self, texts: Sequence[Text], /) -> list[NDArray[np.float32]]:
        if not any(text.ends for text in texts):
            return [np.zeros((0, 0), np.float32) for _ in texts]
        with self._lock, boundary(ModelError, f"tagger {self._path.name}"):
            if self._loaded is None:
                self._loaded = _Loaded(self._path, self._cache, self._device)
            return self._loaded.probabilities(texts)


class _Loaded:
    def __init__(self, path: Path, cache: Path | None, device: str | None) -> None:
        import torch

        adapter = load_adapter(path)
        base = base_path(adapter.about[BASE], cache)
        self._model, self._tokenizer = load_causal(base, cache, device, fast_dtype(device))
        low_rank = {name: (torch.from_numpy(a_RI), torch.from_numpy(b_OR))
                    for name, (a_RI, b_OR) in adapter.low_rank.items()}  # fmt: skip
        merge(self._model, LoraAdapter(path, adapter.about[BASE], 1.0, low_rank))
        self._weight_DC = torch.from_numpy(adapter.head_weight.T).to(self._model.device)
        self._bias_C = torch.from_numpy(adapter.head_bias).to(self._model.device)

    def probabilities(self, texts: Sequence[Text]) -> list[NDArray[np.float32]]:
        import torch

        read = [tokens_of(self._tokenizer, text) for text in texts]
        found = [np.zeros((0, len(self._bias_C)), np.float32) for _ in texts]
        with torch.inference_mode():
            for batch in batches([len(ids) for ids, _ in read], BATCH_TOKENS):
                hidden_ND = last_hidden(self._model.model, [read[place] for place in batch])
                chance_NC = (hidden_ND.float() @ self._weight_DC + self._bias_C).softmax(-1).cpu().numpy()
                rows = iter(chance_NC)
                for place in batch:
                    found[place] = np.array([next(rows) for _ in texts[place].ends]).reshape(-1, len(self._bias_C))
        return found


Tokens = tuple[list[int], list[int]]
"""Of a text: ids, and places of the last token of each stretch that is asked of."""


def tokens_of(tokenizer: Any, text: Text) -> Tokens:
    """A text as the tagger reads it; `ends` ascend."""
    read = tokenizer(text.text, add_special_tokens=False, return_offsets_mapping=True)
    begins = [begin for begin, _ in read["offset_mapping"]]
    place, places = 0, []
    for end in text.ends:
        while place + 1 < len(begins) and begins[place + 1] < end:
            place += 1
        places.append(place)
    return list(read["input_ids"]), places


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Places of texts that are read together: of like lengths, and within so many tokens as far as one text is."""
    found: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if not found or (len(found[-1]) + 1) * lengths[place] > tokens:
            found.append([])
        found[-1].append(place)
    return found


def last_hidden(decoder: Any, read: Sequence[Tokens]) -> torch.Tensor:
    """(all places of all texts, dim): the last hidden states there.

    Padding comes after the last real token, where a causal model cannot see it, so no mask is needed.
    """
    import torch

    longest = max(len(ids) for ids, _ in read)
    device = next(decoder.parameters()).device
    ids_BL = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids, _ in read], device=device)
    hidden_BLD = decoder(input_ids=ids_BL, use_cache=False).last_hidden_state
    rows = [row for row, (_, places) in enumerate(read) for _ in places]
    return hidden_BLD[rows, [place for _, places in read for place in places]]
