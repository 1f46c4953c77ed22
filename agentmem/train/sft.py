"""agentmem train sft: the cold start. A model learns to write the edits of examples, or the memory after them.

The loss is on the answer only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler

from agentmem.errors import ConfigError, TrainingDataError, boundary
from agentmem.memory import Evidence, Fact, Kind, Memory, Preference, StandingInstruction, new_id
from agentmem.models.adapted import base_path
from agentmem.models.likelihood import load_causal
from agentmem.models.sampling import prompt_ids
from agentmem.policy import Observation
from agentmem.policy.actions import EDITS, Actions, get_actions
from agentmem.policy.edits import Edit
from agentmem.policy.resolve import aliases_of
from agentmem.session import Session
from agentmem.train.histories import EditExample
from agentmem.train.recipes import SFTRecipe
from agentmem.train.supervised import arguments, fitting, lora, run_trainer, stop_of

_KINDS: dict[str, Kind] = {"p": "preference", "i": "instruction", "f": "fact"}
_BEFORE = Evidence(quote="said before", session="before", turn=0)
IGNORED = -100
"""Label of tokens that are read and not learned, as torch's cross-entropy has it."""
_SHOWN = {name: name for name in ("loss", "eval_loss", "learning_rate", "epoch")}


class Taught(NamedTuple):
    """One example as tokens."""

    input_ids: list[int]
    labels: list[int]
    """IGNORED at what is only read."""

    @property
    def tokens(self) -> int:
        return len(self.input_ids)


def observed(example: EditExample) -> tuple[Observation, list[Edit]]:
    """What a policy would be shown of an example, and its edits with the aliases that it then has."""
    rng = random.Random(0)
    ids: dict[str, str] = {}
    memories: list[Memory] = []
    for alias, text in example.memory.items():
        kind = _KINDS[alias[0]]
        ids[alias] = new_id(kind, set(ids.values()), rng)
        memories.append(_memory(kind, ids[alias], text))
    session = Session(id="example", messages=example.messages, date=example.date)
    seen = Observation(memories=tuple(memories), session=session, today=example.date or date(2026, 1, 1))
    names = {id: name for name, id in aliases_of(seen).items()}
    edits = [edit.model_copy(update={"aliases": tuple(names[ids[alias]] for alias in edit.aliases)})
             for edit in example.edits]  # fmt: skip
    return seen, edits


def _memory(kind: Kind, id: str, text: str) -> Memory:
    if kind == "instruction":
        when, arrow, rest = text.partition(" => ")
        return StandingInstruction(id=id, text=rest if arrow else text, when=when if arrow else "always",
                                   evidence=(_BEFORE,))  # fmt: skip
    return (Preference if kind == "preference" else Fact)(id=id, text=text, evidence=(_BEFORE,))


def taught(example: EditExample, tokenizer: Any, stop: int, actions: Actions = EDITS) -> Taught:
    """The tokens of a rollout's prompt, and after it the answer with the stop: only these are learned."""
    seen, edits = observed(example)
    messages, _ = actions.prompt(seen)
    prompt = prompt_ids(tokenizer, messages)
    written = [*tokenizer(actions.write(edits, seen), add_special_tokens=False)["input_ids"], stop]
    return Taught([*prompt, *written], [IGNORED] * len(prompt) + written)


def sft(examples: Sequence[EditExample], out: Path, recipe: SFTRecipe = SFTRecipe(), *, resume: bool = False) -> Path:  # noqa: B008
    """Train with TRL's SFTTrainer, and return the adapter's folder, `out`/policy. Ctrl-C saves what stands and stops.

    Args:
        examples: those of the split "train" are learned, those of "test" give the loss on unseen ones.
        out: folder of the run.
        recipe: how.
        resume: go on from the last checkpoint in `out`.

    Raises:
        TrainingDataError: nothing to learn from.
        ConfigError: a setting cannot work, or `out` holds another run.
        ModelError: the training failed.
    """
    model, tokenizer = load_causal(base_path(recipe.base), device=recipe.device, dtype=recipe.dtype)
    stop = stop_of(model, tokenizer)
    actions = get_actions(recipe.actions, recipe.memory_tokens)
    kept, left_out = fitting(examples, lambda one: taught(one, tokenizer, stop, actions), recipe.max_tokens)
    if not kept["train"]:
        raise TrainingDataError('no edits of the split "train" that fit into max_tokens: a cold start needs some')
    described = {**recipe.model_dump(), "examples": len(kept["train"]), "left_out": left_out}
    return run_trainer(lambda: _trainer(model, tokenizer, kept, out, recipe), out, "sft", described, _SHOWN,
                       resume=resume, actions=actions)  # fmt: skip


def _trainer(model: Any, tokenizer: Any, kept: dict[str, list[Taught]], out: Path, recipe: SFTRecipe) -> Any:
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    data = {split: Dataset.from_list([one._asdict() for one in own]) for split, own in kept.items() if own}
    settings = arguments(
        SFTConfig,
        recipe,
        out,
        cpu=str(model.device) == "cpu",
        test="test" in data,
        max_length=recipe.max_tokens,
        packing=False,
        train_sampling_strategy="group_by_length",
    )  # fmt: skip  much less padding
    with boundary(ConfigError, "sft"):
        return _frugal(SFTTrainer)(
            model=model, args=settings, train_dataset=data["train"], eval_dataset=data.get("test"),
            processing_class=tokenizer, peft_config=lora(recipe),
        )  # fmt: skip


class _Alike(Sampler[int]):
    """Examples by chance, those of like length in one batch: much less padding.

    transformers has such a sampler, but a resumed run doesn't get the order of its next epoch from it.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._batch, self._seed, self._epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed}/{self._epoch}")
        places = rng.sample(range(len(self)), len(self))
        many = 50 * self._batch
        parts = [sorted(places[start : start + many], key=self._lengths.__getitem__)
                 for start in range(0, len(places), many)]  # fmt: skip
        ordered = [place for part in parts for place in part]
        batches = [ordered[start : start + self._batch] for start in range(0, len(ordered), self._batch)]
        last = batches.pop() if len(ordered) % self._batch else []
        return iter([place for batch in [*rng.sample(batches, len(batches)), last] for place in batch])


def _frugal(trainer: type) -> Any:
    """TRL's trainer, with batches of like lengths and the same loss from the logits of learned tokens alone.

    It computes all others too: with a vocabulary of 49,000 that is two fifths of a step of a model of 135M, where a
    tenth of the tokens is learned.
    """

    class Frugal(trainer):
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            rows = self.train_dataset if dataset is None else dataset
            return _Alike(
                [len(ids) for ids in rows["input_ids"]], self.args.per_device_train_batch_size, self.args.seed
            )

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if return_outputs:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            labels_BL = inputs["labels"][:, 1:]
            places = (labels_BL != IGNORED).any(0).nonzero()[:, 0]
            logits_BTV = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False,
                               logits_to_keep=places).logits  # fmt: skip
            learned_BT = labels_BL[:, places]
            loss = cross_entropy(logits_BTV.float().flatten(0, 1), learned_BT.flatten(), ignore_index=IGNORED,
                                 reduction="sum")  # fmt: skip
            if num_items_in_batch is None:
                return loss / (learned_BT != IGNORED).sum()
            ranks = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
            return loss * ranks / num_items_in_batch

    return Frugal
