"""PrefEval: the loader, prefeval-retrieval and prefeval-implicit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentmem.memory import Hit, HitKind, Preference, Source
from agentmem.models.embed import Embedder
from agentmem.session import Session
from eval.benchmarks import prefeval_retrieval
from eval.benchmarks.prefeval import FORMS, filler_session, load_filler_conversations, load_fillers, load_pairs
from eval.benchmarks.prefeval_implicit import PrefEvalImplicit, foremost, rank_of
from eval.benchmarks.prefeval_retrieval import PrefEvalRetrieval, found_any
from eval.errors import DataError
from eval.harness import evaluate
from eval.runs import read_outcomes
from eval.settings import Settings
from eval.systems import BOTH, SystemSpec, UserMemory, turn_hit
from eval.values import Report

DATA = Path(__file__).parent / "eval_data" / "prefeval"
REAL = Path(__file__).parent.parent.parent / "shared" / "data"
OURS, UPSTREAM = Settings(data=DATA / "ours"), Settings(data=DATA / "upstream")


# -- the loader -----------------------------------------------------------------------------------------------------


def test_both_layouts_give_the_same_pairs_and_fillers():
    assert load_pairs(OURS) == load_pairs(UPSTREAM)
    assert load_fillers(OURS) == load_fillers(UPSTREAM)
    inner = Settings(data=DATA / "upstream" / "benchmark_dataset")
    assert load_pairs(inner) == load_pairs(OURS)


def test_a_pair_has_its_three_dialogues_and_their_key_turns():
    pair = load_pairs(OURS)[1]
    assert (pair.id, pair.topic, pair.options[0]) == ("garden/001", "garden", "Feed them compost.")
    assert [m.content for m in pair.dialogues["explicit"].messages] == ["I refuse to use chemical fertiliser."]
    choice, persona = pair.dialogues["choice"], pair.dialogues["persona"]
    assert [m.role for m in choice.messages] == ["user", "assistant", "user", "assistant"]
    assert pair.keys == {"explicit": (0,), "choice": (2,), "persona": (0, 2)}
    assert choice.messages[2].content == "Compost sounds right, the factory stuff does not."
    assert {persona.messages[turn].role for turn in pair.keys["persona"]} == {"user"}
    assert choice.id == "garden/001/choice"


def test_fillers_are_the_first_messages_of_all_conversations_in_order():
    messages = load_fillers(OURS)
    assert [len(own) for own in load_filler_conversations(OURS)] == [4, 2]
    assert [m.content for m in filler_session(messages, 1).messages] == [
        "How tall is the oldest tower?",
        "About ninety metres.",
    ]
    assert len(filler_session(messages, 3).messages) == 6
    with pytest.raises(DataError, match="3 filler turns, fewer than 4"):
        filler_session(messages, 4)


def edited(tmp_path: Path, name: str, change: Callable[[str], str]) -> Settings:
    shutil.copytree(DATA / "upstream", tmp_path / "data")
    path = tmp_path / "data" / "benchmark_dataset" / name
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    return Settings(data=tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("mcq_options/trains.json", lambda text: text[:300], r"mcq_options/trains\.json:\d+: not JSON .*complete"),
        (
            "implicit_preference/choice-based/garden.json",
            lambda text: text.replace('"user_selection"', '"selection"', 1),
            r"garden\.json: \[0\]: conversation: field user_selection is missing",
        ),
        (
            "implicit_preference/persona-driven/garden.json",
            lambda text: json.dumps(json.loads(text)[:1]),
            r"persona-driven/garden\.json: 1 records, but 2 in .*explicit_preference/garden\.json",
        ),
        (
            "mcq_options/garden.json",
            lambda text: text.replace("the roses", "the tulips"),
            r"mcq_options/garden\.json: \[1\]: field question is another one",
        ),
        (
            "mcq_options/garden.json",
            lambda text: text.replace('"Water them at midnight."', "7"),
            r"field classification_task_options\[3\] is 7, not text",
        ),
        ("explicit_preference/garden.json", lambda text: "{}", r"a dict, not a list of records"),
    ],
)
def test_a_bad_file_is_named_with_its_field(tmp_path: Path, name: str, change: Callable[[str], str], said: str):
    with pytest.raises(DataError, match=said):
        load_pairs(edited(tmp_path, name, change))


def test_fillers_must_take_turns(tmp_path: Path):
    settings = edited(tmp_path, "filtered_inter_turns.json", lambda text: text.replace('"assistant"', '"user"', 1))
    with pytest.raises(DataError, match=r"conversation\[1\]: field role is 'user', but it is the assistant's turn"):
        load_fillers(settings)


def test_absent_data_says_where_to_get_it(tmp_path: Path):
    with pytest.raises(DataError, match=r"pairs\.jsonl.*amazon-science/PrefEval \(CC BY-NC 4\.0"):
        load_pairs(Settings(data=tmp_path))


# -- prefeval-retrieval ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture with 300 filler turns, which the longest setting needs."""
    data = tmp_path_factory.mktemp("prefeval")
    shutil.copytree(DATA / "ours", data, dirs_exist_ok=True)
    with (data / "prefeval" / "filler_messages.jsonl").open("w", encoding="utf-8") as file:
        for turn in range(300):
            for role, text in (("user", f"Say number {turn}."), ("assistant", f"Number {turn} it is.")):
                file.write(json.dumps({"conversation_id": f"talk-{turn // 50}", "role": role, "content": text}) + "\n")
    return data


