"""Multiple-choice questions: one question under several contexts and on the same options, and what is scored of it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from agentmem.memory import Value
from agentmem.route import count_tokens
from eval.harness import Run, scored
from eval.reader import Answers, Choice, Format, Prompt, Reader, Wording, get_reader
from eval.settings import VARIANTS, Settings, Variation
from eval.stats import spread
from eval.values import Case, Metric, Outcome, Score

CONTROLLED = 0.1
"""Length-controlled: the right option is at most this share longer or shorter than the wrong ones are on average.

So chosen because neither habit of length pays there: on prefeval (362 of 688) always the longest option is right for
.21 and always the shortest for .17, on PersonaMem v1 (148 of 458) .30 and .18. Where the right option is merely not the
longest one, readers that like short replies gain (.30 and .50); where all four are alike within 20 %, the longest one
still is right for .37 on both.
"""

WORDINGS: tuple[Wording, ...] = ("choose", "choose_reworded", "choose_options_first")
FORMATS: tuple[Format, ...] = ("list", "letters", "prose")

Tell = Callable[[Case], str]
"""What the reader is told of the user when it is asked a case; empty for nothing."""


class Question(Value):
    """What is asked: input of a case whose gold is the place of the right option."""

    text: str
    options: tuple[str, ...]
    """Shuffled: the same for every system and context."""
    controlled: bool
    """Whether it belongs to the length-controlled subset."""


def question(id: str, text: str, options: Sequence[str], right: int, seed: int) -> tuple[Question, int]:
    """A question with its options shuffled by its id and the seed, and the place of the right one among them."""
    order = list(range(len(options)))
    random.Random(hashlib.sha256(f"{seed}/{id}".encode()).hexdigest()).shuffle(order)
    wrong = [len(option) for place, option in enumerate(options) if place != right]
    mean = sum(wrong) / len(wrong)
    controlled = abs(len(options[right]) - mean) <= CONTROLLED * mean
    shuffled = tuple(options[place] for place in order)
    return Question(text=text, options=shuffled, controlled=controlled), order.index(right)


# -- variants -------------------------------------------------------------------------------------------------------


class Variant(NamedTuple):
    """A way of asking the same question."""

    name: str
    """Suffix of its accuracy."""
    wording: Wording = "choose"
    format: Format = "list"
    turn: int = 0
    """By how many places the options are moved round."""


def variants(vary: Variation) -> list[Variant]:
    """The ways of asking of a robustness run; the first one is the usual way."""
    names = VARIANTS[vary]
    if vary == "options":
        return [Variant(name, turn=turn) for turn, name in enumerate(names)]
    if vary == "wording":
        return [Variant(name, wording=wording) for name, wording in zip(names, WORDINGS, strict=True)]
    if vary == "format":
        return [Variant(name, format=format) for name, format in zip(names, FORMATS, strict=True)]
    return []


def choose(reader: Reader, asked: Question, context: str, how: Variant = Variant("")) -> Choice:  # noqa: B008
    """What the reader chooses; its place is that of the option in `asked.options`, however it was asked."""
    turn = how.turn % len(asked.options)
    turned = asked.options[turn:] + asked.options[:turn]
    choice = reader.choose(Prompt(context, asked.text, turned, how.wording, how.format))
    return choice._replace(place=(choice.place + turn) % len(turned))


# -- asking and scoring ---------------------------------------------------------------------------------------------


def reader_of(run: Run) -> Reader:
    """The run's reader, made once a process."""
    return run.once(f"choosing reader {run.settings.reader}", lambda: _reader(run.settings.reader))


def _reader(name: str) -> Reader:
    return get_reader(name, Answers())


def metric_names(reference: str) -> tuple[str, ...]:
    """What every case is scored by; `reference` is the context that a good memory should equal: gold or full."""
    return ("accuracy_none", "accuracy_memory", f"accuracy_{reference}", "gain_share", "tokens_memory")


