"""What a small model wrote of a marked sentence, held to what the user said: it words, it does not invent."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentmem.memory import full_text, words
from agentmem.policy.abroad import is_abroad
from agentmem.policy.answers import question_of
from agentmem.policy.base import Mark, Observation
from agentmem.policy.classify import FEATURES
from agentmem.policy.days import redated
from agentmem.policy.edits import Edit
from agentmem.policy.forgetting import content
from agentmem.policy.polarity import righted, sides
from agentmem.policy.resolve import conversation, find_evidence, shown_memories
from agentmem.policy.taste import NUMBERS, OFFERED, ORDINALS
from agentmem.policy.whom import of_another
from agentmem.policy.wording import declined, memory_text, sentence_of, when_and_text

SUPPORTED = 0.5
"""Share of a text's content words from which on the conversation supports it. Of the authored edits that say what was
said 98 % have it; of concluded ones, which name a taste in words of their own, one such word has to do."""
NEW = 1
"""Content words that a text may have of its own all the same."""
CONCLUDED_AT = 0.5
"""How sure the model must be of the words of a concluded taste (geometric mean of the probabilities of its tokens)."""
STATED_AT = 2 / 3
"""The same of what was stated; below it the user's own words stand. Of 29 such texts of watched sentences a blind
reader found 5 right and 10 wrong, of the user's own words 18 and 1 (LOG.md, 2026-11-27)."""
ABROAD_AT = 0.9
"""Both in another language than English, where the user's own words stand in place of what was concluded, too. Of the
34 edits of the test conversations that are below it a reader found 5 worded as well as the user's own sentence; most
are like "Fa un gâteau normal"."""
SAME = 0.8
"""Share of the shorter text's words that two texts have in common from which on they say the same."""

_OFFERED = content(" ".join(OFFERED) + " ones approaches")
"""Names of things offered, which a text can leave out."""
_POINTERS = _OFFERED | content(" ".join((*ORDINALS, *NUMBERS, "other others rest")))
"""Words that only point at things offered: "Prefers the first to the other two." says nothing later."""
_COMPARES = re.compile(r"(?P<kept>.{8,}?),? (?:over|rather than|instead of) (?P<other>.+)")
_ITSELF = re.compile(r"(?P<kept>prefers .{8,}?) to (?P<other>.+)", re.I)


def mended(edit: Edit, seen: Observation, mark: Mark, chance: float = 1.0) -> tuple[Edit | None, str]:
    """An edit as it can stand, None for one that can't, and what was wrong with it, if anything was.

    - Quotes that aren't the user's words: the marked sentence is the evidence.
    - A text that says what nobody said, or that the model is not sure of: the sentence itself is the text, as the
      offline policy words it, after its question where it is a short answer, unless it only asks for something. What
      was concluded unsurely goes. In other languages the model must be surer.
    - A refusal of things offered that the text does not tell, or tells the other way round: the refusal in the user's
      own words is the text.
    - A taste that names nothing goes.
    - An instruction on a condition of which nobody spoke has the one that the sentence gives, or holds always.
    - A text that says of the user what is told of her or him alone goes.
    - A comparison with what nobody spoke of goes; a choice that is plainly turned round is turned back; another month
      than "last week" means becomes that one.
    - A replacement by what the memory says already was an answer about the wrong memory, and goes.

    How sure the detector was of the sentence is how sure the edit is.

    Args:
        edit: what the model wrote.
        seen: what it was shown.
        mark: the sentence that it was asked of.
        chance: how sure it was of its words, see `agentmem.models.sampling.Answer`.
    """
    refused, doubt = _refusal(edit, seen, mark, chance), _doubt(edit, seen, mark, chance)
    if refused is None and (why := _unfit(edit, seen, mark, chance, doubt)):
        return None, why
    said = tuple(quote for quote in edit.quotes if _said(quote, seen))
    when, text, problem = edit.when, refused, f"leaves out what was refused: {edit.text}"
    if text is None:
        when, text, problem = _worded(edit, seen, mark, doubt)
    if not said:
        problem = problem or f"quotes what was not said: {' / '.join(edit.quotes)}"
    return edit.model_copy(
        update={"when": when, "text": text, "quotes": said or (mark.text,), "sure": mark.sure}
    ), problem


def _unfit(edit: Edit, seen: Observation, mark: Mark, chance: float, doubt: str) -> str:
    """Why the edit can't stand; empty if it can, mended or not. `doubt` is what `_doubt` says of its text."""
    if edit.inferred and chance < CONCLUDED_AT and not is_abroad(mark.text):
        return f"is concluded unsurely: {edit.text}"
    if _is_taste(edit) and content(edit.text) <= _POINTERS:
        return f"names nothing: {edit.text}"
    if _repeats(edit, _righted(edit, edit.text, seen, mark), seen):
        return f"changes nothing: {edit.text}"
    if edit.text and not _is_rule(edit) and of_another(edit.text, mark.text):
        return f"says of the user what was said of another: {edit.text}"
    return doubt if not _is_rule(edit) and _only_asks(mark.text) else ""


