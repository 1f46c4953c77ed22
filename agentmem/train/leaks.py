"""Leaks: what training data gives away, so that a reward or a test result would not show what a memory is worth.

All checks are static: they read the examples and run no model. Texts are compared by their words, in lower case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import sqrt
from typing import NamedTuple

from agentmem.errors import TrainingDataError
from agentmem.memory import words
from agentmem.session import Message
from agentmem.train.histories import EditExample, Example, Examples, History, PairExample, Probe

LONG = 9
"""So many words of a question in a row, found in a message, are no coincidence."""
SHORT = 4
"""A question of fewer words ("And now?") is found only where it is the whole message."""
ALIKE = 0.5
"""Two users that share more than this share of the user messages of the one with fewer are one user."""
REWORDED = 0.8
"""A message with this share of a question's words asks the same, if the gold answer stands beside it."""
GAIN = 0.1
"""A way of guessing is reported when it beats chance by this much and by two standard errors."""


class Leak(NamedTuple):
    """One thing that is given away. As text it is one line."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def leaks(examples: Examples, other: Examples | None = None) -> list[Leak]:
    """Everything that the checks find; empty when nothing is wrong.

    - a system message in a conversation that a policy reads (it often describes the persona);
    - the question of a probe, or LONG words of it in a row, in a message of its own history or in any system message;
      or most of its words in a message with the gold answer, word for word, in it or in the next one;
    - options of which the longest, or the first, is right too often;
    - a user, most of the messages of a user, or a probe with its answer, both in the examples for training and in
      those for testing.

    Args:
        examples: for training and for testing, told apart by their split.
        other: of a second file, which must share nothing with the first, whatever the splits say.
    """
    files = [examples] if other is None else [examples, other]
    system = _Said((f"a system message of {_owner(one)}", message.content) for own in files
                   for one in chain(*own) for message in _messages(one) if message.role == "system")  # fmt: skip
    found: list[Leak] = []
    for own in files:
        found += [*_systems(own), *_guessed(own)]
        found += [leak for history in own.histories for leak in _asked(history, system)]
    found += _shared(_side(examples, "train"), _side(examples, "test"), "in train and in test")
    return found if other is None else [*found, *_shared(examples, other, "in both files")]


def strip_system(examples: Examples) -> Examples:
    """The examples without the system messages of their conversations, which no policy sees when it works.

    A session of nothing else is left out, and `after` of the probes counts on without it. The prompts of pairs are
    left as they are: their system message is the policy's own.

    Raises:
        TrainingDataError: nothing is left of a conversation, or nothing that a probe may be asked after.
    """
    histories = tuple(map(_stripped, examples.histories))
    edits = [one.model_copy(update={"messages": _unsystematic(one.messages)}) for one in examples.edits]
    for edit in edits:
        if not edit.messages:
            raise TrainingDataError(f"{_owner(edit)}: messages: all are system messages; leave the example out")
    return Examples(histories, tuple(edits), examples.pairs)


def _stripped(history: History) -> History:
    own = [one.model_copy(update={"messages": _unsystematic(one.messages)}) for one in history.sessions]
    left = [sum(bool(session.messages) for session in own[:count]) for count in range(len(own) + 1)]
    probes = []
    for probe in history.probes:
        after = None if probe.after is None else left[probe.after]
        if after == 0 or not left[-1]:
            raise TrainingDataError(f"{_owner(history)}, probe {probe.id}: after: only system messages come before it; "
                                    "leave it out")  # fmt: skip
        probes.append(probe.model_copy(update={"after": after}))
    sessions = tuple(session for session in own if session.messages)
    return history.model_copy(update={"sessions": sessions, "probes": tuple(probes)})


def _unsystematic(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(message for message in messages if message.role != "system")


# -- one example -----------------------------------------------------------------------------------------------------


def _systems(examples: Examples) -> Iterator[Leak]:
    """What a policy reads has no system messages."""
    for example in (*examples.histories, *examples.edits):
        count = sum(message.role == "system" for message in _messages(example))
        if count:
            yield Leak(_owner(example), f"{count} system messages in what a policy reads; take them out (strip_system)")


class _Said:
    """Messages as words, to be searched for runs of words."""

    def __init__(self, messages: Iterable[tuple[str, str]]) -> None:
        """Where each message stands, and its text."""
        self.places: list[str] = []
        self.texts: list[str] = []
        for place, text in messages:
            self.places.append(place)
            self.texts.append(" ".join(words(text)))
        self._known: dict[int, set[str]] = {}

    def find(self, question: Sequence[str]) -> tuple[int, str] | None:
        """The first message with the question, else with LONG words of it in a row; and the words found."""
        whole, size = " ".join(question), min(len(question), LONG)
        if size < SHORT:
            return (self.texts.index(whole), whole) if whole and whole in self.texts else None
        if size not in self._known:
            self._known[size] = {run for text in self.texts for run in _runs(text.split(), size)}
        run = next((run for run in _runs(question, size) if run in self._known[size]), None)
        for text in (whole, run) if run else ():
            for place in range(len(self.texts)):
                if self.has(text, place):
                    return place, text
        return None

    def find_answered(self, question: Sequence[str], answer: str) -> int | None:
        """The first message with most words of the question, and the answer in it or in the next one."""
        asked = set(question)
        if len(asked) < SHORT or not answer:
            return None
        for place, text in enumerate(self.texts):
            beside = self.has(answer, place) or self.has(answer, place + 1)
            if beside and len(asked & set(text.split())) >= REWORDED * len(asked):
                return place
        return None

    def has(self, run: str, place: int) -> bool:
        """Whether a run of words stands in the message at a place; False when there is no such place."""
        return place < len(self.texts) and f" {run} " in f" {self.texts[place]} "


def _runs(said: Sequence[str], size: int) -> Iterator[str]:
    return (" ".join(said[start : start + size]) for start in range(len(said) - size + 1))


def _asked(history: History, system: _Said) -> Iterator[Leak]:
    """Probes that a conversation has in it already."""
    own = _Said((f"session {session.id}, message {turn}, by the {message.role}", message.content)
                for session in history.sessions for turn, message in enumerate(session.messages)
                if message.role != "system")  # fmt: skip
    for probe in history.probes:
        where = f"{_owner(history)}, probe {probe.id}"
        question, answer = words(probe.question), " ".join(words(probe.gold))
        for said in (own, system):
            if found := said.find(question):
                place, run = found
                part = "its question stands" if run == " ".join(question) else f"{LONG} words of its question stand"
                beside = answer and (said.has(answer, place) or said.has(answer, place + 1))
                part += f" in {said.places[place]} (“{run[:80]}”){', with its answer' if beside else ''}"
                yield Leak(where, f"{part}; reword it, or leave it out")
            elif said is own and (place := own.find_answered(question, answer)) is not None:
                yield Leak(where, f"{own.places[place]} asks nearly the same, with its answer; leave it out")


# -- options ---------------------------------------------------------------------------------------------------------


def _longest(probe: Probe) -> float:
    """Probability that the longest option is the right one; ties are broken by chance."""
    lengths = [len(option) for option in probe.options]
    longest = [place for place, length in enumerate(lengths) if length == max(lengths)]
    return (probe.right in longest) / len(longest)


def _first(probe: Probe) -> float:
    return float(probe.right == 0)


_GUESSES: dict[str, tuple[Callable[[Probe], float], str]] = {
    "longest": (_longest, "make the wrong ones as long, or compare with this number and not with chance"),
    "first": (_first, "shuffle them"),
}


def _guessed(examples: Examples) -> Iterator[Leak]:
    """Ways of choosing an option that need no memory and are right too often."""
    for split in ("train", "test"):
        probes = [probe for history in _side(examples, split).histories for probe in history.probes if probe.options]
        chances = [1 / len(probe.options) for probe in probes]
        for name, (guess, advice) in _GUESSES.items() if probes else ():
            chance, right = sum(chances) / len(probes), sum(map(guess, probes)) / len(probes)
            error = sqrt(sum(one * (1 - one) for one in chances)) / len(probes)
            if right - chance > max(GAIN, 2 * error):
                yield Leak(f"{split}, {len(probes):,} probes with options",
                           f"the {name} option is right for {right:.0%} (chance {chance:.0%}); {advice}")  # fmt: skip


# -- two sides -------------------------------------------------------------------------------------------------------


def _shared(first: Examples, second: Examples, both: str) -> Iterator[Leak]:
    """Users, messages and probes that stand on both sides."""
    said, other = _by_user(first), _by_user(second)
    for user in sorted(said.keys() & other.keys()):
        yield Leak(f"user {user}", f"is {both}; give each user one side")
    yield from _alike(said, other, both)
    asked: dict[tuple[str, ...], str] = {}
    for history in second.histories:
        for probe in history.probes:
            asked.setdefault(_content(probe), f"{_owner(history)}, probe {probe.id}")
    for history in first.histories:
        for probe in history.probes:
            if same := asked.get(_content(probe)):
                yield Leak(f"{_owner(history)}, probe {probe.id}",
                           f"has question and answer of {same}, so it is {both}; leave one out")  # fmt: skip


def _alike(said: dict[str, set[str]], other: dict[str, set[str]], both: str) -> Iterator[Leak]:
    """Users of different names who say the same."""
    sayers: dict[str, list[str]] = {}
    for user, texts in other.items():
        for text in texts:
            sayers.setdefault(text, []).append(user)
    for user, texts in said.items():
        for name, count in Counter(name for text in texts for name in sayers.get(text, ())).items():
            fewer = min(len(texts), len(other[name]))
            if name != user and count > ALIKE * fewer:
                what = f"share {count} of {fewer} user messages, so one user is {both}; give both the same name"
                yield Leak(f"users {user} and {name}", what)


def _by_user(examples: Examples) -> dict[str, set[str]]:
    """What each user says, by words; also those who say nothing."""
    said: dict[str, set[str]] = {}
    for example in chain(*examples):
        texts = (" ".join(words(message.content)) for message in _messages(example) if message.role == "user")
        said.setdefault(example.user, set()).update(filter(None, texts))
    return said


def _content(probe: Probe) -> tuple[str, ...]:
    return tuple(" ".join(words(text)) for text in (probe.question, probe.gold))


def _side(examples: Examples, split: str) -> Examples:
    histories, edits, pairs = examples
    return Examples([one for one in histories if one.split == split], [one for one in edits if one.split == split],
                    [one for one in pairs if one.split == split])  # fmt: skip


def _owner(example: Example) -> str:
    return f"user {example.user}"


def _messages(example: Example) -> Iterator[Message]:
    """Every message of an example; of a pair those of its prompt."""
    if isinstance(example, History):
        for session in example.sessions:
            yield from session.messages
    elif isinstance(example, EditExample):
        yield from example.messages
    elif isinstance(example, PairExample):
        yield from example.prompt
