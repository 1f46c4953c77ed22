"""What runs on fixed examples share: TRL's trainers in a run's folder, that Ctrl-C saves and that go on from there."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from transformers.trainer_callback import TrainerCallback

from agentmem.errors import ConfigError, ModelError, boundary
from agentmem.models.lora import adapter_config, adapter_folder
from agentmem.models.sampling import stop_ids
from agentmem.policy.actions import EDITS, Actions, actions_of, get_actions, keep_actions
from agentmem.train.adapters import TARGETS, read_into
from agentmem.train.recipes import DPORecipe, SFTRecipe
from agentmem.train.runs import RunFolder

_STATE = "trainer_state.json"
"""Of transformers; the last file that a checkpoint gets."""

Arguments = TypeVar("Arguments")


class _Tokens(Protocol):
    @property
    def tokens(self) -> int:
        """Of an example."""
        ...


class _Split(Protocol):
    @property
    def split(self) -> str: ...


Fits = TypeVar("Fits", bound=_Tokens)


def arguments(
    kind: Callable[..., Arguments], recipe: SFTRecipe | DPORecipe, out: Path, *, cpu: bool, test: bool, **own: Any
) -> Arguments:
    """Settings of a TRL trainer.

    Args:
        kind: SFTConfig or DPOConfig.
        recipe: of the run.
        out: folder of the run.
        cpu: whether the model lies there.
        test: whether there are examples to test on, after each epoch.
        own: what only this kind has.
    """
    at_once = min(recipe.at_once, recipe.batch)
    if recipe.batch % at_once:
        raise ConfigError(f"batch {recipe.batch}: no multiple of at_once {at_once}; change one of them")
    made: Any = kind(
        output_dir=str(out / "hf"), num_train_epochs=recipe.epochs, per_device_train_batch_size=at_once,
        per_device_eval_batch_size=at_once, gradient_accumulation_steps=recipe.batch // at_once,
        learning_rate=recipe.rate, warmup_steps=recipe.warmup, lr_scheduler_type="cosine",
        logging_steps=recipe.log_every, save_strategy="steps",
        save_steps=recipe.save_every, save_total_limit=1, seed=recipe.seed, eval_strategy="epoch" if test else "no",
        report_to=[], bf16=recipe.dtype == "bfloat16", use_cpu=cpu, gradient_checkpointing=False, disable_tqdm=None,
        dataset_num_proc=None, **own,
    )  # fmt: skip
    if made.n_gpu > 1:  # else one process would use them all, with batches so many times as large
        made._n_gpu = 1
    return made


def lora(recipe: SFTRecipe | DPORecipe) -> Any:
    """The PEFT settings of a new adapter."""
    from peft import LoraConfig

    return LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, lora_dropout=0.0, target_modules=list(TARGETS))


def beginning(recipe: SFTRecipe | DPORecipe) -> tuple[Path | None, Actions]:
    """The adapter to begin from, if there is one, and what the policy writes: what that adapter does.

    Raises ConfigError when the recipe says otherwise.
    """
    if recipe.start is None:
        return None, get_actions(recipe.actions, recipe.memory_tokens, recipe.marks)
    start = adapter_folder(recipe.start)
    actions = actions_of(start)
    if "actions" in recipe.model_fields_set and recipe.actions != actions.name:
        raise ConfigError(f"actions {recipe.actions!r}: the adapter {recipe.start} was trained for {actions.name!r}")
    if "marks" in recipe.model_fields_set and recipe.marks != actions.marks:
        raise ConfigError(f"marks {recipe.marks}: the adapter {recipe.start} was trained with marks {actions.marks}")
    return start, actions


def adapted(model: Any, start: Path | None) -> Any:
    """The model with the adapter to begin from; without one as it is."""
    if start is None:
        return model
    from peft import LoraConfig, get_peft_model

    adapter_config(start)  # says what cannot be used
    config: Any = LoraConfig.from_pretrained(str(start))
    config.inference_mode, config.lora_dropout = False, 0.0
    with boundary(ConfigError, f"adapter {start}"):
        found = get_peft_model(model, config)
    read_into(found, "default", start)
    return found


def fitting(examples: Sequence[_Split], taught: Callable[[Any], Fits], most: int) -> tuple[dict[str, list[Fits]], int]:
    """Examples as tokens by their split, and how many were left out for being longer than `most` tokens."""
    every = [(one.split, taught(one)) for one in examples]
    kept = {split: [own for its, own in every if its == split and own.tokens <= most] for split in ("train", "test")}
    return kept, len(every) - sum(map(len, kept.values()))


def stop_of(model: Any, tokenizer: Any) -> int:
    """The token that ends an answer: the tokenizer's own, if the model takes it for one. Makes sure of one to pad."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    stops = stop_ids(model, tokenizer)
    return tokenizer.eos_token_id if tokenizer.eos_token_id in stops else min(stops)


