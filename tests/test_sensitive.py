"""Secrets and identifiers are seen; ordinary numbers and words are not taken for them."""

from __future__ import annotations

import pytest

from agentmem.sensitive import delicate, secret


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("my card is 4111 1111 1111 1111, valid till May", "a card number"),
        ("pay to DE89 3704 0044 0532 0130 00 please", "an IBAN"),
        ("my ssn is 219-09-9999", "an identity number"),
        ("the password for my mail is hunter2", "a password"),
        ("Password: tr0ub4dor&3", "a password"),
        ("my PIN is 4821", "a password"),
        ("my access token is 9f8a7b6c5d", "a password"),
        ("the wifi password's Blue-Horse-9", "a password"),
        ("my password is sunshine", "a password"),
        ("cvv 123", "a password"),
        ("the code to my front door is 4471#", "a password"),
        ("iban de89370400440532013000", "an IBAN"),
        ("my tax id is 12 345 678 901", "an identity number"),
        ("my NHS number is 943 476 5919", "an identity number"),
        ("sk-proj-" + "Ab12Cd34" * 4, "a key or token"),
        ("passport number X1234567", "an identity number"),
        ("my driver's license is D400-7836-0001", "an identity number"),
        ("use AKIAIOSFODNN7EXAMPLE for the bucket", "a key or token"),
        ("token ghp_" + "a1B2" * 9, "a key or token"),
    ],
)
def test_secrets_are_seen(text: str, what: str) -> None:
    assert secret(text) == what


@pytest.mark.parametrize(
    "text",
    [
        "I keep forgetting my password, remind me to use a manager",
        "I'd rather sign in with a PIN than a password",
        "I live at 12 Rue de Rivoli, 75001 Paris",
        "I've run 10,000 steps on 2026-05-01 and 12 000 the day after",
        "my order of 3 shirts, size 42, came on the 14th",
        "I have a passport and a driving licence",
        "my flight is LH1234 at 06:10",
        "I am a member of the chess club since 1998",
        "Whenever I book flights, aisle seat please",
        "call me at work after 17:30",
        "my password is important to me",
        "my gym membership started in 2019",
        "membership costs 12000 a year",
        "the flight is BA2490 and my seat is 12A",
        "I was born in 1985 and live at 221B",
    ],
)
def test_ordinary_sentences_hold_no_secret(text: str) -> None:
    assert secret(text) is None


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("Has been diagnosed with diabetes.", "health"),
        ("Goes to church on Sundays.", "religion"),
        ("Voted for the liberals.", "politics"),
        ("Is gay.", "sexuality"),
        ("Likes vegetarian food.", None),
        ("Prefers quiet rooms.", None),
    ],
)
def test_delicate_matters_are_named(text: str, topic: str | None) -> None:
    assert delicate(text) == topic
