"""What of a user's message is not the user speaking: code, quotations, pasted texts, other speakers, fiction."""

from __future__ import annotations

import re
from bisect import bisect_left

_FENCE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.S)
_TAG = re.compile(r"<(/?)(\w+)\b[^>\n]{0,400}>")
_QUOTED = re.compile(  # a title may be quoted; somebody's words are not the user's statement; 27" is a length
    r"(?<!\d)\"(?=[^\"\n]*\b(?:I|[Mm]y|[Ww]e|[Yy]ou)\b)[^\"\n]{15,}\"|“(?=[^”\n]*\b(?:I|[Mm]y|[Ww]e|[Yy]ou)\b)[^”\n]{15,}”"
    r"|(?<!\d)\"[^\"\n]{80,}\"|“[^”\n]{80,}”|«[^»\n]{25,}»"
)

_LABEL = re.compile(r"^\s*(?!.*?\d\s?:\s?\d)(?P<name>[^\W\d_][\w.' ]{0,24}?)\s*:\s*\S")
_ROLE = re.compile(r"user|assistant|system|human|ai|bot|q|a|me|him|her|them", re.I)
_REPORTS = re.compile(
    r"^(?!.*\bi (?:\w+ )?(?:said|wrote|asked)\b)[^:]{3,40}\b(?:said|says|wrote|writes|asks|texted)\s*:", re.I
)
"""Gives another's words: "my passenger said: never the tunnel"."""
_OPENER = re.compile(
    r"(?:just |a )*(?:quick|one|another|side|ps\b|p\.s\.|btw|fyi|note|update|edit|question|reminder|heads|news|context"
    r"|background|also|plan|correction)\b",
    re.I,
)
"""Words before a colon that announce something and are no name."""
_TASK_ON_TEXT = re.compile(
    r"\b(?:translat\w*|summari[sz]\w*|proof-?read\w*|re-?write|re-?phrase|paraphras\w*|polish|edit|correct|improve"
    r"|fix|grammar"
    r"|explain|analy[sz]e|classify|extract|convert|complete|continue|finish|shorten|simplify|review|check|wording"
    r"|language"
    r"|answer|respond|reply|read|following|below|text|email|e-mail|letter|essay|paragraph|sentence|article|passage"
    r"|story"
    r"|prompt|draft|message|post|abstract|transcript|conversation|dialogue|quote|lyrics|song|poem|review)\b",
    re.I,
)
_OF_ONESELF = re.compile(
    r"^\W*(?:(?:from now on|in (?:the )?future|going forward|please|always),? )*"
    r"(?:when(?:ever)?|if|every time|each time|any ?time|i (?:\w+ )?(?:love|like|enjoy|hate|dislike|prefer))\b",
    re.I,
)
"""Begins a rule or a taste, so that a task word before its colon gives no text: "when you answer: be brief"."""
_COLON = re.compile(r"(?<!\d):(?!//)|(?<=\d):(?![\d/])")
"""No time of day, and no address."""
_BELOW = re.compile(r"\b(?:below|following)\b[^.?!:\n]{0,40}[.?!]?\s*$", re.I)
_LETTER = re.compile(r"^\s*(?P<opening>dear|hi|hello|hey|to whom)\b[^.?!\n]{0,40}[,:]?\s*$", re.I)
_SIGNED = re.compile(
    r"^\W*(?:(?:kind|best|warm|many)? ?regards|best(?: wishes)?|sincerely|yours|cheers|love|with love|respectfully)\b",
    re.I | re.M,
)
_RULE = re.compile(r"^\s*(?:-{3,}|={3,}|\*{3,}|_{3,}|\"{3,}|<<+|>>+)\s*$")

