"""Implicit preferences: which of the assistant's options the user took, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agentmem.memory import words
from agentmem.policy.spans import Span, statements

_OPTION = re.compile(r"^[^\S\n]*(?:\(?(?:\d{1,2}|[a-hA-H])[.):]\)?|[-*•–])\s+(.+)$", re.M)
_INLINE = re.compile(
    r"(?:\b(?:could|can|might|try|consider|include|like|such as|are|between|either|recommend|suggest|have)\b"
    r"|:)\s+((?:[^.,!?;]{3,90},\s*){1,7}(?:or|and)\s+[^.!?;]{3,120})[.!?]"
)
_GOOD = (
    r"(?:the )?(?:most |more |very |really |so |like (?:the |an? )?)?(?:best|better|perfect|ideal|great|good"
    r"|lovely|nice|appealing|interesting|fun|right|fit|choice|option)"
)
_PICK = re.compile(
    r"\b(?:i(?:['’]ll| will)|we(?:['’]ll| will)|i(?:['’]d| would)|let['’]?s|i(?:['’]m| am) going to) (?:\w+ ){0,2}?"
    r"(?:go (?:with|for)|take|choose|pick|opt for|prefer|stick with|rather)\b"
    rf"|\b(?:sounds?|seems?|looks?|feels?|would be) {_GOOD}\b|\bworks? (?:best|better) for (?:me|us)\b"
    rf"|\bsuits? (?:me|us)\b|\bmy pick\b|\bappeals to (?:me|us)\b"
    rf"|\boption \d .{{0,80}}\b(?:is|would be) {_GOOD}\b|^\W*(?:the (?:first|second|third|fourth|last)(?: one"
    rf"| option)|option \d|number \d),? please\b",
    re.I,
)
_TURNS_DOWN = re.compile(
    r"\brather (?:not|avoid|skip|pass)\b"
    r"|(?:n['’]t|\bnot|\bnever) (?:\w+ )?(?:sound|seem|look|feel|take|choose|pick|go)\b",
    re.I,
)
_TAKES = re.compile(
    r"(?:go(?:ing)? (?:with|for)|take|choose|pick|opt for|prefer)\s+(.{3,120}?)(?=\s*(?:[.;!]|,? (?:since|because"
    r"|as|but|so|for|over|instead|rather)\b|$))"
    rf"|^(?:i think |i guess )?the (.{{3,80}}?) (?:sounds?|seems?|looks?|would be) {_GOOD}\b",
    re.I,
)
_REFUSE = re.compile(
    r"\b(?:others?|rest|(?:other|remaining) (?:\w+ )?(?:ones?|options?|choices?)|not (?:for|really|keen)|(?:do"
    r"|does)n['’]?t|dont|too|rather not|avoid"
    r"|can['’]?t|since|because|isn['’]?t|aren['’]?t|not my|i(?:['’]m| am) not|won['’]?t|prefer|never|hate|dislike)\b",
    re.I,
)
_DECLINES = re.compile(
    r"\b(?:others?|rest|remaining)\b|n['’]?t\b"
    r"|\b(?:not|never|too|pass on|skip|hate|dislike|avoid|rather than|instead of|neither|none)\b",
    re.I,
)
_ORDINALS = {
    "first": 0, "1st": 0, "one": 0, "second": 1, "2nd": 1, "two": 1, "third": 2, "3rd": 2, "three": 2,
    "fourth": 3, "4th": 3, "four": 3, "fifth": 4, "five": 4, "last": -1, "former": 0, "latter": -1,
}  # fmt: skip
_NUMBERED = re.compile(r"\b(?:option|number|no\.?|choice|#)\s*#?(\d{1,2}|one|two|three|four|five)\b", re.I)
_PLACED = re.compile(
    r"\bthe (first|second|third|fourth|fifth|last|1st|2nd|3rd|4th|former|latter)(?: one| option| choice"
    r"| suggestion)?\b",
    re.I,
)
_NOT_TASTE = re.compile(
    r"\b(?:error|code|snippet|solution|title|name|slogan|word|line|paragraph|sentence|draft|version|caption|answer"
    r"|step|function|command|door|weapon"
    r"|spell|path|compile|email|subject|attack|bet|horse)s?\b",
    re.I,
)
_COMMON = set(
    words(
        "a an the and or but of to in on at for with from by is are be it this that these those i me my we our you your"
        " will would can could i'll i'd"
        " think go going option options one ones other others sounds sound like good great best more most some any as"
        " so too not don't really"
    )
)


_ADVICE = re.compile(
    r"^(?:i(?:['’]d| would)? (?:recommend|suggest)(?: trying| checking out| considering| using)?|how about"
    r"|what about|(?:you|we) could(?: try| also)?|consider|check out|try"
    r"|maybe|perhaps|why not)\s+",
    re.I,
)
_EMPTY = set(
    words(
        "appeal appealing doesn't aren't isn't quite much seem seems suit suits fit fits work works align values"
        " preferences taste needs interest interesting"
        " suitable bit too well what looking my me interested some same just rest choices right now kind isn won't"
        " might may while liking really those they"
        " for not do does tonight today dietary lifestyle style personal sound sounds though although unfortunately"
    )
)
"""Words of a refusal without a reason ("the others don't really appeal to me"): then the options refused say more."""


@dataclass(frozen=True)
class Choice:
    """An option the user took."""

    quote: Span
    """The user's words that take it, in their message."""
    text: str
    """What was chosen, and over what where the user gives no reason."""
    reasons: tuple[str, ...]
    """The user's reasons in their own words."""


