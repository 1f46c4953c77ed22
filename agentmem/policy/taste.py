"""What a remark on things offered says of the user: "the loud places don't appeal to me" -> "dislikes loud places"."""

from __future__ import annotations

import re

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
_OPTIONS = re.compile(
    r"^(?:rest|options?|ones?|choices?|suggestions?|ideas?|alternatives?|others?|picks?|recommendations?)\b"
    r"(?: (?:you (?:listed|gave|mentioned|suggested)|on the list|listed))?",
    re.I,
)
"""Names of things offered that say nothing of them."""
_SOMEBODY = re.compile(r"\b(?:i|me|we|us|mine|ours|i['’]\w+|we['’]\w+|im|ive|you|your|yours)\b", re.I)
_FORMS = ((_TOO, "dislikes {} that are too {}"), (_REFUSED, "dislikes {}"), (_FINDS, "finds {} {}"))
_TAIL = 3
"""Words that may follow ("right now"): with more, something else is said, which must not be lost."""


def taste(said: str) -> str | None:
    """What the user dislikes, without a subject; None where the remark names no quality, or is none."""
    for pattern, form in _FORMS:
        match = pattern.match(said)
        if match is None or len(said[match.end() :].split()) > _TAIL:
            continue
        thing = match["thing"].strip(" ,")
        quality = match["quality"] if "quality" in pattern.groupindex else ""
        bare = _OPTIONS.sub("", thing).strip(" ,")
        if _SOMEBODY.search(f"{thing} {quality}") or not (bare or quality):
            return None
        if not bare:
            return f"dislikes what is {'too ' if pattern is _TOO else ''}{quality}"
        return form.format(thing[:1].lower() + thing[1:] if thing[1:2].islower() else thing, quality).rstrip()
    return None
