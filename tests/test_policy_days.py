"""Which month "last week" was."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.policy.days import redated


@pytest.mark.parametrize(
    ("text", "said", "day", "right"),
    [
        ("Moved in January 2026.", "I moved last week", date(2026, 1, 1), "Moved in December 2025."),
        ("Moved in September 2025.", "I moved last week", date(2025, 9, 2), "Moved in September 2025."),
        ("Moved in August 2025.", "I moved last week", date(2025, 9, 2), "Moved in August 2025."),
        ("Turned 34 on 2 January 2025.", "turned 34 yesterday", date(2026, 1, 2), "Turned 34 in January 2026."),
        ("Has panels since 2026.", "we got panels last year", date(2026, 3, 25), "Has panels since 2025."),
        ("Has panels since May 2026.", "we got panels last year", date(2026, 3, 25), "Has panels since 2025."),
        ("To Bruges in December 2025.", "for Bruges next month", date(2025, 12, 30), "To Bruges in January 2026."),
        ("Sold the car in 2025.", "I sold the car last month", date(2026, 1, 5), "Sold the car in 2025."),
        ("Sold the car in 2026.", "I sold the car last month", date(2026, 1, 5), "Sold the car in 2025."),
        ("From 8 September 2025.", "signed yesterday, from Sept 8", date(2025, 8, 20), "From 8 September 2025."),
        ("Retired in June 2025.", "I retired last June", date(2026, 5, 4), "Retired in June 2025."),
        ("Born in 1990, moved in 2024.", "moved last year", date(2026, 5, 4), "Born in 1990, moved in 2024."),
        ("Eats 2000 calories a day.", "2,000 calories since last week", date(2025, 10, 5), "Eats 2000 calories a day."),
        ("Born in 1985.", "I turned 40 last week", date(2025, 10, 5), "Born in 1985."),
        ("Has a 2024 Golf.", "I bought a used Golf yesterday", date(2025, 10, 5), "Has a 2024 Golf."),
        ("Moved in December 2025.", "I moved the day before yesterday", date(2026, 1, 2), "Moved in December 2025."),
        ("Starts in November 2025.", "quit last week, start on Monday", date(2025, 10, 30), "Starts in November 2025."),
        ("Graduates in 2026.", "it's my last year of college", date(2025, 10, 5), "Graduates in 2026."),
        ("Moved last week.", "I moved last week", date(2026, 5, 4), "Moved last week."),
    ],
)  # fmt: skip
def test_a_month_is_the_one_that_was_meant(text: str, said: str, day: date, right: str) -> None:
    assert redated(text, said, day) == right


@given(
    st.sampled_from(["yesterday", "tomorrow", "last week", "this month", "next year", "last month", "one day"]),
    st.sampled_from(["May 2024", "2 May 2024", "2024", "May 2, 2024", "March 2025"]),
    st.dates(date(2023, 1, 1), date(2026, 12, 31)),
)
def test_what_was_mended_once_stays(said: str, written: str, day: date) -> None:
    once = redated(f"Moved in {written}.", f"I moved {said}", day)
    assert redated(once, f"I moved {said}", day) == once and once.startswith("Moved in ") and once.endswith(".")
