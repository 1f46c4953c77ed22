"""Rerankers: they read a query and a text together and say how well the text answers it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import ConfigError, ModelError, boundary
from agentmem.models.weights import RERANKER, model_folder, obtain

MAX_TOKENS = 256
"""Of query and text together; longer texts are cut."""

BATCH = 16


class Reranker(Protocol):
    """Scores texts for a query."""

    def scores(self, query: str, texts: Sequence[str], /) -> NDArray[np.float32]:
        """(len(texts),) logits: positive where the text answers. Raises ModelError."""
        ...


def get_reranker(name: str, cache: Path | None = None) -> Reranker | None:
    """The reranker called `name`; None for "none".

    Args:
        name: "ms-marco" (ms-marco-MiniLM-L12-v2, 34 MB, fetched at first use), "none", or a cross-encoder that
            sentence-transformers can load: a folder, or owner/name on the hub.
        cache: folder of downloaded models.

    Raises:
        ConfigError: the name is none of these.
        ModelError: the weights cannot be had.
    """
    if name == "none":
        return None
    if name == "ms-marco":
        obtain(RERANKER, model_folder(cache))
        return MsMarco(cache)
    if Path(name).is_dir() or name.count("/") == 1:
        return _CrossEncoder(name)
    raise ConfigError(f"reranker {name!r}: choose ms-marco, none, a folder or owner/name of a cross-encoder")


class MsMarco:
    """ms-marco-MiniLM-L12-v2 of the sentence-transformers project (Apache-2.0), 8-bit, on the ONNX runtime.

    Loads at the first text; safe to share between threads. 16 pairs of a sentence or two take about 0.2 s on one core.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, list[str]] | None = None

    def scores(self, query: str, texts: Sequence[str], /) -> NDArray[np.float32]:
        """(len(texts),) logits. Raises ModelError."""
        found = np.zeros(len(texts), np.float32)
        with self._lock, boundary(ModelError, "reranker ms-marco"):
            tokenizer, session, inputs = self._ready()
            order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # batches of like lengths
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                encoded = tokenizer([query] * len(batch), [texts[place] for place in batch], truncation="only_second",
                                    max_length=MAX_TOKENS, padding=True, return_tensors="np")  # fmt: skip
                feed = {name: encoded[name].astype(np.int64) for name in inputs}
                found[batch] = session.run(None, feed)[0].reshape(-1)
        return found

    def _ready(self) -> tuple[Any, Any, list[str]]:
        if self._loaded is None:
            import onnxruntime
            import torch
            from transformers import AutoTokenizer

            from agentmem.models.embed import minilm_folder
            from agentmem.models.quiet import quiet_loading

            path = obtain(RERANKER, model_folder(self._cache))
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()  # it knows what OMP_NUM_THREADS allows
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            with quiet_loading():  # its vocabulary is that of all-MiniLM-L6-v2: both are BERT's
                tokenizer = AutoTokenizer.from_pretrained(minilm_folder(), local_files_only=True)
            self._loaded = tokenizer, session, [one.name for one in session.get_inputs()]
        return self._loaded


class _CrossEncoder:
    """A cross-encoder of the user's choice."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._model: Any = None

    def scores(self, query: str, texts: Sequence[str], /) -> NDArray[np.float32]:
        from agentmem.models.quiet import quiet_loading

        with self._lock, boundary(ModelError, f"reranker {self._name}"):
            if self._model is None:
                import torch
                from sentence_transformers import CrossEncoder

                with quiet_loading():
                    self._model = CrossEncoder(self._name, activation_fn=torch.nn.Identity())
            return np.asarray(self._model.predict([(query, text) for text in texts]), np.float32)
