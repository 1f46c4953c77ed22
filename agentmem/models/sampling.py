"""Batched sampling from a causal model, and a grammar that holds it to a form."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentmem.errors import ModelError, boundary
from agentmem.models.local import physical_cores

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Processor = Callable[["Tensor", "Tensor"], "Tensor"]
"""As a LogitsProcessor of transformers: ids so far (B, L) and scores (B, V) -> scores; the last id is the newest."""

GRAMMAR_CACHE_BYTES = 64 << 20
"""Of compiled grammars: each memory has aliases, so a grammar, of its own."""

_log = logging.getLogger("agentmem")


def prompt_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Tokens of chat messages, up to where the assistant begins. Raises ModelError without a chat template."""
    with boundary(ModelError, "chat template"):
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer, by the tokenizer and the model's own settings. Raises ModelError for none."""
    named = [tokenizer.eos_token_id, getattr(model, "generation_config", None), model.config]
    found: set[int] = set()
    for one in named:
        ids = getattr(one, "eos_token_id", one)
        found |= {ids} if isinstance(ids, int) else set(ids or ())
    if not found:
        raise ModelError("the model names no token that ends an answer")
    return frozenset(found)


def answer_text(tokenizer: Any, ids: Sequence[int], stops: Collection[int]) -> str:
    """The text of sampled tokens; without the last line where they end in no stop, because it may be cut."""
    ended = bool(ids) and ids[-1] in stops
    text = str(tokenizer.decode(list(ids[:-1] if ended else ids), skip_special_tokens=True))
    return text if ended else text[: text.rfind("\n") + 1]


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Collection[int],
    max_tokens: int,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    processors: Sequence[Processor] = (),
    pad: int = 0,
) -> list[list[int]]:
    """What the model writes after each prompt: the new tokens, with the stop that ended them if one did.

    All prompts are one batch, padded on the left. Drawn from softmax(scores / temperature) over the whole vocabulary,
    whatever the model's generation settings say, so that a trainer knows the probabilities. Without gradients, and in
    eval mode; the model's mode is put back.

    Args:
        model: a transformers causal model, on any device.
        prompts: token ids, at least one each.
        stops: see `stop_ids`.
        max_tokens: of one answer.
        temperature: 0 takes the likeliest token.
        generator: of the model's device; None is torch's own.
        processors: change the scores before a token is taken; stateful ones serve one call.
        pad: id that fills shorter rows; never seen by the model.
    """
    import torch

    if not prompts:
        return []
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            new_BT = _sampled(model, *_left_padded(prompts, pad, model.device), stops, max_tokens, pad,
                              processors, lambda scores: _taken(scores, temperature, generator))  # fmt: skip
    finally:
        model.train(training)
    return [_up_to_stop(row, stops) for row in new_BT]


def _sampled(
    model: Any, ids_BL: Tensor, mask_BL: Tensor, stops: Collection[int], max_tokens: int, pad: int,
    processors: Sequence[Processor], take: Callable[[Tensor], Tensor],
) -> list[list[int]]:  # fmt: skip
    """New tokens of each row; after its first stop a row holds padding."""
    import torch

    length = ids_BL.shape[1]
    fed, places, cache = ids_BL, (mask_BL.cumsum(1) - 1).clamp(min=0), None
    stops_S = torch.tensor(sorted(stops), device=ids_BL.device)
    ended_B = torch.zeros(len(ids_BL), dtype=torch.bool, device=ids_BL.device)
    for _ in range(max_tokens):
        read = model(input_ids=fed, attention_mask=mask_BL, position_ids=places, past_key_values=cache,
                     use_cache=True, logits_to_keep=1)  # fmt: skip
        cache, scores_BV = read.past_key_values, read.logits[:, -1].float()
        for processor in processors:
            scores_BV = processor(ids_BL, scores_BV)
        next_B = take(scores_BV).masked_fill(ended_B, pad)
        ids_BL = torch.cat([ids_BL, next_B[:, None]], 1)
        ended_B |= torch.isin(next_B, stops_S)
        if ended_B.all():
            break
        mask_BL = torch.cat([mask_BL, mask_BL.new_ones(len(mask_BL), 1)], 1)
        fed, places = next_B[:, None], places[:, -1:] + 1
    return ids_BL[:, length:].tolist()


