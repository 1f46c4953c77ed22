"""How two memories relate: the same again, one in the place of the other, or neither.

They are compared by their words, by what a person has one of at a time (a home, an employer, a favourite colour), by
what the user says has ended ("gave up the cello"), by opposites and polarity, by distance in meaning, and by a judge
that reads both (agentmem/models/judges.py), which also sees what no word tells. A succession closes something that may
be true, so each rule asks for two signs at once, the judge for near certainty, and in doubt both memories stay. Rules
and thresholds were made on the even rows of tests/data/reconcile_pairs.jsonl, the odd rows are the test; both were
written by the authors of the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

from agentmem.memory import Memory, StandingInstruction, words
from agentmem.models.judges import Sight

if TYPE_CHECKING:
    from agentmem.models.embed import Embedder

Relation = Literal["duplicate", "succession", "unrelated"]

SAME = 0.9
"""Cosine from which two texts with the same names, numbers and polarity say the same."""
SAME_SLOT = 0.75
"""The same for two texts that name the same home, employer or diet."""
NEAR = 0.5
"""Cosine from which two texts that share half their content words, or a frame, speak of the same thing."""
OPPOSED = 0.45
"""The same where they differ in polarity or in a pair of opposites."""
ENDED = 0.35
"""The same where the user names what has ended or was replaced."""
CLOSES = 0.8
"""Probability from which on the models' word is taken that something is over."""
AT_ONCE = 2
"""So many memories at most are closed on the models' word by one statement."""
SAME_CONDITION = 0.8
SAME_MATTER = 0.5
"""Cosines of `when` and of `text` from which two standing instructions regulate the same thing."""


def compared_texts(memories: Iterable[Memory]) -> list[str]:
    """What `relate` embeds of these memories, so that a caller can have it embedded at once."""
    return [text for memory in memories for text in (memory.text, getattr(memory, "when", "")) if text]


def relate(new: Memory, olds: Sequence[Memory], embedder: Embedder, sight: Sight | None = None) -> list[Relation]:
    """What `new` is to each of `olds`: its duplicate, its succession (it contradicts and replaces it), or neither.

    Args:
        new: with the user's words as evidence, if there are any.
        olds: the memories it is compared with.
        embedder: for distances in meaning.
        sight: what the models see; None takes those that ship.
    """
    both = (new, *olds)
    of_text = embedder.encode([memory.text for memory in both])
    near = of_text[1:] @ of_text[0]
    near_when = near
    if isinstance(new, StandingInstruction):
        of_when = embedder.encode([getattr(memory, "when", memory.text) for memory in both])
        near_when = of_when[1:] @ of_when[0]
    reading = _reading(new.text, " ".join([new.text, *(evidence.quote for evidence in new.evidence)]))
    relations: list[Relation] = [
        _relation_of_instructions(new, old, float(near[place]), float(near_when[place]))
        if isinstance(old, StandingInstruction) and isinstance(new, StandingInstruction)
        else _relation(reading, _reading(old.text), float(near[place]))
        for place, old in enumerate(olds)
    ]
    if isinstance(new, StandingInstruction) or reading.asks:
        return relations
    return _seen(new, reading, olds, relations, sight or Sight.shipped())


def _seen(
    new: Memory, reading: _Reading, olds: Sequence[Memory], relations: Sequence[Relation], sight: Sight
) -> list[Relation]:
    """The relations, with the successions that the models see where the rules see none."""
    said = new.evidence[0].quote if len(new.evidence) == 1 else new.text
    unrelated = [place for place, relation in enumerate(relations)
                 if relation == "unrelated" and not _apart(reading, _reading(olds[place].text))]  # fmt: skip
    found = list(relations)
    if unrelated:
        closes = sight.closes(said, [olds[place].text for place in unrelated]).tolist()
        for chance, place in sorted(zip(closes, unrelated, strict=True), reverse=True)[:AT_ONCE]:
            if chance >= CLOSES:
                found[place] = "succession"
    return found


def _apart(new: _Reading, old: _Reading) -> bool:
    """Whether two texts cannot be about one thing: another person's, times long past, another thing that has ended, two
    things one may like."""
    if old.people - new.people or new.past != old.past:
        return True
    if new.ends and not any(ended & old.subject for ended in new.ended):
        return True
    return new.liking and old.liking and new.negated == old.negated and not (new.changes or new.ended)


