"""Of whom a sentence tells what a text says of the user."""

from __future__ import annotations

import re

from agentmem.policy.forgetting import content
from agentmem.policy.spans import parts

_ANOTHER = re.compile(r"(?:(?:and|but|so|because|since|as)\W+)?(?:he|she)(?:['’]?s|['’]d|['’]ll)?\b", re.I)
_SELF = re.compile(r"\b(?:i|im|ive|me|my|mine|myself|we|us|our|ours|same here)\b", re.I)
_REPORT = re.compile(
    r"\b(?:said|says?|told|thinks?|thought|diagnos\w*|confirm\w*|suspect\w*|believes?|prescri\w*|recommend\w*|suggest\w*"
    r"|found|put)\b", re.I
)  # fmt: skip
"""What a doctor says, of the user."""
_STATE = re.compile(r"(?:now|been|engaged|divorced|single|alone|can['’]?t|\w+ing)\b", re.I)
"""How a part without a subject begins that is the user's: "he moved out, been living alone since"."""
_SUBJECT = re.compile(r"(?:(?:and|but|so|because|since|as)\W+)?(?:i|we|he|she|it|they|you|my|our|there)\b", re.I)
_ALSO = content("so do too also as well same here like am")
""" "so do I", "me too", "like me": said of both."""
_OF_USER = re.compile(
    r"(?:is|was|has(?! (?:an?|the|two|three)\b)|had|does|doesn['’]t|did|can|can['’]t|cannot|likes?|dislikes|loves|hates"
    r"|prefers|wants|needs|works|lives|takes|eats|drinks|plays|runs|goes|drives|uses|gets|avoids|speaks|studies|reads)\b"
    r"(?!.*(?:\s[A-Z]|\b(?:he|she|her|his|him|wife|husband|partner|daughter|son|child|baby|kids?|\w*mother|\w*father"
    r"|brother|sister|friend)\b))"
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
        if _SELF.search(part) and not content(_SELF.sub("", part)) - _ALSO:
            return False
        has_own = _SUBJECT.match(part)
        subject = part if has_own else subject
        of_another = _ANOTHER.match(subject) and not _SELF.search(part) and (has_own or not _STATE.match(part))
        found.append((len(own & content(part)), bool(of_another)))
    most = max(shared for shared, _ in found)
    return most > 0 and all(of_another for shared, of_another in found if shared == most)
