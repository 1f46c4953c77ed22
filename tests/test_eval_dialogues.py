"""dialogues: how edits are matched and scored, the controls, and how far its rule agrees with a reader."""

from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from tiny_llama import write_tiny_adapter, write_tiny_llama

from agentmem.errors import AgentMemError, OutputError
from agentmem.memory import Fact
from agentmem.models.embed import Remembering
from agentmem.models.fake import FakeEmbedder
from agentmem.policy import MemoryPolicy, Observation, Proposal, get_policy
from agentmem.policy.edits import parse_edits
from agentmem.policy.resolve import to_ops
from agentmem.session import make_session
from agentmem.train.histories import read_examples
from agentmem.train.judges.lines import examples
from eval.benchmarks import dialogues
from eval.benchmarks.dialogues import FILE, Dialogues, scores_of
from eval.harness import evaluate
from eval.matching import LOOSE, STRICT, Rule, agreement, matched, quote_f1, said
from eval.runs import read_outcomes
from eval.settings import Settings
from eval.systems import SystemSpec, UserMemory, make_system
from eval.values import Report

HOME = Path(__file__).parents[1]
HASHED = FakeEmbedder()


def edits(*lines: str):
    parsed = parse_edits("\n".join(lines))
    assert not parsed.problems
    return parsed.edits


# -- matching


def test_quotes_are_compared_word_by_word_and_the_best_pair_counts() -> None:
    [a] = edits('+ fact: A. | "other thing" | "I live in Lyon now"')
    [b] = edits('+ fact: B. | "I live in Lyon, France"')
    assert quote_f1(a, b) == pytest.approx(2 * 4 / (5 + 5))


@pytest.mark.parametrize(
    ("proposed", "gold", "same"),
    [
        ('+ fact: Lives in Lyon. | "I live in Lyon"', '+ fact: Lives in Lyon. | "I live in Lyon"', True),
        ('+ fact: Lives in Lyon. | "I live in Lyon"', '+ preference: Lives in Lyon. | "I live in Lyon"', False),
        ('+ preference?: Likes tea. | "tea again"', '+ preference: Likes tea. | "tea again"', True),
        ('+ fact: Lives in Lyon. | "I live in Lyon"', '+ fact: Lives in Lyon. | "yes, the second one"', False),
        ('+ fact: Plays chess. | "I live in Lyon"', '+ fact: Lives in Lyon. | "I live in Lyon"', False),
        ('~ f1: Lives in Lyon. | "I live in Lyon"', '~ f2: Lives in Lyon. | "I live in Lyon"', False),
        ('~ f2 f1: Lives in Lyon. | "I live in Lyon"', '~ f1 f2: Lives in Lyon. | "I live in Lyon"', True),
        ('- f1 | "we moved"', '- f1 | "we moved"', True),
        ('x f1 | "we moved"', '- f1 | "we moved"', False),
        ('x | "forget it"', 'x f1 | "forget it"', False),
    ],
)
def test_what_counts_as_the_same(proposed: str, gold: str, same: bool) -> None:
    assert matched(edits(proposed), edits(gold), HASHED) == ([(0, 0)] if same else [])


def test_the_loose_rule_asks_for_no_text_and_a_shorter_quote() -> None:
    [a], [b] = (
        edits('+ fact: Plays chess. | "I live in"'),
        edits('+ fact: Lives in Lyon. | "and now I live over there"'),
    )
    assert quote_f1(a, b) == pytest.approx(2 * 2 / (3 + 6))
    assert not matched([a], [b], HASHED) and matched([a], [b], HASHED, LOOSE) == [(0, 0)]


def test_as_many_pairs_as_can_be() -> None:
    """The first proposed edit fits both, the second only the first: taking the first that fits would leave one out."""
    proposed = edits('- f1 | "a b c d"', '- f1 | "a b"')
    gold = edits('- f1 | "a b c"', '- f1 | "c d e"')
    assert agreement(proposed, gold, HASHED).tolist() == [[True, True], [True, False]]
    assert matched(proposed, gold, HASHED) == [(0, 1), (1, 0)]


LINES = st.sampled_from([
    '+ fact: Lives in Lyon. | "I live in Lyon"',
    '+ fact: Lives in Lyon, France. | "I live in Lyon now"',
    '+ preference: Likes tea. | "tea please"',
    '+ preference?: Likes green tea. | "tea please" | "the green one"',
    '~ f1: Lives in Lyon. | "I live in Lyon"',
    '- f1 | "we moved to Lyon"',
    '- f1 | "we moved"',
    'x | "forget it"',
])  # fmt: skip
SOME = st.lists(LINES, max_size=6).map(lambda lines: edits(*lines) if lines else ())