_ROLE_PLAY = (  # "a role-playing game" is one that is talked about
    r"\brole-?\s?play\w*(?!\w| (?:games?|experiences?|elements?|titles?|adventures?|campaigns?|nights?|clubs?|groups?"
    r"|books?|systems?|mechanics|video)\b)"
)
_PRETEND = r"\bpretend(?!\w)(?! to (?:like|love|enjoy|understand|care|know)\b)"
_MASTER = r"\b(?:be|are|['’]re|as|play) (?:\w+ ){0,2}dungeon master\b"
_LETS_PLAY = (
    r"\blet['’]?s play(?: (?:an?|the|this|that|our|some|pretend|make|out|as|another|with|would|\d+|\w+['’]s)\b"
    r"|\s*(?:[:.!\n]|$))"
)
_CHARACTER = r"(?<!\bsuit )(?<!\bsuits )(?<!\bof )(?<!\bin )\bmy character\b"
_PRAISE = (
    r"(?:best|greatest|great|good|nice|kind|real|true|total|absolute|help|angel|star|legend|genius|hero|life-?saver|gem"
    r"|treasure|dear|sweetheart|pro|only|reason|one|first|wonderful|amazing|awesome|fantastic|lovely)"
)
_FICTION = re.compile(
    rf"{_ROLE_PLAY}|{_PRETEND}|\bin character\b|{_MASTER}|{_LETS_PLAY}|\byou(?:['’]re"
    rf"| are) (?:now )?(?:an?|the) (?!{_PRAISE}\b)"
    r"|\bact as\b|\bact like\b|\bplay the (?:role|part)\b|\bas if you were\b|\bimagine (?:you|that|i|we)\b"
    r"|\bfrom now on,? you(?:['’]re| are)\b"
    rf"|\bmonologue\b|\bfan ?fic\w*|{_CHARACTER}|\bwrite (?:me )?(?:an?|the) (?:\w+ ){{0,3}}(?:story|scene|song"
    r"|poem|dialogue|script|chapter"
    r"|letter|email|e-mail|essay|review|speech|post|bio|statement)\b|\btext adventure\b"
    r"|\bsimulat(?:e|ing)\b|\bjailbreak\w*|(?-i:\bDAN\b)",
    re.I,
)
_PLAY = re.compile(
    rf"{_ROLE_PLAY}|\bstay in character\b|{_MASTER}|{_CHARACTER}"
    rf"|\btext adventure\b|{_PRETEND}|{_LETS_PLAY}"
    r"|\bi(?:['’]ll| will) (?:be|play) the (?!first|last|one|only|best|same)\w"
    r"|\bi(?:['’]ll| will) (?:be|play) an?\b(?=.{0,120}\byou(?:['’]re|['’]ll| are| will| be| play| ask)\b)"
    r"|\byou(?:['’]re|['’]ll| are| will| be| play)\b.{0,120}\bi(?:['’]ll| will) (?:be|play) an?\b",
    re.I,
)
_ONESELF = re.compile(
    r"\b(?:i|we|they|he|she|who|people)(?:['’](?:m|ve|re|d|ll|s))?\s+(?:(?:can(?:['’]?t|not)|could(?:n['’]?t)?|don['’]?t"
    r"|do not|never|always|often|usually|sometimes|also|just|really|even|only|work with|like to|love to|hate to|used to"
    r"|have to|tend to)\s+)*$",
    re.I,
)
"""What the user does or never does themselves: "I act like I'm fine", "I can't pretend to like coffee"."""
_SENTENCE = re.compile(r"[.!?…]['\"”’)]*\s+|\n")

_QUIZ = re.compile(  # a question of a test, pasted: its statements are the test's
    r"^[^\w\n]*(?:select|choose|tick|mark|circle) (?:one|all that apply|the (?:correct|right|best)"
    r" (?:answer|option|statement)s?)(?: or more)?[^\w\n]*$"
    r"|^[^\S\n]*(?:\w[.)][^\S\n]*)?true[^\S\n]*\n\s{0,9}(?:\w[.)][^\S\n]*)?false[^\S\n]*$"
    r"|\b(?:which|what) of the following\b",
    re.I | re.M,
)
SUBJECT = r"(?:i|i['’](?:m|ve|d|ll)|im|ive|my|we|we['’](?:re|ve|d)|our)\b"
"""How a clause begins that is about the one who speaks."""
_SELF = re.compile(
    rf"\b(?:{SUBJECT}|me\b|mine\b|us\b)|\bhere[.!]"
    r"|(?:^|[.!?]\s+)(?:please|pls|from now on|always|never|forget|delete|erase|remember|got|allergic|vegan"
    r"|vegetarian|no)\b",
    re.I | re.M,
)
"""Somebody speaks of oneself, or asks for something."""


