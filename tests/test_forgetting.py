"""Which sentences ask to forget, and what they mean: the rules alone, without a reader."""

from __future__ import annotations

import re
from time import perf_counter

import numpy as np
import pytest

from agentmem.models.embed import Remembering, get_embedder
from agentmem.policy.asked import TO_FORGET, asks_plainly, means_everything, worded_as_request
from agentmem.policy.forgetting import forget_edits, meant, speaks_of
from agentmem.train.judges.worth import of_forgetting

KNOWN = {"f1": "Is vegetarian.", "f2": "Lives in Lyon.", "f3": "Allergic to peanuts."}


class Sure:
    """A judge that is sure that every memory is meant."""

    def probabilities(self, pairs):
        return np.tile(np.array([0.0, 1.0], np.float32), (len(pairs), 1))


@pytest.mark.parametrize(
    "said",
    [
        "Please do not accidentally delete my allergy.",
        "I don't want you to forget my peanut allergy.",
        "Do you not remember that I'm vegetarian?",
        "Don't just forget my peanut allergy!",
        "You don't remember that I live in Lyon?",
        "Don't remember that I live in Lyon?",
        "Can you not remember that I'm vegetarian?",
        "Did you not save my address?",
        "Please do not stop remembering my birthday",
        "You must never, ever forget my allergy",
        "Under no circumstances delete my allergy",
        "Don't lose or delete my allergy",
        "There is no need to delete my address",
        "I'd hate for you to forget my birthday",
        "I would be sad if you forgot my birthday",
        "I don't remember which film that was",
        "My sister could not keep up with us",
        "Don't keep asking me that",
    ],
)
def test_to_keep_is_not_to_forget(said: str) -> None:
    assert not worded_as_request(said) and not asks_plainly(said)


@pytest.mark.parametrize(
    "said",
    [
        "don't remember my address anymore",
        "please don't keep my address",
        "Why don't you forget my address?",
        "Why not just delete my address?",
        "Couldn't you just forget my address?",
        "Can you not remember my address please",
        "Could you not store my address?",
        "You should not store my address",
        "I don't want you to remember the baby stuff",
        "I'd rather you didn't keep my salary",
        "I don't mind if you forget my address",
        "I don't live in Lyon anymore so delete that",
        "Get rid of anything about my ex",
        "I didn't mean to tell you about my illness, please drop it",
        "Would you mind forgetting my address?",
        "Let's pretend I never told you about the pythons.",
        "Please unlearn what I earn",
    ],
)
def test_orders_not_to_keep_and_all_verbs_of_forgetting_are_heard(said: str) -> None:
    assert worded_as_request(said)


@pytest.mark.parametrize(
    "said",
    ["I have to drop the dog at the kennel at 8.", "Mine drop their leaves.", "I do daycare drop-off"],
)
def test_to_drop_is_more_than_to_forget(said: str) -> None:
    assert not worded_as_request(said) and not TO_FORGET.search(said)


@pytest.mark.parametrize(
    "said",
    [
        "Forget my budget for this one, money is no object.",
        "Forget that I live in Lyon for a second, what would a Parisian do?",
        "Forget that I live in Lyon, what would a Parisian do?",
        "Forget about my diet for tonight, I want a steak.",
        "Forget my budget this once",
        "Forget that I'm vegetarian for now",
        "Forget my birthday?",
        "Forget my previous question, what's 2+2?",
        "Forget my last message",
        "Forget my draft, I'll write it myself.",
        "Forget my code, start over",
    ],
)
def test_for_once_and_of_the_chat_is_not_plainly_to_be_forgotten(said: str) -> None:
    assert not asks_plainly(said)


@pytest.mark.parametrize(
    "said",
    ["Forget my peanut allergy.", "Please forget that I pay 80 euros for a hotel", "Forget my address right now",
     "Can you forget my address?", "Forget my address, ok?", "Please forget that I study French for fun"],
)  # fmt: skip
def test_plainly_to_be_forgotten(said: str) -> None:
    assert asks_plainly(said)