def _worded(edit: Edit, seen: Observation, mark: Mark, problem: str) -> tuple[str | None, str, str]:
    """Condition and text as they can stand, and what was wrong with them; `problem` is what `_doubt` says of them."""
    when, text = edit.when, edit.text
    asked = "" if mark.text in seen.spelled else question_of(seen.session.messages, mark.turn, mark.text)
    if problem and asked:
        when, text = "always" if _is_rule(edit) else None, f"{asked} {sentence_of(mark.text)}"
    elif problem:
        when, text = when_and_text(mark.text) if _is_rule(edit) else (None, memory_text(mark.text))
    elif _is_rule(edit) and not _heard(when, seen):
        problem, when = f"holds on a condition that was not spoken of: {when}", when_and_text(mark.text)[0]
    elif (plain := _uncompared(edit, seen)) != text:
        problem, text = f"compares with what was not spoken of: {text}", plain
    if text and (right := _righted(edit, text, seen, mark)) != text:
        problem, text = f"turns round what was said: {text}", right
    if text and (dated := redated(text, mark.text, seen.session.date_of(mark.turn) or seen.today)) != text:
        problem, text = f"gives another day than was said: {text}", dated
    return when, text, problem


def _doubt(edit: Edit, seen: Observation, mark: Mark, chance: float) -> str:
    """Why its text can't stand as it is worded; empty if it can."""
    if not edit.text:
        return ""
    if chance < ABROAD_AT if is_abroad(mark.text) else not edit.inferred and chance < STATED_AT:
        return f"is worded unsurely: {edit.text}"
    return "" if supported(edit, seen) else f"says what was not said: {edit.text}"


def _is_rule(edit: Edit) -> bool:
    return edit.kind == "instruction" or (edit.sign == "~" and edit.aliases[0].startswith("i"))


def _is_taste(edit: Edit) -> bool:
    """Of a replacement the alias tells the kind."""
    return edit.kind == "preference" or (edit.sign == "~" and edit.aliases[0].startswith("p"))


def _righted(edit: Edit, text: str, seen: Observation, mark: Mark) -> str:
    """The text of a taste the way round that the user put it."""
    return righted(text, *_said_and_asked(seen, mark)) if _is_taste(edit) else text


def _refusal(edit: Edit, seen: Observation, mark: Mark, chance: float) -> str | None:
    """What the sentence refuses in so many words, where the text says something else; None where the text will do.

    "The leather ones don't align with my values" -> "Prefers leather bags to canvas ones.": a small model words the
    refused side wrongly more often than a rule that takes it as it stands. Where the user names no thing ("the others
    are too loud") a text that names one says more, unless it has the sides wrong.
    """
    said = declined(mark.text) if edit.sign == "+" and edit.kind == "preference" else None
    if said is None:
        return None
    liked, not_liked = sides(righted(edit.text, *_said_and_asked(seen, mark)))
    thing, quality = content(said.thing) - _OFFERED, content(said.quality)
    told = any(own and 2 * len(own & not_liked) >= len(own) for own in (thing, quality))
    if edit.inferred and chance < CONCLUDED_AT:
        return said.text
    if said.thing:
        return None if told else said.text
    return said.text if quality & liked and not told else None


def _repeats(edit: Edit, text: str, seen: Observation) -> bool:
    """Whether a replacement by the text leaves the one memory it replaces as it is."""
    known = [words(full_text(memory)) for alias, memory in shown_memories(seen).items() if alias in edit.aliases]
    when = "" if edit.when in (None, "always") else edit.when
    return edit.sign == "~" and known == [words(f"{when} {text}")]


def _only_asks(sentence: str) -> bool:
    """Whether it is a task or a question in which the user tells nothing ("List ten uses of my camera")."""
    asks = any(FEATURES[name].search(sentence) for name in ("imperative", "asks", "question mark"))
    return asks and not FEATURES["I"].search(sentence)


def _uncompared(edit: Edit, seen: Observation) -> str:
    """The text without "over …" where that names nothing of its own ("Prefers clean rooms over clean spaces."), or, of
    what is stated, nothing that was said. A concluded taste may name its contrary in other words: 21 of 223 authored
    comparisons do."""
    if not _is_taste(edit):
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


def _heard(when: str | None, seen: Observation) -> bool:
    """Whether a condition has a word of what the policy was shown, in any form of it."""
    own, told = content(when or ""), {word[:4] for word in _told(seen)}
    return when in (None, "always") or not own or any(word[:4] in told for word in own)


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