def opens_play(message: str) -> str:
    """The words that open a game or role-play in which later turns stay; empty where none do."""
    match = _opening(_PLAY, message)
    return match.group() if match else ""


def is_test(message: str) -> bool:
    """Whether it is a question of a test in which nobody speaks of oneself."""
    return _QUIZ.search(message) is not None and _SELF.search(message) is None


def own_text(message: str) -> str:
    """The message with line breaks in place of what is not the user speaking; places stay where they are."""
    return _without_pastes(_blank(_without_tags(_blank(message, _FENCE)), _QUOTED))


def _blank(text: str, pattern: re.Pattern[str]) -> str:
    """Overwrite matches by line breaks: places stay where they are, sentences end there."""
    return pattern.sub(lambda match: "\n" * len(match.group()), text)


def _without_tags(text: str) -> str:
    """Without what stands between a tag of markup and the next closing one of its name."""
    ends: dict[str, list[tuple[int, int]]] = {}
    for match in _TAG.finditer(text):
        if match[1]:
            ends.setdefault(match[2], []).append(match.span())
    parts, done = [], 0
    for match in _TAG.finditer(text) if ends else ():
        closing = ends.get(match[2], [])
        place = bisect_left(closing, match.span())
        if match.start() < done or match[1] or place == len(closing):
            continue
        end = closing[place][1]
        parts += [text[done : match.start()], "\n" * (end - match.start())]
        done = end
    return "".join([*parts, text[done:]])


def _opening(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Its first match that the user does not say of what they do themselves."""
    for match in pattern.finditer(text):
        if not _ONESELF.search(text[max(0, match.start() - 60) : match.start()]):
            return match
    return None


def _without_pastes(text: str) -> str:
    """Blank what follows "translate:", a greeting that opens a letter, or the sentence that begins a fiction, and the
    lines of other speakers."""
    if (fiction := _opening(_FICTION, text)) is not None:
        before = [end.end() for end in _SENTENCE.finditer(text, 0, fiction.start())]
        begin = before[-1] if before else 0
        text = text[:begin] + "\n" * (len(text) - begin)
    kept: list[str] = []
    lines = text.split("\n")
    labelled = sum(_LABEL.match(line) is not None for line in lines)
    for number, line in enumerate(lines):
        if _RULE.match(line) or _opens_letter(lines, number):
            break
        head = _before_text(line)
        if head is not None:
            kept.append(line[:head])
            break
        kept.append("\n" * len(line) if _is_speaker(line, len(lines), labelled) else line)
        if _BELOW.search(line) and _TASK_ON_TEXT.search(line) and not any(lines[number + 1 : number + 2]):
            break
    result = "\n".join(kept)
    return result + "\n" * (len(text) - len(result))


def _opens_letter(lines: list[str], number: int) -> bool:
    """Whether the line greets somebody in a letter. A chat begins with "hi", too: then a line must sign it."""
    match = _LETTER.match(lines[number])
    if match is None or len(lines) <= number + 2 or not any(lines[number + 1 :]):
        return False
    first = not any(line.strip() for line in lines[:number])
    strict = match["opening"].lower() in ("hi", "hello", "hey")
    return not (first and strict) or _SIGNED.search("\n".join(lines[number + 1 :])) is not None


def _before_text(line: str) -> int | None:
    """Place of the colon after which a text is given to be worked on; None where there is none."""
    colon = _COLON.search(line)
    if colon is None or _OF_ONESELF.match(line):
        return None
    return colon.start() if _TASK_ON_TEXT.search(line[: colon.start()]) else None


def _is_speaker(line: str, lines: int, labelled: int) -> bool:
    """Whether the line is one of a conversation: what stands before its colon is a part ("user:"), or a name, or there
    are several such lines. "New plan: I only take the train now" is none.

    Args:
        line: of a message.
        lines: how many it has.
        labelled: how many of them have something before a colon.
    """
    if _REPORTS.search(line):
        return True
    label = _LABEL.match(line)
    if label is None:
        return False
    if _ROLE.fullmatch(label["name"]):
        return True
    if _OPENER.match(label["name"]):
        return False
    return labelled > 1 or (lines > 1 and label["name"].istitle())
