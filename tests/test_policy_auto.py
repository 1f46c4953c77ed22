"""The policy "auto": the trained one, the offline one while its base cannot be had, and who is told which it is."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_auto
from tiny_auto import WRITES
from transformers import PreTrainedModel
from typer.testing import CliRunner

from agentmem import Agent
from agentmem.cli import app
from agentmem.config import Config
from agentmem.errors import ModelError
from agentmem.models import weights
from agentmem.models.adapted import CausalWriter
from agentmem.models.likelihood import fast_dtype
from agentmem.policy import auto
from agentmem.policy.auto import missing

SAID = [{"role": "user", "content": "I'm allergic to nuts. I live in Lyon."}]
NAME = "trained:adapter"


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("peft", reason="adapters of the tests are written by PEFT, of the extra train")
    return tiny_auto.stage(tmp_path_factory.mktemp("staged"))


@pytest.fixture
def home(staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A process that has not asked yet, with an empty cache; the base is not served."""
    shutil.copytree(staged, tmp_path, dirs_exist_ok=True)
    tiny_auto.use(tmp_path, monkeypatch)
    monkeypatch.setattr(auto, "missing", missing)
    next_process()
    yield tmp_path
    next_process()


def next_process() -> None:
    auto._missing.cache_clear()


def agent(home: Path, user: str = "ana", **settings: Any) -> Agent:
    config = Config(user=user, root=home / "memories", embedder="hash", reranker="none", cache=home, device="cpu")
    return Agent(config=config, **settings)


def wrote(found: Agent) -> list[str]:
    return [change.policy for change in found.history()]


# -- which policy writes


def test_with_its_base_the_trained_policy_writes_and_the_journal_names_it(home: Path, caplog: Any) -> None:
    tiny_auto.serve(home)
    with agent(home) as ana, caplog.at_level(logging.WARNING):
        ana.observe(SAID)
        assert [memory.text for memory in ana.memories()] == ["Lives in Lyon."]
        assert wrote(ana) == [NAME]
    assert not caplog.records


def test_without_it_the_offline_policy_writes_and_one_line_says_so(home: Path, caplog: Any) -> None:
    with agent(home) as ana, caplog.at_level(logging.WARNING):
        assert ana.observe(SAID).ops and ana.memories()
        assert wrote(ana) == ["offline"]
    [said] = [record.getMessage() for record in caplog.records]
    assert "\n" not in said and said.startswith("the offline policy writes the memories")
    for part in ("smollm2-135m (0 MB)", "agentmem config set policy offline", "tiny-base==1.0", str(home / "models")):
        assert part in said


def test_a_process_keeps_its_policy_and_the_next_one_takes_up_the_base(home: Path, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING), agent(home) as ana, agent(home, "bob") as bob:
        ana.observe(SAID)
        tiny_auto.serve(home)
        bob.observe(SAID)
        assert wrote(bob) == ["offline"] and len(caplog.records) == 1
    next_process()
    with agent(home) as ana:
        ana.observe(SAID, session="again")
        assert wrote(ana) == ["offline", NAME]


def test_nothing_is_fetched_before_there_is_something_to_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(auto, "missing", lambda *given: asked.append(given) or "away")
    with agent(home) as ana:
        ana.recall("Lyon")
        assert not asked
        ana.observe(SAID)
        assert asked
    asked.clear()
    with agent(home) as again:
        assert again.observe(SAID).skipped == 1 and not asked


# -- why it cannot be had


def test_a_full_disk_and_a_wrong_file_say_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_auto.serve(home)
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as full:
        full.setattr(weights.shutil, "disk_usage", lambda path: usage(10, 9, 1))
        assert "make room, or set `cache`" in missing(home, "cpu")
    next_process()
    (home / "models" / "tiny.gguf").write_bytes(b"half of it")
    assert "delete" in missing(home, "cpu")
    next_process()
    (home / "models" / "tiny.gguf").unlink()
    assert missing(home, "cpu") == ""


def test_a_disk_that_fills_up_while_it_is_unpacked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_auto.serve(home)

    def fill(self: object, folder: Path) -> None:
        folder.mkdir()
        (folder / "half").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(PreTrainedModel, "save_pretrained", fill)
        assert "cannot be converted" in missing(home, "cpu") and "No space left" in missing(home, "cpu")
    assert not list((home / "models").glob("*.unfinished"))


def test_what_cannot_be_written_beside_it_is_no_traceback(home: Path) -> None:
    tiny_auto.serve(home)
    weights.fetch("smollm2-135m", home, quiet=True)
    form = {"float32": "", "bfloat16": "bfloat16."}[fast_dtype("cpu")]
    (home / "models" / f".tiny-{(home / 'tiny.gguf').stat().st_size}.{form}transformers.lock").mkdir()
    assert "cannot be converted" in missing(home, "cpu")


# -- what does not fall back


def test_the_trained_policy_by_name_fails_with_its_reason(home: Path, caplog: Any) -> None:
    with agent(home, policy="trained") as ana, caplog.at_level(logging.WARNING):
        with pytest.raises(ModelError, match="smollm2-135m: could not be downloaded .*Without a network, copy"):
            ana.observe(SAID)
        assert not ana.memories() and not caplog.records
        tiny_auto.serve(home)
        ana.observe(SAID)  # the turns do not count as read
        assert wrote(ana) == [NAME]


def test_a_loaded_model_that_fails_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_auto.serve(home)

    def fail(self: object, prompts: object, aliases: object) -> list[str]:
        raise ModelError("sampling: out of memory")

    monkeypatch.setattr(CausalWriter, "write", fail)
    with agent(home) as ana, pytest.raises(ModelError, match="out of memory"):
        ana.observe(SAID)


# -- from the command line

DRIVER = """
import pathlib, sys
import pytest, tiny_auto
tiny_auto.use(pathlib.Path(sys.argv.pop(1)), pytest.MonkeyPatch())
from agentmem.cli import main
main()
"""


def observe(home: Path, file: str, *options: str) -> subprocess.CompletedProcess[str]:
    here = Path(__file__).parent
    path = f"{here}{os.pathsep}{here.parent}"
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "AGENTMEM_CACHE": str(home)}
    words = [sys.executable, "-c", DRIVER, str(home), "observe", file, "--root", "memories", "--embedder", "hash"]
    return subprocess.run([*words, *options], env=env, cwd=home, capture_output=True, text=True)


def test_two_processes_of_the_command_line(home: Path) -> None:
    for name in ("one", "two"):
        said = [{"role": "user", "content": SAID[0]["content"]}]
        (home / f"{name}.json").write_text(json.dumps(said))
    first = observe(home, "one.json", "--user", "one", "--json")
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("the offline policy writes the memories") == 1 and "Traceback" not in first.stderr
    tiny_auto.serve(home)
    second = observe(home, "two.json", "--user", "two", "--json")
    assert second.returncode == 0 and "offline" not in second.stderr, second.stderr
    for user, name in (("one", "offline"), ("two", NAME)):
        shown = CliRunner().invoke(app, ["history", "--user", user, "--root", str(home / "memories"), "--json"])
        assert f'"policy": "{name}"' in shown.output
    assert WRITES.split(" | ")[0].removeprefix("+ fact: ") in (home / "memories" / "two" / "memory.md").read_text()
