"""A causal model with a trained adapter merged into it, writing answers in batches."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentmem.errors import ConfigError, ModelError, boundary
from agentmem.models import weights
from agentmem.models.likelihood import fast_dtype, load_causal
from agentmem.models.local import check_file
from agentmem.models.lora import adapter_config, adapter_folder, merge, read_adapter, weight_files
from agentmem.models.sampling import (
    Answer,
    Chances,
    Processor,
    answer_text,
    constraint,
    line_chances,
    prompt_ids,
    sample,
    stop_ids,
)

if TYPE_CHECKING:
    import torch

MAX_TOKENS = 256
"""Of an answer: about six edits. A cut answer loses its last line only."""

BATCH_TOKENS = 8192
"""Of prompts and answers in one batch, with padding: SmolLM2-135M keeps 46 kB of keys and values a token."""

Grammar = Callable[[Sequence[str]], str]
"""GBNF for an answer that may use these aliases, as agentmem.policy.edits.grammar."""

_log = logging.getLogger("agentmem")


class CausalWriter:
    """A policy's Writer over a transformers model that is in memory, with or without adapters.

    Args:
        model: a transformers (or PEFT) causal model.
        tokenizer: its tokenizer, with a chat template.
        grammar: that answers are held to; None for none.
        max_tokens: of one answer.
        batch_tokens: of prompts and answers that are read at once.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        grammar: Grammar | None = None,
        max_tokens: int = MAX_TOKENS,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.stops = stop_ids(model, tokenizer)
        self._grammar, self._constraint = grammar, constraint(model, tokenizer) if grammar else None
        self._max_tokens, self._batch_tokens = max_tokens, batch_tokens

    def write(self, prompts: Sequence[Sequence[Mapping[str, str]]], aliases: Sequence[Sequence[str]], /) -> list[str]:
        """One `Answer` a prompt, greedily. Raises ModelError, also for a prompt longer than the context."""
        ids = [prompt_ids(self.tokenizer, messages) for messages in prompts]
        answers = [""] * len(ids)
        for batch in self._batches([len(one) for one in ids]):
            chances = Chances()
            written = self.sample(
                [ids[place] for place in batch],
                max_tokens=self._max_tokens,
                processors=[chances, *self.processors([aliases[place] for place in batch])],
            )
            for row, (place, new) in enumerate(zip(batch, written, strict=True)):
                sure = line_chances([self.tokenizer.decode([token]) for token in new], chances.row(row))
                answers[place] = Answer(answer_text(self.tokenizer, new, self.stops), sure)
                if not new or new[-1] not in self.stops:
                    _log.info("an answer was cut after %d tokens; its last line is left out", len(new))
        return answers

    def processors(self, aliases: Sequence[Sequence[str]]) -> list[Processor]:
        """What holds one call of `sample` to the grammar, a row for each of `aliases`; empty without a grammar."""
        if self._grammar is None or self._constraint is None:
            return []
        return [self._constraint.processor([self._grammar(names) for names in aliases])]

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        processors: Sequence[Processor] = (),
    ) -> list[list[int]]:
        """New tokens after each prompt, as one batch; see `sampling.sample`. Raises ModelError, as for long prompts."""
        self._check(max(map(len, prompts), default=0), max_tokens)
        with boundary(ModelError, "sampling"):
            return sample(
                self.model, prompts, stops=self.stops, max_tokens=max_tokens, temperature=temperature,
                generator=generator, processors=processors, pad=self.tokenizer.pad_token_id or 0,
            )  # fmt: skip

    def _check(self, longest: int, max_tokens: int) -> None:
        context = getattr(self.model.config, "max_position_embeddings", None)
        if context is not None and longest + max_tokens > context:
            raise ModelError(
                f"the prompt has {longest:,} tokens; with {max_tokens:,} for the answer that is more than the context "
                f"of {context:,}; send less at a time"
            )

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Places of prompts that go together: of like lengths, and within the budget as far as one prompt is."""
        batches: list[list[int]] = []
        for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
            row = lengths[place] + self._max_tokens  # the longest so far
            if not batches or (len(batches[-1]) + 1) * row > self._batch_tokens:
                batches.append([])
            batches[-1].append(place)
        return batches


@dataclass(frozen=True)
class _Recipe:
    """All that a loaded model depends on."""

    folder: Path
    base: str
    stamp: tuple[int, int]
    """Time and size of the adapter's weights: one that was trained again is another."""
    cache: Path | None
    device: str | None
    dtype: str | None
    grammar: Grammar | None
    max_tokens: int


