"""What the tagger is fitted to, and how: the records of `marks`, each conversation read at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from agentmem.models.adapted import base_path
from agentmem.models.embed import Embedder
from agentmem.models.likelihood import best_device, fast_dtype, load_causal
from agentmem.models.pairs import Adapter
from agentmem.models.tags import BASE, TARGETS, Text, batches, last_hidden, tokens_of
from agentmem.policy.base import WORTHS
from agentmem.policy.marks import rendered
from agentmem.train.histories import EditExample
from agentmem.train.judges.marks import labelled
from agentmem.train.judges.pairs import Recipe, Watch, adapter_of, begin, lowered
from agentmem.train.judges.records import held_out

RECIPE = Recipe(rank=16, epochs=3, batch=32, rate=5e-4, dropout=0.0)
SCALE = 2
"""Of the low-rank changes."""
PART_TOKENS, PART_TOKENS_GPU = 4096, 16_384
"""Read at once, padding included: on a CPU 5 GB of what the gradients need."""


class Example(NamedTuple):
    """One conversation."""

    text: Text
    labels: Sequence[int]
    """Of its stretches."""
    group: str = ""
    """Its scenario family."""


def examples(rng: random.Random, embedder: Embedder, further: Sequence[EditExample] = ()) -> list[Example]:
    """For training, with `further` dialogues: all but the test part and the families that are held out."""
    found = labelled(rng, embedder, further)
    return [Example(rendered(one.seen, one.said), [WORTHS.index(label) for label in one.labels], one.family)
            for one in found if one.said and not held_out(one.family)]  # fmt: skip


def fit(
    examples: Sequence[Example], recipe: Recipe = RECIPE, *, base: str, about: dict[str, str],
    watch: Watch = lambda step, steps, loss: None, device: str | None = None,
    start: Adapter | None = None,
) -> Adapter:  # fmt: skip
    """Low-rank changes of a causal model and a head, fitted by cross-entropy over all stretches.

    Args:
        examples: for training, in any order.
        recipe: sizes and rates.
        base: the causal model (see `base_path`).
        about: what it is fitted from; kept in the file.
        watch: called every 20 steps.
        device: cpu, cuda or mps; None chooses. About 10 minutes on a GPU, some hours on two cores.
        start: what is fitted further; None: the base as it is.

    Raises:
        ModelError: the base cannot be had, or `start` is of another form.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(recipe.seed)
    device = device or best_device()
    model, tokenizer = load_causal(base_path(base), device=device, dtype=fast_dtype(device))
    config = LoraConfig(r=recipe.rank, lora_alpha=SCALE * recipe.rank, lora_dropout=recipe.dropout,
                        target_modules=list(TARGETS))  # fmt: skip
    tuned: Any = get_peft_model(model, config)
    low_rank = [weight.requires_grad_() for name, weight in tuned.named_parameters() if "lora_" in name]
    head = torch.nn.Linear(model.config.hidden_size, len(WORTHS))
    torch.nn.init.normal_(head.weight, std=0.02)
    torch.nn.init.zeros_(head.bias)
    if start is not None:
        begin(tuned, head, config, start, WORTHS)
    head.to(device)
    read = [tokens_of(tokenizer, one.text) for one in examples]
    rng = random.Random(recipe.seed)
    lengths, most = [len(ids) for ids, _ in read], PART_TOKENS if device == "cpu" else PART_TOKENS_GPU
    steps = [
        _parts(batch, lengths, most) for _ in range(recipe.epochs) for batch in _batches(lengths, recipe.batch, rng)
    ]

    def taken(batch: Sequence[int]) -> tuple[torch.Tensor, list[int]]:
        hidden_ND = last_hidden(tuned.base_model.model.model, [read[place] for place in batch])
        return hidden_ND, [label for place in batch for label in examples[place].labels]

    lowered(tuned, low_rank, head, recipe, steps, taken, watch)
    return adapter_of(tuned.cpu(), head.cpu(), WORTHS, config, {**about, BASE: base})


def _parts(batch: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
    """The places of a batch by what is read at once."""
    return [[batch[place] for place in part] for part in batches([lengths[place] for place in batch], most)]


def _batches(lengths: Sequence[int], size: int, rng: random.Random) -> list[list[int]]:
    """Places of all examples once, those of like length together: padding is computed too."""
    order = rng.sample(range(len(lengths)), len(lengths))
    found: list[list[int]] = []
    for start in range(0, len(order), 50 * size):
        pool = sorted(order[start : start + 50 * size], key=lambda place: lengths[place])
        found += [pool[first : first + size] for first in range(0, len(pool), size)]
    rng.shuffle(found)
    return found
