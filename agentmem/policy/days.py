"""When something was: the month that "last week" means, in place of one that a small model made up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta

_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]  # fmt: skip
_SHORT = "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
_RELATIVE = re.compile(r"\b(yesterday|tomorrow|(?:last|this|next) (?:week|month|year))\b", re.I)
_NAMED = re.compile(
    rf"\b(?:{'|'.join(month for month in _MONTHS if month != 'May')}|(?-i:May)|{_SHORT}|(?:19|20)\d\d)\b",
    re.I,
)
_ELSE = re.compile(  # another time is spoken of, too
    r"\b(?:ago|anniversary|(?:a|one) (?:day|week|month|year)"
    r"|(?:\d+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|few|couple|some|many|several"
    r"|these|for|in|of|the)(?: of| more| whole| long)? (?:days|weeks|months|years|decades?)"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:last|this|next) (?:spring|summer|autumn|fall|winter|christmas"
    r"|easter|weekend|may)|today|tonight"
    r"|(?:day before|day after|the|my|our|from) (?:yesterday|tomorrow|(?:last|this|next) (?:week|month|year))"
    r"|(?:last|this|next) (?:week|month|year)(?:['’]s| of))\b",
    re.I,
)
_DATE = re.compile(
    rf"(?P<on>\bon (?:the )?)?(?:(?:\b\d\d?(?:st|nd|rd|th)? (?:of )?)?\b(?P<month>{'|'.join(_MONTHS)}) (?:\d\d?, )?)?"
    r"\b(?P<year>(?:19|20)\d\d)\b"
)
_BEFORE = re.compile(r"\b(?:in|on|since|until|till|from|by|of|during|early|late)\s*$", re.I)
"""What stands before a year that is one."""
_DAYS = {"yesterday": (-1,), "tomorrow": (1,), "last week": (-7, -13, -1), "this week": (0, -6, 6),
         "next week": (7, 1, 13)}  # fmt: skip


def redated(text: str, said: str, day: date) -> str:
    """A text whose month or year is the one that the sentence behind it means.

    Changed only where it has one date, of this year, the last or a later one, and the sentence one such expression and
    no other time.

    Args:
        text: of a memory, in English.
        said: the user's sentence.
        day: when it was said.
    """
    meant = {match.lower() for match in _RELATIVE.findall(said)}
    dates = list(_DATE.finditer(text))
    if len(meant) != 1 or len(dates) != 1 or _NAMED.search(said) or _ELSE.search(said):
        return text
    [expression], [written] = meant, dates
    long_ago = int(written["year"]) < day.year - 1
    if long_ago or (written["month"] is None and not _BEFORE.search(text[: written.start()])):
        return text
    possible = list(_possible(expression, day))
    year, month = possible[0]
    if written["month"] is None or month is None:
        right, plain = int(written["year"]) in {one for one, _ in possible}, str(year)
    else:
        right = (int(written["year"]), _MONTHS.index(written["month"]) + 1) in possible
        plain = f"{_MONTHS[month - 1]} {year}"
    if right:
        return text
    return text[: written.start()] + ("in " if written["on"] else "") + plain + text[written.end() :]


def _possible(expression: str, day: date) -> Iterable[tuple[int, int | None]]:
    """Years and months that it may mean, the likeliest first; of a year no month."""
    if expression in _DAYS:
        for days in _DAYS[expression]:
            then = day + timedelta(days)
            yield then.year, then.month
        return
    step = {"last": -1, "this": 0, "next": 1}[expression.split()[0]]
    if expression.endswith("year"):
        yield day.year + step, None
    else:
        months = 12 * day.year + day.month - 1 + step
        yield months // 12, months % 12 + 1
