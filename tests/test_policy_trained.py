"""The trained policy: its prompt, its answers, and where its adapter is named."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from tiny_llama import write_tiny_adapter, write_tiny_llama
from typer.testing import CliRunner

from agentmem import Agent
from agentmem.cli import app
from agentmem.config import load_config, set_value
from agentmem.errors import ConfigError, ModelError
from agentmem.memory import Fact
from agentmem.models.fake import FakeChatModel, FakeEmbedder, FakeWriter
from agentmem.policy import MemoryPolicy, Observation, TrainedPolicy, get_policy, trained_folder
from agentmem.policy.actions import EDITS
from agentmem.policy.trained import CHUNK_TOKENS
from agentmem.prompts import render
from agentmem.route import count_tokens
from agentmem.session import make_session
from eval.runs import fingerprint
from eval.settings import Settings
from eval.systems import SystemSpec, make_system

LYON = '+ fact: Lives in Lyon. | "I live in Lyon"'


def observation(*said: str, start: int = 0) -> Observation:
    session = make_session([{"role": "user", "content": text} for text in said], id="s")
    return Observation(
        memories=(Fact(id="f23456", text="Has a cat."),), session=session, start=start, today=date(2026, 1, 1)
    )


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter as a trainer leaves it: run/policy/."""
    pytest.importorskip("peft", reason="adapters of the tests are written by PEFT, of the extra train")
    folder = tmp_path_factory.mktemp("trained")
    write_tiny_adapter(folder / "run", write_tiny_llama(folder / "base"), name="policy")
    return folder / "run"


def policy(name: str) -> MemoryPolicy:
    return get_policy(name, embedder=FakeEmbedder, model=lambda: FakeChatModel([]), device="cpu")


# -- prompts and answers


def test_the_system_prompt_is_short() -> None:
    """It is read with every conversation, and the forms are learned."""
    assert count_tokens(render("edits")) <= 20


def test_the_prompt_is_what_the_trainer_sees_too() -> None:
    writer = FakeWriter([LYON])
    seen = observation("I live in Lyon")
    [proposal] = TrainedPolicy(writer).propose([seen])
    assert writer.calls == [[EDITS.prompt(seen)]]
    messages, aliases = EDITS.prompt(seen)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert "f1: Has a cat." in messages[1]["content"] and messages[1]["content"].endswith(
        "user: I live in Lyon\nEdits:"
    )
    assert aliases == ["f1"]
    assert [edit.text for edit in proposal.edits] == ["Lives in Lyon."]
    assert (proposal.raw, proposal.problems) == (LYON, ())


def test_all_observations_are_one_batch_in_order() -> None:
    writer = FakeWriter(lambda said: LYON if "Lyon" in said else "=")
    proposals = TrainedPolicy(writer).propose([observation("hi"), observation("I live in Lyon"), observation("yo")])
    assert [len(one.edits) for one in proposals] == [0, 1, 0]
    assert [len(call) for call in writer.calls] == [3]
    assert TrainedPolicy(writer).propose([]) == []


def test_a_long_conversation_is_read_in_pieces_in_the_same_batch() -> None:
    said = [f"message {n}: " + "word " * 300 for n in range(12)]
    writer = FakeWriter(lambda said: f'+ fact: Said {re.findall(r"message [0-9]+", said)[-1]}. | "word"')
    proposal, other = TrainedPolicy(writer).propose([observation(*said, start=2), observation("hi message 99")])
    [call] = writer.calls
    shown = [str(messages[-1]["content"]) for messages, _ in call]
    assert len(shown) > 3 and all(any(f"user: message {n}:" in text for text in shown) for n in range(2, 12))
    assert all(count_tokens(text) < 2 * CHUNK_TOKENS for text in shown)  # a message before, for context, comes on top
    assert len(proposal.edits) == len(shown) - 1 and proposal.edits[-1].text == "Said message 11."
    assert [edit.text for edit in other.edits] == ["Said message 99."]
    small = FakeWriter(lambda said: "=")
    TrainedPolicy(small, chunk_tokens=200).propose([observation(*said)])
    assert len(small.calls[0]) > 2 * len(shown)


