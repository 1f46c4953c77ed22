"""What goes wrong in practice, end to end through the command line: one clear line, nothing lost, the journal sound."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from literal import LiteralPolicy
from typer.testing import CliRunner, Result

from agentmem.cli import app
from agentmem.models.fake import FakeEmbedder
from agentmem.store import MemoryStore, files

USER = "ada"
HELLO = {"role": "user", "content": "I like jazz."}
MORE = {"role": "user", "content": "I like chess."}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agentmem.config.user_file", lambda: tmp_path / "home" / "agentmem.toml")
    monkeypatch.setattr("agentmem.agent.parts.get_policy", lambda name, **parts: LiteralPolicy())
    return tmp_path


def am(*words: str | Path, code: int = 0, user: str = USER, root: str | Path = "memories", input=None) -> Result:
    options = ["--root", str(root), "--user", user, "--embedder", "hash", "--model", "fake"]
    result = CliRunner().invoke(app, [*map(str, words), *options], input=input)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def refused(*words: str | Path, **options) -> str:
    """The one line that a command fails with."""
    result = am(*words, code=1, **options)
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.strip()


def write(name: str, content: object) -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else
                     (content if isinstance(content, str) else json.dumps(content)).encode())  # fmt: skip
    return path


def remembered(root: str | Path = "memories") -> set[str]:
    return {memory.text for memory in MemoryStore(root, USER).load().memories}


def sound(root: str | Path = "memories") -> None:
    """The files are well and the journal is whole."""
    assert MemoryStore(root, USER).doctor() == []
    whole_journal(root)


def whole_journal(root: str | Path = "memories") -> None:
    """The journal's versions follow each other, up to that of memory.md."""
    store = MemoryStore(root, USER)
    versions = [change.version for change in store.history()]
    assert versions == list(range(1, store.load().version + 1))


@pytest.fixture
def known(folder) -> set[str]:
    am("observe", write("before.json", [HELLO]))
    return remembered()


# Files that cannot be read


def line_57() -> str:
    lines = [json.dumps(MORE)] * 80
    lines[56] = '{"role": "user", "content": "I like'
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "chat.json: is empty; expected OpenAI-style JSON"),
        ([{"role": "user", "content": "x" * 10_000_000}], "chat.json:1: message 1: 10,000,000 characters, more than"),
        (os.urandom(64) + b"\x00", "chat.json: is a binary file"),
        ([MORE, {"role": "robot", "content": "Hi"}], "chat.json:1: message 2: role 'robot' is none of user, assistant"),
        (line_57(), "chat.json:57: is broken JSON"),
        ([{**MORE, "timestamp": "2931-01-01T10:00:00"}], "chat.json:1: message 1: is dated 2931-01-01, which is"),
        ({"date": "2931-01-01", "messages": [MORE]}, "chat.json:1: is dated 2931-01-01, which is in the future"),
        ([{"id": "a", "messages": [MORE]}, {"id": "b", "messages": [{"role": "user", "content": 5}]}],
         "chat.json:1: conversation 2: message 1: content is a"),
    ],
    ids=["empty", "huge", "binary", "role", "line 57", "future message", "future conversation", "second conversation"],
)  # fmt: skip
def test_a_file_that_cannot_be_read_changes_nothing(known, content, said):
    before = Path("memories", USER, "memory.md").read_bytes()
    assert refused("observe", write("chat.json", content)).startswith(said)
    assert Path("memories", USER, "memory.md").read_bytes() == before
    assert remembered() == known
    sound()


def test_one_bad_conversation_can_be_left_out(known):
    write("many.json", [{"id": "a", "messages": [MORE]}, {"id": "b", "messages": [{"role": "robot", "content": "x"}]}])
    assert "(or --skip-unreadable to leave it out)" in refused("observe", "many.json")
    assert remembered() == known  # all is read before anything is written
    result = am("observe", "many.json", "--skip-unreadable")
    assert "left out: many.json:1: conversation 2: message 1: role 'robot'" in result.stderr
    assert remembered() == known | {"I like chess."}


def test_half_an_emoji_does_not_break_the_files():
    am("observe", write("cut.json", '[{"role": "user", "content": "I like tea. \\ud83d"}]'))
    assert remembered() == {"I like tea."}
    sound()


