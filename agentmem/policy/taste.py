"""What a remark on things offered says of the user: "the loud places don't appeal to me" -> "dislikes loud places"."""

from __future__ import annotations

import re
from typing import NamedTuple

_SUBJECT = (
    r"^(?!(?:it|that|this|they|he|she|you|there|these|those|which|what|i|we|my|our)\b)(?:the |all (?:the )?|any )?"
    r"(?:(?:other|others|rest of the|remaining|alternative) )*"
)
_SEEMS = (
    r" (?:all )?(?:seems?|sounds?|feels?|looks?{be})(?: to be)?"
    r" (?:(?:a (?:bit|little|tad|touch)|rather|just|kind of|way|far|much|somewhat|slightly|really|quite|all) )*"
)
_FOR_ME = r"(?: (?:to|for) (?:me|us|my\b[^.,;]*))?(?=[.,;!]|$)"
_TOO = re.compile(
    rf"{_SUBJECT}(?P<thing>[^.;!?]{{3,60}}?){_SEEMS.format(be='|are|is|would be')}"
    rf"too (?P<quality>[^.;!?]{{3,80}}?){_FOR_ME}",
    re.I,
)
_FINDS = re.compile(
    rf"{_SUBJECT}(?P<thing>[^.;!?]{{3,60}}?){_SEEMS.format(be='')}"
    r"(?P<quality>(?!like\b|to\b|great|good|nice|fun|perfect|interesting|right|ideal|lovely)"
    rf"[a-z-]+(?:,? (?:and|or) [a-z-]+)?){_FOR_ME}",
    re.I,
)
_REFUSED = re.compile(
    rf"{_SUBJECT}(?P<thing>(?:(?!, (?:while|though|although|but)\b)[^.;!?]){{3,90}}?)"
    r"(?:, (?:while|though|although) [^,.;!?]+,)?(?:,? (?:just|really|simply|honestly|kind of))*"
    r" (?:do|does|is|are|would|will)(?:n['’]t| not|nt)(?: be)?"
    r"(?: (?:really|quite|exactly|particularly|just|all that|so|very|much))*"
    r" (?:appeal(?:ing)?(?: to me)?|interest(?:ing to)? me|excit(?:e|ing)(?: to)?(?: me)?|suit(?: me)?"
    r"|(?:work|fit|sit)(?: well| right)? (?:for|with) (?:me|my\b[^.,;]*)|for me"
    r"|my (?:thing|taste|style|scene|cup of tea)|attract me|grab me|fit (?:my\b[^.,;]*|me)|match my\b[^.,;]*"
    r"|align with my\b[^.,;]*|what i(?:['’]m| am) (?:after|looking for)"
    r"|sound(?: very| all that)? (?:appealing|interesting|good|right|fun)(?: to me)?)\b",
    re.I,
)
_PASSES = re.compile(
    r"^i(?:['’]?(?:ll|d)| will| would)? (?:have to )?(?:pass on|steer clear of|stay away from) "
    r"(?:the |all (?:the )?|any )?(?:(?:other|others|rest of the|remaining) )*(?P<thing>[^.,;!?]{3,60})(?=[.,;!]|$)",
    re.I,
)
_OPTIONS = re.compile(
    r"^(?:rest|options?|ones?|choices?|suggestions?|ideas?|alternatives?|others?|picks?|recommendations?|two|three|four|things?)\b"
    r"(?: (?:you (?:listed|gave|mentioned|suggested)|on the list|listed))?",
    re.I,
)
"""Names of things offered that say nothing of them."""
_OPTIONS_WITH = re.compile(
    r"^(?:options?|ones?|choices?|suggestions?|ideas?|alternatives?) (?:with|involving|featuring|containing|about"
    r"|that (?:involve|have|contain|include|feature))\b ",
    re.I,
)
"""What the things offered have in common is what is disliked: "options involving crate training"."""
_BESIDE = re.compile(r" (?:in|on|of|from) the (?:others?|rest)\b(?: \w+)?$", re.I)
"""Where it was seen: "the patterns in the other options"."""
_NEGATED = re.compile(r"(?<! that)(?<! which)(?<! who),? (?:do|does|did)(?:n['’]?t| not)(?: really| quite)?$", re.I)
"""Of "the heels don't seem practical" it ends what stands before "seem"."""
_NO_THING = re.compile(
    r", (?:the|it|that|i|please|but|all)\b|\bplease\b|^(?:on )?(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day|to(?:day"
    r"|night|morrow))",
    re.I,
)
"""A clause, since the remark begins later ("home please, the library is too cold"), or a day on which one is busy."""
_SOMEBODY = re.compile(r"\b(?:i|me|we|us|my|our|mine|ours|i['’]\w+|we['’]\w+|im|ive|you|your|yours)\b", re.I)
_FORMS = ((_TOO, "finds {} too {}"), (_REFUSED, "dislikes {}"), (_PASSES, "dislikes {}"), (_FINDS, "finds {} {}"))
_TAIL = 3
"""Words that may follow ("right now"): with more, something else is said, which must not be lost."""


class Remark(NamedTuple):
    """What a remark on things offered says of them."""

    thing: str
    """What the user dislikes, as they name it; empty where they speak of "the others" only."""
    quality: str
    """What they find wrong with it; may be empty."""
    text: str
    """Both in one clause about the user, without a subject."""
    refused: bool
    """Whether it says in so many words that the user does not want it."""


def taste(said: str) -> str | None:
    """What the user dislikes, without a subject; None where the remark names no quality, or is none."""
    found = remark(said)
    return found.text if found else None


def remark(said: str) -> Remark | None:
    """What the user says of things offered; None where they name no quality, or speak of something else."""
    for pattern, form in _FORMS:
        match = pattern.match(said)
        if match is None or len(said[match.end() :].split()) > _TAIL:
            continue
        negated = "not " if (doubt := _NEGATED.search(match["thing"])) else ""
        named = match["thing"][: doubt.start()] if doubt else match["thing"]
        thing = _BESIDE.sub("", _OPTIONS_WITH.sub("", named.strip(" ,"))).strip(" ,")
        quality = match["quality"] if "quality" in pattern.groupindex else ""
        bare = _OPTIONS.sub("", thing).strip(" ,")
        if _SOMEBODY.search(f"{thing} {quality}") or _NO_THING.search(thing) or not (bare or (quality and not negated)):
            return None
        refused = pattern is not _FINDS or bool(negated)
        if not bare:
            return Remark("", quality, f"dislikes what is {'too ' if pattern is _TOO else ''}{quality}", refused)
        if match.start("thing") == 0 and not re.match(r"\S+ [A-Z]|\S[A-Z]", thing):  # the sentence begins with it
            thing = thing[:1].lower() + thing[1:]
        return Remark(thing, quality, form.format(thing, negated + quality).rstrip(), refused)
    return None
