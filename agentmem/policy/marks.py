"""Which of the user's sentences are worth writing down: what a detector marks, a policy that is asked only of them.

Two readers together: the small language model as a tagger, which reads the whole conversation and is asked of every
sentence at its end (agentmem/models/tags.py), and MiniLM, which reads a sentence with what is known near it and was
said before. Both learn from every sentence; as a writer the language model learns one decision a conversation, and was
not able to make it (LOG.md, 2026-11-26, "Trained default").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.memory import full_text
from agentmem.models.embed import Embedder, Remembering, get_embedder
from agentmem.models.judges import CHANGES, Judge, Sight, shipped, shipped_tagger
from agentmem.models.pairs import Pair
from agentmem.models.tags import Tagger, Text
from agentmem.policy.answers import question_of
from agentmem.policy.asked import asks_plainly, asks_to_forget
from agentmem.policy.base import WORTHS, Mark, Observation, Worth
from agentmem.policy.choices import declines
from agentmem.policy.edits import Edit
from agentmem.policy.forgetting import forget_edits, meant, speaks_of
from agentmem.policy.leftover import unnamed, unsaid
from agentmem.policy.lines import context_of
from agentmem.policy.pastes import opens_play
from agentmem.policy.resolve import aliases_of, shortened, texts_of
from agentmem.policy.spans import statements
from agentmem.session import Message

KNOWN = 2
"""Memories that are read with a sentence: those nearest to it."""
ASKED = 6
"""Memories that are asked of whether a sentence changes them: those nearest to it."""
KNOWN_CHARS = 160
CONTEXT_CHARS = 300
SECOND = 0.5
"""Share of MiniLM, the second reader: on held-out families best at .5 to .6 (LOG.md, "Trained default, fifth part")."""
LEAST = 1e-5
"""A probability that a reader gives is taken for at least this."""
PLAIN = 0.3
"""Probability of changing a memory from which on a sentence that calls for a change is taken to: seven of ten are then
right (LOG.md, "Trained default, sixth part"). One that is closed wrongly is worse than two that stand side by side,
which a reader can tell apart by their days."""
DECLINED = 0.3
"""The same as `at` of a taste shown by turning down what the assistant offered. The twins "picked for this once" made
the detector doubt choices: of 150 of PrefEval's dialogues that show a taste by a choice it marked 133, with this 147;
of the test conversations 3 sentences rightly and 2 wrongly more (LOG.md, 2026-11-27)."""
ANSWERED = 0.1
"""The same as `at` of what is stated in a short answer to a question: the detector learned from whole sentences, and
tells those that matter from others as well in answers, at lower numbers (AUC .976 of 120 short answers; LOG.md,
"Trained default, tenth part"). A choice or a change keeps `at`."""
UNSAID = 0.7
"""Probability of being worth something from which on a part of a sentence of which nothing was written is asked of."""
LIKELY = 0.15
"""Probability from which on a memory is asked of when the likeliest was the wrong one."""


class Sentence(NamedTuple):
    """A sentence of a new message of the user's."""

    turn: int
    start: int
    end: int
    text: str
    context: str
    """What was said before it."""


class Said(NamedTuple):
    """A sentence, and what is known near it."""

    sentence: Sentence
    known: tuple[str, ...]
    """Ids of the memories nearest to it, ASKED at most, the nearest first."""

    @property
    def near(self) -> tuple[str, ...]:
        """Ids of those that are read with it."""
        return self.known[:KNOWN]

    def mark(self, worth: Worth, sure: float = 1.0) -> Mark:
        """It as a policy is asked of it, if this is what it calls for."""
        return Mark(text=self.sentence.text, turn=self.sentence.turn, worth=worth, near=self.near, sure=sure)