def test_another_conversation_under_a_known_name(known):
    am("observe", write("a.json", {"id": "talk", "messages": [HELLO]}))
    said = refused("observe", write("b.json", {"id": "talk", "messages": [MORE]}))
    assert "'talk'" in said
    assert "another session" in said
    am("observe", "b.json", "--session", "other talk")
    assert remembered() == known | {"I like chess."}


def test_conversations_that_begin_alike_are_told_apart():
    write(
        "alike.json",
        [
            [HELLO, {"role": "assistant", "content": "Yes?"}, MORE],
            [HELLO, {"role": "assistant", "content": "Oh."}, {"role": "user", "content": "I like tea."}],
        ],
    )
    am("observe", "alike.json")
    assert {"I like chess.", "I like tea."} <= remembered()
    sessions = {memory.evidence[0].session for memory in MemoryStore("memories", USER).load().active}
    assert len(sessions) == 2
    assert json.loads(am("observe", "alike.json", "--json").stdout)["ops"] == []  # the same names again


# Users


@pytest.mark.parametrize("user", ["../x", "x" * 500, "a/b", "", " ", "..", "a\nb", "con", ".hidden"])
@pytest.mark.parametrize("command", [["show"], ["observe", "chat.json"], ["recall", "x"], ["doctor"], ["undo"]])
def test_user_names_that_cannot_be_folders(folder, user, command):
    write("chat.json", [HELLO])
    said = refused(*command, user=user)
    assert "user" in said
    assert len(said) < 400
    assert not Path("memories").exists()
    assert {path.name for path in folder.iterdir()} == {"chat.json"}


# The memory's own files


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("---\n", ""),
        ("format: agentmem/1", "format: agentmem/9"),
        ("version: ", "version: soon "),
        ("user: ada", "user: bob"),
    ],
    ids=["no front matter", "format", "version", "user"],
)
def test_broken_front_matter_is_named_and_left_alone(known, old, new):
    path = Path("memories", USER, "memory.md")
    whole = path.read_text()
    path.write_text(broken := whole.replace(old, new, 1))
    write("chat.json", [MORE])
    for command in (["show"], ["observe", "chat.json"], ["recall", "jazz"], ["undo"], ["export"]):
        assert refused(*command).startswith(f"{path}:")
        assert path.read_text() == broken
    path.write_text(whole)
    am("observe", "chat.json")  # nothing was lost: the conversation is read now
    assert remembered() == known | {"I like chess."}
    sound()


def test_a_torn_journal_is_mended_and_a_broken_one_is_named(known):
    path = Path("memories", USER, "journal.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"version": 2, "at"')
    am("observe", write("chat.json", [MORE]))
    sound()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"nonsense\n" + b"".join(lines[1:]))
    assert f"{path}:1" in refused("history")


# The disk


@pytest.mark.parametrize("step", range(6))
def test_disk_full(known, monkeypatch, step):
    write("chat.json", [MORE])
    left = step
    real = os.fsync

    def full(handle: int) -> None:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        left -= 1
        real(handle)

    monkeypatch.setattr(files.os, "fsync", full)
    result = CliRunner().invoke(app, ["observe", "chat.json", "--user", USER, "--embedder", "hash"])
    monkeypatch.setattr(files.os, "fsync", real)
    if result.exit_code:
        assert isinstance(result.exception, SystemExit), result.exception
        assert "the disk is full; free some space and try again" in result.stderr
        assert result.stderr.count("\n") == 1
    assert known <= remembered()
    whole_journal()
    am("observe", "chat.json")  # the same command again goes on
    assert remembered() == known | {"I like chess."}
    sound()


@contextlib.contextmanager
def without_rights(path: Path) -> Iterator[None]:
    """Nothing under `path` may be written; a superuser steps down meanwhile."""
    for below in (path, *path.rglob("*")):
        below.chmod(0o555 if below.is_dir() else 0o444)
    superuser = os.geteuid() == 0
    try:
        if superuser:
            os.seteuid(65534)
        yield
    finally:
        if superuser:
            os.seteuid(0)
        for below in (path, *path.rglob("*")):
            below.chmod(0o755 if below.is_dir() else 0o644)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX rights")
