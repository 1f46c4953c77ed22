"""agentmem train dpo: direct preference optimization (arXiv 2305.18290) on pairs of a better and a worse answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from agentmem.errors import ConfigError, TrainingDataError, boundary
from agentmem.models.adapted import base_path
from agentmem.models.likelihood import load_causal
from agentmem.models.sampling import prompt_ids
from agentmem.train.histories import PairExample
from agentmem.train.recipes import DPORecipe
from agentmem.train.supervised import adapted, arguments, beginning, fitting, lora, run_trainer, stop_of

if TYPE_CHECKING:
    from trl.trainer.dpo_trainer import DPOTrainer

_SIDES = {"loss": "loss", "rewards/margins": "margin", "rewards/accuracies": "accuracy", "logps/chosen": "chosen_logp",
          "logps/rejected": "rejected_logp"}  # fmt: skip
_SHOWN = {
    **_SIDES,
    **{f"eval_{its}": f"eval_{own}" for its, own in _SIDES.items()},
    "learning_rate": "learning_rate",
    "epoch": "epoch",
}


class Compared(NamedTuple):
    """One pair as tokens."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    """With the stop, as the other."""
    rejected_ids: list[int]
    weight: float

    @property
    def tokens(self) -> int:
        """Of the prompt and the longer answer."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


def compared(pair: PairExample, tokenizer: Any, stop: int) -> Compared:
    """The tokens of a pair, its prompt as in serving."""
    prompt = prompt_ids(tokenizer, [{"role": one.role, "content": one.content} for one in pair.prompt])
    chosen, rejected = ([*tokenizer(text, add_special_tokens=False)["input_ids"], stop]
                        for text in (pair.chosen, pair.rejected))  # fmt: skip
    return Compared(prompt, chosen, rejected, pair.weight)


def dpo(pairs: Sequence[PairExample], out: Path, recipe: DPORecipe = DPORecipe(), *, resume: bool = False) -> Path:  # noqa: B008
    """Train with TRL's DPOTrainer, and return the adapter's folder, `out`/policy. Ctrl-C saves what stands and stops.

    A pair's part of the loss is multiplied by its weight over the mean weight. TRL has no such weights: where they
    differ, pairs are read one at a time, whatever `at_once` says.

    Args:
        pairs: those of the split "train" are learned, those of "test" are measured.
        out: folder of the run.
        recipe: how.
        resume: go on from the last checkpoint in `out`.

    Raises:
        TrainingDataError: nothing to learn from.
        ConfigError: a setting cannot work, or `out` holds another run.
        ModelError: the training failed.
    """
    if not any(one.split == "train" for one in pairs):
        raise TrainingDataError('no pair of the split "train": preferences are learned from lines of the type pair')
    start, actions = beginning(recipe)
    model, tokenizer = load_causal(base_path(recipe.base), device=recipe.device, dtype=recipe.dtype)
    stop = stop_of(model, tokenizer)
    kept, left_out = fitting(pairs, lambda one: compared(one, tokenizer, stop), recipe.max_tokens)
    if not kept["train"]:
        raise TrainingDataError(f'no pair of the split "train" fits into max_tokens={recipe.max_tokens}')
    described = {**recipe.model_dump(), "pairs": len(kept["train"]), "left_out": left_out}
    return run_trainer(lambda: _trainer(adapted(model, start), tokenizer, kept, out, recipe), out, "dpo", described,
                       _SHOWN, resume=resume, actions=actions)  # fmt: skip


def _trainer(model: Any, tokenizer: Any, kept: Mapping[str, list[Compared]], out: Path, recipe: DPORecipe) -> Any:
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig

    mean = sum(one.weight for one in kept["train"]) / len(kept["train"])
    data = {split: Dataset.from_list([one._replace(weight=one.weight / mean)._asdict() for one in own])
            for split, own in kept.items() if own}  # fmt: skip
    settings = arguments(DPOConfig, recipe, out, cpu=str(model.device) == "cpu", test="test" in data, beta=recipe.beta,
                         max_length=None, remove_unused_columns=False)  # fmt: skip
    alike = len({one.weight for own in kept.values() for one in own}) == 1
    with boundary(ConfigError, "dpo"):
        return _weighing(alike)(
            model=model, args=settings, train_dataset=data["train"], eval_dataset=data.get("test"),
            data_collator=_Collator(tokenizer.pad_token_id), processing_class=tokenizer,
            peft_config=None if recipe.start else lora(recipe),
        )  # fmt: skip


class _Collator:
    """TRL's, which does not know of weights, and the weights."""

    def __init__(self, pad: int) -> None:
        from trl.trainer.dpo_trainer import DataCollatorForPreference

        self._padded = DataCollatorForPreference(pad_token_id=pad)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {**self._padded(rows), "weight": torch.tensor([row["weight"] for row in rows])}


def _weighing(alike: bool) -> type[DPOTrainer]:
    """TRL's trainer with tokens as they are given, and with weights unless all are alike.

    Made here, since TRL is of the extra `train`.
    """
    from trl.trainer.dpo_trainer import DPOTrainer

    class Weighing(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *given: Any, **named: Any) -> Any:
            return dataset

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            pairs = {name: value for name, value in inputs.items() if name != "weight"}
            if alike:
                return super().compute_loss(model, pairs, return_outputs, num_items_in_batch)
            weight_B: Tensor = inputs["weight"]
            loss = torch.zeros((), device=weight_B.device)
            for place, weight in enumerate(weight_B):
                both = torch.tensor([place, place + len(weight_B)])  # the chosen ones come first
                one = {name: value[both] for name, value in pairs.items()}
                loss = loss + weight * super().compute_loss(model, one, False, num_items_in_batch)
            return loss / len(weight_B)

    return Weighing
