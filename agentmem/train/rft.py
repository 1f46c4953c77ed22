"""agentmem train rft: reinforcement fine-tuning of a memory policy on histories with probe questions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from agentmem.errors import ConfigError, ModelError, TrainingDataError
from agentmem.models.adapted import base_path
from agentmem.models.embed import Remembering, get_embedder
from agentmem.models.likelihood import load_causal
from agentmem.models.lora import adapter_folder
from agentmem.models.sampling import constraint, stop_ids
from agentmem.policy.actions import EDITS, Actions, actions_of, check_start, get_actions, keep_actions
from agentmem.policy.marks import shipped_marker
from agentmem.policy.trained import CHUNK_TOKENS
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
from agentmem.train.samplers import AdaptedSampler, Sampler
from agentmem.train.trainer import Environment, Iteration, Trainer
from agentmem.train.verdicts import ChatJudge, get_judge
from agentmem.train.vllm_samplers import Grammatical, VLLMSampler, VLLMServerSampler

DTYPES = ("float32", "bfloat16")
ATTENTIONS = ("sdpa", "flash_attention_2", "eager")

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
    """Of what the policy reads at once; as many as it reads in use, where nothing else is said."""
    reconcile: bool = True
    """Hold proposals against what is known, as the agent does."""
    actions: str = "edits"
    """What the policy writes: edits, or the whole memory (see agentmem.policy.actions)."""
    memory_tokens: int | None = None
    """That the memory should stay within; None is what the actions come with."""
    constrained: bool = False
    """Hold rollouts to the grammar of the actions; else the policy learns it by the reward `unreadable`."""
    rank: int = 16
    """Of new adapters; those of `start` keep their own."""
    device: str | None = None
    dtype: str = "float32"
    """Of the base, one of DTYPES; adapters are float32."""
    attention: str | None = None
    """Its implementation, one of ATTENTIONS; None is what transformers takes."""
    checkpointing: bool = False
    """Compute activations again in the backward pass, in place of keeping them: less memory, more time."""
    sampler: str = "own"
    """Who writes rollouts: own (the trained model), vllm (an engine in this process), or the URL of a vLLM server."""


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
    mix.check(histories)
    actions = get_actions(setup.actions, setup.memory_tokens)
    if setup.start:
        check_start(actions, setup.start)
        own = actions_of(adapter_folder(setup.start))  # with the size that its prompts named, and marks
        actions = get_actions(own.name, setup.memory_tokens or own.memory_tokens, own.marks)
    _check(setup)
    judge = _judge(setup.judge, mix)
    accelerator = _accelerator()
    learner, tokenizer = _learner(recipe, setup, accelerator)
    sampler, ready = _sampler(learner, tokenizer, recipe, setup, out / "sampler")
    recorder = _recorder(learner, tokenizer, sampler, recipe, setup, actions)
    environment = _environment(histories, recorder, learner.adapted, tokenizer, mix, judge, setup)
    trainer = Trainer(learner, environment, recipe, ready)
    if learner.rank:
        _others(trainer, recipe, out if resume else None)
    else:
        described = {**recipe.model_dump(), **setup._asdict()}
        may_change = ["iterations", "save_every", "sample_every", "tokens", "device", "attention", "checkpointing",
                      "sampler"]  # fmt: skip
        with RunFolder(out, described, resume=resume, may_change=may_change) as run:
            train(trainer, run, actions)
    if accelerator:  # a process that leaves while others are at work takes them down with it
        accelerator.wait_for_everyone()
        torch.distributed.destroy_process_group()
    return out


def train(trainer: Trainer, run: RunFolder, actions: Actions = EDITS) -> None:
    """Make the iterations that are left, and keep what they came to in the run's folder.

    An end before its time saves the last iteration too, but not of a sharded model: no process has it whole by then.
    """
    recipe, learner = trainer.recipe, trainer.learner

    def standing() -> Callable[[Path], None]:
        """What is there now, to be written later: the next iteration may end in its midst."""
        kept, replay = checkpoints.gathered(learner), trainer.replay.copy()

        def save(folder: Path) -> None:
            checkpoints.save(learner, folder, kept)
            replay.save(folder)
            keep_actions(actions, folder / "policy")

        return save

    at, folder = run.latest() or (-1, None)
    if folder is not None:
        checkpoints.read(learner, folder)
        trainer.replay.read(folder)
    run.resume_at(at)
    done, save = at, None
    try:
        with progress(recipe.iterations, at + 1) as advance:
            for number in range(at + 1, recipe.iterations):
                made = iterate(trainer, number)
                _keep(run, number, made, recipe)
                if _due(number, recipe) or not learner.adapted.sharded:
                    done, save = number, standing()
                if _due(number, recipe) and save:
                    run.checkpoint(number, save)
                reward = made.metrics.get("reward/mean")
                advance("no reward" if reward is None else f"reward {reward:.3f}")
    finally:  # also on Ctrl-C and on errors: an iteration is whole or not there
        if save:
            run.checkpoint(done, save)
        run.draw()


def iterate(trainer: Trainer, number: int) -> Iteration:
    """One iteration; running out of memory, and nothing but failures, become errors that say what to change."""
    try:
        made = trainer.iterate(number)
    except torch.OutOfMemoryError as error:
        raise ModelError(f"iteration {number}: out of memory; lower tokens (now {trainer.recipe.tokens}), "
                         "rollouts.group or rollouts.max_tokens, and resume") from error  # fmt: skip
    failed = [one.failed for group in made.groups for one in group.trajectories if one.reward is None]
    if failed and not any(group.scored for group in made.groups):
        raise ModelError(f"iteration {number}: all {len(failed)} trajectories failed, the first: {failed[0]}; mend it, "
                         "and resume")  # fmt: skip
    return made


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
        trainer.replay.read(folder)
    for number in range(at + 1, recipe.iterations):
        iterate(trainer, number)
        if trainer.learner.adapted.sharded and _due(number, recipe):
            checkpoints.gathered(trainer.learner)


def _due(number: int, recipe: RFTRecipe) -> bool:
    """Whether a checkpoint is taken after this iteration."""
    return (number + 1) % recipe.save_every == 0 or number == recipe.iterations - 1


# -- the parts of a run ----------------------------------------------------------------------------------------------


def _histories(examples: Examples) -> Sequence[History]:
    found = [history for history in strip_system(examples).histories if history.split == "train"]
    if not found:
        raise TrainingDataError('no history of the split "train": reinforcement needs histories with probes')
    if len({history.user for history in found}) == 1:
        raise TrainingDataError(f"all histories are of one user, {found[0].user!r}: a policy would learn this user by "
                                "heart; add histories of others")  # fmt: skip
    return found


def _check(setup: Setup) -> None:
    """Raises ConfigError for what cannot work, before anything is loaded."""
    if setup.dtype not in DTYPES:
        raise ConfigError(f"dtype {setup.dtype!r}: choose one of {', '.join(DTYPES)}")
    if setup.attention not in (None, *ATTENTIONS):
        raise ConfigError(f"attention {setup.attention!r}: choose one of {', '.join(ATTENTIONS)}")
    if setup.attention == "flash_attention_2":
        if find_spec("flash_attn") is None:
            raise ConfigError("attention flash_attention_2 needs flash-attn: pip install flash-attn, or choose sdpa")
        if setup.dtype != "bfloat16":
            raise ConfigError(f"attention flash_attention_2 cannot compute in {setup.dtype}: choose dtype bfloat16")
    if setup.sampler not in ("own", "vllm") and not setup.sampler.startswith(("http://", "https://")):
        raise ConfigError(f"sampler {setup.sampler!r}: choose own, vllm, or the URL of a vLLM server (http://…)")


def _accelerator() -> Any:
    """Of several processes; None for one, which needs nothing of it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    if _sharded():
        if os.environ.get("FSDP_VERSION") != "2":
            raise ConfigError("FSDP: only its second version can be used; write fsdp_version: 2")
        # else transformers leaves the weights of all processes but the first one empty, for accelerate to fill
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    from accelerate import Accelerator

    return Accelerator(cpu=not torch.cuda.is_available())


