"""What a small model wrote of a marked sentence, held to what the user said: it words, it does not invent."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentmem.memory import full_text, words
from agentmem.policy.base import Mark, Observation
from agentmem.policy.classify import FEATURES
from agentmem.policy.days import redated
from agentmem.policy.edits import Edit
from agentmem.policy.forgetting import content
from agentmem.policy.polarity import righted
from agentmem.policy.resolve import conversation, find_evidence, shown_memories
from agentmem.policy.spans import parts
from agentmem.policy.wording import memory_text, when_and_text

SUPPORTED = 0.5
"""Share of a text's content words from which on the conversation supports it. Of the authored edits that say what was
said 98 % have it; of concluded ones, which name a taste in words of their own, one such word has to do."""
NEW = 1
"""Content words that a text may have of its own all the same."""
SAME = 0.8
"""Share of the shorter text's words that two texts have in common from which on they say the same."""


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
_COMPARES = re.compile(r"(?P<kept>.{8,}?),? (?:over|rather than|instead of) (?P<other>.+)")
_ITSELF = re.compile(r"(?P<kept>prefers .{8,}?) to (?P<other>.+)", re.I)


def mended(edit: Edit, seen: Observation, mark: Mark) -> tuple[Edit | None, str]:
    """An edit as it can stand, None for one that can't, and what was wrong with it, if anything was.

    Where its quotes aren't the user's words, the marked sentence is the evidence; where its text says what nobody said,
    the sentence itself is the text, as the offline policy words it, unless it only asks for something; where it
    compares with what nobody spoke of, the comparison goes; where it plainly turns a choice round, it is turned back;
    where it gives another month than "last week" means, it gets that one.
    A replacement by what the memory says already was an answer about the wrong memory; what is told of her or him alone
    is no memory of the user.
    How sure the detector was of the sentence is how sure the edit is.
    """
    if _repeats(edit, seen):
        return None, f"changes nothing: {edit.text}"
    if _of_another(edit, mark.text):
        return None, f"says of the user what was said of another: {edit.text}"
    problem = ""
    quotes = tuple(quote for quote in edit.quotes if _said(quote, seen))
    if not quotes:
        quotes, problem = (mark.text,), f"quotes what was not said: {' / '.join(edit.quotes)}"
    if edit.text and not supported(edit, seen):
        problem = f"says what was not said: {edit.text}"
        instruction = edit.kind == "instruction" or (edit.sign == "~" and edit.aliases[0].startswith("i"))
        if not instruction and _only_asks(mark.text):
            return None, problem
        when, text = when_and_text(mark.text) if instruction else (None, memory_text(mark.text))
        edit = edit.model_copy(update={"when": when, "text": text})
    elif (plain := _uncompared(edit, seen)) != edit.text:
        problem = f"compares with what was not spoken of: {edit.text}"
        edit = edit.model_copy(update={"text": plain})
    if edit.kind == "preference" and (right := righted(edit.text, *_said_and_asked(seen, mark))) != edit.text:
        problem = f"turns round what was said: {edit.text}"
        edit = edit.model_copy(update={"text": right})
    said_on = seen.session.date_of(mark.turn) or seen.today
    if edit.text and (dated := redated(edit.text, mark.text, said_on)) != edit.text:
        problem = f"gives another day than was said: {edit.text}"
        edit = edit.model_copy(update={"text": dated})
    return edit.model_copy(update={"quotes": quotes, "sure": mark.sure}), problem


def _repeats(edit: Edit, seen: Observation) -> bool:
    """Whether a replacement leaves the one memory it replaces as it is."""
    known = [words(full_text(memory)) for alias, memory in shown_memories(seen).items() if alias in edit.aliases]
    when = "" if edit.when in (None, "always") else edit.when
    return edit.sign == "~" and known == [words(f"{when} {edit.text}")]


def _of_another(edit: Edit, sentence: str) -> bool:
    """Whether it says of the user what a part of the sentence says of her or him: "Is shy." of "she's shy"."""
    own = content(edit.text) if edit.text else set[str]()
    if edit.kind == "instruction" or not own or not _OF_USER.match(edit.text[:1].lower() + edit.text[1:]):
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


def _only_asks(sentence: str) -> bool:
    """Whether it is a task or a question in which the user tells nothing ("List ten uses of my camera")."""
    asks = any(FEATURES[name].search(sentence) for name in ("imperative", "asks", "question mark"))
    return asks and not FEATURES["I"].search(sentence)


def _uncompared(edit: Edit, seen: Observation) -> str:
    """The text without "over …" where that names nothing of its own ("Prefers clean rooms over clean spaces."), or, of
    what is stated, nothing that was said. A concluded taste may name its contrary in other words: 21 of 223 authored
    comparisons do."""
    if edit.kind != "preference":
        return edit.text
    if (match := _ITSELF.match(edit.text)) and content(match["other"]) <= content(match["kept"]):
        return match["kept"].rstrip(" ,.") + "."
    if (match := _COMPARES.match(edit.text)) is None:
        return edit.text
    other = content(match["other"])
    own = other - content(match["kept"])
    if 2 * len(own) > len(other) and (edit.inferred or own & _told(seen)):
        return edit.text
    return match["kept"].rstrip(" ,.") + "."


def _said_and_asked(seen: Observation, mark: Mark) -> tuple[str, str]:
    """The user's message with the mark, and those before it."""
    before = [one.content for one in seen.session.messages[: mark.turn] if one.role == "user"]
    return seen.session.messages[mark.turn].content, "\n".join(before)


def _said(quote: str, seen: Observation) -> bool:
    try:
        find_evidence(quote, seen)
    except ValueError:
        return False
    return True


def supported(edit: Edit, seen: Observation) -> bool:
    """Whether its text says little that the policy was not shown, of the conversation or of the memory."""
    own, told = content(f"{edit.when or ''} {edit.text}"), _told(seen)
    if edit.inferred:
        return bool(own & told)
    return len(own - told) <= NEW or len(own & told) >= SUPPORTED * len(own)


def _told(seen: Observation) -> set[str]:
    """Content words that the policy was shown."""
    return content(conversation(seen) + " " + " ".join(full_text(memory) for memory in shown_memories(seen).values()))


def distinct(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Without those that do what an earlier one does: the same sign and targets, and nearly the same words."""
    kept: list[Edit] = []
    for edit in edits:
        if not any(_alike(edit, other) for other in kept):
            kept.append(edit)
    return tuple(kept)


def _alike(one: Edit, other: Edit) -> bool:
    if one.sign != other.sign or one.aliases != other.aliases:
        return False
    if one.sign in "-x":
        return bool(one.aliases) or one.quotes == other.quotes
    first, second = (set(words(f"{edit.when or ''} {edit.text}")) for edit in (one, other))
    return len(first & second) >= SAME * max(1, min(len(first), len(second)))
