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
    """Scores given options under a causal language model. The prompt is read once for all its options."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Take a transformers causal model (on any device, in eval mode) and its tokenizer; see `load_causal`."""
        self.model = model
        self.tokenizer = tokenizer

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
        import torch

        start = torch.tensor([prompt_ids], device=self.model.device)  # (1, P)
        read = self.model(start, use_cache=True, logits_to_keep=1)
        first = torch.log_softmax(read.logits[0, -1].float(), -1)  # (V,)
        totals: list[float] = []
        for begin in range(0, len(option_ids), OPTIONS_AT_ONCE):
            batch = option_ids[begin : begin + OPTIONS_AT_ONCE]
            last = begin + OPTIONS_AT_ONCE >= len(option_ids)
            totals += self._batch(first, read.past_key_values if last else copy.deepcopy(read.past_key_values), batch)
        total = np.array(totals)
        return Likelihoods(total, total / [len(ids) for ids in option_ids])

    def _batch(self, first: torch.Tensor, cache: Any, batch: list[list[int]]) -> list[float]:
        """Log-likelihoods of options that follow the prompt in `cache` (which is used up).

        Padding comes after the last real token, where a causal model cannot see it, so no mask is needed.
        """
        import torch

        lengths = torch.tensor([len(ids) for ids in batch], device=first.device)  # (B,)
        longest = int(lengths.max())
        ids_BT = torch.tensor([ids + [0] * (longest - len(ids)) for ids in batch], device=first.device)
        logp_BT = first[ids_BT[:, :1]]  # (B, 1): the prompt's last position predicts the first token
        if longest > 1:
            cache.batch_repeat_interleave(len(batch))
            logits_BTV = self.model(ids_BT[:, :-1], past_key_values=cache, use_cache=True).logits
            rest = torch.log_softmax(logits_BTV.float(), -1).gather(-1, ids_BT[:, 1:, None]).squeeze(-1)
            logp_BT = torch.cat([logp_BT, rest], 1)
        real_BT = torch.arange(longest, device=first.device) < lengths[:, None]
        return torch.where(real_BT, logp_BT, 0).double().sum(1).tolist()

    def _ids(self, text: str, what: str) -> list[int]:
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not ids:
            raise ConfigError(f"option likelihood: an empty {what}; nothing to score")
        return ids


def load_causal(path: Path, cache: Path | None = None, device: str | None = None) -> tuple[Any, Any]:
    """A transformers model (float32, eval mode) and its tokenizer, from a GGUF file or a folder in transformers' form.

    A GGUF file is converted once and the result kept in the cache (four bytes a weight), because reading it takes
    half a minute. Raises ModelError.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = path if path.is_dir() else _converted(path, model_folder(cache))
    device = device or ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    with boundary(ModelError, str(folder)), quiet_loading():
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return model.to(device).eval(), tokenizer


def _converted(gguf: Path, folder: Path) -> Path:
    """Folder with the weights of `gguf` dequantised, in transformers' form; made on the first call."""
    import torch
    from filelock import FileLock
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    done = folder / f"{gguf.stem}-{gguf.stat().st_size}.transformers"
    if done.is_dir():
        return done
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{done.name}.lock"), boundary(ModelError, f"{gguf}: cannot be converted"), quiet_loading():
        if done.is_dir():
            return done
        unfinished = done.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        model.save_pretrained(unfinished)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True).save_pretrained(
            unfinished
        )
        unfinished.replace(done)
    return done
