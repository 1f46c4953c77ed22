"""What a remark on things offered says of the user: "the loud places don't appeal to me" -> "dislikes loud places"."""

from __future__ import annotations

import re
from typing import NamedTuple

from agentmem.store.common import COMMON

OFFERED = ("option", "choice", "suggestion", "idea", "alternative", "pick", "recommendation")
"""Names of things offered, which say nothing of them."""
ORDINALS = ("first", "second", "third", "fourth", "fifth", "last", "former", "latter", "middle")
NUMBERS = ("one", "two", "three", "four", "five")
REFUSALS = (
    r"appeal(?:ing)?(?: to me)?|interest(?:ing to)? me|excit(?:e|ing)(?: to)?(?: me)?|suit(?: me)?"
    r"|(?:work|fit|sit)(?: well| right)? (?:for|with) (?:me|my\b[^.,;]*)|for me"
    r"|my (?:thing|taste|style|scene|cup of tea)|attract me|grab me|fit (?:my\b[^.,;]*|me)|match my\b[^.,;]*"
    r"|align with my\b[^.,;]*|what i(?:['’]m| am) (?:after|looking for)"
    r"|sound(?: very| all that)? (?:appealing|interesting|good|right|fun)(?: to me)?"
)
"""What follows "not" where a thing is turned down."""

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
    rf" (?:{REFUSALS})\b",
    re.I,
)
_PASSES = re.compile(
    r"^i(?:['’]?(?:ll|d)| will| would)? (?:pass on|steer clear of|stay away from) "
    r"(?:the |all (?:the )?|any )?(?:(?:other|others|rest of the|remaining) )*(?P<thing>[^.,;!?]{3,60})(?=[.,;!]|$)",
    re.I,
)
_NOUNS = "|".join(f"{noun}s?" for noun in (*OFFERED, "one", "other", "thing", "number"))
_POINTING = "|".join((*NUMBERS, *ORDINALS, r"\d{1,2}", "both", "all", "this", "that", "these", "those", "it", "them"))
_OPTIONS = re.compile(
    rf"^(?:(?:rest|{_NOUNS}|approach(?:es)?|{_POINTING}|of|the)\b[\s,]*)+"
    r"(?:you (?:listed|gave|mentioned|suggested)|on the list|listed)?",
    re.I,
)
"""What only points at things offered: "the first one", "option 2", "that"."""
_OPTIONS_WITH = re.compile(
    rf"^(?:{_NOUNS}) (?:with|involving|featuring|containing|about"
    r"|that (?:involve|have|contain|include|feature))\b ",
    re.I,
)
"""What the things offered have in common is what is disliked: "options involving crate training"."""
_REST = re.compile(r"(?:all )?(?:the )?(?:other|rest|remaining|alternative)", re.I)
_BESIDE = re.compile(r" (?:in|on|of|from) the (?:others?|rest)\b(?: \w+)?$", re.I)
"""Where it was seen: "the patterns in the other options"."""
_NEGATED = re.compile(r"(?<! that)(?<! which)(?<! who),? (?:do|does|did)(?:n['’]?t| not)(?: really| quite)?$", re.I)
"""Of "the heels don't seem practical" it ends what stands before "seem"."""
_DAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_TIME = (
    rf"(?:{_DAY}s?|to(?:day|night|morrow)|now|noon|midnight|january|february|march|april|may|june|july|august|september"
    r"|october|november|december|week(?:end)?|month|year|morning|afternoon|evening|night"
    r"|\d{1,4}(?:[:.]\d\d)?(?:st|nd|rd|th)?(?: ?[ap]\.?m\b\.?)?)"
)
_NO_THING = re.compile(
    rf", (?:the|it|that|i|please|but|all)\b|\bplease\b|^(?:on )?(?:{_DAY}|to(?:day|night|morrow))"
    rf"|^(?:(?:on|in|at|by|the|next|this|last|early|late|mid|and|or|o['’]clock|{_TIME})\b[\s,.-]*)+$"
    r"|\b(?:today|tonight|tomorrow|for now|right now|this (?:time|week|weekend|month|year))$",
    re.I,
)
"""A clause, since the remark begins later ("home please, the library is too cold"), or a time at which one is busy."""
_CLAUSE = re.compile(
    r"\b(?:is|are|am|was|were|be|been|has|have|had|do|does|did|can|could|will|would|should|might|must|sounds?|seems?"
    r"|looks?|feels?|tends?|goes|says?|said|wrote|thinks?|thought|complains?|\w+n['’]t|dont|isnt|doesnt|wont|but|if"
    r"|because|since|so|though|although|while|however|whereas|whatever|yet)\b"
    r"|^(?:how|what|where|when|why|who|whether|to|as|no|not|never|ok(?:ay)?|wow|mm+|hm+|thanks?|sure|then|says)\b"
    r"|^(?:take|make|add|rewrite|write|give|keep|put|cut|drop|remove|change|leave|let|get|tell|say|ask|use)"
    r" (?:it|this|that|them|the|out|me|an?|some|two)\b"
    r"|\b(?:that|which|who|to|it|he|she|they|you)$",
    re.I,
)
"""A thing with a verb, a conjunction or an interjection in it is a sentence: "the Thai place is fine but the bar"."""
_RELATIVE = re.compile(r" (?:that|which|who) (?!(?:it|he|she|they|the|an?)\b)\S.*$", re.I)
"""What a thing may say of itself with a verb: "hotels that are far out"."""
_ASIDE = re.compile(r", (?:while|though|although) [^,]+,$", re.I)
_LINKED = re.compile(r" (?:tends? to|would|will|can|could|might|may|also|still|just|really)$", re.I)
"""Between a thing and "feel": "turn-based combat tends to feel too slow"."""
_OTHERS = re.compile(
    r"\b(?:he|him|his|she|hers?|they|them|(?:for|to) their|is|are|was|were|would|isn['’]t|aren['’]t)\b", re.I
)
"""A quality for somebody else, or one with the next clause in it."""
_LEADS = re.compile(
    r"(?: |, )(?:but|/|however|whereas|[–—-]|(?:though|although|while)(?! [^,]+,))[ ,]+"
    r"|, and ",
    re.I,
)
_NOT = re.compile(r"n['’]?t\b|\b(?:not|too)\b", re.I)
"""What was turned down before the last clause must not be lost."""
_ANSWER = re.compile(
    r"^(?:(?:no|nope|nah|not sure|thanks|thank you|sorry|wow|great|good|nice|sure|cool|fine)\b(?:[,.!]+ ?| (?=but\b))"
    r"(?:but )?)+",
    re.I,
)
"""Words to the one who offered: "thanks but"."""
_PLACED = re.compile(r"(?:in|at|on|by|of|for|with|from|to|during)$", re.I)
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
    """What the user says of things offered; None where they name no quality, or speak of something else.

    Of a longer sentence the last clause may be a refusal, where what comes before it tells nothing of the user:
    "the Thai place sounds good but the steakhouse isn't for me".
    """
    said = _ANSWER.sub("", said) or said
    if (found := _remark(said)) is not None:
        return found
    for lead in reversed(list(_LEADS.finditer(said))):
        found, before = _remark(said[lead.end() :]), said[: lead.start()]
        if found and found.refused and not _SOMEBODY.search(before) and not _NOT.search(before):
            return found
    return None


