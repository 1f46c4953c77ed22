"""The policy that needs no text generation: it classifies the user's sentences and keeps their own words."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from agentmem.models.embed import Embedder
from agentmem.models.judges import Judge, shipped
from agentmem.policy.answers import as_said, with_answers
from agentmem.policy.asked import TO_FORGET, asks_to_forget
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.choices import choice
from agentmem.policy.classify import Classifier, classifier_for
from agentmem.policy.edits import Edit, format_edits
from agentmem.policy.forgetting import content, forget_edits, meant, speaks_of
from agentmem.policy.lines import LABELS, Label, context_of
from agentmem.policy.pastes import opens_play
from agentmem.policy.resolve import texts_of
from agentmem.policy.spans import clauses, statements
from agentmem.policy.taste import taste
from agentmem.policy.vetoes import vetoed
from agentmem.policy.wording import memory_text, when_and_text

MOST = 3
"""Memories from one observation, unless further ones are plain or nearly certain, or the conversation is long."""
CERTAIN = 0.93
WORTH = 0.8
"""Probability of being worth remembering from which on a sentence is kept."""
JUDGE = 0.88
"""What the judge says is taken for so much of it: its threshold is a little higher than the classifier's."""
KINDS: tuple[Label, ...] = ("preference", "instruction", "fact")
CLAUSES_AT = 0.3
"""Probability of a sentence from which on its clauses are read by themselves."""
PLAIN_AT = 0.55
"""Threshold for statements in so many words ("I'm allergic to …", "I live in …", "call me …")."""
STANDING_AT = 0.25
"""Threshold for what is to hold "from now on"; who says that means it to stay."""
SAME = 0.5
"""Cosine from which on a sentence that shares a word with a memory is taken to speak of it."""
SAME_WITHOUT_WORDS = 0.65

_CUE = re.compile(
    r"\b(?:i|im|ive|i['’]\w+|me|my|mine|we|we['’]\w+|our|us|always|never|whenever|from now on|every time|each time"
    r"|forget|delete|erase|remove|wipe|remember"
    r"|stop|no more|allerg\w*|prefer|vegan|vegetarian|please|pls|don['’]?t|when|if|any ?time|for all|in future"
    r"|going forward|used to)\b",
    re.I,
)
_LEAD = re.compile(
    r"^(?:(?:just )?(?:a )?quick (?:one|note)|side note|heads up|(?:oh,? )?(?:one|another) (?:more )?thing"
    r"|by the way|btw|fyi|hi(?: there)?|hello(?: there)?|hey(?: there)?|ps|p\.s\.)[\s,:–—-]+(?=\S)",
    re.I,
)
"""Says nothing of the user, and hides from the classifier what does."""
_UNSURE = re.compile(
    r"\b(?:don['’]?t know|no idea|not sure|never been sure|unsure|wonder(?:ing)?|can['’]?t (?:decide|tell))\b"
    r".{0,12}\b(?:if|whether|that|i)\b|\bin my (?:novel|story|book|game|dream|screenplay)\b",
    re.I,
)
_OVER = re.compile(
    r"\b(?:no longer|any ?more|stopped|gave up|given up|gone off|used to|don['’]?t .{1,40} any ?more)\b", re.I
)
_ENDED = re.compile(r"\b(?:quit|cancell?ed|sold|dropped|broke up|divorced|resigned|gave away|got rid of|ended)\b", re.I)
_PLAIN = re.compile(
    r"^\W*(?:(?:and|but|so|also|oh|btw|well|ok|as|since|because|please)\W+)*"
    r"(?:(?:i['’]?m|i am) (?:allergic|vegan|vegetarian|colou?r-?blind|deaf|diabetic|dyslexic|left-handed"
    r"|lactose|coeliac|celiac|retired|from)\b"
    r"|i (?:live|work|study|teach) (?:in|at|as|for)\b|i no longer\b"
    r"|(?:i|we)(?:['’]ve| have) (?:got )?(?:an?|one|two|three|four|five|\d) (?:\w+ )?"
    r"(?:cat|dog|kid|child|son|daughter|sister|brother|horse|rabbit|grandchild|twin)(?:s|ren)?\b"
    r"|i (?:\w+ )?(?:can['’]?t stand|prefer|avoid|dislike|detest|loathe)\b"
    r"|i (?:\w+ )?(?:usually|only|tend to|never|always) \w+|call me \w+|my name is\b"
    r"|my favou?rite\b|(?:as )?someone who\b|i['’]?d (?:much )?rather\b|from now on\b"
    r"|we (?:\w+ )?moved to\b|my (?:wife|husband|son|daughter|sister|brother|partner"
    r"|mother|father|mum|mom|dad|dog|cat) (?-i:[A-Z])\w+)",
    re.I,
)
_FROM_NOW_ON = re.compile(
    r"^(?!.*\b(?:you['’]?re|you are|act|pretend|imagine|speak as|your name|role)\b)[^?]*\bfrom (?:now|here) on\b[^?]*$",
    re.I,
)
_WHENEVER = re.compile(
    r"^\W*(?:when(?:ever)?|every time|each time|any ?time) (?:i|you) (?!was\b|were\b|am\b|got\b)\w+[^,?]{2,60}"
    r", (?:please )?"
    r"(?:use|give|keep|show|add|put|don['’]?t|never|always|write|answer|include|avoid|skip|make|list|start|end|stick)\b",
    re.I,
)