class Reading(NamedTuple):
    """A sentence that was read."""

    said: Said
    chances: NDArray[np.float32]
    """(WORTHS,): what it calls for."""
    forget: float
    """Probability of being a request to forget, by the reader who is surer of it."""

    @property
    def worth(self) -> float:
        """Probability that something is to be written down."""
        return 1 - float(self.chances[0])

    def mark(self, worth: Worth | None = None) -> Mark:
        """It as a policy is asked of it: as what it calls for, or as `worth`."""
        return self.said.mark(worth or self.calls_for, self.worth)

    @property
    def calls_for(self) -> Worth:
        """The likeliest thing to write; a change only where there is something to be changed."""
        if asks_to_forget(self.said.sentence.text, self.forget):
            return "forget"
        return self._likeliest(_ADDS + (_TURNS if self.said.near else ()))

    @property
    def adds(self) -> Worth:
        """The likeliest thing to add."""
        return self._likeliest(_ADDS)

    @property
    def change(self) -> float:
        """Probability of changing something, if it is worth anything."""
        own = sum(float(self.chances[WORTHS.index(worth)]) for worth in _TURNS)
        return own / max(self.worth, 1e-6)

    def _likeliest(self, possible: Sequence[Worth]) -> Worth:
        return max(possible, key=lambda worth: self.chances[WORTHS.index(worth)])


_ADDS: tuple[Worth, ...] = ("fact", "preference", "inferred", "instruction")
_TURNS: tuple[Worth, ...] = ("replace", "close")
_STATED: tuple[Worth, ...] = ("fact", "preference", "instruction")


class Turn:
    """Whether a sentence changes a memory: what three readers make of it, together.

    The detector reads the sentence, `Sight` it and one memory, and the judge of changes both and what was said before.
    A logistic regression over their log-odds, fitted by `python -m agentmem.train.judges.joins turn`, which also prints
    what each part is worth alone.
    """

    DETECTOR, SIGHT, JUDGE, BIAS = 0.15, 0.23, 0.61, -0.62

    def __init__(self, sight: Sight, judge: Judge) -> None:
        self._sight, self._judge = sight, judge

    def changes(self, reading: Reading, texts: Mapping[str, str]) -> NDArray[np.float32]:
        """(len(reading.said.known),): probability that it changes each of these memories. Raises ModelError."""
        logit_N = self.read(reading, texts) @ np.array([self.DETECTOR, self.SIGHT, self.JUDGE], np.float32) + self.BIAS
        return (1 / (1 + np.exp(-logit_N))).astype(np.float32)

    def read(self, reading: Reading, texts: Mapping[str, str]) -> NDArray[np.float32]:
        """(len(reading.said.known), 3): what the regression joins. Raises ModelError.

        Args:
            reading: of the sentence.
            texts: of the memories, by id.
        """
        said = reading.said
        closes_N = self._sight.closes(said.sentence.text, [texts[id] for id in said.known])
        judged_N = self._judge.probabilities(change_pairs(said, texts))[:, CHANGES.index("changes")]
        parts = (np.full_like(closes_N, reading.change), closes_N, judged_N)
        return np.stack([_log_odds(part) for part in parts], axis=1)


