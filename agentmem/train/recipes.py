"""How a policy is trained. A YAML file has the same names, a section for each class."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agentmem.errors import ConfigError
from agentmem.policy.actions import ActionsName
from agentmem.train.advantages import Estimator, Pairing, Pool, Scale, Spread
from agentmem.train.losses import Ratio


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Rollouts(_Section):
    """How trajectories are made."""

    histories: int = Field(default=4, ge=1)
    """Of one iteration, over all processes."""
    group: int = Field(default=8, ge=2)
    """Trajectories of each history."""
    temperature: float = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=128, ge=1)
    """That one turn may write."""


class Outcome(_Section):
    """How rewards of whole trajectories become advantages, and the loss of the policy."""

    estimator: Estimator = "grpo"
    scale: Scale = "group"
    """What GRPO divides by: the standard deviation of the group, of the batch, or nothing."""
    ratio: Ratio = "token"
    """Of new and old probability: of each token, or of each turn."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.2, gt=0)
    kl: float = Field(default=0.0, ge=0)
    """Weight of the penalty on leaving the policy that the run began with."""
    epochs: int = Field(default=1, ge=1)
    """Updates of the policy on the same rollouts."""


class Replayed(_Section):
    """Learning from earlier rollouts again, as in ReMix: fewer rollouts, at the price of stale ones."""

    iterations: int = Field(default=0, ge=0)
    """Whose rollouts are kept; 0 learns from new ones alone."""
    share: float = Field(default=0.5, gt=0)
    """Kept turns beside each new one, in every update."""
    previous: float = Field(default=0.0, ge=0, le=1)
    """Share of the penalty `outcome.kl` that is on leaving the policy of this iteration's beginning, in place of the
    one that the run began with."""
    reset: int = Field(default=0, ge=0)
    """After so many iterations, once, the penalty counts from the policy as it is then; 0 never."""


class StepCredit(_Section):
    """How turns get credit of their own: online process reward learning (OPRL)."""

    beta: float = Field(default=0.05, gt=0)
    """Step reward a nat of log-probability won."""
    reference: Literal["rolling", "start"] = "rolling"
    """Over what log-probability is won: over the policy that wrote the turn (OPRL), or over the one that the run began
    with (PRIME, arXiv 2502.01456): step rewards then don't fade as the policy follows, and a pass more is made."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the step advantages beside the outcome's."""
    warmup: int = Field(default=0, ge=0)
    """Iterations until alpha is reached, in a straight line from 0."""
    pool: Pool = "group"
    """What a turn is compared with."""
    spread: Spread = "pool"
    """By whose standard deviation step rewards are divided: their pool's, or the batch's."""
    floor: float = Field(default=1e-6, gt=0)
    """Least standard deviation of step rewards to divide by."""
    most: float | None = Field(default=None, gt=0)
    """Greatest step advantage, either way; rare answers get extreme ones."""
    skip_degenerate: bool = False
    """Leave out the steps of groups in which all earned the same."""
    per_token: bool = False
    """Mean over a turn's tokens in place of their sum: long turns would else weigh more."""
    pairs: Pairing = "margin"
    margin: float = Field(default=0.0, ge=0)
    rate: float = Field(default=2e-5, gt=0)
    """Learning rate of the process reward model."""
    norm: float = Field(default=10.0, gt=0)
    """Greatest norm of its gradient."""


