"""How likely a model finds given answers: option log-likelihoods with torch."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import ConfigError, ModelError, boundary
from agentmem.models.quiet import quiet_loading
from agentmem.models.weights import model_folder

if TYPE_CHECKING:
    import torch

OPTIONS_AT_ONCE = 16
"""Each option of a pass holds its own copy of the prompt's keys and values."""


class Likelihoods(NamedTuple):
    """Of the options of one prompt, in order; natural logarithms."""

    total: NDArray[np.float64]
    """(options,) log p(option | prompt)."""
    mean: NDArray[np.float64]
    """(options,) the same per token, so that a long option is not punished for its length."""


class OptionScorer:
    """Scores given options under a causal language model.

    A prompt is read once for all its options, and where it begins like the prompt before it only the rest is read: put
    what prompts share first, and prompts that share much after each other.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Take a transformers causal model (on any device, in eval mode) and its tokenizer; see `load_causal`."""
        self.model = model
        self.tokenizer = tokenizer
        self._read: tuple[list[int], Any] = ([], None)
        """The last prompt's tokens, and its keys and values."""

    def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text that OpenAI-style messages become, up to where the assistant begins to speak."""
        with boundary(ModelError, "chat template"):
            return str(self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))

    def score(self, prompts: Sequence[str], options: Sequence[Sequence[str]]) -> list[Likelihoods]:
        """Log-likelihoods of each prompt's options.

        Prompt and option are tokenised apart and joined, so an option's tokens do not depend on the prompt; begin
        options with a blank where the text needs one. Raises ConfigError for an empty prompt or option.
        """
        import torch

        with torch.inference_mode(), boundary(ModelError, "option likelihood"):
            return [self._score(prompt, own) for prompt, own in zip(prompts, options, strict=True)]

    def _score(self, prompt: str, options: Sequence[str]) -> Likelihoods:
        prompt_ids = self._ids(prompt, "prompt")
        option_ids = [self._ids(option, "option") for option in options]
        if not option_ids:
            return Likelihoods(np.zeros(0), np.zeros(0))
        first, cache = self._prompt(prompt_ids)
        totals: list[float] = []
        for begin in range(0, len(option_ids), OPTIONS_AT_ONCE):
            totals += self._batch(first, cache, len(prompt_ids), option_ids[begin : begin + OPTIONS_AT_ONCE])
        if keeps_all(cache):
            self._read = (prompt_ids, cache)
        total = np.array(totals)
        return Likelihoods(total, total / [len(ids) for ids in option_ids])

    def _prompt(self, ids: list[int]) -> tuple[torch.Tensor, Any]:
        """Log-probabilities (V,) of the token after the prompt, and its keys and values.

        Those of the tokens that the last prompt began with too are taken over; the last token is always read.
        """
        import torch

        known, cache = self._read
        self._read = ([], None)  # in use now; a failure must not leave it half cropped
        same = 0
        for one, other in zip(ids[:-1], known, strict=False):
            if one != other:
                break
            same += 1
        if same:
            _crop(cache, same)
        rest = torch.tensor([ids[same:]], device=self.model.device)  # (1, P - same)
        read = self.model(rest, past_key_values=cache if same else None, use_cache=True, logits_to_keep=1)
        return torch.log_softmax(read.logits[0, -1].float(), -1), read.past_key_values

    def _batch(self, first: torch.Tensor, cache: Any, prompt: int, batch: list[list[int]]) -> list[float]:
        """Log-likelihoods of options that follow the prompt in `cache`, which afterwards holds the prompt alone again.

        Padding comes after the last real token, where a causal model cannot see it, so no mask is needed.
        """
        import torch

        lengths = torch.tensor([len(ids) for ids in batch], device=first.device)  # (B,)
        longest = int(lengths.max())
        ids_BT = torch.tensor([ids + [0] * (longest - len(ids)) for ids in batch], device=first.device)
        logp_BT = first[ids_BT[:, :1]]  # (B, 1): the prompt's last position predicts the first token
        if longest > 1:
            kept = cache if keeps_all(cache) else copy.deepcopy(cache)
            kept.batch_repeat_interleave(len(batch))
            logits_BTV = self.model(ids_BT[:, :-1], past_key_values=kept, use_cache=True).logits
            rest = torch.log_softmax(logits_BTV.float(), -1).gather(-1, ids_BT[:, 1:, None]).squeeze(-1)
            logp_BT = torch.cat([logp_BT, rest], 1)
            if kept is cache:
                cache.batch_select_indices(torch.tensor([0], device=first.device))
                _crop(cache, prompt)
        real_BT = torch.arange(longest, device=first.device) < lengths[:, None]
        return torch.where(real_BT, logp_BT, 0).double().sum(1).tolist()

    def _ids(self, text: str, what: str) -> list[int]:
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not ids:
            raise ConfigError(f"option likelihood: an empty {what}; nothing to score")
        return ids


def keeps_all(cache: Any) -> bool:
    """Whether keys and values of all tokens are kept, layer by layer (with a sliding window they are not)."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _crop(cache: Any, length: int) -> None:
    """Forget all but the first `length` tokens; transformers takes how many are to go, as a negative number."""
    if surplus := cache.get_seq_length() - length:
        cache.crop(-surplus)


