"""`make train-default` in small: the commands of the Makefile, on a tiny base and a few records."""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

pytest.importorskip("trl", reason="needs the extra train")

from agentmem.cli import app
from agentmem.models.embed import get_embedder
from agentmem.models.judges import ADAPTERS, CHANGES, RELATIONS
from agentmem.models.lora import read_weights
from agentmem.models.pairs import load_adapter
from agentmem.policy import DEFAULT, Observation, get_policy, load_trained
from agentmem.policy.actions import actions_of
from agentmem.policy.base import WORTHS
from agentmem.session import Message, Session
from agentmem.train.export import export
from agentmem.train.histories import edit_example, read_examples
from agentmem.train.judges import __main__ as judges
from agentmem.train.judges import changes, marks
from agentmem.train.judges.pairs import Example
from agentmem.train.judges.records import records
from agentmem.train.recipes import RFTRecipe, SFTRecipe, read_recipe
from tests.tiny_llama import write_tiny_llama

HOME = Path(__file__).parents[1]
SMALL = "--set rank=4 --set epochs=1 --set dtype=float32 --set watch=0.3"


@pytest.mark.timeout(300)
def test_the_commands_lead_from_the_data_to_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOME)
    made = subprocess.run(["make", "-n", "train-default", "RUNS=" + str(tmp_path)], capture_output=True, text=True)
    commands = [line for line in made.stdout.splitlines() if " -m agentmem" in line]
    fit, change, tag, sft, export = (shlex.split(command) for command in commands[-5:])

    monkeypatch.setattr(marks, "records", lambda name: records(name)[:25])
    out = tmp_path / "marks.safetensors"
    assert fit[fit.index("-m") + 1 :][:2] == ["agentmem.train.judges", "marks"]
    judges.main("marks", out=out, epochs=1)
    assert load_adapter(out).labels == WORTHS

    assert change[change.index("-m") + 1 :][:2] == ["agentmem.train.judges", "changes"]
    judges.main("changes", out=tmp_path / "changes.safetensors")
    assert load_adapter(tmp_path / "changes.safetensors").labels == CHANGES

    base, few = write_tiny_llama(tmp_path / "base"), tmp_path / "few.jsonl"
    assert tag[tag.index("-m") + 1 :][:2] == ["agentmem.train.judges", "tags"]
    judges.main("tags", out=tmp_path / "tags.safetensors", epochs=1, base=str(base))
    assert load_adapter(tmp_path / "tags.safetensors").labels == WORTHS

    dialogues = HOME / "agentmem" / "train" / "data" / "dialogues" / "rounds-1-3.jsonl"
    lines = dialogues.read_text("utf-8").splitlines(keepends=True)
    few.write_text("".join(lines[:30]), "utf-8")
    for command in (sft, export):
        words = [{"agentmem/train/data/dialogues": str(few), "smollm2-135m": str(base)}.get(word, word)
                 for word in command[command.index("agentmem") + 1 :]]  # fmt: skip
        words += [*shlex.split(SMALL), "--base", str(base)] if "sft" in words else []
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{words}\n{result.output}\n{result.exception}"

    policy = load_trained(tmp_path / "default-policy", device="cpu")
    assert policy.actions.marks == actions_of(DEFAULT).marks
    chat = [Message(role="user", content="I'm allergic to peanuts. What can I cook?")]
    seen = Observation(memories=(), session=Session(id="s", messages=tuple(chat)), today=date(2026, 1, 1))
    [proposal] = policy.propose([seen])
    assert proposal.raw or proposal.problems  # it was asked: one with random weights may say nothing


def _line(family: str, said: str, *edits: str, split: str = "train") -> str:
    told = {"user": family, "messages": [{"role": "user", "content": said}], "edits": list(edits) or ["="]}
    return json.dumps({"type": "edits", "split": split, **told}) + "\n"


def test_what_is_fitted_further_is_shown_the_new_dialogues_and_some_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Example(("said", "known"), 0, family) for family in "aabbbcdefghijkl"]
    new = [edit_example(json.loads(_line(family, "I love tea.", '+ fact: x. | "I love tea."'))) for family in "ab"]
    chosen = judges._Further(new, 1.0, 0).chosen(found)
    assert [one.group for one in chosen[:5]] == list("aabbb")
    assert len(chosen) == 10 and len({one.group for one in chosen[5:]}) == 5
    assert judges._Further([], 1.0, 0).chosen(found) == found
    with pytest.raises(typer.BadParameter, match="held out"):
        judges._Further(new, 1.0, 0).chosen(found[5:])

    monkeypatch.setattr(marks, "records", lambda name: records(name)[:5])
    mine = tmp_path / "mine.jsonl"
    rows = [_line("own/tea", "I love tea. And you?", '+ preference: Loves tea. | "I love tea."'),
            _line("own/none", "What is tea?"), _line("own/kept", "I love rain.", split="test")]  # fmt: skip
    mine.write_text("".join(rows), "utf-8")
    own = [one for one in marks.examples(random.Random(0), get_embedder("hash"), read_examples(mine).edits)
           if one.group.startswith("own/")]  # fmt: skip
    assert [(one.group, one.pair[0], WORTHS[one.label]) for one in own] == [
        ("own/tea", "I love tea.", "preference"), ("own/tea", "And you?", "none"),
        ("own/none", "What is tea?", "none")]  # fmt: skip
    with pytest.raises(typer.BadParameter, match="dialogues"):
        judges.main("lines", further=[mine])


