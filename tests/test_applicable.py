"""Which standing instructions apply: rules with a scripted judge, quality with the real one on our own pairs."""

import json
from pathlib import Path

import numpy as np
import pytest

from agentmem.applicable import MANY, applicable
from agentmem.memory import StandingInstruction, full_text
from agentmem.models.fake import FakeEmbedder
from agentmem.models.judges import APPLICABILITY

FRENCH = StandingInstruction(id="iaaaaa", text="Answer in French.")
SEAT = StandingInstruction(id="ibbbbb", text="Take a window seat.", when="booking flights")
HOTEL = StandingInstruction(id="iccccc", text="Find a hotel too.", when="booking flights")
GYM = StandingInstruction(id="iddddd", text="It needs a gym.", when="looking for hotels")
TOWELS = StandingInstruction(id="ieeeee", text="Two towels.", when="there is a gym")
ALL = (SEAT, FRENCH, HOTEL, GYM, TOWELS)

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "data/applicable.jsonl").read_text().splitlines()]


class Script:
    """Says of each pair what it is told; irrelevant otherwise."""

    def __init__(self):
        self.said, self.read = {}, []

    def probabilities(self, pairs):
        self.read += pairs
        chances = np.zeros((len(pairs), len(APPLICABILITY)), np.float32)
        for row, pair in zip(chances, pairs, strict=True):
            row[APPLICABILITY.index(self.said.get(pair, "irrelevant"))] = 1
        return chances


FLY = "booking flights to Oslo"


def selected(judge, request=FLY, instructions=ALL):
    return applicable(instructions, request, FakeEmbedder(), judge)


def said(**labels):
    """A script of what the request is to the instructions."""
    judge = Script()
    judge.said = {(FLY, full_text(globals()[name])): label for name, label in labels.items()}
    return judge


def test_conditions_near_the_request_are_selected_in_the_order_given():
    assert selected(said(FRENCH="applies")) == (SEAT, FRENCH, HOTEL)


def test_one_without_a_condition_is_left_out_where_it_is_about_something_else():
    assert selected(said()) == (SEAT, HOTEL)


def test_a_blank_request_has_only_the_unconditional_ones():
    assert selected(Script(), "  ") == (FRENCH,)
    assert selected(Script(), instructions=()) == ()


def test_what_applies_brings_in_others_and_these_again_others():
    judge = said()
    judge.said[full_text(HOTEL), full_text(GYM)] = "applies"
    judge.said[full_text(GYM), full_text(TOWELS)] = "applies"
    assert selected(judge) == (SEAT, HOTEL, GYM, TOWELS)


def test_a_condition_much_farther_than_the_nearest_is_about_something_else():
    oslo = StandingInstruction(id="ifffff", text="Take a map.", when="going to Oslo")
    both = StandingInstruction(id="iggggg", text="Ask first.", when="booking flights to Oslo")
    assert selected(Script(), FLY, (oslo,)) == (oslo,)
    assert selected(Script(), FLY, (oslo, both)) == (both,)


def test_of_very_many_the_nearest_are_read_and_the_unconditional_ones():
    letters = "abcdefghijkmnpqrstuvwxyz"
    many = [
        StandingInstruction(id=f"i{letters[n // 20]}{letters[n % 20]}aaa", when=f"topic number {n}", text="Do it.")
        for n in range(90)
    ]
    judge = Script()
    selected(judge, FLY, (*many, SEAT, FRENCH))
    assert (FLY, full_text(FRENCH)) in judge.read
    brought = {text for first, text in judge.read if first == full_text(SEAT)}
    assert 0 < len(brought) < MANY


def test_of_very_many_pairs_the_nearest_are_read():
    """Twenty that apply and as many that do not are 400 pairs; a judge reads a hundred in a second."""
    letters = "abcdefghijkmnpqrstuv"
    apply = [
        StandingInstruction(id=f"i{one}aaaa", when="booking flights to Oslo", text=f"Rule {one}") for one in letters
    ]
    others = [StandingInstruction(id=f"i{one}bbbb", when=f"a wholly other topic {one}", text="Do") for one in letters]
    judge = Script()
    selected(judge, FLY, (*apply, *others))
    assert len(judge.read) == MANY


@pytest.mark.parametrize("kind", ["applies", "not", "overridden"])
def test_quality_on_our_own_pairs(minilm, kind):
    """Floors under what was measured, so that only a break shows: 174 pairs, half of them hard negatives."""
    right = total = 0
    for row in PAIRS:
        one = StandingInstruction(id="iaaaaa", when=row["when"], text=row["text"])
        right += sum(bool(applicable([one], said, minilm)) == (kind == "applies") for said in row[kind])
        total += len(row[kind])
    assert right / total > {"applies": 0.7, "not": 0.6, "overridden": 0.9}[kind], right / total
