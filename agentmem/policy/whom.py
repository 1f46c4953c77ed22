"""Of whom a sentence tells what a text says of the user."""

from __future__ import annotations

import re

from agentmem.policy.classify import FEATURES
from agentmem.policy.forgetting import content
from agentmem.policy.spans import parts

_LINK = r"(?:(?:and|but|so|because|since|as)\W+)?"
_AFTER_LINK = re.compile(rf"^{_LINK}", re.I)
_KIN = FEATURES["starts with my kin"]
_ANOTHER = re.compile(rf"{_LINK}(?:he|she)(?:['’]?s|['’]d|['’]ll)?\b", re.I)
_THEY = re.compile(rf"{_LINK}they\b", re.I)
""""They" may be a company or somebody's shoes: another only where kin were spoken of before."""
_SELF = re.compile(r"\b(?:i|im|ive|me|my|mine|myself|we|us|our|ours|same here)\b", re.I)
_REPORT = re.compile(
    r"\b(?:said|says?|told|thinks?|thought|diagnos\w*|confirm\w*|suspect\w*|believes?|prescri\w*|recommend\w*|suggest\w*"
    r"|found|put)\b", re.I
)  # fmt: skip
"""What a doctor says, of the user."""
_STATE = re.compile(r"(?:now|been|engaged|divorced|single|alone|can['’]?t|\w+ing)\b", re.I)
"""How a part without a subject begins that is the user's: "he moved out, been living alone since"."""
_SUBJECT = re.compile(rf"{_LINK}(?:i|we|he|she|it|they|you|my|our|there)\b", re.I)
_IT = re.compile(r"\b(?:lov|lik|enjoy|prefer|hat)\w* (?:it|them|that|this|those)\b", re.I)
"""Said of oneself about what another's part names: "my wife picked sage green and I love it"."""
_ALSO = content("so do too also as well same here like am")
""" "so do I", "me too", "like me": said of both."""
_OF_USER = re.compile(
    r"(?:is|was|has(?! (?:an?|the|two|three)\b)|had|does|doesn['’]t|did|can|can['’]t|cannot|likes?|dislikes|loves|hates"
    r"|prefers|wants|needs|works|lives|takes|eats|drinks|plays|runs|goes|drives|uses|gets|avoids|speaks|studies|reads)\b"
    r"(?!.*\b(?:he|she|her|his|him|their|married|engaged|widow\w*|divorced|twins|dating|wife|husband|partner|daughter"
    r"|son|child(?:ren)?|baby|kids?|\w*mother|\w*father|parents?|mum|mom|dad|brother|sister|cousin|uncle|aunt|niece|nephew"
    r"|friend|boyfriend|girlfriend|famil(?:y|ies))s?\b)"
)
"""How a text begins that is about the user, and names nobody."""


def of_another(text: str, sentence: str) -> bool:
    """Whether it says of the user what a part of the sentence says of her or him: "Is shy." of "she's shy"."""
    own = content(text)
    if not own or not _OF_USER.match(text[:1].lower() + text[1:]):
        return False
    if _REPORT.search(sentence):
        return False
    found, subject = [(0, False)], ""
    for part in (sentence[span.start : span.end] for span in parts(sentence, least=1)):
        shared, of_user = len(own & content(part)), _of_user(part)
        if of_user and (not content(_SELF.sub("", part)) - _ALSO or _IT.search(part)):
            return False
        has_own = _SUBJECT.match(part)
        if has_own and not (_THEY.match(part) and _has_kin(subject)):  # "my partner …, they're vegan"
            subject = part
        of_another = _is_another(subject) and not of_user and (has_own or not _STATE.match(part))
        found.append((shared, bool(of_another)))
    most = max(shared for shared, _ in found)
    return 2 * most > len(own) and all(of_another for shared, of_another in found if shared == most)


def _is_another(subject: str) -> bool:
    """Whether a part speaks of another and not of the user, too: "my dad gives me his car"."""
    return bool(_ANOTHER.match(subject) or _has_kin(subject)) and not _of_user(subject)


def _has_kin(part: str) -> bool:
    """Whether it begins with "my wife", "our son's"."""
    return _KIN.match(_AFTER_LINK.sub("", part, count=1)) is not None


def _of_user(part: str) -> bool:
    """Whether it has words for the user but "my" of "my wife"."""
    return _SELF.search(_KIN.sub("", _AFTER_LINK.sub("", part, count=1), count=1)) is not None