def test_an_answer_that_cannot_be_read_is_a_problem_and_neither_an_error_nor_nothing() -> None:
    prose, empty, half, unseen = TrainedPolicy(
        FakeWriter(["She lives in Lyon!", "", f"{LYON}\nand so on", '- f9 | "hi"'])
    ).propose([observation("I live in Lyon")] * 4)
    assert prose.edits == () and "begins with none of" in prose.problems[0] and prose.raw == "She lives in Lyon!"
    assert "the answer is empty" in empty.problems[0]
    assert len(half.edits) == 1 and "line 2" in half.problems[0]
    assert unseen.edits == () and unseen.problems == ("no memory called f9 was shown",)
    with pytest.raises(ModelError, match="FakeWriter: 1 prompts, but 0 replies are left"):
        TrainedPolicy(FakeWriter([])).propose([observation("hi")])


def test_what_it_reads_is_kept_and_the_journal_names_it(tmp_path: Path) -> None:
    reads = TrainedPolicy(FakeWriter([f"{LYON}\nand so on"]), name="trained:run")
    with Agent("alice", root=tmp_path, policy=reads, embedder="hash") as agent:
        observed = agent.observe([{"role": "user", "content": "I live in Lyon"}])
        assert [memory.text for memory in agent.memories()] == ["Lives in Lyon."]
        assert any("line 2" in refusal.reason for refusal in observed.refused)
        assert [(change.policy, change.model) for change in agent.history()] == [("trained:run", "")]


# -- by name


def test_the_folder_of_an_adapter_is_the_name_of_a_policy(adapter: Path) -> None:
    for folder, name in ((adapter, "trained:run"), (adapter / "policy", "trained:policy")):
        found = policy(str(folder))
        assert isinstance(found, TrainedPolicy) and found.name == name
    [proposal] = policy(str(adapter)).propose([observation("I live in Lyon")])
    assert proposal.raw or proposal.problems


def test_names_that_are_no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="choose one of auto, offline, trained, prompted, or the folder"):
        policy("magic")
    with pytest.raises(ConfigError, match="no trained adapter lies there"):
        policy(str(tmp_path))
    with pytest.raises(ConfigError, match="policy '~nobody-here/x'"):
        policy("~nobody-here/x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompted").mkdir()
    assert policy("prompted").name == "prompted" and trained_folder("prompted") is trained_folder("") is None


def test_settings_name_it_from_where_they_lie(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = adapter.parent
    (home / "agentmem.toml").write_text('policy = "run"\n')
    assert load_config(home / "agentmem.toml", env={}).policy == str(home / "run")
    (home / "agentmem.toml").write_text('policy = "offline"\n')
    assert load_config(home / "agentmem.toml", env={}).policy == "offline"
    monkeypatch.chdir(adapter)
    set_value("policy", "policy", home / "agentmem.toml")
    monkeypatch.chdir("/")
    assert load_config(home / "agentmem.toml", env={}).policy == str((adapter / "policy").resolve())
    assert load_config(home / "agentmem.toml", env={"AGENTMEM_POLICY": "prompted"}).policy == "prompted"


def test_the_command_line_takes_it(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.json").write_text('[{"role": "user", "content": "I live in Lyon"}]')
    options = ["--root", "memories", "--embedder", "hash", "--policy"]
    read = CliRunner().invoke(app, ["observe", "talk.json", *options, str(adapter)])
    assert read.exit_code == 0, read.output
    wrong = CliRunner().invoke(app, ["observe", "talk.json", *options, "magic"])
    assert wrong.exit_code == 1 and "the folder of a trained adapter" in " ".join(wrong.output.split())


def test_it_is_evaluated_as_a_system(adapter: Path, tmp_path: Path) -> None:
    spec = SystemSpec(label=f"agentmem:{adapter}", embedder="hash")
    system = make_system(spec)
    assert system.config["policy"] == str(adapter)
    memory = system.open(tmp_path / "user")
    memory.observe(make_session([{"role": "user", "content": "I live in Lyon"}], id="s"))
    assert isinstance(memory.memories(), list | tuple)
    memory.close()
    settings = Settings(data=tmp_path)
    before = fingerprint("tiny", spec, settings)
    (adapter / "policy" / "adapter_model.safetensors").touch()
    assert fingerprint("tiny", spec, settings) != before
