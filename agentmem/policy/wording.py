"""The user's own words made into the text of a memory: literal, but readable out of context."""

from __future__ import annotations

import re

from agentmem.memory import words
from agentmem.policy.taste import Remark, remark

_DO = (
    r"(?:please|pls|just|never|always|only|don['’]?t|do not|give|use|show|tell|put|keep|skip|write|answer|reply"
    r"|respond|remember|assume|suggest|list"
    r"|include|leave|filter|start|stop|correct|quiz|stick|look|ask|say|add|make|convert|avoid|call|it means|treat"
    r"|remind|take|check|explain|quote|sort|be)"
)
_CLAUSE = (
    r"(?:i|im|ive|we|my|our|the|it|that|this|he|she|they|you|there|what|which|how|where|who|can|could|would|will|is|are"
    r"|do|does|any|so|then|no)\b"
)
"""How what comes after a comma begins that is a clause, not one more of a list."""
_OPENING = re.compile(
    r"^(?:(?:oh|ah|well|so(?! (?:much|many|far|long|that)\b)|and|but|also|plus|ok(?:ay)?|yes|yeah|hmm+"
    r"|look(?=\s*[,:;–—])|anyway|actually|honestly|basically|tbh|btw|fyi|by the way|just so you know"
    r"|to be (?:perfectly )?honest(?: with you)?|for (?:what it['’]s worth|the record)|i (?:should"
    r"|must) (?:probably )?(?:mention|say|add)(?: that)?"
    r"|the thing is|long story short|big news|as for me|personally|in general"
    rf"|(?:although|though|since|because|given that|now that)(?= (?:i|im|ive|we|my|our)\b)"
    rf"(?! \S+.*(?:(?<!and )(?<!but )(?<!or )(?<!that )\b(?:i|we)\b|, (?:{_CLAUSE}|{_DO}\b)))"
    r"|also note(?: that)?|note that|(?:just )?(?:a )?quick (?:one|note)"
    r"|side note|heads up|(?:one|another) (?:more )?thing(?=\s*[,:;–—])"
    r"|remember(?: that| to)?|just (?:remember|note)(?: that)?)\b(?!-\w)[\s,:;–—-]*)+(?=\S)",
    re.I,
)
"""What only opens a sentence. "Since" does before the one clause that it has; before two it joins them."""
_ASKS_NOW = (
    r"(?:i|we)(?:['’]d (?:like|love|need)\b|['’]ll (?:take|pass|go|try|skip|have)\b"
    r"| (?:wonder|guess|hope|thought|(?:need|want) (?:an?|some|something|ideas|help)|was (?:wondering|thinking|hoping)"
    r"|am (?:looking|asking|after))\b|['’]m (?:looking|asking|after)\b)"
)
"""What "I" begins that asks for something and tells nothing."""
_CONSEQUENCE = re.compile(
    rf"(?:, so(?=,)|,? so (?=(?:{_ASKS_NOW}|(?:it|this|they|those|these|there|you|the|he|she|no|none|nothing|not|any"
    r"|what|which|how|where|when|can|could|should|would|is|are|do|does|give|show|tell|suggest|list|write|make|find)\b"
    r"|that(?:['’]s|['’]ll| (?:is|was|will|would|rules?|means?))\b))"
    r"(?!.{0,400}\b(?:please|pls|don['’]?t|do not|always|never|only|avoid|keep|use)\b)).*$",
    re.I,
)
"""", so none of those I'm afraid": what follows from a statement for this one request. A wish in it is kept, and so is
what more it tells of the user: "so I moved to part-time"."""
_CLOSING = re.compile(
    r"[\s,;–—-]{1,9}(?:by the way|btw|lol|haha|tbh|fyi|though|for what it['’]s worth|just so you know|if that helps"
    r"|to be honest)(?=[.!]*$)",
    re.I,
)
_ADVERB = (
    r"(?:no longer|really|usually|always|never|also|just|still|only|often|normally|generally|mostly|absolutely"
    r"|strongly|personally|actually|currently|now"
    r"|mainly|rarely|typically|particularly|definitely|probably|honestly|sometimes|already|recently|finally|ever"
    r"|even|truly|simply|much|"
    r"officially|kind of|sort of|mostly|barely|hardly|almost|exclusively|genuinely|quite|seriously|totally"
    r"|occasionally|especially|either)"
)
_REGULAR = set(
    words(
        "prefer like love enjoy avoid live work speak need want own keep cook eat drink write play run teach study"
        " use take get find buy wear hate"
        " dislike detest loathe drive cycle commute volunteer coach sing dance paint sleep travel follow practise"
        " practice support manage lead start"
        " feel think value appreciate choose pick skip lean gravitate steer tend refuse try go do make watch listen"
        " suffer struggle learn train swim"
        " walk bake collect grow raise share rent pay save earn vote pray fast foster maintain build design develop"
        " code play stick favour favor adore"
        " crave despise fear wake bring order shop consume identify belong come look help host attend plan hope look"
        " organise organize stutter lip-read"
        " knit restore carve blog stream game garden hike climb sail ski surf camp run breed fish hunt treat react"
        " respond do draw stay"
    )
)
_IRREGULAR = {"have": "has", "do": "does", "go": "goes", "am": "is", "'m": "is", "'ve": "has"}
_SAME = set(
    words(
        "can could will would should must may might was had did moved quit sold left bought got went started stopped"
        " gave became began took grew"
        " switched changed changed dropped ended retired married lost broke tore rented picked adopted joined spent ran"
        " wrote taught found made came"
        " studied worked lived used graduated trained hated loved liked preferred enjoyed fell founded took signed"
        " traded cancelled canceled"
        " finished inherited kept led met"
    )
)
_EITHER = set(words("read put set cut let"))
"""Verbs whose past is like their present, which another word has to tell."""
_PAST = re.compile(
    r"\b(?:ago|yesterday|last (?:night|week\w*|month|year|spring|summer|autumn|fall|winter)|once(?! an?\b)"
    r"|when i was|already|just|recently|finally|in (?:19|20)\d\d|as a (?:child|kid|teenager))\b",
    re.I,
)
_HABIT = re.compile(
    r"\b(?:usually|always|often|normally|generally|mostly|rarely|sometimes|occasionally|typically|daily|nightly"
    r"|weekly|every|each|a lot|most (?:days|nights)|(?:mon|tues|wednes|thurs|fri|satur|sun)days)\b",
    re.I,
)
_FIRST = re.compile(r"\b(?:i|me|we|us|mine|ours|i['’]\w+|we['’]\w+|im|ive|you|your|yours)\b", re.I)
_SOMEBODY_ELSE = re.compile(r"\b(?:he|she|they|who)\b", re.I)
_SUBJECT = re.compile(
    rf"^(?:i (?P<verb>am|have)\b|i(?P<short>['’]m|['’]ve|m|ve)\b"
    rf"|i (?P<adverbs>(?:{_ADVERB} )*)(?P<word>[a-z-]+(?:['’]t)?)\b)\s*",
    re.I,
)
_CONTRACTED = {
    "don't": "does not", "dont": "does not", "can't": "cannot", "cant": "cannot",
    "won't": "will not", "wont": "will not",
    "didn't": "did not", "couldn't": "could not", "wouldn't": "would not", "haven't": "has not",
    "shouldn't": "should not", "wasn't": "was not",
}  # fmt: skip
_WHEN = r"(?:when(?:ever)?|every time|each time|any ?time|if|once|before|after)"
_HEAD = re.compile(
    rf"^(?:please |pls )?(?P<word>{_WHEN}|for|after every|before every|on)\s+(?P<when>[^,]{{3,90}}?)(?:,|:|\s+[-–—]"
    rf"|,? then)\s+(?P<text>.{{3,}})$",
    re.I,
)
_HEAD_DO = re.compile(
    rf"^(?:please |pls )?(?P<word>{_WHEN}|for|after every|before every|on)\s+"
    r"(?P<when>[^,:]{3,90}, .{0,60}?\b(?:or|and|which|who)\b.{1,60}?)"
    rf"(?:,|:|\s+[-–—]|,? then)\s+(?P<text>(?:then )?{_DO}\b.{{3,}})$",
    re.I,
)
"""The comma before what is to be done, not one within the condition: "restaurants in Lyon, Paris or Nice, only …"."""
_HEAD_BARE = re.compile(
    rf"^(?:please |pls )?(?P<word>{_WHEN})\s+(?P<when>(?:i|you|we|my|there"
    rf"|it)\b[^,]{{3,70}}?)(?<! to)\s+(?P<text>{_DO}\b.{{3,}})$",
    re.I,
)
_TAIL = re.compile(
    r"^(?P<text>.{6,}?),?\s+(?:when(?:ever)?|every time|each time|any ?time|(?<!\bme )(?<!\bsee )(?<!\bcheck )"
    r"(?<!\bask )(?<!\bknow )(?<!\bas )(?<!\beven )if(?! you please\b))\s+(?P<when>(?:i|you|we|my|there|it"
    r"|we['’]re|i['’]m)\b.{3,})$",
    re.I,
)
_FROM_NOW = re.compile(
    r"[\s,]{0,9}\b(?:from now on|from here on(?: out)?|going forward|from today(?: on)?"
    rf"|(?:in (?:the )?future|for good)(?=\s*(?:[,.:;!?–—-]|$)|\s+(?:{_DO}|{_WHEN}|i|you|we|my|our)\b))\b[\s,]*",
    re.I,
)
_THANKS = r"(?<!\byou)[\s,]{1,9}(?:please|pls|plz|thanks)(?=[.!]*$)"
_JUST = r"just(?! (?:answer|list|say|reply|respond|give|show|tell|write|one|the|a|yes|no)\b)"
""" "Just answer yes or no" is all of the wish; "just use metric" is "use metric"."""
_GERUND = {
    "ask": "asking", "book": "booking", "paste": "pasting", "mention": "mentioning", "send": "sending",
    "write": "writing",
    "say": "saying", "plan": "planning", "talk": "talking", "log": "logging", "travel": "travelling", "cook": "cooking",
    "order": "ordering", "search": "searching", "request": "requesting", "need": "needing", "want": "wanting",
    "share": "sharing",
    "upload": "uploading", "type": "typing", "make": "making", "look": "looking", "buy": "buying",
    "forget": "forgetting",
}  # fmt: skip