def _relation_of_instructions(
    new: StandingInstruction, old: StandingInstruction, near: float, near_when: float
) -> Relation:
    if near_when < SAME_CONDITION:
        return "unrelated"
    mine, theirs = _reading(new.text), _reading(old.text)
    if _same(mine, theirs, near):
        return "duplicate"
    if _competing(mine, theirs) or _antonyms(mine, theirs, near):
        return "succession"
    if new.when == "always":  # "be brief" and "answer in French" share a condition and nothing else
        return "succession" if mine.negated != theirs.negated and near >= SAME_MATTER + 0.15 else "unrelated"
    return "succession" if near >= SAME_MATTER else "unrelated"


def _relation(new: _Reading, old: _Reading, near: float) -> Relation:
    if new.people != old.people or new.asks:  # "my sister lives in Rome" says nothing about where the user lives
        return "unrelated"
    if _same(new, old, near):
        return "duplicate"
    succeeds = (
        _competing(new, old)
        or _antonyms(new, old, near)
        or _swapped(new, old)
        or (_other_number(new, old) and near >= NEAR)
        or (_over(new, old) and near >= ENDED)
        or (_denied(new, old) and near >= OPPOSED)
        or (_changed(new, old) and near >= NEAR)
    )
    return "succession" if succeeds else "unrelated"


# -- the signs -------------------------------------------------------------------------------------------------------


def _same(new: _Reading, old: _Reading, near: float) -> bool:
    if new.negated != old.negated or new.numbers != old.numbers or _swapped(new, old):
        return False
    slots = any(new.slots[name] == old.slots[name] for name in new.slots.keys() & old.slots.keys())
    return (bool(new.core) and new.core == old.core) or (
        near >= (SAME_SLOT if slots else SAME) and new.names == old.names
    )


def _competing(new: _Reading, old: _Reading) -> bool:
    """Both fill the same slot, with values that share nothing."""
    shared = new.slots.keys() & old.slots.keys()
    return any(not new.slots[name] & old.slots[name] for name in shared) and not (new.past or old.past)


def _antonyms(new: _Reading, old: _Reading, near: float) -> bool:
    """The same thing with opposite attributes: long answers, short answers."""
    for a, b in _OPPOSITES:
        if (a in new.core and b in old.core) or (b in new.core and a in old.core):
            return near >= OPPOSED and _overlap(new.topic - {a, b}, old.topic - {a, b}) > 0.5
    return False


def _swapped(new: _Reading, old: _Reading) -> bool:
    """Trains over planes, planes over trains."""
    compared = _COMPARES.search(new.text) and _COMPARES.search(old.text)
    return bool(compared) and new.core == old.core and new.order != old.order


def _other_number(new: _Reading, old: _Reading) -> bool:
    """Much the same words with another number: size 42, size 43."""
    alike = len(new.topic & old.topic) >= 0.6 * len(new.topic | old.topic) > 0
    return alike and new.numbers != old.numbers and bool(new.numbers and old.numbers)


def _over(new: _Reading, old: _Reading) -> bool:
    """The user says what ended, or what was replaced, and the old memory is about that."""
    for ended in new.ended:
        named = ended & new.names  # "used to live in Rome" ends Rome, not living
        if (named or ended) & old.subject and 2 * len(ended & old.subject) >= len(ended):
            return True
    return any(thing in old.topic for thing in new.replaced) and not old.liking


def _denied(new: _Reading, old: _Reading) -> bool:
    return new.negated != old.negated and _overlap(new.topic, old.topic) > 0.5