def test_read_only_folder():
    root = Path(tempfile.mkdtemp())
    try:
        chat = root / "chat.json"
        chat.write_text(json.dumps([HELLO]))
        am("observe", chat, root=root / "memories")
        am("recall", "jazz", root=root / "memories")
        chat.write_text(json.dumps([MORE]))
        with without_rights(root):
            assert "I like jazz." in am("show", root=root / "memories").stdout
            for command in (["observe", chat], ["undo"], ["forget", "jazz", "--yes"]):
                said = refused(*command, root=root / "memories")
                assert "no permission to write" in said
                assert str(root / "memories" / USER) in said
            assert "no permission" in refused("observe", chat, root=root / "new")
        assert remembered(root / "memories") == {"I like jazz."}
        sound(root / "memories")
    finally:
        shutil.rmtree(root)


def test_a_file_where_the_folder_should_be():
    write("memories", "not a folder")
    said = refused("observe", write("chat.json", [HELLO]))
    assert "memories" in said
    assert Path("memories").read_text() == "not a folder"


# The index


def test_a_deleted_index_is_built_anew(known):
    shutil.rmtree(Path("memories", USER, ".index"), ignore_errors=True)
    assert "I like jazz." in am("recall", "jazz").stdout


def test_an_index_of_another_embedder_is_built_anew(known, monkeypatch):
    am("recall", "jazz")
    monkeypatch.setattr("agentmem.models.embed.get_embedder", lambda name, device=None: FakeEmbedder(dim=64))
    assert "I like jazz." in am("recall", "jazz").stdout


def test_a_broken_index_is_named_or_mended(known):
    am("recall", "jazz")
    for path in Path("memories", USER, ".index").rglob("*"):
        if path.is_file():
            path.write_bytes(b"nonsense")
    result = CliRunner().invoke(app, ["recall", "jazz", "--user", USER, "--embedder", "hash"])
    if result.exit_code:
        assert isinstance(result.exception, SystemExit), result.exception
        assert "agentmem doctor --repair" in result.stderr
        assert result.stderr.count("\n") == 1
    am("doctor", "--repair")
    assert "I like jazz." in am("recall", "jazz").stdout


# Two processes, and Ctrl-C

DRIVER = """
import sys, time, pathlib
import agentmem.agent.parts as parts
from literal import LiteralPolicy

stop_at, reached = int(sys.argv.pop(1)), pathlib.Path(sys.argv.pop(1))

class Slow(LiteralPolicy):
    def propose(self, observations):
        reached.open("a").write("x")
        time.sleep(60 if len(reached.read_text()) == stop_at else 0.01)
        return super().propose(observations)

parts.get_policy = lambda name, **others: Slow()
from agentmem.cli import main
main()
"""


def start(file: str, reached: str, stop_at: int = 0) -> subprocess.Popen[str]:
    """`agentmem observe FILE` in another process, which waits in conversation number `stop_at` for what comes."""
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", DRIVER, str(stop_at), reached, "observe", file, "--user", USER, "--embedder", "hash"]
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def conversations(name: str, count: int) -> str:
    lines = [
        {"id": f"{name}{n}", "messages": [{"role": "user", "content": f"I like {name} {n}."}]} for n in range(count)
    ]
    write(f"{name}.jsonl", "\n".join(map(json.dumps, lines)))
    return f"{name}.jsonl"


def test_two_processes_on_one_user():
    running = [start(conversations(name, 8), name) for name in ("tea", "golf")]
    for process in running:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert remembered() == {f"I like {name} {n}." for name in ("tea", "golf") for n in range(8)}
    sound()


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on():
    file = conversations("tea", 8)
    process = start(file, "reached", stop_at=3)
    deadline = time.monotonic() + 30
    while not (Path("reached").exists() and len(Path("reached").read_text()) >= 3):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "of 8 conversations are kept; run the same command again to go on." in err
    kept = remembered()
    assert 2 <= len(kept) < 8
    sound()
    again = json.loads(am("observe", file, "--json").stdout)
    assert len(again["ops"]) == 8 - len(kept)
    assert again["skipped"] == len(kept)
    assert remembered() == {f"I like tea {n}." for n in range(8)}
    sound()
