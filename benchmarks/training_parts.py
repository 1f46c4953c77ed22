"""What benchmarks.training measures, each part in a process of its own."""

from __future__ import annotations

import json
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentmem.models.adapted import base_path
from agentmem.models.likelihood import load_causal
from agentmem.models.sampling import stop_ids
from agentmem.train.adapters import TARGETS
from agentmem.train.answerers import CausalAnswerer
from agentmem.train.histories import read_examples
from agentmem.train.learner import Learner
from agentmem.train.playing import Histories, Recorder
from agentmem.train.recipes import RFTRecipe, Rollouts
from agentmem.train.rewards import Ended, Mix, Scored
from agentmem.train.rft import Setup, _histories, _learner
from agentmem.train.samplers import AdaptedSampler
from agentmem.train.trainer import Environment, Trainer
from agentmem.train.values import Group, Step, Trajectory
from benchmarks.training import HISTORIES, KINDS, Sizes

REWARDS = {"option_likelihood": 1.0, "edits": -0.02, "unreadable": -0.1}
RANK = 16
AT_ONCE = 8
"""Rows of a pass, where ours and TRL's are compared."""


class Clock:
    """Seconds of wall time by name, of calls that it was put around."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, call: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                label = name(*args, **options)
                self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - started

        return timed


class TimedMix(Mix):
    """Rewards under a clock, a little apart: an untrained policy may earn the same everywhere, which makes no pair."""

    def __init__(self, weights: Mapping[str, float], clock: Clock) -> None:
        super().__init__(weights)
        self._timed, self._scored = clock.around(super().__call__, lambda ended: "rewards"), 0

    def __call__(self, ended: Ended) -> Scored:
        found: Scored = self._timed(ended)
        self._scored += 1
        return found if found.total is None else found._replace(total=found.total + 0.001 * (self._scored % 3))


class Replayed:
    """An environment in which everything has been said: the same rollouts again and again."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = list(groups)

    def __len__(self) -> int:
        return len(self.groups)

    def play(self, places: Sequence[int], times: int, rng: random.Random) -> list[Group]:
        return self.groups


def recipe_of(sizes: Sizes, credit: str) -> RFTRecipe:
    rollouts = Rollouts(histories=sizes.histories, group=sizes.group, max_tokens=sizes.max_tokens)
    return RFTRecipe.model_validate({"credit": credit, "tokens": sizes.tokens, "rollouts": rollouts})


def learner_of(sizes: Sizes, credit: str) -> tuple[Learner, Any]:
    """Ours as `agentmem train rft` makes it, and the tokenizer."""
    return _learner(recipe_of(sizes, credit), _setup(sizes), None)


def environment_of(sizes: Sizes, learner: Learner, tokenizer: Any, mix: Mix) -> Environment:
    histories = _histories(read_examples(HISTORIES))
    adapted = learner.adapted
    stops = stop_ids(adapted.model, tokenizer)
    recorder = Recorder(AdaptedSampler(adapted, stops), tokenizer, sorted(stops), sizes.max_tokens)
    return Histories(histories, recorder, mix, answerer=CausalAnswerer(adapted.model, tokenizer, adapted))


def _setup(sizes: Sizes) -> Setup:
    return Setup(base=sizes.base, rewards=REWARDS, rank=RANK, device="cpu", reconcile=False)


# -- a real step -----------------------------------------------------------------------------------------------------


