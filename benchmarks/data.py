"""Made-up users of any size: distinct memories, and conversations they rest on."""

from __future__ import annotations

import random
from datetime import date, timedelta
from itertools import islice, product

from agentmem.memory import Evidence, Fact, Memory, Preference, StandingInstruction
from agentmem.session import Message, Session

_THINGS = (
    "green tea", "window seats", "crime novels", "mountain huts", "sourdough", "board games", "night trains",
    "open-air cinemas", "chamber music", "sea kayaking", "linen shirts", "spicy soups", "podcasts on history",
    "vegetable gardens", "jazz clubs", "old maps", "road cycling", "ceramics", "sailing", "almond cakes",
    "film cameras", "thermal baths", "chess puzzles", "wild swimming", "flea markets",
)  # fmt: skip
_PLACES = (
    "Lisbon", "Ghent", "Kyoto", "Oslo", "Turin", "Quito", "Leeds", "Dakar", "Riga", "Hanoi", "Perth", "Porto",
    "Graz", "Accra", "Lima", "Sofia", "Austin", "Basel", "Cork", "Nantes",
)  # fmt: skip
_TIMES = (
    "on weekday mornings", "when travelling alone", "with the children", "in winter", "after work", "on holidays",
    "with old friends", "before a deadline", "on rainy days", "at family parties", "during Lent", "on Sundays",
    "when the budget is tight", "in the first week of a month", "while the kitchen is being rebuilt",
    "since moving house", "on business trips", "when guests stay over", "in the school holidays", "after the gym",
)  # fmt: skip

_VERBS = (
    "Enjoys", "Avoids", "Asks about", "Saves money for", "Is learning about", "Gave up", "Writes about", "Dreams of",
    "Is tired of", "Recommends", "Took photos of", "Collects notes on",
)  # fmt: skip

QUERIES = (
    "What tea should I buy?", "Find me a seat on the train to Turin", "Plan a quiet weekend with the children",
    "Which novel fits a rainy Sunday?", "Where did I go swimming last winter?", "Suggest dinner for old friends",
    "I need a gift for someone who likes maps", "What music do I like after work?",
    "Book something for my trip to Oslo",
    "Is there a market I would enjoy in Nantes?",
)  # fmt: skip


def memories(count: int, rng: random.Random) -> list[Memory]:
    """`count` distinct memories of one user (at most 120,000), each resting on a turn of `sessions`."""
    made: list[Memory] = []
    every = list(product(_THINGS, _PLACES, _TIMES, _VERBS))
    for number, (thing, place, when, verb) in enumerate(rng.sample(every, count)):
        text = f"{verb} {thing} in {place} {when}."
        said = Evidence(quote=text.removesuffix("."), session=f"s{number // 20}", turn=2 * (number % 20))
        day = date(2024, 1, 1) + timedelta(days=number % 700)
        id = _letters(number)
        if number % 10 == 0:
            made.append(StandingInstruction(id=f"i{id}", text=f"Mention {thing}.", when=f"planning {place} {when}",
                                            evidence=(said,), valid_at=day))  # fmt: skip
        elif number % 3:
            made.append(Preference(id=f"p{id}", text=text, evidence=(said,), valid_at=day))
        else:
            made.append(Fact(id=f"f{id}", text=text, evidence=(said,), valid_at=day))
    return made


def sessions(turns: int, rng: random.Random) -> list[Session]:
    """Conversations with that many user turns together, 20 in each."""
    said = (f"I'm thinking about {thing} in {place} {when}, what do you think?"
            for thing, place, when in rng.sample(list(product(_THINGS, _PLACES, _TIMES)), turns))  # fmt: skip
    made = []
    while own := list(islice(said, 20)):
        talk: list[Message] = []
        for text in own:
            talk += [Message(role="user", content=text), Message(role="assistant", content=f"Some thoughts: {text}")]
        made.append(
            Session(id=f"s{len(made)}", date=date(2024, 1, 1) + timedelta(days=len(made)), messages=tuple(talk))
        )
    return made


def _letters(number: int) -> str:
    alphabet = "23456789abcdefghjkmnpqrstvwxyz"
    digits = ""
    for _ in range(5):
        number, digit = divmod(number, len(alphabet))
        digits = alphabet[digit] + digits
    return digits
