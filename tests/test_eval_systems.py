"""Baselines, the shared measures, and agentmem as a system: what a benchmark relies on."""

from __future__ import annotations

import importlib
import math
from datetime import date
from pathlib import Path

import pytest

from agentmem.errors import ConfigError
from agentmem.memory import Evidence, Fact, Hit, Memory, Source
from agentmem.session import make_session
from agentmem.train.measures import held, says
from eval.benchmarks import get_benchmark
from eval.errors import UnsupportedError
from eval.metrics import ndcg, recall, unique_sessions, unique_sources, within
from eval.systems import SystemSpec, UserMemory, make_system
from eval.systems.ablations import MECHANISMS
from eval.systems.baselines import BM25, Fused, Grep


def said(*texts: str, id: str = "s", day: date | None = None):
    return make_session([{"role": "user", "content": text} for text in texts], id=id, date=day)


def opened(label: str, folder: Path, embedder: str = "hash") -> UserMemory:
    return make_system(SystemSpec(label=label, embedder=embedder)).open(folder)


def fact(letter: str, text: str, day: date | None = None, turn: int = 0) -> Memory:
    return Fact(id=f"f{letter * 5}", text=text, valid_at=day, evidence=(Evidence(quote="q", session="s", turn=turn),))


# -- measures


def test_recall_and_ndcg_by_hand() -> None:
    found = ["a", "b", "c", "d"]
    assert recall(found, {"b", "d", "z"}, 2) == pytest.approx(1 / 3)
    assert recall(found, {"b", "d", "z"}, 4) == pytest.approx(2 / 3)
    best = 1 / math.log2(2) + 1 / math.log2(3)
    assert ndcg(found, {"b", "d"}, 4) == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / best)
    assert ndcg(["b", "d"], {"b", "d"}, 4) == 1.0


def test_hits_expand_into_unique_turns_in_their_order() -> None:
    def hit(*turns: int) -> Hit:
        sources = tuple(Source(session=f"s{turn % 2}", turn=turn) for turn in turns)
        return Hit(kind="memory", id="x", text="t", score=1, why="", sources=sources)

    hits = [hit(3, 1), hit(1), hit(2, 4)]
    assert [one.turn for one in unique_sources(hits, 3)] == [3, 1, 2]
    assert unique_sessions(hits) == ["s1", "s0"]


def test_words_are_whole_words() -> None:
    assert says("She has a Cat .", "cat") and says("New\n York", "new york")
    assert not says("education", "cat") and not says("cats", "cat")
    assert held([fact("a", "Lives in New York.")], "new york")


def test_a_budget_keeps_the_newest_and_of_equals_what_was_said_last() -> None:
    old, new = fact("a", "x" * 36, date(2025, 1, 1)), fact("b", "y" * 36, date(2025, 2, 1))  # 13 tokens each
    assert within([old, new], 26) == [new, old]
    assert within([old, new], 20) == [new]
    undated = [fact("c", "x" * 36), fact("d", "y" * 36)]
    assert within(undated, 20) == [undated[1]]
    same_day = [fact("e", "x" * 36, date(2025, 1, 1), turn=8), fact("f", "y" * 36, date(2025, 1, 1), turn=2)]
    assert within(same_day, 20) == [same_day[0]]
    assert within([old, fact("g", "z" * 400, date(2025, 3, 1))], 20) == [old]  # what does not fit hides nothing
    closed = old.model_copy(update={"invalid_at": date(2025, 3, 1)})
    assert within([closed], 2000) == []


# -- rankers


def test_bm25_by_hand() -> None:
    """Two texts of two words, the word in one of them: idf ln(1 + 1.5 / 1.5), tf part 1 · 2.5 / (1 + 1.5)."""
    assert BM25().scores("bees", ["keeps bees", "likes tea"]) == [pytest.approx(math.log(2)), None]


def test_grep_counts_words_and_fusion_sums_reciprocal_ranks() -> None:
    texts = ["red bicycle", "blue bicycle", "tea"]
    assert Grep().scores("a red bicycle", texts) == [2.0, 1.0, None]
    fused = Fused((Grep(), Grep())).scores("a red bicycle", texts)
    assert fused == [pytest.approx(2 / 61), pytest.approx(2 / 62), None]


# -- keeping what was said