def _changed(new: _Reading, old: _Reading) -> bool:
    """A word of change, and another value; likings are left out, since one likes many things at a time."""
    if not new.changes or new.liking or old.liking or new.negated != old.negated:
        return False
    return _overlap(new.topic, old.topic) >= 0.5 and bool(new.topic - old.topic)


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared part of the smaller set."""
    return len(one & other) / min(len(one), len(other)) if one and other else 0.0


# -- a text as it is compared ------------------------------------------------------------------------------------------


class _Reading:
    """What comparing needs to know of a text.

    Args:
        text: of the memory.
        said: the text with the user's own words, which tell of a change more plainly.
    """

    def __init__(self, text: str, said: str = "") -> None:
        self.text = text = _plain(text)
        said = _plain(said) or text
        tokens = words(text)
        self.order = [stem(token) for token in tokens]
        self.numbers = frozenset(_NUMBERS.get(token, token) for token in tokens if token in _NUMBERS or token.isdigit())
        self.core = _content(tokens) | self.numbers
        self.topic = self.core - _WEAK - self.numbers
        self.subject = self.core - _TIMES - {"work"}
        self.names = frozenset(stem(word.lower()) for word in re.findall(r"(?<=[a-z,;] )[A-Z][\w-]+", text))
        self.people = frozenset(_PEOPLE[token] for token in tokens if token in _PEOPLE)
        self.negated = _NEGATION.search(text) is not None
        self.liking = _LIKING.search(text) is not None
        self.past = _PAST.search(text) is not None
        self.asks = text.rstrip().endswith("?")
        self.changes = _CHANGE.search(said) is not None
        self.ends = _ENDS.search(said) is not None
        self.ended = [
            object
            for match in _ENDS.finditer(said)
            if (object := _content(words(match[1] or match[2])) - _TIMES - {"work"})
        ]
        self.replaced = frozenset(stem(match[1].lower()) for match in _REPLACES.finditer(said)) - _WEAK
        self.slots = _slots(text)


def _plain(text: str) -> str:
    text = text.replace("’", "'")
    return re.sub(r"(?i)\b(favo|colo|neighbo)u(?=r)", r"\1", text)


def _content(tokens: Sequence[str]) -> frozenset[str]:
    return frozenset(stem(token) for token in tokens if token not in _NUMBERS) - _FILLERS


def _slots(text: str) -> dict[str, frozenset[str]]:
    """What the text fills, and with which words: {"residence": {"lyon"}}."""
    slots = {}
    for name, pattern in _SLOTS.items():
        if match := pattern.search(text):
            named = [value for value in match.groupdict().values() if value]
            value = named[0] if named else _CLAUSE_END.split(text[match.end() :])[0]
            if filled := _content(words(value)[:5]) - _TIMES:
                slots[name] = filled
    for pattern in _ATTRIBUTES:
        for match in pattern.finditer(text):
            slots[match["thing"].lower()] = _content(words(_CLAUSE_END.split(match["value"])[0])[:4]) - _TIMES
    return slots


@lru_cache(maxsize=4096)
def _reading(text: str, said: str = "") -> _Reading:
    """The reading of a text; the same known memories are read at every observe."""
    return _Reading(text, said)


@lru_cache(maxsize=65_536)  # of what people say, too: not without a bound
def stem(word: str) -> str:
    """The word's stem (Porter 2): lives, living -> live."""
    return _stemmer().stemWord(word.removesuffix("'s"))


@cache
def _stemmer():  # noqa: ANN202  the library has no types
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def _stems(text: str) -> frozenset[str]:
    return frozenset(map(stem, text.split()))


# The user as the subject: the beginning of a clause, or "I" and "we".
_ME = (
    r"(?i:(?:^|[.,;:!] *|\b(?:and|but|so|because|since) |\b(?:i|we|i'm|we're|i am|we are|i've|we've|user) )"
    r"(?:(?:now|also|just|currently|finally|actually|recently|still|have|is|are|am) )*)"
)
# What a person has one of at a time; the value is the group of that name, else the words that follow.
_SLOTS = {
    "residence": re.compile(
        _ME + r"(?i:liv(?:e|es|ing) (?:in|near|at)|moved (?:back |out |house |here )?(?:to|into)|relocated to|"
        r"based in|settled in)\b|(?i:\bmy home is in\b)"),
    "car": re.compile(_ME + r"(?i:drives?|driving) (?i:an?|my|our) (?=[A-Z])"),
    "employer": re.compile(
        _ME + r"(?i:works?(?: as an? \w+)? (?:at|for)|(?:started|have|got|took) (?:a |my )?new job (?:at|with)|"
        r"hired by|employed (?:at|by)|an? \w+ at)\b"),
    "studies": re.compile(_ME + r"(?i:stud(?:y|ies|ying)) (?!(?i:for|in|at|hard|with|to)\b)"),
    "diet": re.compile(
        r"(?i:\b(?:i'm|i am|is|am|been|gone|went|became|become|turned|stay) (?:an? |now |strictly )*)"
        r"(?P<value>(?i:vegetarian|vegan|pescatarian|omnivore))\b(?! \w+s\b)|\b(?i:eats? )(?P<value_>(?i:meat))\b"),
    "marriage": re.compile(
        r"(?i:\b(?:i'm|i am|is|am|are|got|get|been) (?:now |happily |recently )?)"
        r"(?P<value>(?i:single|married|engaged|divorced|widowed|separated))\b(?! (?:in|with|from)\b)"),
    "language of answers": re.compile(
        r"(?i:\b(?:answers?|reply|replies|respond|write|talk|speak)\b(?: \w+){0,3} in )"
        r"(?P<value>(?i:english|french|german|spanish|italian|portuguese|dutch|polish|chinese|japanese|arabic|hindi|"
        r"russian))\b"),
}  # fmt: skip
# One at a time where the value is a name or a number ("my manager is called Tom"); a favorite always is.
_ATTRIBUTES = (
    re.compile(r"\b(?i:my|our) (?:new |current )?(?P<thing>[a-z]+(?: [a-z]+)?) (?i:is|are)"
               r"(?: (?:an?|the|called|named|now))* (?P<value>[A-Z0-9].*)"),
    re.compile(r"\b(?P<thing>(?i:favorite) [a-z]+(?: [a-z]+)?) (?:is|are)(?: now)? (?P<value>.+)"),
)  # fmt: skip
_CLAUSE_END = re.compile(r"[,;!]|\.(?: |$)|\b(?:and|but|now|since|these|in)\b")