def memory_text(quote: str) -> str:
    """One sentence for a preference or a fact: turned to the third person where that is surely right.

    "I live in Lyon" -> "Lives in Lyon."; "my sister Ana lives in Rome" -> "Sister Ana lives in Rome."; "the loud places
    don't appeal to me" -> "Dislikes loud places."; anything less plain stays the user's own words.
    """
    said = _bare(quote)
    if found := remark(said):
        return sentence_of(found.text)
    plain = _CONSEQUENCE.sub("", said)
    turned = (_turned(one) for one in (plain, said))
    return sentence_of(next((text for text in turned if text and len(words(text)) > 1), said))


def declined(quote: str) -> Remark | None:
    """What a sentence refuses of things offered, the text as that of a memory; None where it refuses nothing."""
    found = remark(_bare(quote))
    return found._replace(text=sentence_of(found.text)) if found and found.refused else None


def _bare(quote: str) -> str:
    """Without what only opens or closes it."""
    whole = " ".join(quote.split())
    return _CLOSING.sub("", _OPENING.sub("", whole).strip(" ,;:–—-")) or whole


def when_and_text(quote: str) -> tuple[str, str]:
    """Condition and content of a standing instruction: ("booking flights", "Pick an aisle seat.").

    The condition is "always" when the words give none.
    """
    said = _OPENING.sub("", " ".join(quote.split())).rstrip(" .!?")
    said = re.sub(
        r"^(?:can|could|would|will) you (?:please )?|^i(?:['’]d like| want| need) you to ", "", said, flags=re.I
    )
    said = _FROM_NOW.sub(" ", said).strip(" ,:;–—-") or said
    for pattern in (_HEAD_BARE, _HEAD_DO, _HEAD, _TAIL):
        match = pattern.match(said)
        if match is not None and "=>" not in match["when"]:
            word = match["word"].lower() if "word" in match.groupdict() else "when"
            return _condition(word, match["when"]), sentence_of(_plain(match["text"]))
    return "always", sentence_of(_plain(said))