def run(benchmark: Any, system: str, data: Path, out: Path, **settings: Any) -> Report:
    spec = SystemSpec(label=system, embedder="hash")
    return evaluate(benchmark, spec, Settings(data=data, **settings), out / "out.json", fresh=True)


def value(report: Report, name: str) -> float | None:
    return report.metrics[name].value


def test_found_is_any_of_the_key_messages():
    gold = [Source(session="a/persona", turn=0), Source(session="a/persona", turn=2)]
    assert found_any([Source(session="fillers", turn=0), gold[1]], gold) == 1
    assert found_any([Source(session="a/persona", turn=1)], gold) == 0
    assert found_any([], gold) == 0


def test_bm25_finds_the_messages_that_share_words_with_the_question(many: Path, tmp_path: Path):
    report = run(PrefEvalRetrieval(), "bm25", many, tmp_path)
    # By hand, of four pairs. Explicit: "water" and "bicycle" stand in statement and question. Choice: "bicycle" in the
    # selection. Persona: "watering", "feed" and "Ghent" in a user turn. Fillers share none.
    assert [value(report, f"recall@5_{form}_300") for form in FORMS] == [0.5, 0.25, 0.75]
    assert value(report, "recall@5_explicit_300_memory") is None  # it writes none: unscored, not 0
    assert value(report, "recall@5_explicit_300_turns") == value(report, "recall@5_explicit_300")
    assert set(report.metrics) == {
        f"recall@5_{form}_{n}{kind}" for form in FORMS for n in (10, 100, 300) for kind in ("", "_memory", "_turns")
    }


def test_the_union_is_verified_on_exact_runs(many: Path, tmp_path: Path):
    report = run(PrefEvalRetrieval(), "bm25", many, tmp_path, limit=6, exact_runs=2)
    assert report.n == 6
    for form in FORMS:
        assert report.metrics[f"recall@5_{form}_300_exact"].n == 2
        assert value(report, f"union_gap_{form}_300") == 0  # turns are found the same, whatever the order


def test_agentmem_forks_and_absorbs(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prefeval_retrieval, "FILLERS", (10,))
    report = run(PrefEvalRetrieval(), "agentmem", many, tmp_path, limit=3, exact_runs=1)
    assert all(metric.unscored == 0 for metric in report.metrics.values())
    assert value(report, "recall@5_persona_10") == 1
    found = [outcome.detail["found"] for outcome in read_outcomes(tmp_path / "out.json")]
    assert all(len(ids) <= 5 and len(set(ids)) == len(ids) for own in found for ids in own.values())


def test_shuffled_golds_are_never_found(many: Path, tmp_path: Path):
    report = run(PrefEvalRetrieval(), "bm25", many, tmp_path, shuffle_gold=True)
    assert {metric.value for name, metric in report.metrics.items() if not name.endswith("_memory")} == {0}


def test_what_a_system_cannot_do_is_unscored_and_nothing_found_is_0(many: Path, tmp_path: Path):
    assert value(run(PrefEvalRetrieval(), "no-memory", many, tmp_path, limit=3), "recall@5_choice_10") == 0
    report = run(PrefEvalRetrieval(), "full-context", many, tmp_path, limit=3)
    assert report.metrics["recall@5_choice_10"].unscored == 1
    assert value(report, "recall@5_choice_10") is None


class Newest:
    """A system of one's own without fork: finds what was said last, and the first message of all."""

    name, config = "newest", {}

    def open(self, folder: Path) -> UserMemory:
        return _Newest()


class _Newest(UserMemory):
    def __init__(self) -> None:
        self.sessions: list[Session] = []

    def observe(self, session: Session) -> None:
        self.sessions.append(session)

    def search(self, query: str, k: int, *, kinds: Collection[HitKind] = BOTH, at: date | None = None) -> Sequence[Hit]:
        last = self.sessions[-1]
        return [turn_hit(self.sessions[0], 0, 1.0), turn_hit(last, len(last.messages) - 1, 0.5)][:k]


def test_a_system_that_cannot_be_copied_is_run_exactly(many: Path, tmp_path: Path):
    report = run(PrefEvalRetrieval(), f"{__name__}:Newest", many, tmp_path)
    assert [value(report, f"recall@5_{form}_300") for form in FORMS] == [1, 0, 1]  # the selection is the third message


# -- prefeval-implicit ----------------------------------------------------------------------------------------------


class Axes:
    """Vectors by hand."""

    name, dim = "axes", 2

    def __init__(self, vectors: dict[str, tuple[float, float]]) -> None:
        self._vectors = vectors

    def encode(self, texts: Sequence[str], /) -> np.ndarray:
        return np.array([self._vectors[text] for text in texts], np.float32)