_THING = r" (?:the |my |our |on |to |with |using |doing |drinking |eating )*([\w' -]{2,40})"
_ENDS = re.compile(
    r"\b(?:no longer|no more|no|quit|stop(?:ped)?|gave up|given up|dropped|ditched|cancell?ed|sold|left|got rid of|"
    r"done with|finished with|instead of|rather than|used to|(?:switch|chang|mov|went|swap)\w*(?: \w+){0,2} from)"
    + _THING + r"|(?:\bnot|n't)" + _THING.replace("40}", "40}?") + r" any ?(?:more|longer)\b",
    re.IGNORECASE,
)  # fmt: skip
_REPLACES = re.compile(
    r"\b(?:(?:switched|changed|swapped|replaced|renamed)(?: my| our| the)?|(?:my|our) new|"
    r"(?:got|started|took|have) an? new) (\w+)",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"\b(?:now|these days|nowadays|lately|currently|from now on|instead|back to|switched|changed|change of|moved|"
    r"renamed|promoted|became|upgraded|swapped|replaced)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not|no|never|cannot|no longer|without|avoid\w*|hates?|dislikes?|can't stand|quit|stopped|gave up|\w+n't)\b",
    re.IGNORECASE,
)
_LIKING = re.compile(
    r"\b(?:likes?|loves?|enjoys?|hates?|dislikes?|adores?|can't stand|fond of|afraid of)\b", re.IGNORECASE
)
_PAST = re.compile(r"\b(?:used to|grew up|formerly|previously|back when|once lived|lived)\b", re.IGNORECASE)
_COMPARES = re.compile(r"\bprefer\w*\b.*\b(?:to|over|than)\b", re.IGNORECASE)

_OPPOSITES = tuple(
    (stem(a), stem(b))
    for a, b in (
        pair.split("/")
        for pair in [
            "long/short",
            "long/brief",
            "brief/detailed",
            "short/detailed",
            "formal/informal",
            "formal/casual",
            "cheap/expensive",
            "day/night",
            "morning/evening",
            "aisle/window",
            "dark/light",
            "hot/cold",
            "loud/quiet",
            "likes/hates",
            "loves/hates",
            "metric/imperial",
        ]
    )
)
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}
_PEOPLE = {
    word: stem(word)
    for word in [
        "sister",
        "brother",
        "mother",
        "mum",
        "mom",
        "father",
        "dad",
        "wife",
        "husband",
        "partner",
        "girlfriend",
        "boyfriend",
        "son",
        "daughter",
        "kid",
        "child",
        "aunt",
        "uncle",
        "cousin",
        "nephew",
        "niece",
        "grandmother",
        "grandfather",
        "grandma",
        "grandpa",
        "friend",
        "colleague",
        "boss",
        "manager",
        "neighbor",
        "roommate",
        "flatmate",
    ]
}
_FILLERS = _stems(
    "a an the i i'm i've i'd me my mine we we're our us he she they it it's its is am are was were be been being "
    "have has had do does did don't doesn't didn't not no never can't cannot to of in on at for with and or but "
    "so as by from into than that this these those there very really quite just also too please always usually "
    "often now again anymore more will would can could should may might like likes love loves enjoy enjoys prefer "
    "prefers want wants hate hates dislike dislikes get gets got new some any all one's thing things lot user"
)
_TIMES = _stems(
    "yesterday today tonight tomorrow last next week weekend month year day hour minute monday tuesday wednesday "
    "thursday friday saturday sunday january february march april june july august september october november "
    "december since ago until recently lately nowadays finally early late soon longer currently actually already "
    "every while"
)
_WEAK = _TIMES | _stems(
    "switch switched move moved change changed start started stop stopped quit begin began join joined leave left "
    "sell sold buy bought cancel cancelled drop dropped swap replaced become became turn turned pick picked sign "
    "signed over back instead rather go goes going gone went come came take takes took make makes made use uses "
    "using used try tried work works home think feel say know find keep need put give gave given up out off still "
    "ever even only other own old called named good great best better everything their theirs her his them live "
    "lives living"
)
"""Words that tell of a change or of a time, or that go with everything: two texts that share them share no topic."""
