"""What was forgotten, while it is still known, and whether a sentence repeats it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from agentmem.memory import WORD
from agentmem.store.common import COMMON

_SENTENCE = re.compile(r"(?:[^.!?。！？\n]|[.!?]+(?![.!?\s]))*(?:[.!?。！？]+|\n|$)")
_YEAR = re.compile(r"(?:19|20)\d\d")


@dataclass(frozen=True)
class Content:
    """The words of what is to be erased.

    A sentence repeats it when it holds one *telling* word of a forgotten memory (a name, a number, or a word of five
    letters and more that is not common; in another form too, "diabetic" for "diabetes"), or most of the plain words
    of the memory or of one of its quotes (60 %, and two at least unless there is but one), or a quote as it stands.
    So "Sorry to hear about your Crohn's disease" repeats "Has Crohn's disease." and "I read about a disease" does not.
    """

    texts: tuple[str, ...]
    """What the memories said, now and earlier, and what the caller asked to erase: every telling word counts."""
    quotes: tuple[str, ...] = ()
    """The user's words behind them; they speak of other things too, so only most of their words together count."""
    requests: tuple[str, ...] = ()
    """Requests to forget that no memory answers to: what they name, without the words of asking, counts as a text, also
    one short word ("drums") unless it is common."""
    telling: frozenset[str] = field(init=False)
    _sources: tuple[frozenset[str], ...] = field(init=False)
    _forms: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        named = {word for text in self.requests for word in telling_words(text)} - _ASKING
        telling = frozenset(named.union(*map(telling_words, self.texts)))
        sources = {frozenset(plain_words(text)) for text in (*self.texts, *self.quotes, *self.requests)}
        asked = (plain_words(text) - _ASKING for text in self.requests)
        sources |= {frozenset(words) for words in asked if len(words) > 1 or not any(map(_is_common, words))}
        forms: dict[str, list[str]] = {}
        for word in telling:
            forms.setdefault(word[:5], []).append(word)
        object.__setattr__(self, "telling", telling)
        object.__setattr__(self, "_sources", tuple(source for source in sources if source))
        object.__setattr__(self, "_forms", forms)

    def in_sentence(self, sentence: str) -> bool:
        """Whether a sentence repeats the content."""
        said = plain_words(sentence)
        if any(self._is_telling(word) for word in said):
            return True
        if any(_overlap(source, said) for source in self._sources):
            return True
        folded = _folded(sentence)
        return any(len(quote.split()) > 1 and _folded(quote) in folded for quote in (*self.texts, *self.quotes))

    def in_text(self, text: str) -> bool:
        """Whether any sentence of a text repeats the content."""
        return any(self.in_sentence(text[start:end]) for start, end in sentences(text))

    def makes_up(self, text: str) -> bool:
        """Whether a text says hardly anything but the content."""
        said = plain_words(text)
        known = {word for source in self._sources for word in source}
        return bool(said) and sum(word in known for word in said) >= 0.75 * len(said) and self.in_text(text)

    def _is_telling(self, word: str) -> bool:
        return word in self.telling or any(_same_word(word, known) for known in self._forms.get(word[:5], ()))


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence, without the blanks around it; a line break ends one."""
    found = []
    for match in _SENTENCE.finditer(text):
        stripped = match[0].strip()
        if stripped:
            start = match.start() + match[0].index(stripped)
            found.append((start, start + len(stripped)))
    return found


def plain_words(text: str) -> set[str]:
    """The words of a text that say something, in their ground form."""
    found = (_ground(match[0]) for match in WORD.finditer(text))
    return {word for word in found if len(word) > 2 and word not in _SMALL}


def telling_words(text: str) -> set[str]:
    """The words that give a text away by themselves: names, numbers, and words that are not common."""
    found: set[str] = set()
    for match in WORD.finditer(text):
        raw, word = match[0], _ground(match[0])
        first = not text[: match.start()].strip() or text[: match.start()].rstrip()[-1] in ".!?:>"
        if any(char.isdigit() for char in raw):
            if (not raw.isdigit() or len(raw) >= 3) and not _YEAR.fullmatch(raw):
                found.add(word)
        elif raw[0].isupper() and len(raw) > 1 and (not first or (len(raw) < 5 and not raw.endswith("s"))):
            if word not in _SMALL and not (first and _is_common(word)):
                found.add(word)
        elif len(word) >= 5 and word not in _SMALL and not _is_common(word, raw.lower()):
            found.add(word)
    return found


def _is_common(*forms: str) -> bool:
    return any(form in COMMON or form.removesuffix("e") in COMMON or f"{form}e" in COMMON for form in forms)


def _ground(word: str) -> str:
    """Lower case, without possessive, plural and the commonest endings."""
    word = re.sub(r"['’]s$", "", word.lower()).replace("’", "'")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _same_word(one: str, other: str) -> bool:
    """Two forms of one word: they differ in the last letters only."""
    shorter = min(len(one), len(other))
    same = 0
    while same < shorter and one[same] == other[same]:
        same += 1
    return same >= max(5, shorter - 2) and max(len(one), len(other)) - same <= 5


def _overlap(source: frozenset[str], said: set[str]) -> bool:
    shared = len(source & said)
    return shared >= min(2, len(source)) and shared >= 0.6 * len(source)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


_SMALL = frozenset(  # too small to say anything
    """
    the and for are but not you all any can had her was one our out has him his how its may new now old see two way
    who did get let say she too use yes yet off own per via with that this from they have been were what when will
    would there their them then than some your yours about into over also just like likes want wants prefer prefers
    user could should does doing being more most such only very much each other which while where because these
    those after before between under both here having must shall upon please forget forgot remember remembered know
    think said say ask add put cut try eat buy run fly sit end tell told mention mentioned really always never i'm
    i've i'd i'll you're you've it's don't can't won't that's let's didn't doesn't isn't aren't wasn't couldn't
    wouldn't shouldn't
    """.split()  # noqa: SIM905
)


_ASKING = frozenset(  # what a request to forget is worded with
    """
    anymore any longer delete deleted deleting erase erased remove removed wipe wiped scrap scrapped strike unlearn
    forgetting forgotten remembering memory save saved saving store stored storing keep kept keeping stop stopped learn
    learned note noted knew known anything everything something thing stuff
    """.split()  # noqa: SIM905
)


def overlap(spans: Iterable[tuple[int, int]], start: int, end: int) -> bool:
    """Whether any span shares a character with [start, end)."""
    return any(a < end and start < b for a, b in spans)
