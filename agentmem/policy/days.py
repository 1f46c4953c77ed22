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
_DATE = re.compile(
    rf"(?P<on>\bon )?(?:(?:\b\d\d? )?\b(?P<month>{'|'.join(_MONTHS)}) (?:\d\d?, )?)?\b(?P<year>(?:19|20)\d\d)\b"
)
_DAYS = {"yesterday": (-1,), "tomorrow": (1,), "last week": (-7, -13, -1), "this week": (0, -6, 6),
         "next week": (7, 1, 13)}  # fmt: skip


def redated(text: str, said: str, day: date) -> str:
    """A text whose month or year is the one that the sentence behind it means.

    Changed only where it has one date, and the sentence one such expression and no month or year by its name.

    Args:
        text: of a memory, in English.
        said: the user's sentence.
        day: when it was said.
    """
    meant = {match.lower() for match in _RELATIVE.findall(said)}
    dates = list(_DATE.finditer(text))
    if len(meant) != 1 or len(dates) != 1 or _NAMED.search(said):
        return text
    [expression], [written] = meant, dates
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