def _plain(text: str) -> str:
    return re.sub(rf"^(?:please|pls|plz|kindly|{_JUST}|then|so)[\s,]+|{_THANKS}", "", text.strip(), flags=re.I)


def _condition(word: str, when: str) -> str:
    """The condition without its conjunction, as far as it then still says the same."""
    when = re.sub(_THANKS, "", when, flags=re.I).strip(" ,:;.!")
    match = re.match(r"(?:i|you|we) (\w+)\b(.*)$", when, re.I)
    if match and match[1].lower() in _GERUND and word not in ("before", "after"):
        return _GERUND[match[1].lower()] + match[2]
    return when if word.startswith(("when", "every", "each", "any", "once", "for")) else f"{word} {when}"


def _turned(said: str) -> str | None:
    """`said` about the user in the third person, or None where that takes a guess."""
    match = re.match(r"(?:as|being) (?:someone|somebody|a person) (?:who|that) (.+)$", said, re.I)
    if match:
        return _rest(match[1])
    match = re.match(r"(?:as|being) (an? .+)$", said, re.I)
    if match:
        return _joined("is", match[1])
    match = re.match(r"(?:my|our) (.+)$", said, re.I)
    if match:  # "and I" stays who it is
        return None if re.search(r"\bi(?:m|ve)?\b", match[1], re.I) else _rest(match[1])
    match = _SUBJECT.match(said)
    if match is None:
        return None
    rest = said[match.end() :]
    if match["verb"] or match["short"]:
        verb = _IRREGULAR[(match["verb"] or "'" + match["short"].strip("'’")).lower()]
        return _joined(verb, rest.removeprefix("got ") if verb == "has" else rest)
    if said[match.end("word") :][:1] in ("'", "’"):  # "I'd", "I'll": left to the user's words
        return None
    verb = _third(match["word"].lower(), said)
    return _joined(match["adverbs"].lower() + verb, rest) if verb else None