class RFTRecipe(_Section):
    """A run of reinforcement fine-tuning (`agentmem train rft`)."""

    iterations: int = Field(default=100, ge=1)
    credit: Literal["outcome", "oprl"] = "outcome"
    """The one reward copied to every turn, as PersonaMem-v2 does it, or with step rewards (OPRL)."""
    rate: float = Field(default=1e-5, gt=0)
    """Learning rate of the policy. The papers' 5e-7 to 1e-6 are for all weights; low-rank changes take more."""
    warmup: int = Field(default=0, ge=0)
    """Iterations until it is reached, in a straight line from 0."""
    norm: float = Field(default=1.0, gt=0)
    """Greatest norm of the policy's gradient."""
    tokens: int = Field(default=4096, ge=16)
    """Of one forward pass, padding included: less needs less memory."""
    seed: int = 0
    save_every: int = Field(default=10, ge=1)
    """Iterations between checkpoints."""
    sample_every: int = Field(default=10, ge=1)
    """Iterations between written trajectories."""
    rollouts: Rollouts = Rollouts()
    outcome: Outcome = Outcome()
    steps: StepCredit = StepCredit()
    replay: Replayed = Replayed()

    @model_validator(mode="after")
    def _penalised(self) -> RFTRecipe:
        if (self.replay.previous or self.replay.reset) and not self.outcome.kl:
            raise ValueError("replay.previous and replay.reset shape the penalty outcome.kl, which is 0; set it too")
        if self.replay.previous and self.outcome.epochs == 1:  # the first update leaves from there: nothing to penalise
            raise ValueError("replay.previous holds later updates near the first; set outcome.epochs above 1")
        if self.replay.reset and self.credit == "oprl" and self.steps.reference == "start":
            raise ValueError("replay.reset would move what steps.reference=start counts from; leave one of them out")
        return self


class _Supervised(_Section):
    """What runs on fixed examples share."""

    base: str = "smollm2-135m"
    """Name, folder or GGUF file of the frozen model."""
    start: Path | None = None
    """Folder of the adapter to begin from (of `dpo` also the reference); None begins with the base as it is."""
    actions: ActionsName = "edits"
    """What the policy learns to write: the edits, or the memory as it is after them."""
    memory_tokens: int | None = Field(default=None, ge=1)
    """That the memory should stay within; None is what the actions come with."""
    marks: float | None = Field(default=None, gt=0, lt=1)
    """Probability of being worth something from which on a sentence is marked, and the policy asked of these alone
    (agentmem/policy/marks.py); None: it reads all. In training the sentences that edits quote are marked."""
    epochs: float = Field(default=2.0, gt=0)
    batch: int = Field(default=8, ge=1)
    """Examples of one step, over all its passes."""
    at_once: int = Field(default=4, ge=1)
    """Examples of one pass."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises."""
    rank: int = Field(default=16, ge=1)
    """Of a new adapter; one to begin from keeps its own."""
    max_tokens: int = Field(default=2048, ge=16)
    """Longer examples are left out, and counted."""
    log_every: int = Field(default=5, ge=1)
    """Steps between lines of metrics."""
    save_every: int = Field(default=100, ge=1)
    """Steps between checkpoints."""
    seed: int = 0
    device: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"


class SFTRecipe(_Supervised):
    """A cold start (`agentmem train sft`)."""

    rate: float = Field(default=2e-4, gt=0)
    decisive: float = Field(default=1.0, gt=0)
    """Weight of the tokens that decide: the first of each line, which says what to do, and the end. They are one in
    twenty."""
    distract: float = Field(default=0.3, ge=0, le=1)
    """With marks: share of the conversations in which the policy is also asked of the likeliest of the sentences that
    are worth nothing, so that it learns to leave one out. Others without edits are not learned."""
    watch: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training users that is watched and not learned: its loss is logged, the split "test" left alone."""


class DPORecipe(_Supervised):
    """Direct preference optimization (`agentmem train dpo`)."""

    rate: float = Field(default=2e-5, gt=0)
    beta: float = Field(default=0.1, gt=0)
    """Holds the policy near the reference: the greater, the nearer."""


R = TypeVar("R", RFTRecipe, SFTRecipe, DPORecipe)


def read_recipe(kind: type[R], path: Path | None, changes: dict[str, Any]) -> R:
    """The recipe of a YAML file, with changes given as dotted names ("rollouts.group": 4).

    Raises ConfigError naming the setting and what it may be.
    """
    import yaml

    try:
        own: Any = yaml.safe_load(path.read_text("utf-8")) if path else {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from error
    found: Any = {} if own is None else own
    for name, value in changes.items():
        section = found
        *above, last = name.split(".")
        for part in above:
            section = section.setdefault(part, {}) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise ConfigError(f"{path or 'setting'}: {name}: {'.'.join(above) or 'the file'} holds no settings")
        section[last] = value
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"{path or 'setting'}: {where}: {first['msg']} (given: {first['input']!r})") from error