def iterations(sizes: Sizes, credit: str) -> dict[str, Any]:
    """Seconds an iteration by phase, and tokens/s, sampled and trained."""
    clock = Clock()
    learner, tokenizer = learner_of(sizes, credit)
    environment = environment_of(sizes, learner, tokenizer, TimedMix(REWARDS, clock))
    environment.play = clock.around(environment.play, lambda *_: "rollouts")  # type: ignore[method-assign]
    learner.logprobs = clock.around(learner.logprobs, _reading)  # type: ignore[method-assign]
    learner.backward = clock.around(learner.backward, _changing)  # type: ignore[method-assign]
    trainer = Trainer(learner, environment, recipe_of(sizes, credit))
    sampled = trained = whole = 0.0
    for number in range(sizes.iterations):
        made = trainer.iterate(number)
        rows = [step for group in made.groups for one in group.trajectories for step in one.steps]
        sampled += sum(len(step.ids) for step in rows)
        trained += sum(len(step.prompt_ids) + len(step.ids) for step in rows)
        whole += made.metrics["speed/seconds"]
    played = clock.seconds["rollouts"]
    clock.seconds["rollouts"] -= clock.seconds["rewards"]
    phases = {name: value / sizes.iterations for name, value in clock.seconds.items()}
    phases["an iteration"] = whole / sizes.iterations
    return {"phases": phases, "sampled": sampled / clock.seconds["rollouts"], "trained": trained / (whole - played)}


def _reading(rows: object, which: str) -> str:
    return "old log-probabilities" if which == "policy" else "process reward model"


def _changing(rows: object, which: str, loss: object) -> str:
    return "policy update" if which == "policy" else "process reward model"


# -- kinds of credit -------------------------------------------------------------------------------------------------


def both_kinds(sizes: Sizes) -> dict[str, Any]:
    """Seconds of rollouts, and of the updates that each kind makes of them, in turns."""
    own = {kind: learner_of(sizes, kind) for kind in KINDS}
    environment = environment_of(sizes, *own["outcome"], Mix(REWARDS))
    trainers = {kind: Trainer(learner, Replayed([]), recipe_of(sizes, kind)) for kind, (learner, _) in own.items()}
    found: dict[str, list[float]] = {"rollout": [], **{kind: [] for kind in KINDS}}
    order = list(KINDS)
    for number in range(sizes.repeats):
        started = time.perf_counter()
        groups = _graded(environment.play(_places(sizes, number, len(environment)), sizes.group, random.Random(number)))
        found["rollout"].append(time.perf_counter() - started)
        for kind in order:
            trainers[kind].environment = Replayed(groups)
            started = time.perf_counter()
            trainers[kind].iterate(number)
            found[kind].append(time.perf_counter() - started)
        order.reverse()
    return found


def updates(sizes: Sizes, credit: str) -> dict[str, Any]:
    """Only updates, on rollouts that were not sampled: for the peak of memory."""
    learner, tokenizer = learner_of(sizes, credit)
    trainer = Trainer(learner, Replayed(made_up(sizes, tokenizer)), recipe_of(sizes, credit))
    for number in range(sizes.iterations):
        trainer.iterate(number)
    return {}


def _places(sizes: Sizes, number: int, there: int) -> list[int]:
    return [(number * sizes.histories + place) % there for place in range(sizes.histories)]


def _graded(groups: Sequence[Group]) -> list[Group]:
    """With rewards that differ: an untrained policy may earn the same everywhere, which would leave OPRL no pairs."""
    return [Group(group.name, [Trajectory(one.steps, float(place % 3)) for place, one in enumerate(group.trajectories)])
            for group in groups]  # fmt: skip


