"""agentmem train sft: the cold start. A model learns to write the edits of examples, or the memory after them.

The loss is on the answer only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler

from agentmem.errors import ConfigError, TrainingDataError, boundary
from agentmem.memory import Evidence, Fact, Kind, Memory, Preference, StandingInstruction, new_id
from agentmem.models.adapted import base_path
from agentmem.models.likelihood import load_causal
from agentmem.models.sampling import prompt_ids
from agentmem.policy import Observation
from agentmem.policy.actions import EDITS, Actions
from agentmem.policy.answers import as_spelled, with_answers
from agentmem.policy.base import Mark
from agentmem.policy.edits import Edit
from agentmem.policy.marks import KNOWN, Marker, Reading, Said, of_sentences, shipped_marker, worths
from agentmem.policy.resolve import aliases_of, conversation
from agentmem.session import Session
from agentmem.train.histories import EditExample
from agentmem.train.recipes import SFTRecipe
from agentmem.train.splits import split_users
from agentmem.train.supervised import adapted, arguments, beginning, fitting, lora, run_trainer, stop_of

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
    weights: list[float]
    """Of the labels in the loss; 0 at what is only read."""

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


def served(example: EditExample) -> tuple[Observation, list[Edit]]:
    """The same as a policy that is asked of sentences reads it: with short answers spelled out."""
    seen, edits = observed(example)
    return with_answers(seen), as_spelled(edits, seen)


def _memory(kind: Kind, id: str, text: str) -> Memory:
    if kind == "instruction":
        when, arrow, rest = text.partition(" => ")
        return StandingInstruction(id=id, text=rest if arrow else text, when=when if arrow else "always",
                                   evidence=(_BEFORE,))  # fmt: skip
    return (Preference if kind == "preference" else Fact)(id=id, text=text, evidence=(_BEFORE,))


class Lesson(NamedTuple):
    """What a policy is shown, and what a careful person would write."""

    seen: Observation
    edits: Sequence[Edit]
    split: str


def lessons(
    examples: Sequence[EditExample], marker: Marker | None = None, *, distract: float = 0.0, seed: int = 0
) -> list[Lesson]:
    """The examples as a policy is shown them.

    Args:
        examples: to learn or to measure.
        marker: of a policy that is asked of marked sentences, each by itself: a lesson is a sentence that edits quote.
        distract: share of the examples in which the likeliest of the other sentences is one, too, without edits.
        seed: of which these are.
    """
    if marker is None:
        return [Lesson(*observed(example), example.split) for example in examples]
    found = [Lesson(*served(example), example.split) for example in examples]
    rng = random.Random(f"{seed}/marks")
    distracted = [rng.random() < distract for _ in found]
    shown = [one.seen for one in found]
    others = iter(marker.read([seen for seen, chosen in zip(shown, distracted, strict=True) if chosen]))
    return [part for one, chosen, said in zip(found, distracted, marker.sentences(shown), strict=True)
            for part in _apart(one, said, next(others) if chosen else ())]  # fmt: skip


def _apart(lesson: Lesson, said: Sequence[Said], others: Sequence[Reading]) -> Iterator[Lesson]:
    """One lesson a sentence. Requests to forget are none: they are carried out without the model."""
    sentences = [one.sentence for one in said]
    worth = worths(lesson.seen, lesson.edits, sentences)
    for one, label, edits in zip(said, worth, of_sentences(lesson.seen, lesson.edits, sentences), strict=True):
        if kept := [edit for edit in edits if edit.sign != "x"]:
            seen = lesson.seen.model_copy(update={"mark": _with_targets(one.mark(label), kept, lesson.seen)})
            yield Lesson(seen, [_shown_quotes(edit, seen) for edit in kept], lesson.split)
    quoted = {one.sentence for one, label in zip(said, worth, strict=True) if label != "none"}
    if free := [one for one in others if one.said.sentence not in quoted and one.calls_for != "forget"]:
        likeliest = max(free, key=lambda one: one.worth)
        yield Lesson(lesson.seen.model_copy(update={"mark": likeliest.mark()}), [], lesson.split)


def _with_targets(mark: Mark, edits: Sequence[Edit], seen: Observation) -> Mark:
    """The mark with the memories that the edits change among those near it."""
    names = aliases_of(seen)
    targets = [names[alias] for edit in edits for alias in edit.aliases]
    near = tuple(dict.fromkeys([*targets, *mark.near]))[: max(KNOWN, len(set(targets)))]
    return mark.model_copy(update={"near": near})


def _shown_quotes(edit: Edit, seen: Observation) -> Edit:
    """The edit with those of its quotes that the policy is shown; all, where it is shown none as a whole."""
    shown = conversation(seen)
    quotes = tuple(quote for quote in edit.quotes if quote in shown)
    return edit.model_copy(update={"quotes": quotes or edit.quotes[:1]})


def taught(lesson: Lesson, tokenizer: Any, stop: int, actions: Actions = EDITS, decisive: float = 1.0) -> Taught:
    """The tokens of a rollout's prompt, and after it the answer with the stop: only these are learned.

    Args:
        lesson: what is learned.
        tokenizer: a fast one, which knows what text a token stands for.
        stop: token that ends an answer.
        actions: how edits are asked for and written.
        decisive: weight of the tokens that decide: the first of each line (nothing, or which change) and the stop (no
            further one). All others weigh 1.
    """
    messages, _ = actions.prompt(lesson.seen)
    prompt = prompt_ids(tokenizer, messages)
    text = actions.write(lesson.edits, lesson.seen)
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    first = {0, *(place + 1 for place, sign in enumerate(text) if sign == "\n")}
    weights = [decisive if first & set(range(*span)) else 1.0 for span in read["offset_mapping"]]
    written = [*read["input_ids"], stop]
    return Taught([*prompt, *written], [IGNORED] * len(prompt) + written, [0.0] * len(prompt) + [*weights, decisive])


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
    if recipe.dtype == "bfloat16" and str(model.device) == "cpu":
        model.set_attn_implementation("eager")  # torch's fused attention takes 2.5 times as long there
    stop = stop_of(model, tokenizer)
    start, actions = beginning(recipe)
    marker = None if actions.marks is None else shipped_marker(actions.marks)
    learned = lessons(_watched(examples, recipe.watch), marker, distract=recipe.distract, seed=recipe.seed)
    kept, left_out = fitting(
        learned, lambda one: taught(one, tokenizer, stop, actions, recipe.decisive), recipe.max_tokens
    )  # fmt: skip
    if not kept["train"]:
        raise TrainingDataError('no edits of the split "train" that fit into max_tokens: a cold start needs some')
    described = {**recipe.model_dump(), "examples": len(kept["train"]), "left_out": left_out}
    return run_trainer(lambda: _trainer(adapted(model, start), tokenizer, kept, out, recipe), out, "sft", described,
                       _SHOWN, resume=resume, actions=actions)  # fmt: skip


def _watched(examples: Sequence[EditExample], share: float) -> Sequence[EditExample]:
    """With a share, that of the training users takes the place of the test set, which is left alone."""
    if not share:
        return examples
    learned, watched = split_users([one for one in examples if one.split == "train"], share)
    return [*learned, *watched]


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
            processing_class=tokenizer, data_collator=_Padded(tokenizer.pad_token_id),
            peft_config=None if recipe.start else lora(recipe),
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


class _Padded:
    """A batch of examples, filled up on the right to the longest."""

    def __init__(self, pad: int) -> None:
        self._fill = {"input_ids": pad, "labels": IGNORED, "weights": 0.0}

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        batch = {name: torch.tensor([[*row[name], *[fill] * (longest - len(row[name]))] for row in rows])
                 for name, fill in self._fill.items()}  # fmt: skip
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        return {**batch, "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}


@contextmanager
def _only(head: torch.nn.Module, kept_BL: torch.Tensor) -> Iterator[None]:
    """Let the head compute the logits of these places alone, (places, V): one product of matrices without gaps."""
    hook = head.register_forward_pre_hook(lambda module, given: (given[0][kept_BL],))
    try:
        yield
    finally:
        hook.remove()


def _frugal(trainer: type) -> Any:
    """TRL's trainer, with batches of like lengths and the same loss from the logits of learned tokens alone.

    It computes all others too: with a vocabulary of 49,000 that is two fifths of a step of a model of 135M, where a
    tenth of the tokens is learned.
    """

    class Frugal(trainer):
        def _set_signature_columns_if_needed(self) -> None:
            self._signature_columns = list(Taught._fields)

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            rows = self.train_dataset if dataset is None else dataset
            return _Alike(
                [len(ids) for ids in rows["input_ids"]], self.args.per_device_train_batch_size, self.args.seed
            )

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            from peft.helpers import disable_input_dtype_casting

            learned_BL = inputs["labels"][:, 1:] != IGNORED
            labels_N, weights_N = inputs["labels"][:, 1:][learned_BL], inputs["weights"][:, 1:][learned_BL]
            head = self.accelerator.unwrap_model(model).get_output_embeddings()
            last_B1 = learned_BL.new_zeros(len(learned_BL), 1)  # nothing follows it
            # Where autocast makes the types equal, PEFT need not copy what it reads into float32.
            plain = disable_input_dtype_casting(model, active=self.args.bf16)
            with _only(head, torch.cat([learned_BL, last_B1], 1)), plain:
                logits_NV = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
                                  use_cache=False).logits  # fmt: skip
            loss = (cross_entropy(logits_NV.float(), labels_N, reduction="none") * weights_N).sum()
            if num_items_in_batch is None:
                loss = loss / len(labels_N)
            else:
                loss = loss * (self.accelerator.num_processes if self.args.average_tokens_across_devices else 1)
                loss = loss / num_items_in_batch
            return (loss, {}) if return_outputs else loss

    return Frugal
