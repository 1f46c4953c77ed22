"""Batched sampling from a causal model, and a grammar that holds it to a form."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from agentmem.errors import ModelError, boundary
from agentmem.models.trees import in_trees, read_trees

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher
    from torch import Tensor

Processor = Callable[["Tensor", "Tensor"], "Tensor"]
"""As a LogitsProcessor of transformers: ids so far (B, L) and scores (B, V) -> scores; the last id is the newest."""

RowProcessor = Callable[[Sequence[int]], Processor]
"""Of the places of some prompts: the Processor of a batch of them. A stateful Processor serves one batch."""


class Answer(str):
    """What a model wrote, and how sure it was of its words."""

    sure: tuple[float, ...]
    """Of each line the geometric mean of the probabilities of its tokens, up to the quotes, which are only copied."""

    def __new__(cls, text: str, sure: Sequence[float] = ()) -> Answer:
        found = super().__new__(cls, text)
        found.sure = tuple(sure)
        return found


def line_chances(pieces: Sequence[str], logps: Sequence[float]) -> list[float]:
    """How sure a model was of each line, see `Answer.sure`.

    Args:
        pieces: the text of each new token; a quote begins with "|".
        logps: its log-probability; that of the last may be missing.
    """
    found: list[list[float]] = [[]]
    quoting = False
    for piece, logp in zip(pieces, logps, strict=False):
        quoting = quoting or "|" in piece
        if not quoting:
            found[-1].append(logp)
        if "\n" in piece:
            found.append([])
            quoting = False
    return [math.exp(sum(own) / len(own)) if own else 1.0 for own in found]


class Chances:
    """A Processor for one call of `sample` that changes nothing and keeps the log-probability of each token that is
    taken, but for the last one."""

    def __init__(self) -> None:
        self._before_BV: Tensor | None = None
        self._taken_TB: list[Tensor] = []

    def __call__(self, ids_BL: Tensor, scores_BV: Tensor) -> Tensor:
        if self._before_BV is not None:
            self._taken_TB.append(self._before_BV.gather(1, ids_BL[:, -1:])[:, 0])
        self._before_BV = scores_BV.log_softmax(-1)
        return scores_BV

    def row(self, place: int) -> list[float]:
        """Of the prompt at this place, also for padding after its end."""
        return [float(one_B[place]) for one_B in self._taken_TB]


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

    All prompts are one batch, padded on the left; on a CPU, what several begin with is read once (see trees.py). Drawn
    from softmax(scores / temperature) over the whole vocabulary, whatever the model's generation settings say, so that
    a trainer knows the probabilities. Without gradients, and in eval mode; the model's mode is put back.

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
            new_BT = _sampled(model, prompts, stops, max_tokens, pad, processors,
                              lambda scores: _taken(scores, temperature, generator))  # fmt: skip
    finally:
        model.train(training)
    return [_up_to_stop(row, stops) for row in new_BT]


def _sampled(
    model: Any, prompts: Sequence[Sequence[int]], stops: Collection[int], max_tokens: int, pad: int,
    processors: Sequence[Processor], take: Callable[[Tensor], Tensor],
) -> list[list[int]]:  # fmt: skip
    """New tokens of each row; after its first stop a row holds padding."""
    import torch

    ids_BL, mask_BL = _left_padded(prompts, pad, model.device)
    length, fed, places, cache = ids_BL.shape[1], ids_BL, (mask_BL.cumsum(1) - 1).clamp(min=0), None
    stops_S = torch.tensor(sorted(stops), device=ids_BL.device)
    ended_B = torch.zeros(len(ids_BL), dtype=torch.bool, device=ids_BL.device)
    for _ in range(max_tokens):
        if cache is None and in_trees(model):
            cache, scores_BV = read_trees(model, prompts, length)
        else:
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
    """Holds sampling to GBNF grammars, by llguidance.

    Args:
        tokenizer: of the model; a fast one.
        vocabulary: tokens that the model scores, which may be more than the tokenizer has.
        stops: allowed where a grammar is complete.

    Raises:
        ModelError: the tokenizer cannot be read.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, stops: Collection[int]) -> None:
        from llguidance.hf import from_tokenizer

        with boundary(ModelError, "grammar"):
            self._tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(stops))

    def matcher(self, grammar: str) -> LLMatcher:
        """What follows one answer from its beginning. Raises ModelError for a grammar with a mistake."""
        from llguidance import LLMatcher

        with boundary(ModelError, "grammar"):
            found = LLMatcher(self._tokenizer, _lark(grammar), log_level=0)
        if found.is_error():
            raise ModelError(f"grammar: {found.get_error().splitlines()[0]}")
        return found

    def processor(self, grammars: Sequence[str]) -> Processor:
        """For one call of `sample`, a grammar a row. Raises ModelError for a grammar with a mistake."""
        return _Held([self.matcher(grammar) for grammar in grammars])

    def rows(self, grammars: Sequence[str]) -> RowProcessor:
        """For prompts that are sampled in several batches, a grammar a prompt."""
        return lambda places: self.processor([grammars[place] for place in places])


@functools.lru_cache(maxsize=256)
def _lark(grammar: str) -> str:
    """As llguidance reads it: every rule but `root` becomes a regular expression, so that a line is read as one.

    Without forcing: where only one text can follow, llguidance would allow none but the tokenizer's own cut of it,
    and a tokenizer that writes a blank in another way (SentencePiece without a token for it) would come to a dead end.
    """
    from llguidance.gbnf_to_lark import gbnf_to_lark

    return gbnf_to_lark(grammar).replace("%llguidance {}", '%llguidance {"no_forcing": true}', 1)


class _Held:
    """One matcher a row."""

    def __init__(self, matchers: Sequence[LLMatcher]) -> None:
        self._matchers = matchers
        self._started = False

    def __call__(self, ids_BL: Tensor, scores_BV: Tensor) -> Tensor:
        import torch
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

        newest = ids_BL[:, -1].tolist() if self._started else []
        self._started = True
        for matcher, token in zip(self._matchers, newest, strict=False):
            # one that is complete takes stops only, and gets them and padding
            if not matcher.is_stopped() and not matcher.consume_token(token):
                raise ModelError(f"grammar: token {token} was taken, which it does not allow")
        vocabulary = scores_BV.shape[1]
        bits = allocate_token_bitmask(len(self._matchers), vocabulary)
        for row, matcher in enumerate(self._matchers):
            fill_next_token_bitmask(matcher, bits, row)
            if matcher.is_error():
                raise ModelError(f"grammar: {matcher.get_error().splitlines()[0]}")
        allowed_BV = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little", count=vocabulary).view(np.bool_)
        return scores_BV.masked_fill(~torch.from_numpy(allowed_BV).to(scores_BV.device), -torch.inf)


def constraint(model: Any, tokenizer: Any) -> Constraint:
    """For this model. Raises ModelError for a tokenizer that cannot be read."""
    return Constraint(tokenizer, model.get_output_embeddings().weight.shape[0], stop_ids(model, tokenizer))