class _Asked:
    """What came out for one case while its contexts are asked one after the other."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.scores: dict[str, Score] = {}
        self.choices: dict[str, Choice] = {}
        self.detail: dict[str, Any] = {}


def outcomes(cases: Sequence[Case], run: Run, memory: Tell, reference: str, tell: Tell) -> list[Outcome]:
    """Ask all cases without anything, then with the memory, then with the reference: prompts that begin alike follow
    each other, so that the reader takes over what it has read.

    Args:
        cases: with a Question as input and the right place as gold.
        run: its reader answers.
        memory: the context from the system's memory.
        reference: gold or full.
        tell: the context of that reference.
    """
    reader = reader_of(run)
    all_asked = [_Asked(case) for case in cases]
    conditions: list[tuple[str, Tell]] = [("none", lambda case: ""), ("memory", memory), (reference, tell)]
    for name, own in conditions:
        for asked in all_asked:
            names = [f"accuracy_{name}", *([] if name == "none" else [f"tokens_{name}"])]
            asked.scores |= scored(names, lambda asked=asked, name=name, own=own: _ask(reader, asked, name, own))
    if run.settings.vary != "none":
        for asked in all_asked:
            _vary(reader, asked, run.settings, memory)
    return [_outcome(asked, reference) for asked in all_asked]


def _ask(reader: Reader, asked: _Asked, name: str, tell: Tell) -> dict[str, Score]:
    context = tell(asked.case)
    choice = asked.choices[name] = choose(reader, asked.case.input, context)
    right = {f"accuracy_{name}": Score(value=float(choice.place == asked.case.gold))}
    if name == "none":
        return right
    asked.detail[f"context_{name}"] = context if len(context) <= 600 else f"{context[:300]} … {context[-300:]}"
    return {**right, f"tokens_{name}": Score(value=count_tokens(context))}


def _vary(reader: Reader, asked: _Asked, settings: Settings, memory: Tell) -> None:
    """Ask the case with the memory in every variant: an accuracy each, and whether the choice is always the same."""
    ways = variants(settings.vary)
    names = [f"accuracy_memory_{way.name}" for way in ways]
    agreement = f"agreement_{settings.vary}"

    def all_ways() -> dict[str, Score]:
        context = memory(asked.case)
        places = [choose(reader, asked.case.input, context, way).place for way in ways]
        found = {name: Score(value=float(place == asked.case.gold)) for name, place in zip(names, places, strict=True)}
        return {**found, agreement: Score(value=float(len(set(places)) == 1))}

    asked.scores |= scored([*names, agreement], all_ways)


def _outcome(asked: _Asked, reference: str) -> Outcome:
    case, shown = asked.case, asked.case.input
    scores = {**asked.scores, "gain_share": gain_share(asked.scores, reference)}
    if shown.controlled:
        plain = {name: score for name, score in scores.items() if name in metric_names(reference)}
        scores |= {f"{name}_length_controlled": plain[name] for name in plain if name != "tokens_memory"}
    made = asked.choices.values()  # kept answers too: what a run costs does not depend on what was asked before
    return Outcome(
        case=case.id,
        group=case.group,
        scores=scores,
        prompt_tokens=sum(choice.prompt_tokens for choice in made),
        completion_tokens=sum(choice.completion_tokens for choice in made),
        detail={
            "question": shown.text,
            "options": list(shown.options),
            "gold": case.gold,
            "chosen": {name: choice.place for name, choice in asked.choices.items()},
            "seconds": {name: choice.seconds for name, choice in asked.choices.items()},
            "kept_answers": [name for name, choice in asked.choices.items() if choice.kept],
            **asked.detail,
        },
    )


def spread_of(outcomes: Sequence[Outcome], settings: Settings) -> dict[str, Metric]:
    """spread_options, _wording or _format of a robustness run: accuracy of the best variant minus that of the worst."""
    names = [f"accuracy_memory_{variant}" for variant in VARIANTS[settings.vary]]
    if not any(name in outcome.scores for outcome in outcomes for name in names):
        return {}
    return {f"spread_{settings.vary}": spread(outcomes, names, seed=settings.seed)}


def gain_share(scores: Mapping[str, Score], reference: str) -> Score:
    """(memory − none) / (reference − none) as value and weight; unscored where one of the three is."""
    three = [scores[f"accuracy_{name}"] for name in ("memory", "none", reference)]
    values = [score.value for score in three if score.value is not None]
    if len(values) < len(three):
        return Score(value=None, reason=next(score.reason for score in three if score.value is None))
    return Score(value=values[0] - values[1], weight=values[2] - values[1])


def with_suffix(outcome: Outcome, suffix: str) -> Outcome:
    """The outcome with every metric again under a subset's name; the length-controlled ones stay of all cases."""
    again = {
        f"{name}_{suffix}": score for name, score in outcome.scores.items() if not name.endswith("_length_controlled")
    }
    return outcome.model_copy(update={"scores": {**outcome.scores, **again}})
