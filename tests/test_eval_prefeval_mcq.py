"""prefeval-mcq and what all multiple-choice questions share, against values computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import write_tiny_gguf

from agentmem.session import Session
from eval.benchmarks.prefeval_mcq import PrefEvalMCQ
from eval.harness import evaluate
from eval.mcq import gain_share, question, variants
from eval.runs import read_outcomes
from eval.settings import Settings
from eval.stats import metrics_of, spread
from eval.systems import Context, SystemSpec, UserMemory
from eval.values import Outcome, Report, Score

DATA = Path(__file__).parent.parent.parent / "shared" / "data"

LIKES = [
    ("rowing on quiet lakes", "Where should I spend Sunday?", "Take a boat out for rowing on quiet lakes."),
    ("woollen hats in winter", "What should I wear tomorrow?", "Wear one of the woollen hats made for winter."),
    ("radio plays at night", "What could I do after dinner?", "Listen to radio plays, best at night."),
    ("goat cheese with figs", "What should I eat at noon?", "Have goat cheese and some ripe figs."),
]
"""Preferences of our own invention, with a question and the right reply."""

WRONG = ["Ask a neighbour about it.", "It depends on your budget!", "Try the newest app for that."]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AGENTMEM_EVAL_CACHE", str(tmp_path / "answers"))


def write_data(folder: Path, copies: int = 1) -> Path:
    """Pairs whose dialogues tell the preference in all forms, in the layout of the data kit."""
    rows = []
    for number in range(copies * len(LIKES)):
        liked, asked, right = LIKES[number % len(LIKES)]
        rows.append(
            {
                "id": f"made_up/{number:03}", "topic": "made_up", "preference": f"I love {liked}.", "question": asked,
                "explanation": "A reply that does not heed it disappoints.",
                "choice": {"conversation": {
                    "query": "Which of these?", "assistant_options": f"1. {liked} 2. none",
                    "user_selection": f"I take the first, {liked}.", "assistant_acknowledgment": "Good choice.",
                }},
                "persona": {"turns": {}}, "mcq_options": [right, *WRONG],
            }
        )  # fmt: skip
        rows[-1]["persona"]["turns"] = [{"user": f"As a baker I enjoy {liked}.", "assistant": "I see."}]
    (folder / "prefeval").mkdir(parents=True)
    (folder / "prefeval" / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fillers = [
        {"conversation_id": "c", "role": role, "content": f"{role} says {n}"}
        for n in range(3)
        for role in ("user", "assistant")
    ]
    (folder / "prefeval" / "filler_messages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in fillers))
    return folder


def run(tmp_path: Path, system: str, copies: int = 1, **settings: Any) -> tuple[Report, list[Outcome]]:
    data = tmp_path / "data"
    if not data.exists():
        write_data(data, copies)
    out = tmp_path / f"{system.replace(':', '-')}.json"
    asked = Settings(data=data, **{"reader": "fake", "fillers": 3, **settings})
    report = evaluate(PrefEvalMCQ(), SystemSpec(label=system, embedder="hash"), asked, out, fresh=True)
    return report, read_outcomes(out)


# -- shared ---------------------------------------------------------------------------------------------------------


def test_options_are_shuffled_by_id_and_seed() -> None:
    options = ["right", "b", "c", "d"]
    first, place = question("x", "?", options, 0, seed=0)
    assert sorted(first.options) == sorted(options) and first.options[place] == "right"
    assert question("x", "?", options, 0, seed=0) == (first, place)
    places = [question(f"x{n}", "?", options, 0, seed=0)[1] for n in range(400)]
    assert all(70 <= places.count(place) <= 130 for place in range(4))
    assert any(question(f"x{n}", "?", options, 0, 1)[1] != places[n] for n in range(9))


@pytest.mark.parametrize(
    ("lengths", "controlled"),
    [((100, 100, 100, 100), True), ((110, 80, 100, 120), True), ((111, 80, 100, 120), False),
     ((90, 60, 100, 140), True), ((89, 60, 100, 140), False)],
)  # fmt: skip
def test_the_length_controlled_subset(lengths: tuple[int, ...], controlled: bool) -> None:
    """The mean of the wrong ones is 100: the right one may have 90 to 110 characters."""
    assert question("x", "?", ["o" * length for length in lengths], 0, 0)[0].controlled is controlled


def test_gain_share_is_a_ratio_of_sums() -> None:
    def of(none: float, memory: float, gold: float) -> Score:
        accuracies = {"accuracy_none": none, "accuracy_memory": memory, "accuracy_gold": gold}
        return gain_share({name: Score(value=value) for name, value in accuracies.items()}, "gold")

    assert of(0, 1, 1) == Score(value=1, weight=1)
    scores = [of(0, 1, 1), of(0, 0, 1), of(1, 0, 1), of(0, 1, 0), of(0, 1, 1), of(0, 0, 1)]
    outcomes = [Outcome(case=str(n), group=str(n), scores={"gain_share": one}) for n, one in enumerate(scores)]
    metric = metrics_of(outcomes)["gain_share"]  # memory 3/6, none 1/6, gold 5/6: (3 - 1) / (5 - 1)
    assert metric.value == pytest.approx(0.5)
    missing = {"accuracy_none": Score(value=0), "accuracy_memory": Score(value=None, reason="broke"),
               "accuracy_gold": Score(value=1)}  # fmt: skip
    assert gain_share(missing, "gold") == Score(value=None, reason="broke")


def test_spread_by_hand() -> None:
    accuracies = [(1, 0, 1), (1, 0, 0), (0, 0, 1), (1, 1, 1)]  # means 3/4, 1/4, 3/4
    outcomes = [
        Outcome(
            case=str(n), group=str(n), scores={name: Score(value=one) for name, one in zip("abc", row, strict=True)}
        )
        for n, row in enumerate(accuracies)
    ]
    broken = Outcome(case="x", group="x", scores={"a": Score(value=1), "b": Score(value=None, reason="broke")})
    found = spread([*outcomes, broken], "abc")
    assert (found.value, found.n, found.unscored) == (0.5, 4, 1)
    assert found.ci95 is not None and 0 <= found.ci95[0] <= 0.5 <= found.ci95[1] <= 1
    assert spread([broken], "ab").value is None


# -- the benchmark --------------------------------------------------------------------------------------------------


def test_every_metric_with_a_memory_that_tells_all(tmp_path: Path) -> None:
    """The fake reader takes the reply with most words of what it is told; told nothing, the first one."""
    report, outcomes = run(tmp_path, "full-context")
    value = {name: metric.value for name, metric in report.metrics.items()}
    assert report.n == 12  # four pairs in three forms
    for suffix in ("", "_explicit", "_choice", "_persona"):
        assert value[f"accuracy_memory{suffix}"] == value[f"accuracy_gold{suffix}"] == 1.0
    first = [outcome.detail["gold"] == 0 for outcome in outcomes]
    assert value["accuracy_none"] == pytest.approx(sum(first) / 12)
    assert value["gain_share"] == (1.0 if sum(first) < 12 else None)
    assert report.metrics["accuracy_memory_choice"].n == 4
    explicit = next(outcome for outcome in outcomes if outcome.case == "made_up/000/explicit")
    told = explicit.detail["context_memory"]
    assert told.startswith("Earlier conversations:\nuser: I love rowing on quiet lakes.\nuser: user says 0")
    assert told.endswith("assistant: assistant says 2")
    assert explicit.scores["tokens_memory"].value == -(-len(told) // 4)
    assert explicit.detail["context_gold"] == (
        "You are the user's personal assistant.\n\nThe user:\n- I love rowing on quiet lakes.\n\n"
        "Today is 2026-01-01.\n\nLeave out what does not suit this user."
    )


def test_without_memory_nothing_is_gained(tmp_path: Path) -> None:
    report, _ = run(tmp_path, "no-memory")
    value = {name: metric.value for name, metric in report.metrics.items()}
    assert value["accuracy_memory"] == value["accuracy_none"] and value["tokens_memory"] == 0
    assert value["gain_share"] in (0.0, None)


def test_agentmem_with_fillers_and_its_own_presentation(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    out = tmp_path / "agentmem.json"
    spec = SystemSpec(label="agentmem:whole_memory", embedder="hash", presentation="reminder")
    evaluate(PrefEvalMCQ(), spec, Settings(data=data, reader="fake", fillers=3), out)
    # of these dialogues the offline policy with the hash embedder learns from this one
    detail = next(one for one in read_outcomes(out) if one.case == "made_up/002/explicit").detail
    head = "The user has told you this about themselves:\n- "
    assert f"{head}Loves radio plays at night." in detail["context_memory"]
    assert f"{head}I love radio plays at night." in detail["context_gold"]
    assert detail["chosen"]["memory"] == detail["chosen"]["gold"] == detail["gold"]


def test_all_systems_and_forms_are_asked_on_the_same_options(tmp_path: Path) -> None:
    asked = [run(tmp_path, system)[1] for system in ("bm25", "full-context")]
    for one, other in zip(*asked, strict=True):
        assert (one.case, one.detail["options"], one.detail["gold"]) == (
            other.case, other.detail["options"], other.detail["gold"])  # fmt: skip
    assert len({tuple(one.detail["options"]) for one in asked[0]}) == len(LIKES)


def test_shuffled_golds_fall_to_chance(tmp_path: Path) -> None:
    right, _ = run(tmp_path, "full-context", copies=12)
    assert right.metrics["accuracy_memory"].value == 1.0
    shuffled, _ = run(tmp_path, "full-context", copies=12, shuffle_gold=True)
    for name in ("accuracy_memory", "accuracy_gold", "accuracy_none"):
        value = shuffled.metrics[name].value
        assert value is not None and 0.15 < value < 0.36


class Mute(UserMemory):
    """Finds nothing and says so of its context."""

    name = "mute"

    def observe(self, session: Session) -> None:
        pass


class Plain(UserMemory):
    """Shows all it was told, and cannot take over another memory."""

    name = "plain"

    def __init__(self) -> None:
        self.said: list[str] = []

    def observe(self, session: Session) -> None:
        self.said += [message.content for message in session.messages]

    def context(self, request: str, *, budget: int | None = 2000) -> Context:
        return Context(text="\n".join(self.said), tokens=0)


class Own:
    """Both as systems."""

    config: dict[str, object] = {}  # noqa: RUF012

    def __init__(self, memory: type[UserMemory]) -> None:
        self.name, self._memory = memory.name, memory

    def open(self, folder: Path) -> UserMemory:
        return self._memory()


mute, plain = Own(Mute), Own(Plain)


def test_what_a_system_cannot_do_is_unscored_and_the_rest_is_scored(tmp_path: Path) -> None:
    report, _ = run(tmp_path, "test_eval_prefeval_mcq:mute")
    metrics = report.metrics
    assert metrics["accuracy_gold"].value == 1.0 and metrics["accuracy_none"].n == 12
    for name in ("accuracy_memory", "accuracy_memory_choice", "tokens_memory", "gain_share"):
        assert (metrics[name].value, metrics[name].n) == (None, 0)
    assert metrics["accuracy_memory"].unscored == 12


def test_a_memory_that_cannot_take_over_another_observes_the_fillers(tmp_path: Path) -> None:
    report, outcomes = run(tmp_path, "test_eval_prefeval_mcq:plain")
    assert report.metrics["accuracy_memory"].value == 1.0
    assert outcomes[0].detail["context_memory"].endswith("user says 2\nassistant says 2")


def test_answers_are_shared_between_forms_and_systems(tmp_path: Path) -> None:
    reader = f"local:{write_tiny_gguf(tmp_path / 'tiny.gguf')}"
    _, first = run(tmp_path, "no-memory", reader=reader, limit=2)
    _, second = run(tmp_path, "full-context", reader=reader, limit=2)
    assert [outcome.detail["kept_answers"] for outcome in second] == [["none", "gold"]] * 2
    assert [one.detail["chosen"]["gold"] for one in first] == [one.detail["chosen"]["gold"] for one in second]
    assert 0 < first[0].prompt_tokens < second[0].prompt_tokens  # a kept answer costs what it cost when it was asked


@pytest.mark.parametrize(
    ("vary", "names"),
    [("options", ["order0", "order1", "order2", "order3"]), ("wording", ["wording0", "wording1", "wording2"]),
     ("format", ["format_list", "format_letters", "format_prose"])],
)  # fmt: skip
def test_robustness(tmp_path: Path, vary: Any, names: list[str]) -> None:
    assert [variant.name for variant in variants(vary)] == names
    report, _ = run(tmp_path, "full-context", vary=vary, limit=6)
    for name in names:  # the fake reader heeds the words alone
        assert report.metrics[f"accuracy_memory_{name}"].value == 1.0
    assert report.metrics[f"agreement_{vary}"].value == 1.0
    without, _ = run(tmp_path, "no-memory", vary=vary, limit=6)
    accuracies = [without.metrics[f"accuracy_memory_{name}"].value for name in names]
    spread = without.metrics[f"spread_{vary}"].value
    assert spread == pytest.approx(max(accuracies) - min(accuracies))  # type: ignore[type-var, operator]
    if vary == "options":  # told nothing, it takes whatever comes first: each option once
        assert sum(accuracies) == pytest.approx(1.0)  # type: ignore[arg-type]
        assert without.metrics["agreement_options"].value == 0.0


@pytest.mark.skipif(not (DATA / "prefeval").is_dir(), reason="the benchmark data is not here")
def test_real_data(tmp_path: Path) -> None:
    asked = Settings(data=DATA, reader="fake", fillers=10, limit=9)
    report = evaluate(PrefEvalMCQ(), SystemSpec(label="bm25"), asked, tmp_path / "real.json")
    assert report.n == 9 and report.metrics["accuracy_memory_choice"].n == 3
    units = PrefEvalMCQ().load(Settings(data=DATA))
    right = [unit.cases[0].gold for unit in units[::3]]
    assert all(0.2 < right.count(place) / len(right) < 0.3 for place in range(4))
    controlled = [unit.cases[0].input for unit in units[::3] if unit.cases[0].input.controlled]
    assert len(controlled) > len(units) / 3 * 0.4
