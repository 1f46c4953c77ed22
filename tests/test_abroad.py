"""Which sentences are in another language than English (agentmem/policy/abroad.py)."""

from __future__ import annotations

import pytest

from agentmem.policy.abroad import is_abroad


@pytest.mark.parametrize(
    "said",
    [
        "no me gusta el pescado", "Me gusta el café", "Estoy embarazada", "No como carne", "Mi madre vive en Cádiz",
        "J'habite Lyon", "Je déteste la coriandre", "Vivo a Roma", "Lavoro a Milano", "Moro em Lisboa",
        "Bydlím v Praze", "Mám rád kočky", "Asun Helsingissä", "Ich bin Veganer", "Der Hund ist alt",
        "Jag bor i Malmö", "Nie jem mięsa", "¿Cuánto cuesta?",
    ],
)  # fmt: skip
def test_in_another_language(said: str) -> None:
    assert is_abroad(said)


@pytest.mark.parametrize(
    "said",
    [
        "Visited Reykjavik", "Visited Reykjavík", "Loves pho", "works at Bosch", "Los Angeles es my home",
        "I love La La Land", "Plays for Real Madrid", "Works for L'Oréal", "Lives in São Paulo", "Drives a Škoda",
        "Likes crème brûlée", "my fiancé is vegan", "Mom was born in Łódź", "No nuts", "me too", "on a diet",
        "w/o losing him", "ha smart.", "tenor as before",
    ],
)  # fmt: skip
def test_in_english(said: str) -> None:
    assert not is_abroad(said)
