"""Choices that a model turned round are turned back, and what was written rightly is left alone."""

from __future__ import annotations

import pytest

from agentmem.policy.polarity import righted
from agentmem.train.histories import read_examples
from agentmem.train.judges.records import DATA
from agentmem.train.sft import observed

HOTELS = "The Aster sounds perfect for my stay. The high-rise hotels don't quite appeal to me."
LUNCH = "The salad with grilled tofu sounds good. The other options with bread or grains wouldn't work for me."
EVENING = "I'd go with the documentary. The rest seem a bit too loud and dramatic for me."


@pytest.mark.parametrize(
    ("text", "said", "asked", "right"),
    [
        ("Prefers high-rise hotels.", HOTELS, "", "Dislikes high-rise hotels."),
        ("Prefers bread and grains to meat.", LUNCH, "", "Dislikes bread and grains."),
        ("Prefers bread and grains over meat.", LUNCH, "", "Dislikes bread and grains."),
        ("Dislikes salads with grilled tofu.", LUNCH, "", "Prefers salads with grilled tofu."),
        ("Prefers documentaries that are too loud.", EVENING, "", "Dislikes documentaries that are too loud."),
        ("Prefers loud and dramatic films.", EVENING, "Which films for tonight?", "Dislikes loud and dramatic films."),
        ("Dislikes high-rise hotels.", HOTELS, "", ""),
        ("Prefers lunches without bread.", LUNCH, "", ""),
        ("Prefers grain-free bread.", LUNCH, "", ""),
        ("Prefers salads to bread.", LUNCH, "", ""),
        ("Likes listening to loud music.", "I like loud music, but not at night. Loud bars aren't for me.", "", ""),
        ("Enjoys quiet evenings.", EVENING, "", ""),
        ("Prefers hotels.", HOTELS, "Some hotels?", ""),
        ("Lives in Lyon.", HOTELS, "", ""),
    ],
)
def test_a_choice_is_written_as_it_was_made(text: str, said: str, asked: str, right: str) -> None:
    assert righted(text, said, asked) == (right or text)


def test_what_is_right_stays_and_what_is_righted_is_not_turned_again() -> None:
    assert righted(righted("Prefers high-rise hotels.", HOTELS), HOTELS) == "Dislikes high-rise hotels."


def test_no_preference_that_was_authored_is_changed() -> None:
    """Read by the way: of each the messages that its quotes are from, and what was asked before them."""
    changed, looked = [], 0
    for example in read_examples(DATA / "dialogues").edits:
        seen, edits = observed(example)
        users = [one.content for one in seen.session.messages if one.role == "user"]
        for edit in edits:
            if edit.sign == "+" and edit.kind == "preference":
                said = [text for text in users if any(quote in text for quote in edit.quotes)]
                asked = "\n".join(text for text in users if text not in said)
                looked += 1
                if righted(edit.text, "\n".join(said), asked) != edit.text:
                    changed.append(edit.text)
    assert looked > 2000 and changed == []