@given(SOME, SOME, st.sampled_from([STRICT, LOOSE, Rule(0.5, 0.95)]))
def test_laws_of_matching(a, b, rule) -> None:
    pairs = matched(a, b, HASHED, rule)
    assert len(pairs) == len(matched(b, a, HASHED, rule)) <= min(len(a), len(b))
    assert len({p for p, _ in pairs}) == len({g for _, g in pairs}) == len(pairs)
    assert len(matched(a, a, HASHED, rule)) == len(a)
    assert len(matched(a, b, HASHED)) <= len(matched(a, b, HASHED, LOOSE))


# -- scores


def seen(*texts: str) -> Observation:
    session = make_session([{"role": "user", "content": text} for text in texts], id="s")
    return Observation(memories=(Fact(id="f23456", text="Has a cat."),), session=session, today=date(2026, 1, 1))


def test_scores_by_hand() -> None:
    words = "I live in Lyon. Tea please, the cat died."
    proposed = edits(
        '+ fact: Lives in Lyon. | "I live in Lyon"',
        '+ preference: Likes tea. | "Tea please"',
        '+ fact: Plays chess. | "I play chess"',
    )
    gold = edits(
        '+ fact: Lives in Lyon. | "I live in Lyon"', '+ preference?: Likes tea. | "Tea please"', '- f1 | "the cat died"'
    )
    proposal = Proposal(edits=proposed, raw="as written", problems=("line 4: what?",))
    found = {
        name: (one.value, one.weight) for name, one in scores_of(proposal, gold, seen(words), "en", HASHED).items()
    }
    assert found == {
        "edit_f1": (4, 6),
        "edit_precision": (2, 3),
        "edit_recall": (2, 3),
        "op_f1": (4, 6),
        "f1_add_fact": (2, 3),
        "f1_add_preference": (1, 1),  # a pair across `?` is right for both types
        "f1_add_preference_inferred": (1, 1),
        "f1_add_instruction": (0, 0),
        "f1_replace": (0, 0),
        "f1_close": (0, 1),
        "f1_forget": (0, 0),
        "f1_en": (4, 6),
        "sensitivity": (1, 1),
        "quote_faithfulness": (2, 3),  # nobody said "I play chess"
        "parse_rate": (0, 1),
    }


def test_where_nothing_is_wanted() -> None:
    silent = scores_of(Proposal(raw="="), (), seen("Hello"), "other", HASHED)
    loud = scores_of(Proposal(edits=edits('+ fact: Says hello. | "Hello"')), (), seen("Hello"), "other", HASHED)
    assert (silent["specificity"].value, loud["specificity"].value) == (1, 0)
    assert "sensitivity" not in silent and "f1_en" not in silent
    assert (silent["parse_rate"].value, loud["parse_rate"].value) == (1, None)
    assert (silent["edit_f1"].weight, loud["edit_f1"].weight) == (0, 1)


# -- systems and controls


class Knows(UserMemory):
    """Proposes the gold itself."""

    name = "knows"

    def __init__(self, golds) -> None:
        self.golds = golds

    def propose(self, observation: Observation) -> Proposal:
        return Proposal(edits=self.golds[observation.session.messages])


class KnowingSystem:
    name, config = "knows", {}

    def __init__(self) -> None:
        units = Dialogues().load(Settings())
        self.golds = {case.input.session.messages: case.gold for unit in units for case in unit.cases}

    def open(self, folder: Path) -> UserMemory:
        return Knows(self.golds)


def run(out: Path, label: str, **settings) -> Report:
    return evaluate(Dialogues(), SystemSpec(label=label), Settings(**settings), out)


def test_the_gold_scores_1_and_shuffled_falls(tmp_path: Path, minilm) -> None:
    label = "tests.test_eval_dialogues:KnowingSystem"
    whole = run(tmp_path / "whole.json", label)
    assert whole.n == 934
    assert {name for name, one in whole.metrics.items() if one.value != 1} == {"parse_rate"}
    shuffled = run(tmp_path / "shuffled.json", label, shuffle_gold=True)
    for name in ("edit_f1", "edit_precision", "edit_recall", "op_f1"):
        assert (shuffled.metrics[name].value or 0) < 0.02, name
    assert shuffled.metrics["edit_f1"].n == 934


