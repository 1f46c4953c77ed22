"""agentmem train rft: reinforcement fine-tuning of a memory policy on histories with probe questions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from agentmem.errors import ConfigError, ModelError, TrainingDataError
from agentmem.models.adapted import base_path
from agentmem.models.embed import Remembering, get_embedder
from agentmem.models.likelihood import load_causal
from agentmem.models.sampling import constraint, stop_ids
from agentmem.train import checkpoints
from agentmem.train.adapters import Adapted, Which
from agentmem.train.answerers import Answerer, CausalAnswerer, EmbeddingAnswerer
from agentmem.train.histories import Examples, History
from agentmem.train.leaks import strip_system
from agentmem.train.learner import Learner
from agentmem.train.playing import Histories, Recorder
from agentmem.train.progress import progress
from agentmem.train.recipes import RFTRecipe
from agentmem.train.rewards import NO_JUDGE, Mix, Reward
from agentmem.train.runs import RunFolder, newest_checkpoint
from agentmem.train.samplers import AdaptedSampler
from agentmem.train.splits import CHUNK_TOKENS
from agentmem.train.trainer import Environment, Iteration, Trainer
from agentmem.train.verdicts import ChatJudge, get_judge

REWARDS = {"option_likelihood": 1.0, "edits": -0.02, "unreadable": -0.1, "unfaithful": -0.1}
"""What a trajectory earns, where nothing else is said. 0.1 is the papers' penalty for an invalid action."""


class Setup(NamedTuple):
    """What a run is made of, besides its recipe and data."""

    base: str = "smollm2-135m"
    """Name, folder or GGUF file of the frozen model."""
    start: Path | None = None
    """Folder of an adapter to begin from (a cold start by `agentmem train sft`)."""
    rewards: Mapping[str, float] = REWARDS
    """Weights by name, see agentmem.train.rewards."""
    answerer: str = "base"
    """Who answers the probes: base (the frozen model), embeddings, or the name of another causal model."""
    judge: str = ""
    """The chat model that the reward `judge` asks, as agentmem.models.chat.get_chat_model names it."""
    chunk_tokens: int = CHUNK_TOKENS
    """Of what the policy reads at once."""
    reconcile: bool = True
    """Hold proposals against what is known, as the agent does."""
    constrained: bool = False
    """Hold rollouts to the edit grammar; else the policy learns it by the reward `unreadable`."""
    rank: int = 16
    device: str | None = None
    dtype: str = "float32"


def rft(  # noqa: PLR0913
    examples: Examples,
    out: Path,
    recipe: RFTRecipe,
    setup: Setup = Setup(),  # noqa: B008  a frozen value
    *,
    resume: bool = False,
    own_rewards: Mapping[str, Reward] | None = None,
) -> Path:
    """Train, and return the run's folder; the policy is in its last checkpoint, for `agentmem train export`.

    Started by `accelerate launch` or torchrun it trains on all processes. Ctrl-C saves what stands and stops.

    Args:
        examples: their histories of the split "train" are played.
        out: folder of the run.
        recipe: how it is trained.
        setup: what is trained.
        resume: go on with the run that lies in `out`.
        own_rewards: further rewards by name, for `setup.rewards`.

    Raises:
        TrainingDataError: no history to train on.
        ConfigError: a setting cannot work; the message names it.
        ModelError: a model failed; the run can be resumed.
    """
    histories = _histories(examples)
    mix = Mix(setup.rewards, own_rewards)
    judge = _judge(setup.judge, mix)
    accelerator = _accelerator()
    learner, tokenizer = _learner(recipe, setup, accelerator)
    environment = _environment(histories, learner.adapted, tokenizer, mix, judge, recipe, setup)
    trainer = Trainer(learner, environment, recipe)
    if learner.rank:
        _others(trainer, recipe, out if resume else None)
    else:
        described = {**recipe.model_dump(), **setup._asdict()}
        may_change = ["iterations", "save_every", "sample_every", "tokens", "device"]
        with RunFolder(out, described, resume=resume, may_change=may_change) as run:
            train(trainer, run)
    if accelerator:  # a process that leaves while others are at work takes them down with it
        accelerator.wait_for_everyone()
        torch.distributed.destroy_process_group()
    return out


def train(trainer: Trainer, run: RunFolder) -> None:
    """Make the iterations that are left, and keep what they came to in the run's folder."""
    recipe, learner = trainer.recipe, trainer.learner
    at, folder = run.latest() or (-1, None)
    if folder is not None:
        checkpoints.read(learner, folder)
    run.resume_at(at)
    done = at
    try:
        with progress(recipe.iterations, at + 1) as advance:
            for number in range(at + 1, recipe.iterations):
                made = iterate(trainer, number)
                _keep(run, number, made, recipe)
                done = number
                if (number + 1) % recipe.save_every == 0:
                    run.checkpoint(number, lambda path: checkpoints.save(learner, path))
                reward = made.metrics.get("reward/mean")
                advance("no reward" if reward is None else f"reward {reward:.3f}")
    finally:  # also on Ctrl-C and on errors: an iteration is whole or not there
        if done > at:
            run.checkpoint(done, lambda path: checkpoints.save(learner, path))
        run.draw()


