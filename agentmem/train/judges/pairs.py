"""Fit a model that reads two texts together: low-rank changes of MiniLM and a head. Needs the extra `train` (peft)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from agentmem.errors import ModelError
from agentmem.models.likelihood import fast_dtype
from agentmem.models.minilm import base
from agentmem.models.pairs import MAX_TOKENS, TARGETS, Adapter, Pair, first_tokens


class Example(NamedTuple):
    """One labelled pair."""

    pair: Pair
    label: int
    group: str
    """Examples of one group are all for training or all held out."""


class Recipe(NamedTuple):
    """How a pair model is fitted."""

    rank: int = 32
    epochs: int = 4
    batch: int = 32
    rate: float = 5e-4
    """Peak learning rate: a tenth of the steps up, then down to 0 in a straight line."""
    head_rate: float = 2e-3
    dropout: float = 0.1
    seed: int = 0


DEFAULT = Recipe()

B = TypeVar("B")
Watch = Callable[[int, int, float], None]
"""Called with (step, steps, mean loss since the last call)."""


def fit(
    examples: Sequence[Example],
    labels: Sequence[str],
    recipe: Recipe = DEFAULT,
    *,
    about: dict[str, str],
    watch: Watch = lambda step, steps, loss: None,
    start: Adapter | None = None,
) -> Adapter:
    """Low-rank changes of the base and a head, fitted by cross-entropy.

    Args:
        examples: for training, in any order.
        labels: names of the classes.
        recipe: sizes and rates.
        about: what it is fitted from; kept in the file.
        watch: called every 20 steps.
        start: what is fitted further; None: the base as it is.

    Raises:
        ModelError: `start` is of another form.
    """
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    tokenizer, model = base()
    tuned, low_rank, config = with_low_rank(model, recipe.rank, recipe.dropout)
    head = torch.nn.Linear(model.config.hidden_size, len(labels))
    if start is not None:
        begin(tuned, head, config, start, labels)
    steps = [[batch] for _ in range(recipe.epochs) for batch in _batches(examples, recipe.batch, rng)]

    def read(batch: Sequence[Example]) -> tuple[torch.Tensor, list[int]]:
        hidden_BD = first_tokens(tuned, tokenizer, [example.pair for example in batch], "cpu")
        return hidden_BD, [example.label for example in batch]

    lowered(tuned, low_rank, head, recipe, steps, read, watch)
    return adapter_of(tuned, head, labels, config, about)


def lowered(
    tuned: Any, low_rank: Sequence[torch.nn.Parameter], head: torch.nn.Linear, recipe: Recipe,
    steps: Sequence[Sequence[B]], read: Callable[[B], tuple[torch.Tensor, Sequence[int]]], watch: Watch,
) -> None:  # fmt: skip
    """Lower the cross-entropy of a head over what a model with low-rank changes reads.

    Args:
        tuned: the model, as PEFT has it.
        low_rank: the weights of its changes.
        head: over its hidden states; on its device.
        recipe: of the rates.
        steps: the parts of each, which are read one after the other: what is kept for a step's gradients is kept of one
            part at a time. The mean is over all labels of a step.
        read: the hidden states (N, dim) of a part, and their labels.
        watch: called every 20 steps.
    """
    from peft.helpers import disable_input_dtype_casting

    groups = [{"params": low_rank, "lr": recipe.rate}, {"params": head.parameters(), "lr": recipe.head_rate}]
    optimizer, schedule = optimiser(groups, len(steps))
    learned = [*low_rank, *head.parameters()]
    device = head.weight.device
    fast = fast_dtype(device.type) == "bfloat16"
    tuned.train()
    losses: list[float] = []
    for step, parts in enumerate(steps, start=1):
        total, labelled = 0.0, 0
        for part in parts:
            # Where autocast makes the types equal, PEFT need not copy what it reads into float32.
            with (
                torch.autocast(device.type, torch.bfloat16, enabled=fast),
                disable_input_dtype_casting(tuned, active=fast),
            ):
                hidden_ND, labels = read(part)
            gold_N = torch.tensor(labels, device=device)
            loss = torch.nn.functional.cross_entropy(head(hidden_ND.float()), gold_N, reduction="sum")
            loss.backward()
            total, labelled = total + loss.item(), labelled + len(labels)
        for weight in learned:
            if weight.grad is not None:
                weight.grad /= labelled
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(total / labelled)
        if step % 20 == 0 or step == len(steps):
            watch(step, len(steps), float(np.mean(losses)))
            losses.clear()


def _batches(examples: Sequence[Example], size: int, rng: random.Random) -> list[list[Example]]:
    """All examples once, those of like length together: padding is computed too."""
    order = list(examples)
    rng.shuffle(order)
    pools = [order[start : start + 16 * size] for start in range(0, len(order), 16 * size)]
    batches: list[list[Example]] = []
    for pool in pools:
        pool.sort(key=lambda example: min(sum(map(len, example.pair)), 4 * MAX_TOKENS))
        batches += [pool[start : start + size] for start in range(0, len(pool), size)]
    rng.shuffle(batches)
    return batches


def with_low_rank(model: Any, rank: int, dropout: float) -> tuple[Any, list[Any], Any]:
    """The model with trainable low-rank changes of TARGETS, these weights, and their configuration (peft)."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=dropout, target_modules=list(TARGETS))
    tuned: Any = get_peft_model(model, config)
    return tuned, [weight for name, weight in tuned.named_parameters() if "lora_" in name], config


