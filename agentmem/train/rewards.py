"""Rewards of a trajectory, by name: `option_likelihood`, `edits`, … A reward is a weighted sum of some of them.

A reward that cannot be computed raises, and its trajectory is left out of its group: a failure is never 0.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import AgentMemError, ConfigError, ModelError, boundary
from agentmem.memory import Memory, full_text
from agentmem.route import count_tokens
from agentmem.train.answerers import Answerer
from agentmem.train.histories import History, Probe
from agentmem.train.measures import exact, held, word_f1
from agentmem.train.verdicts import Answered, ChatJudge

BUDGET = 2000
"""Tokens of a memory from which on it is too large (PersonaMem-v2 gives it about as many)."""
GAIN = math.log(1.03)
"""What a memory must add to the log-odds of the right option (AlignXplore's margin, per-token means)."""

PLEASED = ("That's exactly what I wanted, thank you!", "Perfect, you know me well.", "Great, just right for me.",
           "Yes, that suits me.", "I like that, thanks.", "That helps a lot.")  # fmt: skip
DISPLEASED = ("That's not what I wanted.", "You should know that I don't like that.", "No, that's not for me.",
              "I already told you about that.", "Why would I want that?", "That doesn't help me.")  # fmt: skip
"""What a user might say next: canned, six of each kind, as in FLR (arXiv 2409.13948)."""


@dataclass(frozen=True)
class Asked:
    """A probe, and the memory at the time it was asked."""

    probe: Probe
    memories: Sequence[Memory]

    @cached_property
    def text(self) -> str:
        return memory_text(self.memories)


@dataclass(frozen=True)
class Ended:
    """What a trajectory came to."""

    asked: Sequence[Asked]
    memories: Sequence[Memory]
    """Active ones at the end."""
    turns: int
    edits: int
    """That were written and could be read."""
    unreadable: int = 0
    """Turns whose answer could not be read at all, or in part."""
    unfaithful: int = 0
    """Edits whose quote the user did not say, or that name a memory that is not there; changes of a rewrite that no
    sentence of the user's supports."""
    answerer: Answerer | None = None
    budget: int = BUDGET
    """Tokens of the memory that are free."""
    judge: ChatJudge | None = None
    kept: dict[str, object] = field(default_factory=dict)
    """Answers by what was asked: several rewards ask the same."""

    def likelihoods(self, asked: Asked, memory: str) -> NDArray[np.float64]:
        """(options,) log-probability a token of the probe's options, given a memory."""
        key = f"options {asked.probe.id}\n{memory}"
        if key not in self.kept:
            self.kept[key] = _of(self).likelihoods(memory, [asked.probe.question], asked.probe.options)
        found = self.kept[key]
        assert isinstance(found, np.ndarray)
        return found

    def reply(self, asked: Asked) -> str:
        key = f"reply {asked.probe.id}"
        if key not in self.kept:
            self.kept[key] = _of(self).reply(asked.text, asked.probe.question)
        return str(self.kept[key])

    def answered(self) -> list[Answered]:
        """What a judge reads: the answerer's reply to each probe, without those about what is to be forgotten."""
        return [Answered(asked.probe.question, self.reply(asked), asked.probe.gold)
                for asked in self.asked if asked.probe.kind != "forget"]  # fmt: skip

    def verdicts(self) -> list[float]:
        """The judge's, 0 to 1 each. Raises the first failure."""
        if _VERDICTS not in self.kept:
            judge_together([self])
        found = self.kept[_VERDICTS]
        assert isinstance(found, list)
        for one in found:
            if isinstance(one, ModelError):
                raise one
        return found


def memory_text(memories: Sequence[Memory]) -> str:
    """A memory as an answerer is shown it: a line each."""
    return "\n".join(f"- {full_text(memory)}" for memory in memories)


def _of(ended: Ended) -> Answerer:
    if ended.answerer is None:
        raise ConfigError("this reward asks questions, so it needs an answerer")
    return ended.answerer


_VERDICTS = "verdicts"
NO_JUDGE = "the reward judge asks a chat model: name one, as in --judge openai:gpt-5-mini"


def judge_together(ended: Sequence[Ended]) -> None:
    """Ask the judge about several trajectories at the same time; each keeps its verdicts, and failures among them.

    Args:
        ended: one at least, all of one judge.

    Raises:
        ConfigError: there is no judge, or no answerer.
        ModelError: an answerer failed.
    """
    judge = ended[0].judge
    if judge is None:
        raise ConfigError(NO_JUDGE)
    answered = [one.answered() for one in ended]
    found = iter(judge.verdicts([each for own in answered for each in own]))
    for one, own in zip(ended, answered, strict=True):
        one.kept[_VERDICTS] = [next(found) for _ in own]


def _mean(values: Sequence[float], what: str) -> float:
    if not values:
        raise ConfigError(f"no probe of the history has {what}, which this reward needs")
    return float(np.mean(values))


def _with_options(ended: Ended) -> list[tuple[Asked, int]]:
    return [(asked, asked.probe.right) for asked in ended.asked if asked.probe.right is not None]


def _with_answer(ended: Ended) -> list[tuple[Asked, str]]:
    return [(asked, asked.probe.answer) for asked in ended.asked
            if asked.probe.answer is not None and asked.probe.kind != "forget"]  # fmt: skip


# -- answers from the memory -----------------------------------------------------------------------------------------


def option_likelihood(ended: Ended) -> float:
    """Probability of the right option among all, by their mean log-probability a token; over probes with options."""
    chances = []
    for asked, right in _with_options(ended):
        logp_N = ended.likelihoods(asked, asked.text)
        chances.append(float(np.exp(logp_N[right] - np.logaddexp.reduce(logp_N))))
    return _mean(chances, "options")


def option_accuracy(ended: Ended) -> float:
    """Share of probes with options whose right option is the likeliest (0/1 each; with two options R_jud)."""
    return _mean([float(int(ended.likelihoods(asked, asked.text).argmax()) == right)
                  for asked, right in _with_options(ended)], "options")  # fmt: skip


def r_gen(ended: Ended) -> float:
    """Share of probes where the memory raises the right option against the best other one, by more than GAIN."""
    gains = []
    for asked, right in _with_options(ended):
        with_N, without_N = ended.likelihoods(asked, asked.text), ended.likelihoods(asked, "")
        other = int(np.delete(with_N, right).argmax())
        other += other >= right
        gains.append((with_N[right] - without_N[right]) - (with_N[other] - without_N[other]))
    return _mean([float(gain > GAIN) for gain in gains], "options")


def exact_match(ended: Ended) -> float:
    """Share of probes with an answer that the answerer answers in the same words."""
    return _mean([float(exact(ended.reply(asked), gold)) for asked, gold in _with_answer(ended)], "an answer")


def words_match(ended: Ended) -> float:
    """Word F1 of the answerer's answers."""
    return _mean([word_f1(ended.reply(asked), gold) for asked, gold in _with_answer(ended)], "an answer")


def value_recall(ended: Ended) -> float:
    """Share of probes with an answer whose answer the memory says word for word; asks no model."""
    return _mean([float(held(asked.memories, gold)) for asked, gold in _with_answer(ended)], "an answer")


def follow_up(ended: Ended) -> float:
    """Mean log-probability a token of a pleased next turn over that of a displeased one, after the answerer's reply."""
    gaps = []
    for asked in ended.asked:
        said = [asked.probe.question, ended.reply(asked)]
        logp_N = _of(ended).likelihoods(asked.text, said, [*PLEASED, *DISPLEASED])
        gaps.append(float(logp_N[: len(PLEASED)].mean() - logp_N[len(PLEASED) :].mean()))
    return _mean(gaps, "a question")


def judge(ended: Ended) -> float:
    """Mean verdict of a chat model on the answerer's replies, 0 to 1 each."""
    return _mean(ended.verdicts(), "a question about what is to be known")


# -- the memory and the edits ----------------------------------------------------------------------------------------


def forgotten(ended: Ended) -> float:
    """Share of probes of kind "forget" whose answer the memory does not say any more."""
    gone = [float(not held(asked.memories, asked.probe.answer)) for asked in ended.asked
            if asked.probe.kind == "forget" and asked.probe.answer]  # fmt: skip
    return _mean(gone, 'the kind "forget"')


def edits(ended: Ended) -> float:
    """Edits a turn; a cost."""
    return ended.edits / max(1, ended.turns)


def unreadable(ended: Ended) -> float:
    """Share of turns with lines that are no edits, or with a rewrite that could not be read or was cut; a cost."""
    return ended.unreadable / max(1, ended.turns)


def unfaithful(ended: Ended) -> float:
    """Share of edits that the user's words do not support, or that name no memory; a cost."""
    return ended.unfaithful / max(1, ended.edits)


def oversize(ended: Ended) -> float:
    """Tokens of the memory over its budget, as a share of it; a cost."""
    return max(0, count_tokens(memory_text(ended.memories)) - ended.budget) / ended.budget


Reward = Callable[[Ended], float]

REWARDS: dict[str, Reward] = {
    one.__name__: one
    for one in (option_likelihood, option_accuracy, r_gen, exact_match, words_match, value_recall, follow_up, judge,
                forgotten, edits, unreadable, unfaithful, oversize)
}  # fmt: skip

ASKING = {"option_likelihood", "option_accuracy", "r_gen", "exact_match", "words_match", "follow_up", "judge"}
"""These need an answerer."""


def _options(probe: Probe) -> bool:
    return probe.right is not None


def _answer(probe: Probe) -> bool:
    return probe.answer is not None and probe.kind != "forget"


NEEDED: dict[str, tuple[Callable[[Probe], bool], str]] = {
    **dict.fromkeys(("option_likelihood", "option_accuracy", "r_gen"), (_options, "options")),
    **dict.fromkeys(
        ("exact_match", "words_match", "value_recall"), (_answer, 'an answer and another kind than "forget"')
    ),
    "judge": (lambda probe: probe.kind != "forget", 'another kind than "forget"'),
    "forgotten": (lambda probe: probe.kind == "forget" and bool(probe.answer), 'the kind "forget" and an answer'),
}
"""Which probes a reward is about, at least one of a history."""


class Scored(NamedTuple):
    """The reward of a trajectory."""

    total: float | None
    """None when a part failed."""
    parts: dict[str, float]
    failed: str = ""


class Mix:
    """A weighted sum of rewards, by name.

    Args:
        weights: of each; costs have negative ones. A name may also be one of `own`.
        own: rewards of the caller's.

    Raises:
        ConfigError: no reward has a name, or none has a weight.
    """

    def __init__(self, weights: Mapping[str, float], own: Mapping[str, Reward] | None = None) -> None:
        every = {**REWARDS, **(own or {})}
        unknown = [name for name in weights if name not in every]
        if unknown or not weights:
            raise ConfigError(f"reward {unknown[0] if unknown else ''!r}: choose some of {', '.join(every)}")
        self.weights = dict(weights)
        self._rewards = {name: every[name] for name in weights}
        self._judges = self._rewards.get("judge") is judge

    @property
    def asks(self) -> bool:
        """Whether an answerer is needed."""
        return bool(ASKING & self.weights.keys())

    @property
    def judges(self) -> bool:
        """Whether a chat model is needed that judges."""
        return self._judges

    def check(self, histories: Sequence[History]) -> None:
        """Raises ConfigError for a history whose probes leave a reward without a value."""
        for name, (needed, what) in NEEDED.items():
            if self._rewards.get(name) is not REWARDS[name]:
                continue
            for history in histories:
                if not any(map(needed, history.probes)):
                    raise ConfigError(f"reward {name}: needs a probe with {what}; a history of {history.user!r} has "
                                      "none: add one, or take another reward")  # fmt: skip

    def all(self, ended: Sequence[Ended]) -> list[Scored]:
        """Those of several trajectories. Their judge, who is slow, reads them at the same time."""
        if self._judges and ended:
            with contextlib.suppress(ModelError):  # an answerer's; each trajectory is asked alone then, and says it
                judge_together(ended)
        return [self(one) for one in ended]

    def __call__(self, ended: Ended) -> Scored:
        """The sum, or why there is none. ConfigError is raised: a wrong setting is not about one trajectory."""
        parts: dict[str, float] = {}
        try:
            for name, reward in self._rewards.items():
                with boundary(ModelError, f"reward {name}"):
                    value = float(reward(ended))
                if not math.isfinite(value):
                    return Scored(None, parts, f"reward {name}: gave {value}, not a number")
                parts[name] = value
        except ConfigError:
            raise
        except AgentMemError as error:
            return Scored(None, parts, str(error))
        return Scored(sum(self.weights[name] * value for name, value in parts.items()), parts)