def run_trainer(
    make: Callable[[], Any], out: Path, name: str, described: Mapping[str, object], shown: Mapping[str, str], *,
    resume: bool, actions: Actions = EDITS,
) -> Path:  # fmt: skip
    """Train in a run's folder, and return the adapter's folder, `out`/policy.

    Ctrl-C is taken up after the pass that runs, when the weights are those of a whole step: a checkpoint is written
    and KeyboardInterrupt raised. A second Ctrl-C stops at once, without one.

    Args:
        make: gives the trainer, whose adapter to save is "default".
        out: folder of the run.
        name: of the metrics, before the "/", and in errors.
        described: all settings.
        shown: names of metrics by those of the trainer's log.
        resume: go on from the last checkpoint in `out`, if there is one.
        actions: what the policy writes; kept beside the adapter and in every checkpoint.

    Raises:
        ConfigError: `out` holds another run, or none to resume.
        ModelError: the training failed.
    """
    with RunFolder(out, described, resume=resume, may_change=["device", "save_every", "at_once"]) as run:
        trainer = make()
        trainer.add_callback(_KeepActions(actions))
        checkpoint = _newest(out / "hf") if resume else None
        try:
            with boundary(ModelError, name), _taking_up_ctrl_c(trainer):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except _StoppedError:
            raise KeyboardInterrupt(_saved(trainer, out)) from None
        finally:
            _log(run, trainer.state.log_history, name, shown)
        trainer.model.save_pretrained(str(out / "policy"), safe_serialization=True, selected_adapters=["default"])
        keep_actions(actions, out / "policy")
    return out / "policy"


def _newest(folder: Path) -> Path | None:
    """The newest whole checkpoint."""
    numbered = [(int(match[1]), path) for path in folder.glob("checkpoint-*")
                if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / _STATE).is_file()]  # fmt: skip
    return max(numbered)[1] if numbered else None


def _log(run: RunFolder, history: list[dict[str, float]], name: str, shown: Mapping[str, str]) -> None:
    """Write the metrics; the trainer's own history reaches back before an interruption."""
    rows: dict[int, dict[str, float]] = {}
    for row in history:
        if found := {f"{name}/{own}": float(row[its]) for its, own in shown.items() if its in row}:
            rows.setdefault(int(row["step"]), {}).update(found)
    if rows:
        run.resume_at(-1)
        for step, metrics in sorted(rows.items()):
            run.log(step, metrics)
    run.draw()


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


class _StoppedError(KeyboardInterrupt):
    """Ctrl-C, at a moment when the run can be saved."""


class _KeepActions(TrainerCallback):
    """A checkpoint may be exported, too."""

    def __init__(self, actions: Actions) -> None:
        self._actions = actions

    def on_save(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            keep_actions(self._actions, folder)


class _Stop(TrainerCallback):
    asked = False

    def on_step_begin(self, *given: Any, **named: Any) -> None:
        if self.asked:
            raise _StoppedError

    on_substep_end = on_step_begin
    """In the midst of a step its gradients are dropped: it is made again as a whole."""


@contextmanager
def _taking_up_ctrl_c(trainer: Any) -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield
        return
    stop = _Stop()
    trainer.add_callback(stop)

    def ask(*given: Any) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, before)
        print("Stopping after this pass; Ctrl-C again stops at once.", file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _saved(trainer: Any, out: Path) -> str:
    """Write a checkpoint unless there is one of this step already, and say where the run stands."""
    step = trainer.state.global_step
    if step and not (out / "hf" / f"checkpoint-{step}" / _STATE).is_file():
        with boundary(ModelError, "saving a checkpoint"):
            trainer._save_checkpoint(trainer.model, trial=None)
            trainer.control = trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)
    return f"Stopped after step {step:,} of {trainer.state.max_steps:,}; the same command with --resume goes on."