def load_causal(
    path: Path,
    cache: Path | None = None,
    device: str | None = None,
    dtype: str = "float32",
    attention: str | None = None,
) -> tuple[Any, Any]:
    """A transformers model (in eval mode) and its tokenizer, from a GGUF file or a folder in transformers' form.

    A GGUF file is converted once for each dtype and the result kept in the cache (two or four bytes a weight), because
    reading it takes half a minute; what lies there is mapped into memory as it is. Raises ModelError.

    Args:
        path: the file or folder.
        cache: folder of downloaded and converted models; None is the user's cache folder.
        device: cpu, cuda or mps; None chooses.
        dtype: of the weights, float32 or bfloat16; see `fast_dtype`.
        attention: its implementation, by transformers' name; None is what transformers takes.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = path if path.is_dir() else _converted(path, model_folder(cache), dtype)
    device = device or best_device()
    with boundary(ModelError, str(folder)), quiet_loading():
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation=attention, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return model.to(device).eval(), tokenizer


def best_device() -> str:
    """cuda or mps where there is one, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def fast_dtype(device: str | None = None) -> str:
    """bfloat16 where the hardware computes in it (twice as fast and half as large), else float32.

    Args:
        device: cpu, cuda or mps; None is the one that `load_causal` chooses.
    """
    import torch

    device = device or best_device()
    fast = torch.cuda.is_bf16_supported() if device.startswith("cuda") else (
        device == "cpu" and torch.cpu._is_avx512_bf16_supported())  # fmt: skip
    return "bfloat16" if fast else "float32"


def _converted(gguf: Path, folder: Path, dtype: str) -> Path:
    """Folder with the weights of `gguf` dequantised, in transformers' form; made on the first call."""
    from filelock import FileLock

    form = "transformers" if dtype == "float32" else f"{dtype}.transformers"
    done = folder / f"{gguf.stem}-{gguf.stat().st_size}.{form}"
    if done.is_dir():
        return done
    with boundary(ModelError, f"{gguf}: cannot be converted in {folder}"), quiet_loading():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{done.name}.lock"):
            return done if done.is_dir() else _convert(gguf, done, dtype)


def _convert(gguf: Path, done: Path, dtype: str) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils
    from transformers.utils import logging

    # its own bar takes no notice of `quiet_loading`
    modeling_gguf_pytorch_utils.tqdm = logging.tqdm  # pyright: ignore[reportPrivateImportUsage]
    unfinished = done.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=getattr(torch, dtype),
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        model.save_pretrained(unfinished)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        tokenizer.save_pretrained(unfinished)
        return unfinished.replace(done)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # half of it would keep a full disk full