def _third(verb: str, said: str = "") -> str | None:
    """The verb in the third person; of "read" and the like only where `said` tells whether it is past."""
    verb = verb.replace("’", "'")
    if verb in _CONTRACTED:
        return _CONTRACTED[verb]
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb in _SAME or verb.endswith("ed"):
        return verb
    if verb in _EITHER:
        return verb if _PAST.search(said) else verb + "s" if _HABIT.search(said) else None
    if verb not in _REGULAR:
        return None
    if verb.endswith(("s", "sh", "ch", "x", "z", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def _joined(verb: str, rest: str) -> str | None:
    other = _rest(rest)
    return f"{verb} {other}".strip() if other is not None else None


def _rest(rest: str) -> str | None:
    """What follows the subject; None when it speaks of "I" or "you" again in a way that cannot be turned safely."""

    def again(match: re.Match[str]) -> str:
        verb = _third((match[2] or "'" + match[3]).lower())
        mixed = _SOMEBODY_ELSE.search(rest[: match.start()])  # "he was allergic, so I …"
        return f"{match[1]}{verb}" if verb and not mixed else match[0]

    rest = re.sub(r"(\b(?:and|but|so|or) )i(?: ([a-z]+(?:['’]t)?)|['’]?(m|ve))\b", again, rest, flags=re.I)
    if _FIRST.search(rest):
        return None
    rest = re.sub(r"\bmyself\b", "themselves", rest, flags=re.I)
    return re.sub(r"\b(?:my|our)\b", "their", rest, flags=re.I)


def sentence_of(text: str) -> str:
    """Words with a capital and a full stop."""
    text = text.strip(" ,;")
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "…")) else text + "."