def iterate(trainer: Trainer, number: int) -> Iteration:
    """One iteration; running out of memory becomes an error that says what to change."""
    try:
        return trainer.iterate(number)
    except torch.OutOfMemoryError as error:
        raise ModelError(f"iteration {number}: out of memory; lower tokens (now {trainer.recipe.tokens}), "
                         "rollouts.group or rollouts.max_tokens, and resume") from error  # fmt: skip


def _keep(run: RunFolder, number: int, made: Iteration, recipe: RFTRecipe) -> None:
    run.log(number, made.metrics)
    if number % recipe.sample_every == 0 or number == recipe.iterations - 1:
        run.sample(number, made.groups[:2], made.advantages[:2])


def _others(trainer: Trainer, recipe: RFTRecipe, resumed: Path | None) -> None:
    """What the other processes do: the same iterations, and no files."""
    at = -1
    if resumed is not None and (found := newest_checkpoint(resumed)):
        at, folder = found
        checkpoints.read(trainer.learner, folder)
    for number in range(at + 1, recipe.iterations):
        iterate(trainer, number)


# -- the parts of a run ----------------------------------------------------------------------------------------------


def _histories(examples: Examples) -> Sequence[History]:
    found = [history for history in strip_system(examples).histories if history.split == "train"]
    if not found:
        raise TrainingDataError('no history of the split "train": reinforcement needs histories with probes')
    if len({history.user for history in found}) == 1:
        raise TrainingDataError(f"all histories are of one user, {found[0].user!r}: a policy would learn this user by "
                                "heart; add histories of others")  # fmt: skip
    return found


def _accelerator() -> Any:
    """Of several processes; None for one, which needs nothing of it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from accelerate import Accelerator

    return Accelerator(cpu=not torch.cuda.is_available())


def _learner(recipe: RFTRecipe, setup: Setup, accelerator: Any) -> tuple[Learner, Any]:
    device = str(accelerator.device) if accelerator else setup.device
    model, tokenizer = load_causal(base_path(setup.base), device=device, dtype=setup.dtype)
    wanted: dict[Which, bool] = {"policy": True, "prm": recipe.credit == "oprl",
                                 "reference": bool(recipe.outcome.kl and setup.start)}  # fmt: skip
    names: list[Which] = [name for name, has in wanted.items() if has]
    adapted = Adapted(model, rank=setup.rank, alpha=2 * setup.rank, names=names, start=setup.start, seed=recipe.seed)
    adapted.to(model.device)
    rates: dict[Which, float] = {"policy": recipe.rate}
    if recipe.credit == "oprl":
        rates["prm"] = recipe.steps.rate
    learner = Learner(
        adapted, checkpoints.optimizers(adapted, rates), accelerator=accelerator, tokens=recipe.tokens,
        temperature=recipe.rollouts.temperature, norms={"policy": recipe.norm, "prm": recipe.steps.norm},
    )  # fmt: skip
    return learner, tokenizer


def _environment(
    histories: Sequence[History],
    adapted: Adapted,
    tokenizer: Any,
    mix: Mix,
    judge: ChatJudge | None,
    recipe: RFTRecipe,
    setup: Setup,
) -> Environment:
    stops = stop_ids(adapted.model, tokenizer)
    sampler = AdaptedSampler(adapted, stops, recipe.rollouts.temperature)
    held = constraint(adapted.model, tokenizer) if setup.constrained else None
    recorder = Recorder(sampler, tokenizer, sorted(stops), recipe.rollouts.max_tokens, held)
    needed = setup.reconcile or setup.answerer == "embeddings"
    embedder = Remembering(get_embedder()) if needed else None
    answerer = _answerer(setup.answerer, adapted, tokenizer, embedder) if mix.asks else None
    return Histories(histories, recorder, mix, answerer=answerer, judge=judge,
                     embedder=embedder if setup.reconcile else None, chunk_tokens=setup.chunk_tokens)  # fmt: skip


def _judge(name: str, mix: Mix) -> ChatJudge | None:
    if mix.judges and not name:
        raise ConfigError(NO_JUDGE)
    if name and not mix.judges:
        raise ConfigError(f"--judge {name}: no reward asks it; add --reward judge=1, or leave it out")
    return get_judge(name) if name else None


def _answerer(name: str, adapted: Adapted, tokenizer: Any, embedder: Any) -> Answerer:
    if name == "base":
        return CausalAnswerer(adapted.model, tokenizer, adapted)
    return EmbeddingAnswerer(embedder) if name == "embeddings" else other_answerer(name)


def other_answerer(name: str) -> Answerer:
    """A causal model of its own that answers. Raises ConfigError for an unknown name."""
    model, tokenizer = load_causal(base_path(name))
    return CausalAnswerer(model, tokenizer)