def _log_odds(chance_N: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,), of probabilities that are taken for .001 at least, and .999 at most."""
    kept_N = np.clip(chance_N, 1e-3, 1 - 1e-3)
    return np.log(kept_N / (1 - kept_N)).astype(np.float32)


def sentences_of(observation: Observation) -> list[Sentence]:
    """What the user says of themselves in what is new: no code, pasted text or fiction. After the message that opens a
    role-play nothing but plain requests to forget."""
    messages = [{"role": one.role, "content": one.content} for one in observation.session.messages]
    found: list[Sentence] = []
    play = False
    for turn, message in enumerate(observation.session.messages):
        if message.role != "user":
            continue
        if turn >= observation.start:
            least = 1 if turn and _asks(observation.session.messages[turn - 1]) else 2
            own = [Sentence(turn, span.start, span.end, message.content[span.start : span.end],
                            context_of(messages, turn, span.start, CONTEXT_CHARS))
                   for span in statements(message.content, least)]  # fmt: skip
            found += [one for one in own if not play or asks_plainly(one.text)]
        play = play or bool(opens_play(message.content))
    return found


def _asks(message: Message) -> bool:
    """Whether a word may answer it: after anything else "thanks" and "perfect" are no statements."""
    return message.role == "assistant" and "?" in message.content


def worths(observation: Observation, edits: Sequence[Edit], sentences: Sequence[Sentence]) -> list[Worth]:
    """What each of the sentences calls for, if these are the right edits: what the first does that quotes of it."""
    found: list[Worth] = ["none"] * len(sentences)
    for edit in reversed(edits):
        for place in _quoted(observation, edit, sentences):
            found[place] = _worth(edit)
    return found


def of_sentences(
    observation: Observation, edits: Sequence[Edit], sentences: Sequence[Sentence]
) -> list[tuple[Edit, ...]]:
    """The edits by the sentence that each quotes first. One whose quotes are in no sentence is of none."""
    found: list[list[Edit]] = [[] for _ in sentences]
    for edit in edits:
        if places := _quoted(observation, edit, sentences):
            found[places[0]].append(edit)
    return [tuple(own) for own in found]


def _quoted(observation: Observation, edit: Edit, sentences: Sequence[Sentence]) -> list[int]:
    """Places of the sentences that an edit quotes of, in the order of its quotes."""
    found: list[int] = []
    for quote in edit.quotes:
        for turn, message in enumerate(observation.session.messages):
            start = message.content.find(quote) if message.role == "user" else -1
            if start >= 0:
                found += [place for place, one in enumerate(sentences)
                          if one.turn == turn and start < one.end and one.start < start + len(quote)]  # fmt: skip
    return found


def _worth(edit: Edit) -> Worth:
    if edit.sign == "+":
        return "inferred" if edit.inferred and edit.kind == "preference" else edit.kind or "fact"
    return _CHANGES[edit.sign]


_CHANGES: dict[str, Worth] = {"~": "replace", "-": "close", "x": "forget"}


def beside(observations: Sequence[Observation], embedder: Embedder) -> list[list[Said]]:
    """The sentences of each observation, each with the memories nearest to it."""
    sentences = [sentences_of(observation) for observation in observations]
    told = [[full_text(memory) for memory in observation.memories] for observation in observations]
    texts = list(dict.fromkeys([one.text for own, known in zip(sentences, told, strict=True) if known for one in own]
                               + [text for known in told for text in known]))  # fmt: skip
    vectors = dict(zip(texts, embedder.encode(texts), strict=True))

    def nearest(sentence: Sentence, observation: Observation, known: Sequence[str]) -> tuple[str, ...]:
        order = sorted(range(len(known)), key=lambda place: -float(vectors[known[place]] @ vectors[sentence.text]))
        return tuple(observation.memories[place].id for place in order[:ASKED])

    return [[Said(one, nearest(one, observation, known)) for one in own]
            for observation, own, known in zip(observations, sentences, told, strict=True)]  # fmt: skip


def pairs(observations: Sequence[Observation], said: Sequence[Sequence[Said]]) -> list[list[Pair]]:
    """What the detector reads of each observation: its sentences, with what is known near them and was said before."""
    found: list[list[Pair]] = []
    for observation, own in zip(observations, said, strict=True):
        texts = {memory.id: full_text(memory) for memory in observation.memories}
        found.append([(one.sentence.text, _context([texts[id] for id in one.near], one.sentence)) for one in own])
    return found


def change_pairs(said: Said, texts: Mapping[str, str]) -> list[Pair]:
    """What the judge of changes reads: a sentence beside each of the memories near it, and what was said before.

    Args:
        said: the sentence.
        texts: of the memories, by id.
    """
    return [(said.sentence.text, f"{texts[id]} / {said.sentence.context}") for id in said.known]


def rendered(observation: Observation, said: Sequence[Said]) -> Text:
    """What the tagger reads: the memories near any of the sentences, the conversation, and the sentences once more."""
    near, names = {id for one in said for id in one.near}, {id: name for name, id in aliases_of(observation).items()}
    lines = [f"{names[memory.id]}: {full_text(memory)}" for memory in observation.memories if memory.id in near]
    told = [f"{one.role}: {one.content if one.role == 'user' else shortened(one.content)}\n"
            for one in observation.session.messages[max(observation.start - 1, 0) :]]  # fmt: skip
    text = "Memory:\n" + ("\n".join(lines) or "(empty)") + "\n\nConversation:\n" + "".join(told) + "\nSentences:\n"
    ends = []
    for one in said:
        text += "- " + " ".join(one.sentence.text.split())
        ends.append(len(text))
        text += "\n"
    return Text(text, tuple(ends))


def _context(known: Sequence[str], sentence: Sentence) -> str:
    return f"{' '.join(known)[:KNOWN_CHARS] or 'nothing known'} / {sentence.context}".strip()


class Marker:
    """Marks sentences.

    Args:
        judge: (n, WORTHS) probabilities of `pairs`.
        embedder: finds the memories near a sentence.
        at: probability of being worth something from which on a sentence is marked.
        tagger: (ends, WORTHS) probabilities of what is `rendered`; None: the judge reads alone. Both err otherwise, so
            together they tell conversations apart better than either (`python -m agentmem.train.judges tags --look`).
        forgetting: says which memories a request to forget means; None: none, only what the conversation says.
        turn: says which of the memories near it a sentence changes, and the policy is shown these; None: what the
            detector makes of the sentence alone decides.
        share: of the judge in the mean of both log-probabilities, beside a tagger.
    """

    def __init__(
        self, judge: Judge, embedder: Embedder, at: float, tagger: Tagger | None = None,
        forgetting: Judge | None = None, turn: Turn | None = None, share: float = SECOND,
    ) -> None:  # fmt: skip
        self._judge, self._tagger, self._forgetting, self._share = judge, tagger, forgetting, share
        self._turn = turn
        self._embedder, self.at = embedder, at

    def sentences(self, observations: Sequence[Observation], /) -> list[list[Said]]:
        """All sentences of each observation, in order. Raises ModelError."""
        return beside(observations, self._embedder)

    def read(self, observations: Sequence[Observation], /) -> list[list[Reading]]:
        """All sentences of each observation, in order, with what they call for. Raises ModelError."""
        return self._read(observations, self.sentences(observations))

    def _read(self, observations: Sequence[Observation], said: Sequence[Sequence[Said]]) -> list[list[Reading]]:
        found = [pair for own in pairs(observations, said) for pair in own]
        chances = self._judge.probabilities(found)
        forget = chances[:, WORTHS.index("forget")]
        if self._tagger is not None and found:
            shown = [rendered(whole, own) for whole, own in zip(observations, said, strict=True)]
            tagged = np.concatenate([own for own in self._tagger.probabilities(shown) if len(own)])
            forget = np.maximum(forget, tagged[:, WORTHS.index("forget")])
            chances = _joined(tagged, chances, self._share)
        rows = zip(chances, forget.tolist(), strict=True)
        return [[Reading(one, *next(rows)) for one in own] for own in said]

    def marked(self, observations: Sequence[Observation], /) -> list[list[Observation]]:
        """Of each observation one for every marked sentence, as a policy is shown it; none where nothing is.

        What the user asks to forget in the same breath is not marked.
        """
        return [[whole.model_copy(update={"mark": one}) for one in self._kept(whole, own)]
                for whole, own in zip(observations, self.read(observations), strict=True)]  # fmt: skip

    def left_out(self, seen: Observation, edits: Sequence[Edit], /) -> list[Mark]:
        """Parts of the marked sentence that these edits of it leave out, and that are worth adding by themselves.

        Raises ModelError.
        """
        mark = seen.mark
        if mark is None:
            return []
        least = dict.fromkeys(unsaid(mark.text, edits), UNSAID) | dict.fromkeys(unnamed(mark.text, edits), self.at)
        if not least:
            return []
        messages = [{"role": one.role, "content": one.content} for one in seen.session.messages]
        begin = max(messages[mark.turn]["content"].find(mark.text), 0)
        said = [Said(Sentence(mark.turn, begin + span.start, begin + span.end, mark.text[span.start : span.end],
                              context_of(messages, mark.turn, begin + span.start, CONTEXT_CHARS)), mark.near)
                for span in least]  # fmt: skip
        [read] = self._read([seen], [said])
        return [one.mark(one.adds) for one, own in zip(read, least.values(), strict=True) if one.worth >= own]

    def _kept(self, whole: Observation, read: Sequence[Reading]) -> list[Mark]:
        told = {memory.id: full_text(memory) for memory in whole.memories}
        marks = [self._mark(one, told) for one in read
                 if one.calls_for == "forget" or one.worth >= self._least(whole, one)]  # fmt: skip
        requests = [mark for mark in marks if mark.worth == "forget"]
        return [mark for mark in marks if mark in requests or not any(self._means(one, mark) for one in requests)]

    def _least(self, whole: Observation, reading: Reading) -> float:
        """Probability of being worth something from which on it is marked."""
        said, messages = reading.said.sentence, whole.session.messages
        answers = said.text in whole.spelled or bool(question_of(messages, said.turn, said.text))
        if answers and reading.calls_for in _STATED:
            return min(self.at, ANSWERED)
        before = messages[said.turn - 1].content if said.turn and messages[said.turn - 1].role == "assistant" else ""
        taste = reading.calls_for in ("preference", "inferred")
        return min(self.at, DECLINED) if taste and declines(before, said.text) else self.at

    def _mark(self, reading: Reading, told: Mapping[str, str]) -> Mark:
        """It as what it calls for; as an addition where it isn't plain what it changes.

        Of a change the likeliest of the memories near it is asked of first. A policy that writes nothing sees that this
        is the wrong one (of 40 watched changes 17 were such, with no other sentence so often): then the next, and in
        the end an addition.
        """
        mark = reading.mark()
        if self._turn is None or mark.worth not in _TURNS:
            return mark
        chances = self._turn.changes(reading, told)
        found = reading.mark(reading.adds)
        if chances.max(initial=0) >= PLAIN:
            for place in [
                place for place in chances.argsort() if chances[place] >= LIKELY
            ]:  # the likeliest comes first
                found = mark.model_copy(update={"near": (reading.said.known[place],), "otherwise": found})
        return found

    def _means(self, request: Mark, mark: Mark) -> bool:
        cosine = float(np.prod(self._embedder.encode([request.text, mark.text]), axis=0).sum())
        return speaks_of(request.text, mark.text, request.turn - mark.turn, cosine)

    def forgets(self, seen: Observation, /) -> list[Edit]:
        """What a marked request to forget comes to. Raises ModelError."""
        if seen.mark is None:
            return []
        said, judge = seen.mark.text, self._forgetting
        return forget_edits(said, meant(said, texts_of(seen), self._embedder, judge) if judge else [])


def _joined(first: NDArray[np.float32], second: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """(n, WORTHS): the mean of both log-probabilities, as probabilities."""
    odds = (1 - share) * np.log(np.maximum(first, LEAST)) + share * np.log(np.maximum(second, LEAST))
    grown = np.exp(odds - odds.max(1, keepdims=True))
    return (grown / grown.sum(1, keepdims=True)).astype(np.float32)


def shipped_marker(at: float, cache: Path | None = None, device: str | None = None) -> Marker:
    """The detector that ships; its weights are loaded when it first reads something.

    Args:
        at: probability of being worth something from which on a sentence is marked.
        cache: folder of downloaded models, for the tagger's base; None is the user's cache folder.
        device: where the tagger runs: cpu, cuda or mps; None chooses.
    """
    return Marker(shipped("marks"), Remembering(get_embedder("minilm")), at, shipped_tagger(cache, device),
                  shipped("forgetting"), Turn(Sight.shipped(), shipped("changes")))  # fmt: skip
