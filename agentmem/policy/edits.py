"""The action language: what a policy writes, one edit a line, in words a person could have typed.

    + instruction: converting amounts => use euros. | "prices in euros please, I live in Lyon"
    + preference?: Likes vegetarian food. | "I'll take the salad bar" | "no steak house please"
    ~ p1 p4: Wants short answers in plain words. | "shorter, and without jargon"
    - f3 | "we moved to Porto last week" @2026-09-02
    x f7 | "please forget my diagnosis"
    =

`+` adds (`?`: inferred), `~` puts one memory in the place of others, `-` closes, `x` forgets, `=` alone means there is
nothing to remember. After each bar stand the user's own words as a JSON string; a day may end the line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date
from typing import Any, Literal, NamedTuple

from pydantic import field_validator, model_validator

from agentmem.errors import OutputError
from agentmem.memory import Kind, Value, one_line


class Edit(Value):
    """One line of the action language."""

    sign: Literal["+", "~", "-", "x"]
    kind: Kind | None = None
    """Of a `+`."""
    inferred: bool = False
    when: str | None = None
    text: str = ""
    aliases: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    day: date | None = None
    sure: float = 1.0
    """Share of the confidence that its memory would have otherwise."""

    @field_validator("text", "when")
    @classmethod
    def _without_bars(cls, text: str | None) -> str | None:
        """One line, and no bar: it separates the quotes."""
        return None if text is None else one_line(text.replace("|", "/"))

    @model_validator(mode="before")
    @classmethod
    def _one_arrow(cls, fields: Any) -> Any:
        """=> stands between `when` and `text` only; where a user typed one, as in code, it becomes ->."""
        if isinstance(fields, dict) and (fields.get("sign") == "~" or fields.get("kind") == "instruction"):
            arrows = {name: fields[name].replace("=>", "->") for name in ("when", "text") if fields.get(name)}
            return {**fields, **arrows}
        return fields


class Parsed(NamedTuple):
    """The edits of an answer, and what could not be read in it."""

    edits: tuple[Edit, ...]
    problems: tuple[str, ...]


# -- reading and writing -------------------------------------------------------------------------------------------

_ALIAS = r"[pif][0-9]+"
_HEADS = {
    "+": re.compile(r"\+ ?(?P<kind>preference|instruction|fact)(?P<inferred>\??): ?(?P<text>.+)"),
    "~": re.compile(rf"~ ?(?P<aliases>{_ALIAS}(?: {_ALIAS})*): ?(?P<text>.+)"),
    "-": re.compile(rf"- ?(?P<aliases>{_ALIAS})"),
    "x": re.compile(rf"x(?: ?(?P<aliases>{_ALIAS}))?"),
}
_NOISE = re.compile(r"```\w*|\s*")
_NUMBERING = re.compile(r"\d{1,2}[.)]\s+(?=[+~x=-])")
_DAY = re.compile(r"@(\d{4}-\d{2}-\d{2})")


def parse_edits(text: str) -> Parsed:
    """Read a policy's answer. Lines that are no edits become problems with their number and reason.

    Raises:
        OutputError: not a single line could be read; the error keeps the whole answer.
    """
    edits: list[Edit] = []
    problems: list[str] = []
    nothing = False
    for number, line in enumerate(text.split("\n"), start=1):
        line = _NUMBERING.sub("", line.strip())
        if _NOISE.fullmatch(line):
            continue
        if line == "=":
            nothing = True
            continue
        try:
            edits.append(_parse_line(line))
        except ValueError as error:
            problems.append(f"line {number}: {error}: {line[:80]}")
    if not edits and not nothing:
        raise OutputError(problems[0] if problems else "the answer is empty; expected edits, or = for none", raw=text)
    return Parsed(tuple(edits), tuple(problems))


def _parse_line(line: str) -> Edit:
    pattern = _HEADS.get(line[0])
    if pattern is None:
        raise ValueError("begins with none of + ~ - x =")
    head, quotes, day = _split(line)
    if not quotes:
        raise ValueError('no evidence; end the line with | "the user\'s own words"')
    match = pattern.fullmatch(head)
    if match is None:
        raise ValueError("not of the form of a " + line[0] + " line")
    found = match.groupdict()
    text, when = found.get("text") or "", None
    if (found.get("kind") == "instruction" or line[0] == "~") and "=>" in text:
        when, text = (part.strip() for part in text.split("=>", 1))
    if found.get("kind") == "instruction" and when is None:
        when = "always"
    if "=>" in text and when is not None:
        raise ValueError("more than one =>")
    if "text" in found and not text.strip() or when == "":
        raise ValueError("nothing to remember in it")
    return Edit(
        sign=line[0],  # type: ignore[arg-type]
        kind=found.get("kind"),  # type: ignore[arg-type]
        inferred=bool(found.get("inferred")),
        when=when,
        text=text,
        aliases=tuple((found.get("aliases") or "").split()),
        quotes=quotes,
        day=day,
    )


def _split(line: str) -> tuple[str, tuple[str, ...], date | None]:
    """A line as its head, its quotes and its day."""
    head, bar, rest = line.partition("|")
    quotes = []
    while bar:
        rest = rest.strip()
        try:
            quote, end = json.JSONDecoder().raw_decode(rest)
        except json.JSONDecodeError as error:
            raise ValueError(f"the quote is no JSON string ({error.msg})") from error
        if not isinstance(quote, str) or not quote.strip():
            raise ValueError("the quote is empty or no string")
        quotes.append(quote)
        between, bar, rest = rest[end:].partition("|")
        if bar and between.strip():
            raise ValueError("text between two quotes")
        rest = rest if bar else between
    rest = rest.strip()
    if not rest:
        return head.strip(), tuple(quotes), None
    day = _DAY.fullmatch(rest)
    if day is None:
        raise ValueError("text after the quote; only @YYYY-MM-DD may follow")
    return head.strip(), tuple(quotes), date.fromisoformat(day[1])


def format_edits(edits: Iterable[Edit]) -> str:
    """Write edits, one a line; `=` for none. The inverse of `parse_edits`."""
    return "\n".join(map(format_edit, edits)) or "="


def format_edit(edit: Edit) -> str:
    """One edit as its line."""
    said = f"{edit.when} => {edit.text}" if edit.when is not None else edit.text
    if edit.sign == "+":
        head = f"+ {edit.kind}{'?' if edit.inferred else ''}: {said}"
    else:
        head = " ".join([edit.sign, *edit.aliases]) + (f": {said}" if edit.sign == "~" else "")
    quotes = "".join(f" | {json.dumps(quote, ensure_ascii=False)}" for quote in edit.quotes)
    return head + quotes + (f" @{edit.day.isoformat()}" if edit.day else "")


# -- the grammar, for constrained decoding ---------------------------------------------------------------------------

BLANK = r"\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Nothing but these would be an empty text or quote (`str.strip`)."""
_RULES = rf"""
root ::= ("=" | line ("\n" line)*) "\n"?
line ::= (add | update | close | forget) quotes day?
add ::= "+ " (("preference" | "fact") "?"? ": " text | "instruction" "?"? ": " when " => " when)
update ::= "~ " alias (" " alias)* ": " (when " => ")? when
close ::= "- " alias
forget ::= "x" (" " alias)?
quotes ::= (" | " quote)+
text ::= [^|{BLANK}] [^|\x00-\x1f\x7f]*
when ::= [^|={BLANK}] [^|=\x00-\x1f\x7f]*
quote ::= "\"" first char* "\""
first ::= [^"\\{BLANK}] | "\\" ["\\/]
char ::= [^"\\\x00-\x1f] | "\\" ["\\/bfnrt]
day ::= " @" (year "-" month | leap "-02-29")
year ::= [12] [0-9] [0-9] [0-9]
month ::= ("0" [1-9] | "1" [0-2]) "-" date | ("0" [13-9] | "1" [0-2]) ("-29" | "-30") | ("0" [13578] | "1" [02]) "-31"
date ::= "0" [1-9] | "1" [0-9] | "2" [0-8]
leap ::= [12] [0-9] ("0" [48] | [2468] [048] | [13579] [26]) | "2000"
"""


def grammar(aliases: Iterable[str]) -> str:
    """The action language as GBNF, with only these aliases; without any, lines that need one cannot be written."""
    names = list(aliases)
    if names:
        return _RULES + "alias ::= " + " | ".join(f'"{name}"' for name in names) + "\n"
    rules = _RULES.replace("(add | update | close | forget)", "(add | forget)").replace(' (" " alias)?', "")
    return "\n".join(rule for rule in rules.splitlines() if not rule.startswith(("update", "close"))) + "\n"