def test_nothing_proposed_is_specific_and_nothing_else(tmp_path: Path) -> None:
    report = run(tmp_path / "none.json", "no-memory", limit=40)
    values = {name: one.value for name, one in report.metrics.items()}
    assert values["specificity"] == 1 and values["sensitivity"] == values["edit_recall"] == values["edit_f1"] == 0
    assert values["edit_precision"] is values["quote_faithfulness"] is values["parse_rate"] is None


def test_what_proposes_no_edits_is_unscored(tmp_path: Path) -> None:
    report = run(tmp_path / "bm25.json", "bm25", limit=3)
    assert {(one.value, one.n, one.unscored) for one in report.metrics.values()} == {(None, 0, 3)}
    assert "proposes no edits" in read_outcomes(tmp_path / "bm25.json")[0].scores["edit_f1"].reason


def test_the_offline_policy_proposes_without_remembering(tmp_path: Path, minilm) -> None:
    memory = make_system(SystemSpec(label="agentmem")).open(tmp_path)
    proposal = memory.propose(seen("I'm allergic to peanuts."))
    assert [edit.sign for edit in proposal.edits] == ["+"] and proposal.raw == ""
    assert not memory.memories()
    memory.close()


def test_a_trained_adapter_is_read_once_and_its_answers_count(tmp_path: Path, minilm, monkeypatch) -> None:
    loaded = []

    def get(name: str, **how: Any) -> MemoryPolicy:
        loaded.append(name)
        return get_policy(name, **how)

    monkeypatch.setattr("eval.systems.agentmem.get_policy", get)
    pytest.importorskip("peft", reason="adapters of the tests are written by PEFT, of the extra train")
    write_tiny_adapter(tmp_path / "run", write_tiny_llama(tmp_path / "base"), name="policy")
    report = run(tmp_path / "tiny.json", f"agentmem:{tmp_path / 'run'}", limit=4)
    assert report.metrics["parse_rate"].n == report.metrics["edit_f1"].n == 4
    assert report.metrics["parse_rate"].unscored == 0
    assert len(loaded) == 1


class Babbles(UserMemory):
    name = "babbles"

    def propose(self, observation: Observation) -> Proposal:
        raise OutputError("line 1: begins with none of + ~ - x =: Sure!", raw="Sure!")


class BabblingSystem:
    name, config = "babbles", {}

    def open(self, folder: Path) -> UserMemory:
        return Babbles()


def test_an_answer_that_cannot_be_read_is_counted_and_not_scored(tmp_path: Path) -> None:
    report = run(tmp_path / "babble.json", "tests.test_eval_dialogues:BabblingSystem", limit=3)
    assert (report.metrics["parse_rate"].value, report.metrics["parse_rate"].n) == (0, 3)
    assert (report.metrics["edit_f1"].value, report.metrics["edit_f1"].unscored) == (None, 3)
    assert read_outcomes(tmp_path / "babble.json")[0].detail["answer"] == "Sure!"


# -- the data


def test_the_readme_counts_the_edits() -> None:
    own = [example for example in read_examples(FILE).edits if example.split == "test"]
    kinds = [dialogues.type_of(edit) for example in own for edit in example.edits]
    facts, stated, inferred, instructions, replaced, closed, forgotten = map(kinds.count, dialogues.TYPES)
    counted = (
        f"{sum(one.lang == 'en' for one in own)} records in English, {sum(one.lang != 'en' for one in own)} in "
        f"fifteen other languages; {sum(not one.edits for one in own)} call for no edit, the others for {len(kinds)}: "
        f"{facts} facts, {stated} preferences stated and {inferred} inferred, {instructions} instructions, "
        f"{replaced} replacements, {closed} to close, {forgotten} to forget."
    )
    assert len({one.lang for one in own}) == 16
    assert counted in " ".join((HOME / "eval" / "README.md").read_text("utf-8").split())


def test_no_judge_is_fitted_to_the_test_part() -> None:
    tested = {example.user for example in read_examples(FILE).edits if example.split == "test"}
    assert tested and not tested & {one.group for one in examples(random.Random(0))}


