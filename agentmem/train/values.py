"""What a rollout leaves behind: steps, trajectories, groups (GRPO's words)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One turn of a policy: what it was shown, and what it wrote."""

    prompt_ids: Sequence[int]
    ids: Sequence[int]
    """Tokens it wrote, the closing one included; these are trained."""
    prompt: str = ""
    text: str = ""
    notes: Sequence[str] = ()
    """What came of it, for people: refused edits and the like."""


@dataclass(frozen=True)
class Trajectory:
    """One way through a history, and what it earned."""

    steps: Sequence[Step]
    reward: float | None
    """None when it failed: such a trajectory is left out of its group and never counts as 0."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The named parts of the reward, each before its weight."""
    failed: str = ""
    """Why there is no reward."""
    notes: Sequence[str] = ()
    """For people: the questions asked at the end."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """What else is worth following, by name: edits a turn, tokens of the memory."""


@dataclass(frozen=True)
class Group:
    """Several trajectories of one history: their rewards are compared with each other."""

    name: str
    trajectories: Sequence[Trajectory]

    @property
    def scored(self) -> list[Trajectory]:
        """Those with a reward."""
        return [one for one in self.trajectories if one.reward is not None]