def options_of(assistant: str) -> list[str]:
    """The options of an assistant's message, listed or in one "a, b, or c"; [] unless there are 2 to 12."""
    found = [re.sub(r"[*_`]+", "", match[1]).strip() for match in _OPTION.finditer(assistant)]
    if not found and (match := _INLINE.search(" ".join(assistant.split()))) is not None:
        found = [part.strip() for part in re.split(r",\s*(?:(?:or|and)\s+)?|\s+or\s+", match[1]) if part.strip()]
    return found if 2 <= len(found) <= 12 else []


def declines(assistant: str, said: str) -> bool:
    """Whether a sentence turns down some of what the assistant offered: who only takes one may do so for this once."""
    return bool(options_of(assistant)) and _DECLINES.search(said) is not None


def choice(assistant: str, user: str, asked: str = "") -> Choice | None:
    """The option of `assistant` that `user` takes, or None.

    `asked` is the user's message before: what the options are for (titles and code are no matter of taste).
    """
    options = options_of(assistant)
    if len(words(assistant)) < 8 or _NOT_TASTE.search(asked) or len(user) > 1200:
        return None
    sentences = statements(user)
    for place, span in enumerate(sentences):
        said = user[span.start : span.end]
        if not _picks(said) or said.endswith("?") or _NOT_TASTE.search(said):
            continue
        taken = _resolve(said, options) if options else None
        named = None if taken is not None else _named(said, assistant)
        if taken is None and named is None:
            continue
        reasons = [user[later.start : later.end] for later in sentences[place + 1 :]]
        reasons = [reason for reason in reasons if _REFUSE.search(reason) and not reason.endswith("?")][:2]
        if not reasons and _REFUSE.search(said):
            reasons = [said]
        reasons = [
            reason for reason in reasons if set(words(reason)) - _COMMON - _EMPTY - set(words(said)) or reason == said
        ]
        option = _described(named, options) if named else options[taken or 0]
        refused = [] if reasons else [other for other in options if other != option]
        return Choice(span, _worded(option, refused), tuple(reasons))
    return None


def _picks(said: str) -> bool:
    """Whether a clause of it takes something, and does not turn it down: "I'd rather not take the first one"."""
    return any(
        _PICK.search(clause) and not _TURNS_DOWN.search(clause) for clause in re.split(r"[,;]|\b(?:but|and)\b", said)
    )


def _resolve(said: str, options: Sequence[str]) -> int | None:
    """Place of the option that `said` takes: by number or order, else by the words only this option has."""
    match = _NUMBERED.search(said) or _PLACED.search(said)
    if match:
        key = match[1].lower()
        place = int(key) - 1 if key.isdigit() else _ORDINALS[key]
        return place % len(options) if -1 <= place < len(options) else None
    mine = set(words(said)) - _COMMON
    shared = [len(mine & set(words(option))) for option in options]
    best = max(shared)
    return shared.index(best) if best >= (1 if len(mine) <= 5 else 2) and shared.count(best) == 1 else None


def _named(said: str, assistant: str) -> str | None:
    """What the user says they take, in their words, where nearly all of it comes from the assistant's text."""
    match = _TAKES.search(said)
    if match is None:
        return None
    name = re.sub(
        r"^(?:the|an?|option \d+,?|number \d+,?)\s+|\s+(?:options?|ones?|please|then)$",
        "",
        (match[1] or match[2]).strip(" ,.!"),
        flags=re.I,
    )
    content = [word for word in words(name) if word not in _COMMON and not word.isdigit() and word not in _ORDINALS]
    known = set(words(assistant))
    return name if content and sum(word in known for word in content) >= 0.6 * len(content) else None


def _described(named: str, options: Sequence[str]) -> str:
    """The one option that is meant by a name, with what the assistant says of it; else the name."""
    name = {word for word in words(named) if word not in _COMMON}
    meant = [option for option in options if name and name <= set(words(option))]
    return meant[0] if len(meant) == 1 else named


def _worded(option: str, refused: Sequence[str]) -> str:
    """One sentence: the option taken, and those refused."""
    over = f", over {'; '.join(_short(other, 60) for other in refused[:3])}" if refused else ""
    return f"Chose: {_short(option)}{over}."


def _short(option: str, limit: int = 140) -> str:
    """The option up to its first full stop, or cut at a word."""
    head = re.split(r"(?<=[a-z)])[.!?](?:\s|$)", option, maxsplit=1)[0].strip(" .!?")
    head = _ADVICE.sub("", head)
    head = head[:1].upper() + head[1:]
    return head if len(head) <= limit else head[:limit].rsplit(" ", 1)[0] + "…"