class AdaptedModel:
    """A policy's Writer from the folder of a LoRA adapter in PEFT's form. PEFT itself is not needed.

    Loads at the first answer; all of one adapter share their weights, and two adapters are kept. Safe between threads.

    Args:
        adapter: folder with adapter_config.json and adapter_model.safetensors, or one that holds such a folder.
        grammar: that answers are held to; see CausalWriter.
        base: what it was trained on (see `base_path`), if not what its settings name.
        cache: folder of downloaded and converted models; None is the user's cache folder.
        device: cpu, cuda or mps; None chooses.
        dtype: of the weights, float32 or bfloat16; None takes what computes faster on the device.
        max_tokens: of one answer.

    Raises:
        ConfigError: no adapter lies there, or it is no plain LoRA.
    """

    def __init__(
        self,
        adapter: Path,
        *,
        grammar: Grammar | None = None,
        base: str = "",
        cache: Path | None = None,
        device: str | None = None,
        dtype: str | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        folder = adapter_folder(adapter)
        base = base or str(adapter_config(folder).get("base_model_name_or_path") or "")
        if not base:
            raise ConfigError(f"adapter {folder}: names no base; write base_model_name_or_path into its settings")
        found = [file.stat() for file in weight_files(folder)]
        stamp = (max(one.st_mtime_ns for one in found), sum(one.st_size for one in found))
        self._recipe = _Recipe(folder.resolve(), base, stamp, cache, device, dtype, grammar, max_tokens)

    @property
    def writer(self) -> CausalWriter:
        """The loaded model; see `load`."""
        return self.load()

    def load(self) -> CausalWriter:
        """Load the model, if it is not. Raises ConfigError when the adapter does not fit its base, ModelError."""
        with _LOADING:  # two threads must not load the same weights twice
            return _loaded(self._recipe)

    def write(self, prompts: Sequence[Sequence[Mapping[str, str]]], aliases: Sequence[Sequence[str]], /) -> list[str]:
        """One answer a prompt; see CausalWriter."""
        return self.writer.write(prompts, aliases) if prompts else []


_LOADING = threading.Lock()


@functools.lru_cache(maxsize=2)
def _loaded(recipe: _Recipe) -> CausalWriter:
    adapter = read_adapter(recipe.folder)
    try:
        path = base_path(recipe.base, recipe.cache)
    except ConfigError as error:
        raise ConfigError(f"adapter {recipe.folder}: {error}") from error
    model, tokenizer = load_causal(path, recipe.cache, recipe.device, recipe.dtype or fast_dtype(recipe.device))
    merge(model, adapter)
    return CausalWriter(model, tokenizer, grammar=recipe.grammar, max_tokens=recipe.max_tokens)


def base_path(name: str, cache: Path | None = None) -> Path:
    """Where the causal model called `name` lies, as `load_causal` takes it; downloaded on first use.

    Args:
        name: one of weights.WEIGHTS, also with "local:" before it, a folder in transformers' form, or a GGUF file.
        cache: folder of downloaded models; None is the user's cache folder.

    Raises:
        ConfigError: there is no such model.
        ModelError: it cannot be downloaded.
    """
    plain = name.removeprefix("local:")
    if plain in weights.WEIGHTS:
        return weights.fetch(plain, cache)
    path = Path(plain).expanduser()
    if path.is_dir():
        return path
    if plain.endswith(".gguf"):
        return check_file(path)
    raise ConfigError(f"base {name!r}: not one of {', '.join(weights.WEIGHTS)}, no folder of a model, no GGUF file")
