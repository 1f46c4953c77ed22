"""The cookbook for one's own users' data, docs/own-users.md: its Python, and its commands on a tiny base."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("trl", reason="needs the extra train")

from agentmem.cli import app
from agentmem.policy import DEFAULT
from agentmem.train.histories import read_examples
from eval.cli import app as eval_app
from tests.test_docs import blocks
from tests.tiny_llama import write_tiny_llama

HOME = Path(__file__).parent.parent
PAGE = (HOME / "docs" / "own-users.md").read_text(encoding="utf-8")
SHIPPED = "agentmem/train/data/dialogues"


def drafted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    monkeypatch.chdir(folder)
    [code] = blocks(PAGE, "python")
    exec(compile(code, "own-users.md", "exec"), {})
    return folder / "drafts.jsonl"


@pytest.mark.timeout(600)
def test_the_commands_lead_from_logs_to_a_policy_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drafts = read_examples(drafted(monkeypatch, tmp_path)).edits
    assert [one.user for one in drafts] == ["customer-17", "customer-18"]
    assert drafts[0].edits[0].kind == "instruction" and drafts[1].edits == ()

    base, few = write_tiny_llama(tmp_path / "base"), tmp_path / SHIPPED / "few.jsonl"
    few.parent.mkdir(parents=True)
    few.write_text(
        "".join(next((HOME / SHIPPED).glob("*.jsonl")).read_text("utf-8").splitlines(keepends=True)[:20]), "utf-8"
    )
    (tmp_path / "agentmem" / "train" / "data" / "default.yaml").write_text(
        (HOME / "agentmem" / "train" / "data" / "default.yaml").read_text("utf-8"), "utf-8"
    )
    (tmp_path / "about.json").write_text('{"data": "own logs", "limits": "few", "licence": "none"}', "utf-8")
    chat = {"messages": [{"role": "user", "content": "I moved to Basel, quote prices in francs."}]}
    (tmp_path / "chat.json").write_text(json.dumps(chat), "utf-8")
    commands = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
    assert [shlex.split(one)[:3][-1] for one in commands] == ["check", "drafts.jsonl", "sft", "export", "chat.json"]
    for command in commands:
        words = shlex.split(command)
        if words[0] == "cat":
            mixed = few.read_text("utf-8") + (tmp_path / "drafts.jsonl").read_text("utf-8")
            (tmp_path / words[-1]).write_text(mixed, "utf-8")
            continue
        if "sft" in words:
            words += shlex.split(f"--base {base} --set rank=4 --set epochs=1 --set dtype=float32 --set watch=0.3")
        result = CliRunner().invoke(app, words[1:], env={"AGENTMEM_ROOT": str(tmp_path / "memories")})
        assert result.exit_code == 0, f"{words}\n{result.output}\n{result.exception}"


def test_what_it_says_of_measuring_and_of_going_on_from_the_shipped_adapter_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--start agentmem/policy/data/default" in PAGE and DEFAULT.is_dir()
    assert "`python -m eval run dialogues --data mixed.jsonl`" in PAGE
    rows = [json.loads(line) for line in drafted(monkeypatch, tmp_path).read_text("utf-8").splitlines()]
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("".join(json.dumps({**row, "split": "test"}) + "\n" for row in rows), "utf-8")
    words = ["run", "dialogues", "--data", str(mixed), "--system", "agentmem", "--out", str(tmp_path / "out.json")]
    result = CliRunner().invoke(eval_app, words)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["n"] == 2
