"""Sentences that were made into memories of nonsense, or of the wrong person, or the wrong way round."""

from __future__ import annotations

from datetime import date
from time import perf_counter

import pytest

from agentmem.memory import Evidence, Preference
from agentmem.policy.base import Mark, Observation
from agentmem.policy.edits import parse_edits
from agentmem.policy.mending import mended
from agentmem.policy.polarity import righted
from agentmem.policy.taste import remark
from agentmem.policy.whom import of_another
from agentmem.policy.wording import declined, memory_text, when_and_text
from agentmem.session import Message, Session


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("I am so tired of fish", "Is so tired of fish."),
        ("i was so scared", "Was so scared."),
        ("My wife and I live in Rome.", ""),
        ("my sister lives in Rome and I visit her", ""),
        ("Since my divorce I live alone.", ""),
        ("Since 2019 I live in Rome", ""),
        ("Although I love meat, I'm vegan", ""),
        ("because I'm vegan and I love animals", "Is vegan and loves animals."),
        ("Because I have two kids, a dog and a cat", "Has two kids, a dog and a cat."),
        ("now that I'm retired", "Is retired."),
        ("I have a newborn so I moved to part-time", "Has a newborn so moved to part-time."),
        ("I fast in Ramadan and I'm on my feet all day", "Fasts in Ramadan and is on their feet all day."),
        ("I love prawns, he was allergic so I've had none", ""),
        ("my boyfriend is vegan and im not", ""),
        ("I work nights so that my wife can study", "Works nights so that their wife can study."),
        ("I'm vegan, so none of those I'm afraid", "Is vegan."),
        ("I have two kids so what can I cook?", "Has two kids."),
        ("One thing I love is jazz", ""),
        ("Look after my mum", ""),
        ("Look, I'm vegan", "Is vegan."),
        ("So far I've run two marathons", ""),
        ("I will.", ""),
        ("I put sugar in tea", ""),
        ("I read books daily", "Reads books daily."),
        ("I read Dune last year", "Read Dune last year."),
    ],
)
def test_what_cannot_be_turned_stays_as_it_was_said(quote: str, text: str) -> None:
    assert memory_text(quote) == (text or quote[:1].upper() + quote[1:].rstrip(".") + ".")


@pytest.mark.parametrize(
    ("quote", "when", "text"),
    [
        (
            "If I ask for restaurants in Lyon, Paris or Nice, only show vegan ones",
            "asking for restaurants in Lyon, Paris or Nice",
            "Only show vegan ones.",
        ),
        (
            "When I'm travelling, which I do often, suggest light meals",
            "I'm travelling, which I do often",
            "Suggest light meals.",
        ),
        ("When you suggest something, two, never five", "you suggest something", "Two, never five."),
        ("Just answer yes or no when I ask about bugs", "asking about bugs", "Just answer yes or no."),
        (
            "Explain things in the future tense when I ask in German",
            "asking in German",
            "Explain things in the future tense.",
        ),
        ("In future, use metric", "always", "Use metric."),
        ("Ask for good coffee when I book", "booking", "Ask for good coffee."),
        ("Going forward: British spelling", "always", "British spelling."),
        ("Remember to always use metric", "always", "Always use metric."),
        ("No more than 3 options when I ask for ideas, please", "asking for ideas", "No more than 3 options."),
        ("Answer in English even if I write Spanish", "always", "Answer in English even if I write Spanish."),
        ("Before you suggest a pill in future: no ibuprofen", "before you suggest a pill", "No ibuprofen."),
    ],
)
def test_a_condition_ends_where_the_wish_begins(quote: str, when: str, text: str) -> None:
    assert when_and_text(quote) == (when, text)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("The Thai place sounds good but the steakhouse isn't for me.", "Dislikes steakhouse."),
        ("Salad is fine / the steakhouse doesn't appeal to me.", "Dislikes steakhouse."),
        ("Thanks but the beach resort isn't my style", "Dislikes beach resort."),
        ("Not sure, hostels seem too noisy", "Finds hostels too noisy."),
        ("The options, while cute, are too small for my liking.", "Dislikes what is too small."),
        ("Hotels that are far out don't appeal to me", "Dislikes hotels that are far out."),
        ("Turn-based combat tends to feel too slow for me", "Finds turn-based combat too slow."),
        ("I'll pass on the seafood", "Dislikes seafood."),
        ("Paris is too far", "Finds Paris too far."),
        ("Boxing is too brutal for me", "Finds boxing too brutal."),
        ("Large logos are not my thing", "Dislikes large logos."),
        ("I love the salad but the steakhouse isn't for me.", None),  # the salad would be lost
        ("The steakhouse isn't for me but the Thai place is too loud.", None),
        ("as someone who hates cold, Oslo isn't for me", None),
        ("Gol is too early and Voss would be too late", None),
        ("how cold is too cold for kids in water", None),
        ("Number four is too easy for them.", None),
        ("Next week doesn't work for me.", None),
        ("9am doesn't work for me", None),
        ("May and June don't work for me", None),
        ("The first one isn't for me.", None),
        ("Option 2 doesn't work for me", None),
        ("Both are not my thing", None),
        ("I'll pass on that", None),
        ("I have to stay away from alcohol", None),
    ],
)
def test_only_a_thing_is_turned_down(said: str, text: str | None) -> None:
    found = declined(said)
    assert (found and found.text) == text