def test_of_two_equals_the_newer_is_found_first_and_absorbing_knows_an_order(tmp_path: Path) -> None:
    memory, earlier = opened("grep", tmp_path), opened("grep", tmp_path)
    memory.observe(said("red bicycle", id="late"))
    earlier.observe(said("red bicycle", id="early"))
    after, before = memory.fork(tmp_path / "a"), memory.fork(tmp_path / "b")
    after.absorb(earlier)
    before.absorb(earlier, first=True)
    assert [hit.sources[0].session for hit in after.search("red", 2)] == ["early", "late"]
    assert [hit.sources[0].session for hit in before.search("red", 2)] == ["late", "early"]
    assert len(memory.search("red", 2)) == 1  # a fork leaves its origin alone


def test_a_day_hides_what_was_said_after_it(tmp_path: Path) -> None:
    memory = opened("bm25", tmp_path)
    memory.observe(said("I live in Lyon", id="a", day=date(2025, 1, 1)))
    memory.observe(said("I live in Porto", id="b", day=date(2025, 6, 1)))
    assert [hit.text for hit in memory.search("where I live", 5, at=date(2025, 3, 1))] == ["I live in Lyon"]


def test_close_everything_leaves_only_the_last_turn(tmp_path: Path) -> None:
    memory = opened("close-everything", tmp_path)
    memory.observe(said("one", "two", "three", day=date(2025, 1, 1)))
    assert [one.status for one in memory.memories()] == ["closed", "closed", "active"]


def test_what_a_baseline_cannot_do_it_says(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="full-context ranks nothing"):
        opened("full-context", tmp_path).search("x", 1)
    with pytest.raises(UnsupportedError, match="writes no memories"):
        opened("bm25", tmp_path).search("x", 1, kinds=("memory",))
    assert opened("no-memory", tmp_path).search("x", 1) == []


@pytest.mark.parametrize("label", ["bm25", "full-context", "minilm", "agentmem"])
def test_a_context_keeps_to_its_budget(label: str, tmp_path: Path) -> None:
    memory = opened(label, tmp_path / "user")
    for n in range(12):
        memory.observe(
            said(f"I live in town {n} and I like bicycle number {n}. " + "Long words follow here. " * 30, id=f"s{n}")
        )
    context = memory.context("Which bicycle do I like?", budget=150)
    assert 0 < context.tokens <= 150
    memory.close()


def test_agentmem_forks_and_absorbs(tmp_path: Path) -> None:
    memory, other = (opened("agentmem", tmp_path / name, "minilm") for name in "ab")
    memory.observe(said("I live in Lyon.", id="one"))
    other.observe(said("I'm vegetarian.", id="two"))
    union = memory.fork(tmp_path / "c")
    union.absorb(other)
    assert {one.text for one in union.memories()} == {"Lives in Lyon.", "Is vegetarian."}
    assert {hit.text for hit in union.search("vegetarian in Lyon", 5, kinds=("memory",))} == {
        "Lives in Lyon.",
        "Is vegetarian.",
    }
    assert len(memory.memories()) == 1
    for one in (memory, other, union):
        one.close()


# -- agentmem without a mechanism


def test_every_ablation_names_things_that_exist_and_benchmarks() -> None:
    for name, mechanism in MECHANISMS.items():
        assert mechanism.changes or name == "reranker"
        for place in mechanism.changes:
            module, _, attribute = place.partition(":")
            assert hasattr(importlib.import_module(module), attribute), place
        for benchmark in mechanism.benchmarks:
            get_benchmark(benchmark)


def test_without_a_mechanism_while_it_works_and_with_it_again_afterwards(tmp_path: Path) -> None:
    session = make_session(
        [
            {"role": "user", "content": "Can you suggest a restaurant for tonight?"},
            {"role": "assistant", "content": "1. A loud sports bar\n2. A quiet vegetarian bistro\n3. A steak house"},
            {"role": "user", "content": "The second one sounds best, the others are not for me."},
        ],
        id="s", date=date(2026, 1, 2),
    )  # fmt: skip
    found = {}
    for label in ("agentmem", "without:choices", "agentmem"):
        memory = opened(label, tmp_path / f"{label}{len(found)}")
        memory.observe(session)
        found[label, len(found)] = [one.text for one in memory.memories() if "vegetarian bistro" in one.text.lower()]
        memory.close()
    assert [bool(texts) for texts in found.values()] == [True, False, True]


def test_an_unknown_mechanism_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="without what.*reranker, judged-lines"):
        make_system(SystemSpec(label="without:magic"))


def test_what_is_measured_does_not_depend_on_the_network() -> None:
    for label, policy in (
        ("agentmem", "offline"),
        ("agentmem:whole_memory", "offline"),
        ("agentmem:trained", "trained"),
    ):
        assert make_system(SystemSpec(label=label)).config["policy"] == policy
    with pytest.raises(ConfigError, match="agentmem:trained or agentmem:offline"):
        make_system(SystemSpec(label="agentmem:auto"))