def test_the_judge_of_changes_learns_from_what_is_said_beside_each_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"f1": "Lives in Rome.", "p1": "Likes rain."}
    row = {"family": "own/home", "memory": known, "edits": ['~ f1: Lives in Oslo. | "I moved to Oslo."'],
           "messages": [{"role": "user", "content": "Hi there. I moved to Oslo. Any tips?"}]}  # fmt: skip
    monkeypatch.setattr(marks, "records", lambda name: [row] if name == "dialogues" else [])
    monkeypatch.setattr(marks, "lines", lambda split: [])
    monkeypatch.setattr(changes, "IDLE", 1.0)
    monkeypatch.setattr(changes, "held_out", lambda family: False)
    train, held = changes.split(random.Random(0), get_embedder("hash"))
    assert held == {"held out": []} and {one.group for one in train} == {"own/home"}
    found = {(said, told.partition(" / ")[0]): CHANGES[one.label] for one in train for said, told in [one.pair]}
    assert len(found) == len(train) == 6  # three sentences, two memories
    assert [pair for pair, label in found.items() if label == "changes"] == [("I moved to Oslo.", "Lives in Rome.")]
    assert any(told.endswith("Hi there.") for said, told in (one.pair for one in train) if said == "I moved to Oslo.")

    monkeypatch.setattr(changes, "IDLE", 0.0)
    train, _ = changes.split(random.Random(0), get_embedder("hash"))
    assert {one.pair[0] for one in train} == {"I moved to Oslo."}


def test_it_starts_from_the_judge_of_relations() -> None:
    relations = load_adapter(ADAPTERS / "relations.safetensors")
    begun = changes.begun(relations)
    closes = RELATIONS.index("closes")
    assert begun.labels == CHANGES and begun.low_rank is relations.low_rank
    np.testing.assert_array_equal(begun.head_weight[CHANGES.index("changes")], relations.head_weight[closes])
    others = [place for place in range(len(RELATIONS)) if place != closes]
    np.testing.assert_allclose(begun.head_bias[CHANGES.index("keeps")], relations.head_bias[others].mean(), rtol=1e-6)


def test_the_recipes_that_ship_can_be_read() -> None:
    assert read_recipe(SFTRecipe, HOME / "agentmem" / "train" / "data" / "default.yaml", {}).marks
    folder = HOME / "examples" / "training" / "qwen3-4b"
    assert read_recipe(SFTRecipe, folder / "sft.yaml", {}).base in (folder / "sft.yaml").read_text("utf-8")
    assert read_recipe(RFTRecipe, folder / "rft.yaml", {"credit": "oprl"}).steps.rate > 2e-5


def test_what_ships_is_small_and_can_be_read() -> None:
    files = [*(HOME / "agentmem").rglob("*.safetensors")]
    assert sum(file.stat().st_size for file in files) < 30e6 and all(file.stat().st_size < 5e6 for file in files)


def test_its_card_is_what_the_export_writes_of_it_with_the_figures_that_were_measured(tmp_path: Path) -> None:
    about: dict[str, Any] = {}
    for name in ("default.json", "shipped.json"):  # as `make card` gives them
        about |= json.loads((HOME / "agentmem" / "train" / "data" / name).read_text("utf-8"))
    out = export(DEFAULT, tmp_path / "card", base="smollm2-135m", about=about, dtype="bfloat16", part_bytes=4_900_000)
    card = (DEFAULT / "README.md").read_text("utf-8")
    assert (out / "README.md").read_text("utf-8") == card, "make card"
    assert 'license: "apache-2.0"' in card and "agentmem/train/data/dialogues" in card

    [policy] = set(re.findall(r"--policy (\S+)", card)) | set(re.findall(r'policy="([^"]+)"', card))
    named = get_policy(policy, embedder=get_embedder, model=lambda: pytest.fail("needs no chat model"), device="cpu")
    assert named.name == "trained:default"  # --policy and policy= take the name that the card uses
    report = json.loads((HOME / "eval" / "results" / "dialogues--agentmem-trained.json").read_text("utf-8"))
    for name in ("edit_f1", "op_f1", "specificity", "sensitivity"):
        value, (low, high) = report["metrics"][name]["value"], report["metrics"][name]["ci95"]
        assert re.search(rf"\({name}; .*\| {value:.3f} \({low:.3f}–{high:.3f}\) \|", card), name


def test_peft_reads_the_adapter_that_ships_once_it_is_one_file_as_its_card_says(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "export", str(DEFAULT), "--out", str(tmp_path / "adapter")])
    assert result.exit_code == 0, result.output
    config = pytest.importorskip("peft").LoraConfig.from_pretrained(str(tmp_path / "adapter"))
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert config.r == 16 and weights.keys() == read_weights(DEFAULT).keys()