def test_what_is_only_praised_is_no_dislike() -> None:
    assert remark("Option 4 sounds appealing.") is None
    assert remark("the third looks best") is None


@pytest.mark.parametrize(
    ("text", "said", "right"),
    [
        ("Likes spicy food.", "Spicy food isn't too much for me", ""),
        ("Enjoys hiking.", "Hiking isn't too hard for me, I love it.", ""),
        ("Enjoys cycling too on weekends.", "I enjoy cycling too on weekends.", ""),
        ("Likes coffee.", "I'd never pass on coffee", ""),
        ("Likes opera.", "I don't find opera too long", ""),
        ("Dislikes the salad.", "The salad doesn't sound great", ""),
        ("Likes loud bars.", "Loud bars are too much for me", "Dislikes loud bars."),
        ("Likes loud bars.", "loud bars don't appeal to me anymore", "Dislikes loud bars."),
    ],
)
def test_a_negation_turns_a_refusal_round(text: str, said: str, right: str) -> None:
    assert righted(text, said) == (right or text)


def test_a_taste_that_replaces_another_is_put_the_right_way_round() -> None:
    said = "loud bars don't appeal to me anymore"
    evidence = (Evidence(quote="bars", session="s", turn=0),)
    seen = Observation(
        memories=(Preference(id="p00001", text="Likes loud bars.", evidence=evidence),),
        session=Session(id="s", messages=(Message(role="user", content=said),)),
        today=date(2026, 1, 1),
    )
    [edit] = parse_edits(f'~ p1: Likes loud bars. | "{said}"').edits
    found, problem = mended(edit, seen, Mark(text=said, turn=0, worth="replace"))
    assert found is not None and found.text == "Dislikes loud bars."
    assert "turns round" in problem


@pytest.mark.parametrize(
    ("text", "sentence", "another"),
    [
        ("Is vegan.", "My wife is vegan", True),
        ("Dislikes fish.", "My partner dislikes fish", True),
        ("Is from Kenya.", "My sister, she's from Kenya", True),
        ("Lives in Rome.", "She lives in Rome and I in Oslo.", True),
        ("Lives in Oslo.", "She lives in Rome and I in Oslo.", False),
        ("Is vegan.", "My partner is nonbinary and they're vegan", True),
        ("Is allergic to nuts.", "my son's allergic to nuts, so no nuts", True),
        ("Is vegan.", "My wife and I are vegan", False),
        ("Is vegan.", "My wife is vegan and so am I", False),
        ("Is married to a nurse.", "my wife is a nurse", False),
        ("Wife is vegan.", "my wife is vegan", False),
        ("Lives in Rome.", "I live in Rome with my wife", False),
        ("Loves sage green.", "my wife picked sage green and I kind of love it", False),
        ("Has locs, eight months in.", "how do I wash my locs, they're eight months in", False),
    ],
)
def test_what_kin_do_is_not_the_users(text: str, sentence: str, another: bool) -> None:
    assert of_another(text, sentence) == another


@pytest.mark.parametrize("run", [",", "-", " , ", "so ", "too ", " but "])
def test_long_runs_take_no_long_time(run: str) -> None:
    long = f"I like tea {run * 7000} x"
    start = perf_counter()
    memory_text(long)
    when_and_text(long)
    righted("Likes tea.", long)
    assert perf_counter() - start < 2