@dataclass(frozen=True)
class _Unit:
    """A sentence or clause of one new user message."""

    turn: int
    sentence: int
    quote: str
    context: str
    """What was said before it."""
    whole: bool
    fiction: bool
    """Said after a role-play began: only a request to forget counts."""


@dataclass(frozen=True)
class _Finding:
    """What one sentence, clause or choice amounts to."""

    label: Label
    quote: str
    turn: int
    probability: float
    row: int
    """Place of the unit's vector; -1 for a choice."""
    text: str = ""
    """Of a choice; else it is made from the quote."""
    inferred: bool = False


class OfflinePolicy:
    """Keeps what the user states of themselves, literally; fast, deterministic, without a language model.

    One `encode` for all sentences of all observations; a second one over known memories only when somebody asks to
    forget something or says that it is over.

    Two readers judge a sentence, and the surer one counts: a linear classifier over its embedding, which knows what is
    said in so many words ("I hate bananas"), and a judge that reads it with what came before, which knows what is said
    in passing. Each misses much of what the other sees.

    Args:
        embedder: any sentence embedder.
        classifier: fitted for this embedder; None takes the shipped or cached one, or fits it at first use
            (see `classify.classifier_for`).
        cache: folder for a classifier fitted here; None is the user's cache folder.
        judge: (n, LABELS) probabilities of (sentence, context); None takes the one that ships.
        forgetting: (n, FORGETTING) probabilities of (request, memory); None likewise.
    """

    name = "offline"

    def __init__(
        self,
        embedder: Embedder,
        classifier: Classifier | None = None,
        cache: Path | None = None,
        *,
        judge: Judge | None = None,
        forgetting: Judge | None = None,
    ) -> None:
        self._embedder = embedder
        self._given = classifier
        self._cache = cache
        self._judge = judge or shipped("lines")
        self._forgetting = forgetting or shipped("forgetting")

    @functools.cached_property
    def _classifier(self) -> Classifier:
        if self._given is not None:
            return self._given
        return classifier_for(self._embedder, self._cache or platformdirs.user_cache_path("agentmem", appauthor=False))

    def propose(self, observations: Sequence[Observation], /) -> list[Proposal]:
        """One proposal an observation, in order. Raises ModelError when the embedder fails."""
        spelled = [with_answers(observation) for observation in observations]
        units = [_units(observation) for observation in spelled]
        every = [unit for some in units for unit in some]
        vectors = self._embedder.encode([unit.quote for unit in every])
        chances = self._chances(every, vectors)
        proposals, start = [], 0
        for whole, observation, own in zip(observations, spelled, units, strict=True):
            part = slice(start, start + len(own))
            found = as_said(self._one(observation, own, vectors[part], chances[part]), whole)
            proposals.append(found.model_copy(update={"raw": format_edits(found.edits)}))
            start += len(own)
        return proposals

    def _chances(self, units: Sequence[_Unit], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(len(units), LABELS): of each sentence or clause the reading that finds it worth more.

        The judge reads clauses only where their sentence is worth a second look: reading takes time.
        """
        chances = self._classifier.probabilities(vectors, [unit.quote for unit in units])
        self._read(units, [row for row, unit in enumerate(units) if unit.whole], chances)
        parts: list[int] = []
        promising = False  # whether the last sentence is: its clauses follow it
        for row, unit in enumerate(units):
            if unit.whole:
                promising = _worth(chances[row], unit.quote) >= CLAUSES_AT
            elif promising:
                parts.append(row)
        self._read(units, parts, chances)
        return chances

    def _read(self, units: Sequence[_Unit], rows: Sequence[int], chances: NDArray[np.float32]) -> None:
        read = self._judge.probabilities([(units[row].quote, units[row].context) for row in rows])
        for row, chance in zip(rows, read, strict=True):
            quote = units[row].quote
            if TO_FORGET.search(quote):
                chances[row] = (chances[row] + chance) / 2  # so grave a thing asks for both, or for one that is sure
            elif JUDGE * _worth(chance, quote) > _worth(chances[row], quote):
                chances[row] = chance

    def _one(
        self, observation: Observation, units: list[_Unit], vectors: NDArray[np.float32], chances: NDArray[np.float32]
    ) -> Proposal:
        chosen = _choices(observation)
        asked = [
            number
            for number, unit in enumerate(units)
            if unit.whole and asks_to_forget(unit.quote, float(chances[number][LABELS.index("forget")]))
        ]
        requests = {(units[row].turn, units[row].sentence) for row in asked}
        findings = [
            finding
            for finding in _findings(units, chances)
            if (finding.turn, units[finding.row].sentence) not in requests
            and not any(finding.turn == taken.turn and finding.quote in taken.quote for taken in chosen)
        ]
        known = self._known(observation, any(_is_over(finding.quote) for finding in findings))
        texts = texts_of(observation) if asked else {}
        edits: list[Edit] = []
        for row in asked:
            unit = units[row]
            findings = [finding for finding in findings if not _speaks_of(unit, vectors[row], finding, vectors)]
            edits += forget_edits(unit.quote, meant(unit.quote, texts, self._embedder, self._forgetting))
        new = _ranked(_distinct(findings, vectors), chosen, len({unit.turn for unit in units}))
        edits += [_edit(finding, vectors, known) for finding in new]
        return Proposal(edits=tuple(edits))

    def _known(self, observation: Observation, needed: bool) -> list[tuple[str, str, NDArray[np.float32]]]:
        """(alias, text, vector) of each known memory; empty where nothing asks for them: embedding takes time."""
        if not needed or not observation.memories:
            return []
        texts = texts_of(observation)
        vectors = self._embedder.encode(list(texts.values()))
        return [(alias, text, vector) for (alias, text), vector in zip(texts.items(), vectors, strict=True)]


def _units(observation: Observation) -> list[_Unit]:
    """Every sentence, and every clause of one, of the user's new messages that could matter."""
    units: list[_Unit] = []
    messages = [{"content": message.content} for message in observation.session.messages]
    fiction = False
    for turn, message in enumerate(observation.session.messages):
        if message.role != "user":
            continue
        if turn >= observation.start:
            for number, span in enumerate(statements(message.content)):
                quote = _LEAD.sub("", message.content[span.start : span.end])
                if not (_CUE.search(quote) or len(quote.split()) <= 7):
                    continue
                context = context_of(messages, turn, span.end - len(quote))
                units.append(_Unit(turn, number, quote, context, True, fiction))
                parts = [quote[part.start : part.end] for part in clauses(quote)]
                parts = [part for part in parts if len(part.split()) >= 3]  # "please" is no statement of its own
                if len(parts) > 1:
                    units += [_Unit(turn, number, part, context, False, fiction) for part in parts]
        fiction = fiction or bool(opens_play(message.content))
    return units


def _findings(units: Sequence[_Unit], chances: NDArray[np.float32]) -> list[_Finding]:
    """The best reading of each sentence: as a whole, or as clauses where these say different things."""
    by_sentence: dict[tuple[int, int], list[int]] = {}
    for row, unit in enumerate(units):
        if not unit.fiction:
            by_sentence.setdefault((unit.turn, unit.sentence), []).append(row)
    findings: list[_Finding] = []
    for rows in by_sentence.values():
        passed = [finding for row in rows if (finding := _finding(units[row], chances[row], row)) is not None]
        passed = [finding for finding in passed if finding.probability >= _needed(finding.quote)]
        parts = [finding for finding in passed if not units[finding.row].whole]
        whole = [finding for finding in passed if units[finding.row].whole]
        plain = len(parts) > 1 and all(_PLAIN.search(finding.quote) for finding in parts)
        if (
            plain
            or len({finding.label for finding in parts}) > 1
            or (parts and not whole and parts[0].probability >= _needed(parts[0].quote) + 0.1)
        ):
            findings += parts
        else:
            findings += whole
    return findings


def _needed(quote: str) -> float:
    if _FROM_NOW_ON.search(quote):
        return STANDING_AT
    return PLAIN_AT if _PLAIN.search(quote) or _WHENEVER.search(quote) else WORTH


def _finding(unit: _Unit, chance: NDArray[np.float32], row: int) -> _Finding | None:
    if _UNSURE.search(unit.quote):
        return None
    likely = sorted(KINDS, key=lambda label: -chance[LABELS.index(label)])  # requests to forget are read apart
    # what cannot be an instruction ("I work in education") may still be a fact that is said in so many words
    open_ = likely if likely[0] == "instruction" and _PLAIN.search(unit.quote) else likely[:1]
    label: Label | None = next((label for label in open_ if not vetoed(unit.quote, label)), None)
    if label is None:
        return None
    return _Finding(label, unit.quote, unit.turn, _worth(chance, unit.quote), row)


def _worth(chance: NDArray[np.float32], quote: str) -> float:
    """Probability of being worth remembering. "I no longer eat meat" only sounds like a request to forget."""
    forget = chance[LABELS.index("forget")] if TO_FORGET.search(quote) else 0.0
    return float(1 - chance[LABELS.index("none")] - forget)


def _choices(observation: Observation) -> list[_Finding]:
    """Implicit preferences: the options the user took in the new turns, and why."""
    messages = observation.session.messages
    found = []
    for turn in range(max(observation.start, 1), len(messages)):
        if messages[turn].role == "user" and messages[turn - 1].role == "assistant":
            asked = messages[turn - 2].content if turn >= 2 else ""
            taken = choice(messages[turn - 1].content, messages[turn].content, asked)
            if taken is not None:
                quote = messages[turn].content[taken.quote.start : taken.quote.end]
                found += [
                    _Finding("preference", reason, turn, CERTAIN, -1, _reason_text(reason)) for reason in taken.reasons
                ]
                found.append(_Finding("preference", quote, turn, CERTAIN, -1, taken.text, inferred=True))
    return found


def _reason_text(reason: str) -> str:
    """A reason in the third person, clause by clause."""
    parts = [reason[span.start : span.end] for span in clauses(reason)]
    if len(parts) == 1:  # "the second one sounds good, the others are too loud"
        parts = re.split(r",\s+(?:(?:and|but|so|since|because|as)\s+)?(?=the\b|others\b|all\b)", reason)
        parts = [part for part in parts if taste(part)] if len(parts) > 1 else parts
    if len(parts) == 1:
        return memory_text(parts[0])
    if len(parts) < 2 or any(len(part.split()) < 3 for part in parts):
        return memory_text(reason)
    first, *others = (memory_text(part).rstrip(".") for part in parts)
    return "; ".join([first, *(other[:1].lower() + other[1:] for other in others)]) + "."


def _distinct(findings: Sequence[_Finding], vectors: NDArray[np.float32]) -> list[_Finding]:
    """Without those that say nearly the same as a likelier one."""
    kept: list[_Finding] = []
    for finding in sorted(findings, key=lambda finding: -finding.probability):
        if all(float(vectors[finding.row] @ vectors[other.row]) < 0.85 for other in kept):
            kept.append(finding)
    return kept


def _ranked(findings: Sequence[_Finding], chosen: Sequence[_Finding], turns: int) -> list[_Finding]:
    """The likeliest ones, in the order they were said; more of them where the conversation is long."""
    ranked = [*chosen, *findings]
    most = max(MOST, turns // 2)
    kept = [finding for place, finding in enumerate(ranked)
            if place < most or finding.probability >= CERTAIN or _PLAIN.search(finding.quote)]  # fmt: skip
    return sorted(kept, key=lambda finding: (finding.turn, finding.row))


def _edit(
    finding: _Finding, vectors: NDArray[np.float32], known: Sequence[tuple[str, str, NDArray[np.float32]]]
) -> Edit:
    if finding.text:
        return Edit(sign="+", kind="preference", inferred=finding.inferred, text=finding.text, quotes=(finding.quote,))
    when, text = when_and_text(finding.quote) if finding.label == "instruction" else (None, memory_text(finding.quote))
    if _is_over(finding.quote):
        match = _match(finding.quote, vectors[finding.row], known)
        if match and _ENDED.search(finding.quote):
            return Edit(sign="-", aliases=(match[0],), quotes=(finding.quote,))
        if match:
            return Edit(sign="~", aliases=(match[0],), when=when, text=text, quotes=(finding.quote,))
    kind = (
        "preference" if finding.label == "preference" else "instruction" if finding.label == "instruction" else "fact"
    )
    return Edit(sign="+", kind=kind, when=when, text=text, quotes=(finding.quote,))


def _is_over(quote: str) -> bool:
    return _OVER.search(quote) is not None or _ENDED.search(quote) is not None


def _match(text: str, vector: NDArray[np.float32], known: Sequence[tuple[str, str, NDArray[np.float32]]]) -> list[str]:
    """Aliases of the memories that `text` surely speaks of, the closest first, with others about as close."""
    found = []
    for alias, memory, own in known:
        cosine = float(vector @ own)
        shared = content(text) & content(memory)
        if cosine >= (SAME if shared else SAME_WITHOUT_WORDS):
            found.append((cosine, alias))
    found.sort(reverse=True)
    return [alias for cosine, alias in found if cosine >= found[0][0] - 0.05]


def _speaks_of(request: _Unit, vector: NDArray[np.float32], finding: _Finding, vectors: NDArray[np.float32]) -> bool:
    """Whether a request to forget means something said in this very conversation."""
    cosine = float(vector @ vectors[finding.row])
    return speaks_of(request.quote, finding.quote, request.turn - finding.turn, cosine)
