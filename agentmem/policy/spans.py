"""Which stretches of a user message are the user's own statements, cut into sentences and clauses."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_SENTENCES = 60
"""Of one message; of a longer one the first and the last half of this many are read (a pasted document has more)."""
MAX_WORDS = 90
"""A longer sentence is a document without punctuation, not something said about oneself."""

_FENCE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|<(\w+)[^>\n]*>.*?</\1>", re.S)
_CODE_LINE = re.compile(
    r"^\s*(?:>|#|//|/\*|\*\s|\$ |\{|\}|<\w|@\w+|import |from \w+ import|def |class |return\b|public |private "
    r"|const |let |var "
    r"|SELECT |INSERT |UPDATE |Traceback|File \"|at \w+\.|\[\w*\]|\d{4}-\d\d-\d\d[ T]\d\d:)"
    r"|[;{}]\s*$|\w+\([^)]*\)\s*[;{:]?\s*$|(?:^|\s)\w+\s*(?:==?|\+=|:=|=>|->)\s*\S|</\w+>"
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
_LETTER = re.compile(r"^\s*(?:dear|hi|hello|hey|to whom)\b[^.?!\n]{0,40}[,:]?\s*$", re.I)
_RULE = re.compile(r"^\s*(?:-{3,}|={3,}|\*{3,}|_{3,}|\"{3,}|<<+|>>+)\s*$")
_QUOTED = re.compile(  # a title may be quoted; somebody's words are not the user's statement
    r"\"(?=[^\"\n]*\b(?:I|[Mm]y|[Ww]e|[Yy]ou)\b)[^\"\n]{15,}\"|“(?=[^”\n]*\b(?:I|[Mm]y|[Ww]e|[Yy]ou)\b)[^”\n]{15,}”"
    r"|\"[^\"\n]{80,}\"|“[^”\n]{80,}”|«[^»\n]{25,}»"
)
_ROLE_PLAY = (  # "a role-playing game" is one that is talked about
    r"\brole-?\s?play\w*(?!\w| (?:games?|experiences?|elements?|titles?|adventures?|campaigns?|nights?|clubs?|groups?"
    r"|books?|systems?|mechanics|video)\b)"
)
_FICTION = re.compile(
    rf"{_ROLE_PLAY}|\bpretend\b|\bin character\b|\bdungeon master\b|\blet'?s play\b|\byou(?:'re"
    r"| are) (?:now )?(?:an?|the) (?!help)"
    r"|\bact as\b|\bact like\b|\bplay the (?:role|part)\b|\bas if you were\b|\bimagine (?:you|that|i|we)\b"
    r"|\bfrom now on,? you(?:'re| are)\b"
    r"|\bmonologue\b|\bfan ?fic\w*|\bmy character\b|\bwrite (?:me )?(?:an?|the) (?:\w+ ){0,3}(?:story|scene|song"
    r"|poem|dialogue|script|chapter"
    r"|letter|email|e-mail|essay|review|speech|post|bio|statement)\b|\btext adventure\b|\bsimulat\w+|\bjailbreak\w*"
    r"|\bDAN\b",
    re.I,
)
_PLAY = re.compile(
    _ROLE_PLAY + r"|\bstay in character\b|\bdungeon master\b|\bmy character\b|\btext adventure\b|\bpretend\b"
    r"|\blet'?s play\b|\bi(?:'ll| will) (?:be|play) (?:an?|the)\b",
    re.I,
)
_QUIZ = re.compile(  # a question of a test, pasted: its statements are the test's
    r"^\W*(?:select|choose|tick|mark|circle) (?:one|all that apply|the (?:correct|right|best)"
    r" (?:answer|option|statement)s?)(?: or more)?\W*$"
    r"|^\s*(?:\w[.)]\s*)?true\s*\n\s*(?:\w[.)]\s*)?false\s*$|\b(?:which|what) of the following\b",
    re.I | re.M,
)
_END = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+(?=\S)|\n+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|approx|no|Jr|Sr|a\.m|p\.m|[A-Z])|^\s*\d{1,2})\.$", re.I
)
_SUBJECT = r"(?:i|i['’](?:m|ve|d|ll)|im|ive|my|we|we['’](?:re|ve|d)|our)\b"
_SELF = re.compile(
    rf"\b(?:{_SUBJECT}|me\b|mine\b|us\b)|\bhere[.!]"
    r"|(?:^|[.!?]\s+)(?:please|pls|from now on|always|never|forget|delete|erase|remember|got|allergic|vegan"
    r"|vegetarian|no)\b",
    re.I | re.M,
)
"""Somebody speaks of oneself, or asks for something."""
_CLAUSE = re.compile(
    rf"(?:\s*[,;:]|\s+[-–—]+|\s*—)\s*(?:(?:and|but|so|because|since|as|plus|though|although|which is (?:great|why"
    rf"|fine) because)\s+)?(?={_SUBJECT})"
    rf"|\s+(?:and|but|so|because|since|plus)\s+(?={_SUBJECT})"
    r"|,\s*(?=(?:as someone who|being an?|given that|since|because|now that|so|could you|can you|would you|should"
    r"|can|could|do|does|what|how|which|where"
    r"|who|when|is|are|would|any|please|from now on|always|never|so please)\b)",
    re.I,
)
_PART = re.compile(
    r"(?:[,;:]\s+|\s[-–—]+\s+)(?:(?:and|but|so|also|because|since|plus|cause|cuz)\s+)?"
    r"|\s+(?:and|but|so|because|plus|cause|cuz)\s+",
    re.I,
)
_LINK = re.compile(r"[\s,;:–—-]+(?:and|but|so|because|since|plus|though|although|as|which is \w+ because)$", re.I)


@dataclass(frozen=True)
class Span:
    """A stretch of one message: `message[start:end]` is the verbatim text."""

    start: int
    end: int


def is_play(message: str) -> bool:
    """Whether a message opens a game or role-play that later turns stay in."""
    return _PLAY.search(message) is not None


def statements(message: str) -> list[Span]:
    """Sentences of a user message that may speak of the user: no code, quotation, pasted text, test or fiction.

    In order; at most MAX_SENTENCES.
    """
    if _QUIZ.search(message) and not _SELF.search(message):
        return []
    text = _blank(_blank(message, _FENCE), _QUOTED)
    spans: list[Span] = []
    for span in sentences(_without_pastes(text)):
        said = text[span.start : span.end]
        words = said.split()
        if not 2 <= len(words) <= MAX_WORDS or _CODE_LINE.search(said) or not re.search(r"[^\W\d_]{2}", said):
            continue
        spans.append(span)
    if len(spans) > MAX_SENTENCES:
        half = MAX_SENTENCES // 2
        spans = spans[:half] + spans[-half:]
    return spans


def clauses(sentence: str) -> list[Span]:
    """Clauses that could stand alone (each with a subject of its own), in order; one when it cannot be cut."""
    bounds = [0]
    for match in _CLAUSE.finditer(sentence):
        if len(sentence[bounds[-1] : match.start()].split()) >= 3:
            bounds.append(match.end())
    spans = [_trim(sentence, start, stop) for start, stop in zip(bounds, [*bounds[1:], len(sentence)], strict=True)]
    return [_without_link(sentence, span) for span in spans]


def parts(sentence: str, least: int = 3) -> list[Span]:
    """What stands between commas and conjunctions, with a subject or without, each of so many words at least."""
    bounds, pieces = [0], list(_PART.finditer(sentence))
    ends = [*(piece.start() for piece in pieces[1:]), len(sentence)]
    for match, after in zip(pieces, ends, strict=False):  # without any piece the end stands alone
        before, next_ = sentence[bounds[-1] : match.start()], sentence[match.end() : after]
        if len(before.split()) >= least and len(next_.split()) >= least:
            bounds.append(match.end())
    spans = [_trim(sentence, start, stop) for start, stop in zip(bounds, [*bounds[1:], len(sentence)], strict=True)]
    return [_without_link(sentence, span) for span in spans]


def is_own(part: str) -> bool:
    """Whether it begins with the one who speaks: "I …", "my …", "we …"."""
    return re.match(_SUBJECT, part, re.I) is not None


def _without_link(sentence: str, span: Span) -> Span:
    """ "…, and" belongs to what comes next."""
    link = _LINK.search(sentence[span.start : span.end])
    return _trim(sentence, span.start, span.start + link.start()) if link else span


def _blank(text: str, pattern: re.Pattern[str]) -> str:
    """Overwrite matches by line breaks: places stay where they are, sentences end there."""
    return pattern.sub(lambda match: "\n" * len(match.group()), text)


def _without_pastes(text: str) -> str:
    """Blank what is not the user speaking: what follows "translate:" or a role-play, letters, speaker lines."""
    fiction = _FICTION.search(text)
    if fiction is not None:
        line = text.rfind("\n", 0, fiction.start()) + 1
        text = text[:line] + "\n" * (len(text) - line)
    kept: list[str] = []
    lines = text.split("\n")
    labelled = sum(_LABEL.match(line) is not None for line in lines)
    for number, line in enumerate(lines):
        if _RULE.match(line) or (_LETTER.match(line) and any(lines[number + 1 :]) and len(lines) > number + 2):
            break
        colon = line.find(":")
        if colon >= 0 and _TASK_ON_TEXT.search(line[:colon]):
            kept.append(line[:colon])
            break
        kept.append("\n" * len(line) if _is_speaker(line, len(lines), labelled) else line)
    result = "\n".join(kept)
    return result + "\n" * (len(text) - len(result))


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
    if _ROLE.fullmatch(label["name"]) or labelled > 1:
        return True
    return lines > 1 and label["name"].istitle() and _OPENER.match(label["name"]) is None


def sentences(text: str) -> list[Span]:
    """All sentences of a text, in order, without the blanks and marks around them."""
    spans: list[Span] = []
    start = 0
    for match in _END.finditer(text):
        if "\n" not in match.group() and _ABBREVIATION.search(text[start : match.start()]):
            continue
        spans.append(
            _trim(text, start, match.start() + len(match.group().rstrip()) if match.group().strip() else match.start())
        )
        start = match.end()
    spans.append(_trim(text, start, len(text)))
    return [span for span in spans if span.end > span.start]


def _trim(text: str, start: int, end: int) -> Span:
    while start < end and (text[start].isspace() or text[start] in "-*•"):
        start += 1
    while end > start and (text[end - 1].isspace() or text[end - 1] in ",;:-–—"):
        end -= 1
    return Span(start, end)