def test_the_rank_is_by_the_best_cosine_of_any_text():
    embedder = Axes(
        {"tea": (1, 0), "golf": (0, 1), "chess": (0.6, 0.8), "likes tea": (0.8, 0.6), "plays golf": (0.28, 0.96)}
    )
    candidates = ["tea", "golf", "chess"]
    # "likes tea": tea 0.8, golf 0.6, chess 0.96
    assert rank_of("tea", candidates, ["likes tea"], embedder) == 2
    # with "plays golf": golf 0.96, chess max(0.96, 0.936), tea 0.8: two are better, and the tie counts against golf
    assert rank_of("golf", candidates, ["likes tea", "plays golf"], embedder) == 2
    assert rank_of("tea", candidates, ["likes tea", "plays golf"], embedder) == 3
    assert rank_of("tea", candidates, [], embedder) is None


def test_the_three_most_confident_active_memories_count():
    def made(letter: str, confidence: float, closed: bool = False) -> Preference:
        ended = date(2025, 1, 1) if closed else None
        return Preference(id="p" + letter * 5, text=letter, confidence=confidence, invalid_at=ended)

    memories = [made("a", 0.5), made("b", 0.9), made("c", 0.7), made("d", 1.0, closed=True), made("e", 0.5)]
    assert [memory.text for memory in foremost(memories)] == ["b", "c", "a"]


def test_false_memories_are_in_every_run(tmp_path: Path, minilm: Embedder):
    report = run(PrefEvalImplicit(), "bm25", DATA / "ours", tmp_path, limit=2)
    assert report.n == 2 + 2  # two dialogues, and the two filler conversations
    # the baseline takes each of the 3 user turns for a memory
    assert value(report, "false_memories") == pytest.approx(100)
    assert report.metrics["false_memories"].n == 2


def test_the_control_is_what_a_store_of_turns_scores(tmp_path: Path, minilm: Embedder):
    report = run(PrefEvalImplicit(), "bm25", DATA / "ours", tmp_path)
    assert report.metrics["identification@1_choice"].n == 4
    for own, control in (("identification@1_persona", "control@1_persona"), ("mrr_persona", "control_mrr_persona")):
        assert value(report, own) == value(report, control)  # its memories are the persona's two user turns
    assert value(report, "ceiling@1_choice") == value(report, "ceiling@1_persona")
    outcome = next(one for one in read_outcomes(tmp_path / "out.json") if one.case == "trains/001/persona")
    assert outcome.detail["gold"] == "I always travel with a folding bicycle."


def test_nothing_written_is_a_miss_and_not_unscored(tmp_path: Path, minilm: Embedder):
    report = run(PrefEvalImplicit(), "no-memory", DATA / "upstream", tmp_path)
    assert value(report, "identification@1_choice") == value(report, "mrr_persona") == 0
    assert report.metrics["mrr_persona"].n == 4
    assert value(report, "false_memories") == 0
    assert value(report, "control@1_choice") is not None


def test_memories_that_cannot_be_listed_leave_the_controls_scored(tmp_path: Path, minilm: Embedder):
    report = run(PrefEvalImplicit(), f"{__name__}:Newest", DATA / "ours", tmp_path, limit=4)
    assert report.metrics["identification@1_choice"].unscored == 2
    assert report.metrics["false_memories"].unscored == 2
    assert report.metrics["ceiling@1_choice"].n == 2


# -- the real data --------------------------------------------------------------------------------------------------

real = pytest.mark.skipif(not (REAL / "prefeval").is_dir(), reason="PrefEval is not in ../shared/data")


@real
def test_the_real_data_is_read():
    pairs, fillers = load_pairs(Settings(data=REAL)), load_fillers(Settings(data=REAL))
    assert (len(pairs), len(fillers), len({pair.topic for pair in pairs})) == (688, 632, 17)
    assert all(pair.dialogues["choice"].messages[2].role == "user" for pair in pairs)


@real
def test_bm25_on_the_real_data_is_near_the_measured_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prefeval_retrieval, "FILLERS", (300,))
    report = run(PrefEvalRetrieval(), "bm25", REAL, tmp_path, limit=30)
    # measured apart on all 688 pairs: .328, .180, .448 after 300 filler turns
    for form, floor in (("explicit", 0.328), ("choice", 0.180), ("persona", 0.448)):
        found = value(report, f"recall@5_{form}_300")
        assert found is not None
        assert abs(found - floor) < 0.35  # 10 pairs


@real
@pytest.mark.slow
def test_shuffled_golds_drop_identification_to_chance(tmp_path: Path, minilm: Embedder):
    settings = {"limit": 40, "shuffle_gold": True}
    report = run(PrefEvalImplicit(), "no-memory", REAL, tmp_path, **settings)
    # 17 topics of about 40 preferences: chance is 1 in 40
    assert (value(report, "ceiling@1_choice") or 0) <= 0.15
    assert (value(report, "ceiling_mrr_persona") or 0) <= 0.25
