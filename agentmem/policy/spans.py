"""Which stretches of a user message are the user's own statements, cut into sentences and clauses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agentmem.policy.pastes import SUBJECT, is_test, opens_play, own_text

MAX_SENTENCES = 60
"""Of one message; of a longer one the first and the last half of this many are read (a pasted document has more)."""
MAX_WORDS = 90
"""A longer sentence is a document without punctuation, not something said about oneself."""
MAX_CHARS = 1500
"""The same in characters."""

_CODE_LINE = re.compile(
    r"^\s*(?:>|#|//|/\*|\*\s|\$ |\{|\}|<\w|@\w+|import |from \w+ import|def |class |return(?: \w+)?;?$"
    r"|(?:return|public|private|const|let|var)\b.*(?:[;={}()\[*]|\w\.\w)"
    r"|SELECT |INSERT |UPDATE |Traceback|File \"|at \w+\.|\[\w*\]|\d{4}-\d\d-\d\d[ T]\d\d:)"
    r"|[;{}]\s*$|(?<!\w)\w+\([^)]*\)\s*[;{:]?\s*$|(?:^|\s)\w+\s*(?:==?|\+=|:=|=>|->)\s*\S|</\w+>"
)
_PUNCTUATION = re.compile(r"[;{}\[\]]")
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]{4}")
"""Of Thai, Japanese and Chinese, which put no blanks between words."""
_WORD = re.compile(r"[^\W\d_]['’]?[^\W\d_]")
_END = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+(?=\S)|(?<=[。！？])(?=[^\s。！？])|\n+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|approx|no|Jr|Sr|a\.m|p\.m|[A-Z])|^\s*\d{1,2})\.$", re.I
)
_CLAUSE = re.compile(
    rf"(?:\s*[,;:]|\s+[-–—]+|\s*—)\s*(?:(?:and|but|so|because|since|as|plus|though|although|which is (?:great|why"
    rf"|fine) because)\s+)?(?={SUBJECT})"
    rf"|\s+(?:and|but|so|because|since|plus)\s+(?={SUBJECT})"
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


def statements(message: str, least: int = 2) -> list[Span]:
    """Sentences of a user message that may speak of the user: no code, quotation, pasted text, test or fiction.

    In order; at most MAX_SENTENCES.

    Args:
        message: what the user wrote.
        least: words of a sentence; an answer may have one.
    """
    if is_test(message):
        return []
    text = own_text(message)
    spans = [part for span in sentences(text) for part in _readable(text, span, least)]
    if len(spans) > MAX_SENTENCES:
        half = MAX_SENTENCES // 2
        spans = spans[:half] + spans[-half:]
    return spans


def own_words(message: str) -> str:
    """The statements of a message, a line each, and what opens a play in it: what is read of one that is too long."""
    own = [message[span.start : span.end] for span in statements(message)]
    return "\n".join([*own, *filter(None, [opens_play(message)])])


def _readable(text: str, span: Span, least: int = 2) -> list[Span]:
    """The sentence if it can be one that somebody says; of an endless one that speaks of the user, its clauses."""
    said = text[span.start : span.end]
    size = len(said.split())
    if size > MAX_WORDS and is_own(said) and len(said) <= 2 * MAX_CHARS:
        own = [Span(span.start + part.start, span.start + part.end) for part in clauses(said)]
        return [part for one in own if one != span for part in _readable(text, one)]
    if not (least <= size <= MAX_WORDS or (size and _UNSPACED.search(said))) or len(said) > MAX_CHARS:
        return []
    code = _CODE_LINE.search(said) and not (is_own(said) and size >= 4 and not _PUNCTUATION.search(said))
    return [span] if not code and _WORD.search(said) else []


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
    return re.match(SUBJECT, part, re.I) is not None


def _without_link(sentence: str, span: Span) -> Span:
    """ "…, and" belongs to what comes next."""
    link = _LINK.search(sentence[span.start : span.end])
    return _trim(sentence, span.start, span.start + link.start()) if link else span


def sentences(text: str) -> list[Span]:
    """All sentences of a text, in order, without the blanks and marks around them."""
    spans: list[Span] = []
    start = 0
    for match in _END.finditer(text):
        if "\n" not in match.group() and _ABBREVIATION.search(text[max(start, match.start() - 24) : match.start()]):
            continue
        spans.append(
            _trim(text, start, match.start() + len(match.group().rstrip()) if match.group().strip() else match.start())
        )
        start = match.end()
    spans.append(_trim(text, start, len(text)))
    return [span for span in spans if span.end > span.start]


def _trim(text: str, start: int, end: int) -> Span:
    while start < end and (
        text[start].isspace() or (text[start] in "-*•" and not text[start + 1 : start + 2].isdigit())
    ):
        start += 1  # a bullet, but not the sign of "-7 both eyes"
    while end > start and (text[end - 1].isspace() or text[end - 1] in ",;:-–—"):
        end -= 1
    return Span(start, end)