def test_how_far_the_rule_agrees_with_a_reader(minilm) -> None:
    """The figures of eval/README.md and of the benchmark's docstring."""
    lines = (HOME / "eval" / "data" / "same_memory.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    readme = (HOME / "eval" / "README.md").read_text("utf-8")
    embedder = Remembering(minilm)
    embedder.encode([said(edits(row[which])[0]) for row in rows for which in ("predicted", "gold")])
    for by, start in (("", "all 200, "), ("offline", "100 that "), ("hand", "100 rewritten ")):
        own = [row for row in rows if by in ("", row["by"])]
        reader = [row["same"] for row in own]
        cells = []
        for rule in (*(Rule(STRICT.quote, cosine) for cosine in (0.6, 0.7, 0.8)), LOOSE):
            ruled = [bool(agreement(edits(row["predicted"]), edits(row["gold"]), embedder, rule)[0, 0]) for row in own]
            right = sum(a == b for a, b in zip(reader, ruled, strict=True)) / len(own)
            cells.append(f"{right:.3f} ({cohen_kappa_score(reader, ruled):.3f})".replace("0.", "."))
        [line] = [line for line in readme.splitlines() if line.startswith(f"| {start}")]
        assert line.endswith(" | " + " | ".join(cells) + " |")
        if not by:
            told = " ".join((Dialogues.__doc__ or "").split())
            rates = [cell.split(" ")[0] for cell in cells]
            assert (
                f"in {rates[1]} (kappa {cells[1][6:10]}), with a cosine of .6 in {rates[0]}, of .8 in {rates[2]}"
                in told
            )
    doing = [(edits(row["predicted"])[0], edits(row["gold"])[0]) for row in rows]
    assert all((a.sign, a.kind, set(a.aliases)) == (b.sign, b.kind, set(b.aliases)) for a, b in doing)


def test_what_two_readers_who_did_not_see_the_labels_reach(minilm) -> None:
    """The figures of eval/README.md: each against the labels, and the first against the second."""
    lines = (HOME / "eval" / "data" / "blind_edits.jsonl").read_text("utf-8").splitlines()
    rows, readme = [json.loads(line) for line in lines], (HOME / "eval" / "README.md").read_text("utf-8")
    cases = {
        (case.group, str(case.input.today)): case
        for unit in Dialogues().load(Settings(data=HOME))
        for case in unit.cases
    }
    own, embedder = [cases[row["family"], row["date"]] for row in rows], Remembering(minilm)
    read = [[edits(*row["readers"][reader]) for row in rows] for reader in (0, 1)]

    def sums(written, gold, name: str) -> float:
        scores = [scores_of(Proposal(edits=one), tuple(wanted), case.input, "en", embedder).get(name)
                  for one, wanted, case in zip(written, gold, own, strict=True)]  # fmt: skip
        kept = [score for score in scores if score is not None and score.value is not None]
        return sum(score.value or 0 for score in kept) / sum(score.weight for score in kept)

    gold = [case.gold for case in own]
    first, second = (sums(one, gold, "edit_f1") for one in read)
    told = (
        f"edit_f1 {first:.3f} and {second:.3f} against them ({sums(read[0], read[1], 'edit_f1'):.3f} between the two)"
    )
    told += ", op_f1 " + " and ".join(f"{sums(one, gold, 'op_f1'):.3f}" for one in read) + ", specificity 1 for both"
    assert told.replace("0.", ".") in " ".join(readme.split())
    assert [sums(one, gold, "specificity") for one in read] == [1, 1]


def test_the_short_answers_can_be_measured_and_quote_what_was_said() -> None:
    cases = [case for unit in Dialogues().load(Settings(data=HOME / "eval" / "data" / "short_answers.jsonl"))
             for case in unit.cases]  # fmt: skip
    assert len(cases) == 240 and sum(not case.gold for case in cases) == 108
    for case in cases:
        ops, refused = to_ops(case.gold, case.input, rng=random.Random(0))
        assert len(ops) == len(case.gold) and not refused


def test_a_file_of_ones_own_is_measured_and_a_missing_one_is_said(tmp_path: Path) -> None:
    lines = (FILE / "rounds-1-3.jsonl").read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if '"split": "test"' in line][:3]
    own = tmp_path / "mine.jsonl"
    own.write_text("".join(kept), "utf-8")
    assert len(Dialogues().load(Settings(data=own))) == 3
    with pytest.raises(AgentMemError, match="nowhere.jsonl"):
        Dialogues().load(Settings(data=tmp_path / "nowhere.jsonl"))