def _taken(scores_BV: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """(B,) the tokens chosen."""
    import torch

    if not temperature:
        return scores_BV.argmax(-1)
    return torch.multinomial(torch.softmax(scores_BV / temperature, -1), 1, generator=generator)[:, 0]


def _left_padded(prompts: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Ids (B, L) and which of them are real (B, L; 0 or 1)."""
    import torch

    longest = max(map(len, prompts))
    ids_BL = torch.tensor([[pad] * (longest - len(ids)) + list(ids) for ids in prompts], device=device)
    mask_BL = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
    return ids_BL, mask_BL


def _up_to_stop(row: Sequence[int], stops: Collection[int]) -> list[int]:
    end = next((place for place, token in enumerate(row) if token in stops), len(row))
    return list(row[: end + 1])


class Constraint:
    """Holds sampling to GBNF grammars, by xgrammar (of the extra `grammar`).

    Args:
        tokenizer: of the model.
        vocabulary: tokens that the model scores, which may be more than the tokenizer has.
        stops: allowed where a grammar is complete.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, stops: Collection[int]) -> None:
        xgrammar = _xgrammar()

        self._vocabulary = vocabulary
        with boundary(ModelError, "grammar"):
            info = xgrammar.TokenizerInfo.from_huggingface(
                tokenizer, vocab_size=vocabulary, stop_token_ids=sorted(stops)
            )
            self._compiler = xgrammar.GrammarCompiler(
                info, max_threads=physical_cores(), cache_limit_bytes=GRAMMAR_CACHE_BYTES
            )

    def processor(self, grammars: Sequence[str]) -> Processor:
        """For one call of `sample`, a grammar a row. Raises ModelError for a grammar with a mistake."""
        with boundary(ModelError, "grammar"):
            return _Held([self._compiler.compile_grammar(grammar) for grammar in grammars], self._vocabulary)


class _Held:
    """One matcher a row. xgrammar's own processor does its work in an assert, which `python -O` leaves out."""

    def __init__(self, compiled: Sequence[Any], vocabulary: int) -> None:
        xgrammar = _xgrammar()

        self._matchers = [xgrammar.GrammarMatcher(grammar) for grammar in compiled]
        self._allowed = xgrammar.allocate_token_bitmask(len(compiled), vocabulary)
        self._started = False

    def __call__(self, ids_BL: Tensor, scores_BV: Tensor) -> Tensor:
        xgrammar = _xgrammar()

        newest = ids_BL[:, -1].tolist() if self._started else []
        self._started = True
        for matcher, token in zip(self._matchers, newest, strict=False):
            if not matcher.is_terminated() and not matcher.accept_token(token):
                raise ModelError(f"grammar: token {token} was taken, which it does not allow")
        for row, matcher in enumerate(self._matchers):
            if not matcher.is_terminated():
                matcher.fill_next_token_bitmask(self._allowed, row)
        device = scores_BV.device  # xgrammar masks on these two
        held = scores_BV if device.type in ("cpu", "cuda") else scores_BV.cpu()
        xgrammar.apply_token_bitmask_inplace(held, self._allowed.to(held.device))
        return held.to(device)


def constraint(model: Any, tokenizer: Any) -> Constraint | None:
    """For this model; None, said once in the log, where xgrammar is not installed."""
    if importlib.util.find_spec("xgrammar") is None:
        _say_once()
        return None
    return Constraint(tokenizer, model.get_output_embeddings().weight.shape[0], stop_ids(model, tokenizer))


def _xgrammar() -> Any:
    """An extra of its own: on Linux it brings triton, which is larger than torch for the CPU."""
    return importlib.import_module("xgrammar")


@functools.cache
def _say_once() -> None:
    _log.warning("xgrammar is not installed, so a trained policy is not held to the edit grammar and may write lines "
                 "that cannot be read; pip install 'agentmem[grammar]'")  # fmt: skip