def _remark(said: str) -> Remark | None:
    """The same of one clause."""
    for pattern, form in _FORMS:
        match = pattern.match(said)
        if match is None or len(said[match.end() :].split()) > _TAIL:
            continue
        negated = "not " if (doubt := _NEGATED.search(match["thing"])) else ""
        named = match["thing"][: doubt.start()] if doubt else match["thing"]
        named = _LINKED.sub("", _ASIDE.sub("", named))
        thing = _BESIDE.sub("", _OPTIONS_WITH.sub("", named.strip(" ,"))).strip(" ,")
        quality = match["quality"] if "quality" in pattern.groupindex else ""
        bare = _OPTIONS.sub("", thing).strip(" ,")
        if _SOMEBODY.search(f"{thing} {quality}") or _NO_THING.search(thing) or not (bare or (quality and not negated)):
            return None
        if _CLAUSE.search(_RELATIVE.sub("", thing)) or _OTHERS.search(quality):
            continue
        refused = pattern is not _FINDS or bool(negated)
        if not bare and not refused and not _REST.match(said):  # "the third looks best"
            return None
        if not bare:
            return Remark("", quality, f"dislikes what is {'too ' if pattern is _TOO else ''}{quality}", refused)
        if match.start("thing") == 0:  # the sentence begins with it
            thing = _lowered(thing)
        return Remark(thing, quality, form.format(thing, negated + quality).rstrip(), refused)
    return None


def _lowered(thing: str) -> str:
    """Without the capital of a sentence's beginning, where that word is hardly a name: "Boxing", "Large logos".

    A word alone or before a preposition may be one ("Oslo in winter"), unless it is common or has a common ending.
    """
    first, *others = thing.split()
    known = first.lower() in COMMON or re.search(r"-|(?:ing|ed|[^aius]s)$", first)
    if re.match(r"\S+ [A-Z]|\S[A-Z]", thing) or not (known or (others and not _PLACED.match(others[0]))):
        return thing
    return thing[:1].lower() + thing[1:]
