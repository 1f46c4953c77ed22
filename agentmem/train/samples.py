"""Groups of trajectories as Markdown: what a policy wrote, what it earned, and which turns were to blame."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from agentmem.train.values import Group, Step, Trajectory

PROMPT_CHARS = 2400
"""Of a longer prompt, as many characters are left out of its middle."""

Advantages = Sequence[Collection[float] | None]
"""Of one group: for each trajectory a number a turn, or None where it was left out of training."""


def markdown(iteration: int, groups: Sequence[Group], advantages: Sequence[Advantages] | None) -> str:
    """All of these groups.

    Args:
        iteration: that they were rolled out in.
        groups: what to write.
        advantages: of each group, in order; None when there are none to show.

    Raises:
        ValueError: the advantages do not fit the groups, the trajectories or their turns.
    """
    if advantages is not None and len(advantages) != len(groups):
        raise ValueError(f"advantages of {len(advantages)} groups for {len(groups)} groups")
    parts = [f"# Iteration {iteration}"]
    for place, group in enumerate(groups):
        parts += _group(group, None if advantages is None else advantages[place])
    return "\n\n".join(parts) + "\n"


def _group(group: Group, advantages: Advantages | None) -> list[str]:
    own: Advantages = [None] * len(group.trajectories) if advantages is None else advantages
    if len(own) != len(group.trajectories):
        raise ValueError(f"group {group.name}: {len(own)} lists of advantages, {len(group.trajectories)} trajectories")
    parts = [f"## {_line(group.name)}", _table(group)]
    for number, (trajectory, turns) in enumerate(zip(group.trajectories, own, strict=True), start=1):
        if turns is not None and len(turns) != len(trajectory.steps):
            raise ValueError(
                f"group {group.name}, trajectory {number}: {len(turns)} advantages, {len(trajectory.steps)} turns"
            )
        parts += _trajectory(number, trajectory, turns, left_out=advantages is not None and turns is None)
    return parts


def _table(group: Group) -> str:
    """A line a trajectory: the group at a glance."""
    names = list(dict.fromkeys(name for one in group.trajectories for name in one.parts))
    lines = ["| " + " | ".join(["trajectory", "reward", *map(_cell, names), "turns"]) + " |"]
    lines.append("|" + " ---: |" * (len(names) + 3))
    for number, one in enumerate(group.trajectories, start=1):
        parts = [_number(one.parts.get(name)) for name in names]
        reward = "failed" if one.reward is None else _number(one.reward)
        lines.append("| " + " | ".join([str(number), reward, *parts, str(len(one.steps))]) + " |")
    return "\n".join(lines)


def _trajectory(number: int, one: Trajectory, turns: Collection[float] | None, left_out: bool) -> list[str]:
    reward = "failed" if one.reward is None else f"reward {_number(one.reward)}"
    parts = [f"### Trajectory {number}: {reward}"]
    if one.reward is None or one.failed:
        parts.append(f"Failed: {_line(one.failed).rstrip('.') or 'it does not say why'}.")
    if left_out:
        parts.append("Left out of training.")
    if one.parts:
        parts.append("Parts of the reward: " + ", ".join(f"{name} {_number(at)}" for name, at in one.parts.items()))
    parts += _notes("At the end", one.notes)
    known = [None] * len(one.steps) if turns is None else list(turns)
    for turn, (step, advantage) in enumerate(zip(one.steps, known, strict=True)):
        parts += _step(turn, step, advantage)
    return parts


def _step(turn: int, step: Step, advantage: float | None) -> list[str]:
    """Turns are numbered from 1, as people do."""
    earned = "" if advantage is None else f": advantage {advantage:+.3f}"
    wrote = f"Written ({len(step.ids):,} tokens):"
    read = f"Prompt ({len(step.prompt_ids):,} tokens):"
    parts = [f"#### Turn {turn + 1}{earned}", read, _fenced(_shortened(step.prompt)), wrote, _fenced(step.text)]
    return parts + _notes("Notes", step.notes)


def _notes(title: str, notes: Sequence[str]) -> list[str]:
    return [f"{title}:", "\n".join(f"- {_line(note)}" for note in notes)] if notes else []


def _shortened(text: str) -> str:
    """Both ends stay: the instructions, and the newest of the conversation."""
    if len(text) <= PROMPT_CHARS:
        return text
    half = PROMPT_CHARS // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"


def _fenced(text: str) -> str:
    """As a block of code, whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