def _sharded() -> bool:
    """As `accelerate launch` says it to its processes, for a configuration with distributed_type: FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def _learner(recipe: RFTRecipe, setup: Setup, accelerator: Any) -> tuple[Learner, Any]:
    sharded = accelerator is not None and _sharded()
    device = "cpu" if sharded else str(accelerator.device) if accelerator else setup.device
    model, tokenizer = load_causal(base_path(setup.base), device=device, dtype=setup.dtype, attention=setup.attention)
    moved = setup.start is not None or recipe.replay.reset > 0  # else the run begins with the base
    wanted: dict[Which, bool] = {"policy": True, "prm": recipe.credit == "oprl",
                                 "reference": moved and _asks_start(recipe)}  # fmt: skip
    names: list[Which] = [name for name, has in wanted.items() if has]
    adapted = Adapted(model, rank=setup.rank, alpha=2 * setup.rank, names=names, start=setup.start, seed=recipe.seed,
                      checkpointing=setup.checkpointing)  # fmt: skip
    adapted.to(model.device)
    if sharded:
        adapted.shard()
    rates: dict[Which, float] = {"policy": recipe.rate}
    if recipe.credit == "oprl":
        rates["prm"] = recipe.steps.rate
    learner = Learner(
        adapted, checkpoints.optimizers(adapted, rates), accelerator=accelerator, tokens=recipe.tokens,
        temperature=recipe.rollouts.temperature, norms={"policy": recipe.norm, "prm": recipe.steps.norm},
    )  # fmt: skip
    return learner, tokenizer


def _asks_start(recipe: RFTRecipe) -> bool:
    """Whether anything is measured from the policy that the run began with."""
    return bool(recipe.outcome.kl) or (recipe.credit == "oprl" and recipe.steps.reference == "start")


def _sampler(
    learner: Learner, tokenizer: Any, recipe: RFTRecipe, setup: Setup, folder: Path
) -> tuple[Sampler, Callable[[], AbstractContextManager[None]]]:
    """What writes rollouts, and the block that they are made in."""
    stops, temperature = stop_ids(learner.adapted.model, tokenizer), recipe.rollouts.temperature
    if setup.sampler == "own":
        return AdaptedSampler(learner.adapted, stops, temperature), nullcontext
    if setup.sampler == "vllm":
        rank = learner.adapted.rank
        found = VLLMSampler(learner, folder, stops, rank=rank, temperature=temperature, seed=recipe.seed)
        return found, found.ready
    key = os.environ.get("VLLM_API_KEY", "")
    found = VLLMServerSampler(setup.sampler, learner, folder, stops, temperature=temperature, key=key)
    return found, found.ready


def _recorder(
    learner: Learner, tokenizer: Any, sampler: Sampler, recipe: RFTRecipe, setup: Setup, actions: Actions
) -> Recorder:
    model, held = learner.adapted.model, None
    if setup.constrained:
        held = constraint(model, tokenizer) if setup.sampler == "own" else Grammatical()
    return Recorder(sampler, tokenizer, sorted(stop_ids(model, tokenizer)), recipe.rollouts.max_tokens, held, actions)


def _environment(
    histories: Sequence[History],
    recorder: Recorder,
    adapted: Adapted,
    tokenizer: Any,
    mix: Mix,
    judge: ChatJudge | None,
    setup: Setup,
) -> Environment:
    needed = setup.reconcile or setup.answerer == "embeddings"
    embedder = Remembering(get_embedder()) if needed else None
    answerer = _answerer(setup.answerer, adapted, tokenizer, embedder) if mix.asks else None
    marks = recorder.actions.marks
    return Histories(histories, recorder, mix, answerer=answerer, judge=judge,
                     embedder=embedder if setup.reconcile else None, chunk_tokens=setup.chunk_tokens,
                     marker=None if marks is None else shipped_marker(marks))  # fmt: skip


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