@pytest.mark.parametrize(
    "said",
    [
        "Bitte nicht vergessen: ich bin Veganer",
        "Vergiss meine Allergie nicht",
        "Vergiss bitte nicht, dass ich Veganer bin",
        "Bitte keine Daten löschen",
        "niet vergeten: ik ben vegan",
        "ne supprime rien",
        "efface pas ma grossesse",
        "no borres mi dirección",
        "No quiero que olvides mi alergia",
        "Non cancellare il mio indirizzo",
        "não apague meu endereço",
        "nie usuwaj mojego adresu",
        "glöm inte min allergi",
        "不要删除我的地址",
        "忘れないでください",
        "Ich wohne weit entfernt vom Bahnhof",
        "Ich streiche gern Wände",
        "j'ai oublié mon kimono",
        "Esqueci de tomar a losartana",
        "¿Cómo se programa el apagado?",
    ],
)
def test_no_request_in_another_language(said: str) -> None:
    assert not worded_as_request(said)


@pytest.mark.parametrize(
    "said",
    [
        "Bitte vergiss meine Adresse",
        "Vergiss, dass ich nicht rauche",
        "Ich bin nicht mehr dort, bitte lösche die Adresse",
        "Merk dir das bitte nicht",
        "Je ne suis plus végane oublie ça",
        "ya no vivo ahí, borra eso",
        "Olvídate de mi deuda",
        "cancella il mio indirizzo",
        "apague meu endereço por favor",
        "dat mag je wissen",
        "请删除我的地址",
    ],
)
def test_a_request_in_another_language(said: str) -> None:
    assert worded_as_request(said)


@pytest.mark.parametrize(
    "said",
    ["Forget everything you know about me.", "wipe everything you know about me, I want a fresh start",
     "Erase everything you've saved.", "delete all my data please", "Delete all memories.", "Wipe your memory.",
     "Remove all the data you have on me"],
)  # fmt: skip
def test_everything_is_meant_where_it_is_named(said: str) -> None:
    assert means_everything(said)
    assert meant(said, KNOWN, get_embedder("hash"), Sure()) == list(KNOWN)


@pytest.mark.parametrize("said", ["No, remove all.", "Delete everything!", "Erase everything and start over"])
def test_everything_that_is_not_named_means_nothing_known(said: str) -> None:
    assert not means_everything(said)
    assert meant(said, KNOWN, get_embedder("hash"), Sure()) == []
    assert forget_edits(said, []) == []  # so that not even its own words go from the conversation


@pytest.mark.parametrize(
    "said",
    ["Forget everything about me and Tunde", "delete all the data in the table",
     "Delete all my data from the test table", "Erase all that you hold about me, except my name",
     "I forget everything"],
)  # fmt: skip
def test_everything_of_something_is_not_everything(said: str) -> None:
    assert not means_everything(said)


def test_what_is_said_after_a_request_is_news() -> None:
    assert speaks_of("Forget my old address.", "My old address was 3 Low St, Ghent.", 2, 0.5)
    assert not speaks_of("Forget my old address.", "My new address is 5 Main St, Ghent.", -2, 0.5)
    assert not speaks_of("Forget my old address.", "My new address is 5 Main St, Ghent.", 0, 0.5)
    assert speaks_of("Forget what I just said.", "I live in Bern.", 2, 0.0)
    assert not speaks_of("Forget what I just said.", "I live in Bern.", -2, 0.0)


@pytest.mark.parametrize("run", [" ", "-", ", ", "please ", "don't ", "merk dir ", "delete all ", "haal ", "no a "])
def test_long_runs_are_read_in_time(run: str) -> None:
    begun = perf_counter()
    for text in (run * 20_000, f"delete{run * 20_000}x", f"forget all {run * 20_000}y"):
        for read in (asks_plainly, worded_as_request, means_everything, TO_FORGET.search):
            read(text)
    assert perf_counter() - begun < 5  # a second, where a quadratic pattern takes minutes


def test_the_set_is_as_often_right_as_is_said(minilm) -> None:
    """Of held-out requests; the figure of `meant`, which the eval's table of mechanisms repeats."""
    told = of_forgetting(Remembering(minilm))
    [exact] = re.findall(r"0(\.\d\d) exactly right", told)
    assert told.startswith("66 requests") and f"for {exact} with the judge" in " ".join((meant.__doc__ or "").split())