def begin(tuned: Any, head: torch.nn.Linear, config: Any, start: Adapter, labels: Sequence[str]) -> None:
    """Put an adapter in the place of fresh low-rank changes and head. Raises ModelError when it is of another form."""
    weights = dict(tuned.named_parameters())
    scale = config.lora_alpha / config.r
    low_rank = {f"base_model.model.{name}.lora_{side}.default.weight": torch.from_numpy(weight)
                for name, (a_RI, b_OR) in start.low_rank.items()
                for side, weight in (("A", a_RI), ("B", b_OR / scale))}  # fmt: skip
    own = {name: tuple(weight.shape) for name, weight in weights.items() if "lora_" in name}
    found = {name: tuple(weight.shape) for name, weight in low_rank.items()}
    if own != found or start.labels != tuple(labels):
        raise ModelError(f"the adapter to go on from has other layers, rank or labels ({start.about}); fit anew")
    with torch.no_grad():
        for name, weight in low_rank.items():
            weights[name].copy_(weight)
        head.weight.copy_(torch.from_numpy(start.head_weight))
        head.bias.copy_(torch.from_numpy(start.head_bias))


def optimiser(groups: list[dict[str, Any]], steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """AdamW, and a schedule: a tenth of the steps up, then down to 0 in a straight line."""
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    return optimizer, schedule


def adapter_of(tuned: Any, head: Any, labels: Sequence[str], config: Any, about: dict[str, str]) -> Adapter:
    """What was fitted, as it is kept; `head` is None where there is none."""
    scale = config.lora_alpha / config.r
    weights = {name: weight.detach().numpy() for name, weight in tuned.named_parameters() if "lora_" in name}
    names = {name.removeprefix("base_model.model.").split(".lora_")[0] for name in weights}
    dim = tuned.config.hidden_size
    return Adapter(
        labels=tuple(labels),
        low_rank={
            name: (
                weights[f"base_model.model.{name}.lora_A.default.weight"],
                weights[f"base_model.model.{name}.lora_B.default.weight"] * scale,
            )
            for name in sorted(names)
        },
        head_weight=np.zeros((0, dim), np.float32) if head is None else head.weight.detach().numpy(),
        head_bias=np.zeros(0, np.float32) if head is None else head.bias.detach().numpy(),
        about=about,
    )
