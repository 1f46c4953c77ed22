"""A made-up memory task for tiny models: many turns, few of which matter. For tests and for comparing kinds of credit.

A user says a few things about themselves over a history; in most turns others are talked about, or nothing. After
each turn the policy writes into a memory that holds few entries, or leaves it. At the end some of what the user said is
asked for. Only the turns in which something lasting is said, overwritten, or pushed out decide the reward: what step
credit is for. Everything is a token, so that a transformer of some ten thousand weights can learn it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agentmem.train.samplers import Sampler
from agentmem.train.values import Group, Step, Trajectory

SLOTS, VALUES, NOISE = 6, 8, 10
PAD, END, ADD, NONE, MEMORY, SAID, MINE, OTHER, ACT = range(9)
SLOT, VALUE = 9, 9 + SLOTS
WORD = VALUE + VALUES
VOCABULARY = WORD + NOISE

WRITTEN = 4
"""Tokens of the longest action: add, slot, value, end."""


class Turn(NamedTuple):
    """What is said in one turn."""

    tokens: tuple[int, ...]
    tells: tuple[int, int] | None
    """Slot and value, where the user says something of themselves."""


@dataclass(frozen=True)
class Life:
    """One history, and what is asked at its end."""

    turns: tuple[Turn, ...]
    asked: tuple[tuple[int, int], ...]
    """Slots, each with what is right at the end."""


def life(rng: random.Random, turns: int = 10, asked: int = 2) -> Life:
    """A history in which two turns of five tell something; a later one may change what an earlier one told."""
    places = set(rng.sample(range(turns), max(1, 2 * turns // 5)))
    truth: dict[int, int] = {}
    said = []
    for place in range(turns):
        slot, value = rng.randrange(SLOTS), rng.randrange(VALUES)
        words = [WORD + rng.randrange(NOISE) for _ in range(3)]
        if place in places:
            truth[slot] = value
            said.append(Turn((MINE, SLOT + slot, VALUE + value, words[0]), (slot, value)))
        elif rng.random() < 0.6:
            said.append(Turn((OTHER, SLOT + slot, VALUE + value, words[0]), None))
        else:
            said.append(Turn((words[0], words[1], words[2]), None))
    slots = rng.sample(sorted(truth), min(asked, len(truth)))
    return Life(tuple(said), tuple((slot, truth[slot]) for slot in slots))


class Notes:
    """A memory of few entries, the newest kept."""

    def __init__(self, room: int) -> None:
        self.room, self.kept = room, dict[int, int]()

    def tokens(self) -> list[int]:
        return [MEMORY, *(token for slot, value in self.kept.items() for token in (SLOT + slot, VALUE + value))]

    def write(self, action: Sequence[int]) -> bool:
        """Carry an action out; whether it was one."""
        body = list(action[:-1]) if action and action[-1] == END else list(action)
        if body == [NONE]:
            return True
        if len(body) != 3 or body[0] != ADD:
            return False
        slot, value = body[1] - SLOT, body[2] - VALUE
        if not (0 <= slot < SLOTS and 0 <= value < VALUES):
            return False
        self.kept.pop(slot, None)
        self.kept[slot] = value
        for old in list(self.kept)[: -self.room]:
            del self.kept[old]
        return True


def prompt_of(notes: Notes, turn: Turn) -> list[int]:
    return [*notes.tokens(), SAID, *turn.tokens, ACT]


def right_action(turn: Turn) -> list[int]:
    """What a careful person would write."""
    return [NONE, END] if turn.tells is None else [ADD, SLOT + turn.tells[0], VALUE + turn.tells[1], END]


class Lives:
    """The task as an environment: reward is the share of the asked slots that the memory has right, less mistakes.

    Args:
        sampler: writes the actions.
        seed: of the histories.
        many: histories.
        room: entries that the memory holds.
        turns: of each history.
        price: taken from the reward for each action that is none.
    """

    def __init__(
        self, sampler: Sampler, *, seed: int = 0, many: int = 512, room: int = 3, turns: int = 10, price: float = 0.1
    ) -> None:
        rng = random.Random(f"lives/{seed}")
        self.lives = [life(rng, turns) for _ in range(many)]
        self._sampler, self._room, self._price = sampler, room, price

    def __len__(self) -> int:
        return len(self.lives)

    def play(self, places: Sequence[int], times: int, rng: random.Random) -> list[Group]:
        own = [self.lives[place] for place in places for _ in range(times)]
        notes, steps, wrong = [Notes(self._room) for _ in own], [[] for _ in own], [0] * len(own)
        for turn in range(len(own[0].turns) if own else 0):
            prompts = [prompt_of(memory, one.turns[turn]) for memory, one in zip(notes, own, strict=True)]
            for number, action in enumerate(self._sampler.sample(prompts, WRITTEN, rng)):
                steps[number].append(Step(prompts[number], action))
                wrong[number] += not notes[number].write(action)
        ended = [self._ended(*each) for each in zip(own, notes, steps, wrong, strict=True)]
        return [Group(f"life {place}", ended[start : start + times])
                for place, start in zip(places, range(0, len(ended), times), strict=True)]  # fmt: skip

    def _ended(self, own: Life, notes: Notes, steps: Sequence[Step], wrong: int) -> Trajectory:
        right = sum(notes.kept.get(slot) == value for slot, value in own.asked) / len(own.asked)
        return Trajectory(steps, right - self._price * wrong, {"right": right, "unreadable": float(wrong)})
