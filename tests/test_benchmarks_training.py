"""The benchmarks of training on a tiny model: every part runs, and what it prints is made of what was measured."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra train")

from benchmarks import training, training_parts
from benchmarks.training import Line, Sizes, compared
from tests.tiny_llama import write_tiny_llama


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Sizes:
    base = write_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")
    return Sizes(str(base), histories=1, group=4, max_tokens=8, iterations=1, repeats=2)


def test_the_table_and_the_json_hold_every_part(sizes: Sizes, tmp_path: Path, monkeypatch, capsys) -> None:
    """In this process; the next test has one of its own."""
    peaks = {"outcome": 100.0, "oprl": 110.0}

    def here(part: str, own: Sizes, **options: str) -> dict:
        return {**getattr(training_parts, part)(own, **options), "peak_mb": peaks.get(options.get("credit", ""), 0.0)}

    monkeypatch.setattr(training, "run", here)
    out = tmp_path / "training.json"
    changes = json.dumps({name: value for name, value in sizes._asdict().items() if name != "base"})
    code = training.main(["--base", sizes.base, "--set", changes, "--out", str(out)])
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert all(math.isfinite(row["value"]) and row["value"] > 0 for row in rows)
    goals = {row["what"]: row for row in rows if row["goal"] is not None}
    assert list(goals) == ["policy update, rollouts given", "oprl: update", "oprl: iteration with rollouts",
                           "oprl: peak memory, update", "oprl: peak memory, iteration with rollouts"]  # fmt: skip
    assert all(row["spread"][0] <= row["ratio"] <= row["spread"][1] for row in goals.values())
    assert goals["oprl: peak memory, update"]["ratio"] == pytest.approx(1.1)
    assert code == int(not all(row["met"] for row in goals.values()))
    named = {row["what"] for row in rows}
    assert {"outcome: seconds of rewards", "outcome: seconds of policy update", "oprl: tokens sampled",
            "oprl: seconds of process reward model", "oprl: seconds of old log-probabilities"} <= named  # fmt: skip
    printed = capsys.readouterr().out
    assert all(what in printed for what in goals)


def test_a_part_has_a_process_and_a_peak_of_its_own(sizes: Sizes) -> None:
    found = training.run("updates", sizes, credit="oprl")
    assert 50 < found["peak_mb"] < 20_000


def test_rows_of_both_kinds_have_pairs_to_learn_from(sizes: Sizes) -> None:
    learner, tokenizer = training_parts.learner_of(sizes, "oprl")
    groups = training_parts.made_up(sizes._replace(max_tokens=200), tokenizer)
    last = {tuple(one.steps[-1].prompt_ids) for group in groups for one in group.trajectories}
    assert len(last) == 4, "each trajectory's memory grew its own way"
    assert all(len({one.reward for one in group.trajectories}) == 3 for group in groups)
    recipe = training_parts.recipe_of(sizes, "oprl")
    made = training_parts.Trainer(learner, training_parts.Replayed(groups), recipe).iterate(0)
    assert made.metrics["prm/pairs"] > 0 and made.groups == groups


def test_goals_are_held_against_the_ratio() -> None:
    slower = compared("w", "s", [2.0, 3.0, 5.0], "base", [1.0, 2.0, 2.0], 1.6)
    assert (slower.value, slower.other, slower.ratio, slower.spread, slower.met) == (3.0, 2.0, 2.0, (1.5, 2.5), False)
    assert compared("w", "s", [1.5], "base", [1.0], 1.6).met is True
    assert compared("w", "tokens/s", [0.9], "base", [1.0], 1.0, more=True).met is False
    assert Line("w", 1.0, "s").met is None
