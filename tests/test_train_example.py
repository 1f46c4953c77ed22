"""The walk from chats to a policy in use, with the commands of its document, on a tiny base and for two iterations."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("trl", reason="needs the extra train")

from agentmem.cli import app
from agentmem.train.histories import read_examples
from agentmem.train.leaks import leaks
from tests.test_docs import blocks
from tests.tiny_llama import write_tiny_llama

HOME = Path(__file__).parent.parent
PAGE = (HOME / "examples" / "train_memory_policy.md").read_text(encoding="utf-8")
LARGE = HOME / "agentmem" / "train" / "data" / "dialogues"


@pytest.mark.timeout(600)
def test_the_commands_lead_from_data_to_memories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, few = write_tiny_llama(tmp_path / "base"), tmp_path / "few.jsonl"
    few.write_text("".join(next(LARGE.glob("*.jsonl")).read_text("utf-8").splitlines(keepends=True)[:12]), "utf-8")
    monkeypatch.chdir(HOME)
    commands = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
    assert [shlex.split(command)[1] for command in commands] == ["train"] * 5 + ["observe", "show"]
    for command in commands:
        smoke = command.replace("smollm2-135m", str(base)).replace("iterations=50", "iterations=2")
        smoke = smoke.replace("runs/", f"{tmp_path}/runs/").replace("--epochs 2", "--epochs 1 --set rank=4")
        if " sft " in smoke:
            smoke = smoke.replace("agentmem/train/data/dialogues", str(few))
        result = CliRunner().invoke(app, shlex.split(smoke)[1:], env={"AGENTMEM_ROOT": str(tmp_path / "memories")})
        assert result.exit_code == 0, f"{smoke}\n{result.output}\n{result.exception}"
    assert list((tmp_path / "memories" / "me" / "sessions").glob("*.jsonl"))
    assert {"index.html", "metrics.jsonl", "checkpoints"} <= {path.name for path in (tmp_path / "runs/rft").iterdir()}


def test_the_python_writes_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [code] = blocks(PAGE, "python")
    exec(compile(code, "train_memory_policy.md", "exec"), {})
    assert read_examples(tmp_path / "mine.jsonl").histories[0].user == "customer-17"


def test_the_histories_of_the_example_are_sound() -> None:
    found = read_examples(HOME / "examples" / "training" / "histories.jsonl")
    assert len({history.user for history in found.histories}) == 6 and all(one.memory for one in found.histories)
    assert leaks(found) == []