class MadeUp:
    """A sampler without a model: edits that quote what the user said, so that each trajectory's memory grows its own
    way, as with a trained policy."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def sample(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, rng: random.Random, processors: Sequence[Any] = ()
    ) -> list[list[int]]:
        return [self._answer(self._tokenizer.decode(list(prompt)), max_tokens, rng) for prompt in prompts]

    def _answer(self, prompt: str, max_tokens: int, rng: random.Random) -> list[int]:
        said = rng.choice(re.findall(r"^user: (.+)$", prompt, re.MULTILINE)).split()
        words = " ".join(rng.sample(said, min(len(said), rng.randint(2, 8))))
        line = f"+ preference: {words.strip('.,:;|@')}. | {json.dumps(' '.join(said[:5]))}"
        ids = self._tokenizer(line, add_special_tokens=False)["input_ids"]
        return [*ids[: max_tokens - 1], self._tokenizer.eos_token_id]


def made_up(sizes: Sizes, tokenizer: Any) -> list[Group]:
    """Rollouts of the real histories that no model sampled; the same for all kinds."""
    recorder = Recorder(MadeUp(tokenizer), tokenizer, [tokenizer.eos_token_id], sizes.max_tokens)
    histories = _histories(read_examples(HISTORIES))
    played = Histories(histories, recorder, Mix({"edits": 1.0})).play(
        _places(sizes, 0, len(histories)), sizes.group, random.Random(0)
    )
    return _graded(played)


# -- beside TRL ------------------------------------------------------------------------------------------------------


def beside_trl(sizes: Sizes) -> dict[str, Any]:
    """Tokens/s of an update on given rollouts, ours and TRL's in turns.

    Same base, low-rank layers, rows, rows a pass, precision, threads; no KL penalty, no activation checkpointing, no
    generation (TRL is given the rollouts by its `rollout_func`). The first pair is a warm-up.
    """
    from transformers import PrinterCallback, TrainerCallback

    learner, tokenizer = learner_of(sizes, "outcome")
    groups = made_up(sizes, tokenizer)
    steps = [step for group in groups for one in group.trajectories for step in one.steps]
    steps = steps[: len(steps) // AT_ONCE * AT_ONCE]
    longest = max(len(step.prompt_ids) + len(step.ids) for step in steps)
    single = [Trajectory([step], float(place % 3)) for place, step in enumerate(steps)]
    ours = Learner(learner.adapted, learner.optimizers, tokens=AT_ONCE * longest, norms={"policy": 1.0})
    groups = [Group("rows", single[start : start + AT_ONCE]) for start in range(0, len(single), AT_ONCE)]
    trainer = Trainer(ours, Replayed(groups), recipe_of(sizes, "outcome"))
    tokens = sum(len(step.prompt_ids) + len(step.ids) for step in steps)
    found: dict[str, list[float]] = {"ours": [], "trl": []}

    class Turns(TrainerCallback):
        """Ours after each step of theirs."""

        started = 0.0

        def on_step_begin(self, *args: Any, **options: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *args: Any, **options: Any) -> None:
            found["trl"].append(tokens / (time.perf_counter() - self.started))
            started = time.perf_counter()
            trainer.iterate(len(found["ours"]))
            found["ours"].append(tokens / (time.perf_counter() - started))

    with tempfile.TemporaryDirectory(prefix="agentmem-bench-") as folder:
        theirs = _trl(sizes, tokenizer, steps, folder)
        assert not any(getattr(module, "gradient_checkpointing", False) for module in theirs.model.modules())
        theirs.remove_callback(PrinterCallback)
        theirs.add_callback(Turns())
        theirs.train()
    return {**{name: values[1:] for name, values in found.items()}, "rows": len(steps), "tokens": tokens}


def _trl(sizes: Sizes, tokenizer: Any, steps: Sequence[Step], folder: str) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # of rollout_func
    args = GRPOConfig(
        output_dir=folder, per_device_train_batch_size=AT_ONCE, gradient_accumulation_steps=len(steps) // AT_ONCE,
        num_generations=AT_ONCE, max_steps=sizes.repeats + 1, loss_type="bnpo", beta=0.0, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    model, _ = load_causal(base_path(sizes.base), device="cpu")

    def given(prompts: Sequence[Any], trainer: object) -> dict[str, Any]:
        assert len(prompts) == len(steps)
        return {"prompt_ids": [list(step.prompt_ids) for step in steps],
                "completion_ids": [list(step.ids) for step in steps], "logprobs": None}  # fmt: skip

    def rewards(completions: Sequence[Any], **rest: Any) -> list[float | None]:
        return [float(place % 3) for place in range(len(completions))]

    return GRPOTrainer(
        model=model, reward_funcs=rewards, args=args, processing_class=tokenizer, rollout_func=given,
        train_dataset=Dataset.from_list([{"prompt": f"{place}"} for place in range(len(steps))]),
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules=list(TARGETS)),
    )  # fmt: skip
