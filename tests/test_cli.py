"""The command line, as people and scripts use it: real files, a real index; only policy and chat model are fakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipfile
from datetime import date
from pathlib import Path

import pytest
from literal import LiteralPolicy
from typer.testing import CliRunner, Result

from agentmem.cli import app
from agentmem.memory import Add, Close, Evidence, Fact, Preference, StandingInstruction
from agentmem.store import MemoryStore

DATA = Path(__file__).parent / "data"
COMMANDS = ["chat", "observe", "recall", "show", "edit", "forget", "history", "undo", "export", "import", "doctor",
            "config"]  # fmt: skip
SAID = "I like jazz. I live in Lyon. Always use metric units."
DAY = date(2024, 5, 1)


class Line:
    """The command line of one user in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self, *words: str | Path, input: str | bytes | None = None, code: int = 0, user: str = "ada"
    ) -> Result:
        options = ["--root", str(self.root), "--user", user, "--embedder", "hash", "--model", "fake"]
        result = CliRunner().invoke(app, [*map(str, words), *options], input=input)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    def json(self, *words: str | Path, **options) -> dict:
        result = self(*words, "--json", **options)
        assert result.stdout.count("\n") == 1  # one object and nothing else
        return json.loads(result.stdout)

    @property
    def folder(self) -> Path:
        return self.root / "ada"


@pytest.fixture
def am(tmp_path, monkeypatch) -> Line:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agentmem.config.user_file", lambda: tmp_path / "home" / "agentmem.toml")
    monkeypatch.setattr("agentmem.agent.parts.get_policy", lambda name, **parts: LiteralPolicy())
    return Line(tmp_path / "memories")


@pytest.fixture
def talk(tmp_path) -> Path:
    path = tmp_path / "talk.json"
    messages = [{"role": "user", "content": SAID}, {"role": "assistant", "content": "Noted."}]
    path.write_text(json.dumps({"id": "first", "date": str(DAY), "messages": messages}))
    return path


@pytest.fixture
def filled(am) -> Line:
    """Three memories and a closed one, written without the agent."""
    store = MemoryStore(am.root, "ada")
    quote = Evidence(quote="I like [b]jazz[/b]", session="first", turn=0)
    store.apply([
        Add(memory=Preference(id="pjazz2", text="Likes [b]jazz[/b].", evidence=(quote,), valid_at=DAY)),
        Add(memory=Fact(id="fhome2", text="Lives in Lyon.", valid_at=DAY)),
        Add(memory=StandingInstruction(id="ieuro2", when="converting amounts", text="Use euros.", basis="inferred")),
    ])  # fmt: skip
    store.apply([Close(id="fhome2", on=date(2024, 9, 1), because="moved")])
    return am


# Every command


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_columns_and_names_the_common_options(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    for option in ("--user", "--root", "--json", "--model", "--policy", "--embedder"):
        assert option in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'chromadb', 'langgraph', 'langchain_core', 'numpy'}"
    code = f"import sys; import agentmem.cli; sys.exit(sorted({heavy} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=DATA.parent.parent)
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_that_only_read_files_import_nothing_heavy(filled):
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'chromadb', 'langgraph', 'numpy'}"
    code = ("import sys\nfrom agentmem.cli import app\n"
            f"for words in (['show'], ['history'], ['config'], ['export']):\n"
            f"    app([*words, '--user', 'ada', '--root', {str(filled.root)!r}], standalone_mode=False)\n"
            f"sys.exit(sorted({heavy} & sys.modules.keys()) or 0)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=DATA.parent.parent)
    assert (done.returncode, done.stderr) == (0, "")


def test_wrong_usage_exits_2(am):
    assert "No such option" in am("show", "--nonsense", code=2).stderr
    assert "is not a day" in am("show", "--at", "tomorrow", code=2).stderr
    assert "in the future" in am("observe", DATA / "openai.json", "--date", "2931-01-01", code=2).stderr


def test_a_bug_shows_its_traceback(am, monkeypatch):
    def broken(self):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(MemoryStore, "load", broken)
    with pytest.raises(ZeroDivisionError):
        am("show")


# Observing


def test_observe_keeps_the_contract(am, talk):
    observed = am.json("observe", talk)
    assert [(op["op"], op["kind"], op["text"]) for op in observed["ops"]] == [
        ("add", "preference", "I like jazz."), ("add", "fact", "I live in Lyon."),
        ("add", "instruction", "Always use metric units.")]  # fmt: skip
    assert observed["ops"][0]["evidence"] == [{"quote": "I like jazz.", "session": "first", "turn": 0}]
    assert [op["when"] for op in observed["ops"]] == [None, None, "always"]
    assert {memory["valid_at"] for memory in am.json("show")["memories"]} == {str(DAY)}


def test_observe_again_reads_only_what_is_new(am, talk):
    am("observe", talk)
    again = am.json("observe", talk)
    assert (again["ops"], again["skipped"]) == ([], 2)
    assert "2 turns had been read before" in am("observe", talk).stderr


def test_observe_for_people_shows_the_evidence(am, talk):
    result = am("observe", talk)
    assert "+ preference  I like jazz." in result.stdout
    assert '"I like jazz." (first, turn 0)' in result.stdout
    assert "3 changes from 1 conversation." in result.stderr


def test_observe_reads_standard_input_under_a_given_name_and_day(am, talk):
    messages = json.dumps([{"role": "user", "content": "I like jazz."}])
    observed = am.json("observe", "-", "--date", "2024-05-02", "--session", "evening", input=messages)
    assert observed["sessions"] == ["evening"]
    assert am.json("show")["memories"][0]["valid_at"] == "2024-05-02"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_observe_reads_a_named_pipe(am, talk, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(talk.read_text()))
    writer.start()
    assert am.json("observe", tmp_path / "pipe")["sessions"] == ["first"]
    writer.join()


def test_observe_of_many_says_how_far_it_is(am, tmp_path):
    lines = [
        json.dumps({"id": f"s{n}", "messages": [{"role": "user", "content": f"I like tea {n}."}]}) for n in range(20)
    ]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    result = am("observe", tmp_path / "many.jsonl")
    assert "read 10 of 20 conversations" in result.stderr
    assert "20 conversations" in result.stderr
    assert "one name does not fit" in am("observe", tmp_path / "many.jsonl", "--session", "x", code=2).stderr


@pytest.mark.parametrize("name", ["openai.json", "messages.jsonl", "conversations.jsonl", "langchain_dict.json",
                                  "langchain_dumps.json", "chatgpt.json", "claude.json"])  # fmt: skip
def test_observe_takes_every_layout(am, name):
    assert am.json("observe", DATA / name)["sessions"]


def test_recall_keeps_the_contract(am, talk):
    am("observe", talk)
    found = am.json("recall", "what music, jazz?", "--k", "2")
    assert len(found["hits"]) == 2
    assert found.keys() == {"hits", "route", "tokens"}
    for hit in found["hits"]:
        assert {"kind", "id", "text", "score", "why", "sources"} <= hit.keys()
        assert hit["kind"] in ("memory", "turn")
    assert {"session": "first", "turn": 0} in found["hits"][0]["sources"]
    assert "jazz" in am("recall", "jazz").stdout


@pytest.mark.parametrize("command", [["recall", "x"], ["history"], ["undo"], ["forget", "x"], ["export"], ["doctor"]])
def test_a_user_who_is_not_there_is_not_begun(filled, command):
    said = filled(*command, user="aad", code=1).stderr
    assert said.startswith("nothing is stored for aad in ")
    assert said.endswith("; there is ada\n")
    assert not (filled.root / "aad").exists()


# Forgetting


def test_forget_by_text_erases_everywhere(am, talk):
    am("observe", talk)
    assert "add --yes" in am("forget", "jazz", code=1).stderr  # nobody is there to ask
    assert b"jazz" in (am.folder / "memory.md").read_bytes()
    assert len(am.json("forget", "jazz", "--yes")["ids"]) == 1
    left = [path for path in am.folder.rglob("*") if path.is_file() and b"jazz" in path.read_bytes()]
    assert left == []
    assert "Lyon" in am("show").stdout
    assert "Nothing that was forgotten is left" in am("doctor", "--verify-forgotten", input="jazz\n").stdout
    assert "forgotten" in am("undo", code=1).stderr


def test_forget_asks_and_shows_what_will_go(am, talk, monkeypatch):
    am("observe", talk)
    monkeypatch.setattr("agentmem.cli.common.interactive", lambda: True)
    result = am("forget", "jazz", input="n\n")
    assert "This erases 1 memory" in result.stderr
    assert "I like jazz." in result.stderr
    assert "Nothing was forgotten." in result.stderr
    assert "jazz" in am("show").stdout
    assert "Forgotten: 1 memory" in am("forget", "jazz", input="y\n").stdout


def test_forget_by_id_and_what_is_not_there(am, talk):
    am("observe", talk)
    id = am.json("show")["memories"][0]["id"]
    assert am.json("forget", id, "--yes")["ids"] == [id]
    assert "forget what?" in am("forget", " ", "--yes", code=1).stderr
    assert am("forget", "zeppelin", "--yes", code=1).stderr.count("\n") == 1


def test_verify_forgotten_finds_what_is_left(am, talk):
    am("observe", talk)
    assert "jazz" not in am("doctor", "--verify-forgotten").stdout
    result = am("doctor", "--verify-forgotten", input="jazz\n", code=1)
    assert "ada: " in result.stdout
    assert "problem" in result.stderr


# Chatting


def test_chat_answers_learns_and_obeys_its_commands(am):
    said = "I like jazz.\n\n/show\n/undo\n/show\nI live in Lyon.\n/quit\nnever read\n"
    result = am("chat", input=said)
    assert result.stdout.startswith("I like jazz.\n")  # the fake model repeats
    assert "+ preference  I like jazz." in result.stdout
    assert "1 memory\n" in result.stdout
    assert "0 memories\n" in result.stdout
    assert "never read" not in result.stdout
    assert [memory["text"] for memory in am.json("show")["memories"]] == ["I live in Lyon."]


def test_chat_names_the_memories_it_used(am):
    am("chat", input="I like jazz.\n")
    assert "used: I like jazz." in am("chat", input="So jazz it is, I like jazz so much\n").stdout


def test_chat_in_json_is_one_object_a_message(am):
    lines = am("chat", "--json", input="I like jazz.\nHello\n").stdout.splitlines()
    first, second = map(json.loads, lines)
    assert first["text"] == "I like jazz."
    assert first["ops"][0]["op"] == "add"
    assert second["ops"] == []
    assert first["session"] == second["session"]


def test_what_is_forgotten_in_a_chat_does_not_come_back_with_its_next_turn(am):
    am("chat", input="I like jazz.\nPlease forget jazz.\nHello again.\nI live in Lyon.\n")
    left = [path for path in am.folder.rglob("*") if path.is_file() and b"jazz" in path.read_bytes()]
    assert left == []
    assert [memory["text"] for memory in am.json("show")["memories"]] == ["I live in Lyon."]


def test_chat_command_forget(am, monkeypatch):
    monkeypatch.setattr("agentmem.cli.common.interactive", lambda: True)
    monkeypatch.setattr("agentmem.cli.common.typer.confirm", lambda *a, **k: True)
    result = am("chat", input="I like jazz.\n/forget jazz\nHello.\n")
    assert "Forgotten: 1 memory" in result.stdout
    assert not any(b"jazz" in path.read_bytes() for path in am.folder.rglob("*") if path.is_file())


# Looking


def test_show_on_nothing_says_how_to_begin(am):
    assert "Nothing is remembered about ada; try `agentmem chat`" in am("show").stdout
    assert am.json("show") == {"memories": [], "version": 0}
    assert not am.root.exists()  # looking writes nothing


def test_show_keeps_the_contract(filled):
    shown = filled.json("show")["memories"]
    assert {memory["id"] for memory in shown} == {"pjazz2", "ieuro2"}
    for memory in filled.json("show", "--all")["memories"]:
        assert {"id", "kind", "text", "when", "basis", "confidence", "status", "valid_at", "invalid_at",
                "evidence"} <= memory.keys()  # fmt: skip
    every = {memory["id"]: memory for memory in filled.json("show", "--all")["memories"]}
    assert every["fhome2"]["status"] == "closed"
    assert every["fhome2"]["invalid_at"] == "2024-09-01"
    assert every["ieuro2"]["when"] == "converting amounts"
    assert every["pjazz2"]["when"] is None
    assert every["pjazz2"]["evidence"] == [{"quote": "I like [b]jazz[/b]", "session": "first", "turn": 0}]


def test_show_at_a_day_answers_as_of_then(filled):
    then = {memory["id"] for memory in filled.json("show", "--at", "2024-08-31")["memories"]}
    assert "fhome2" in then
    later = {memory["id"] for memory in filled.json("show", "--at", "2024-09-01")["memories"]}
    assert "fhome2" not in later


def test_show_for_people_has_the_evidence_and_takes_no_markup(filled):
    shown = filled("show").stdout
    assert "Likes [b]jazz[/b].  ^pjazz2" in shown
    assert '"I like [b]jazz[/b]" (first, turn 0)' in shown
    assert "converting amounts => Use euros." in shown
    assert "Lyon" not in shown
    assert "1 memory no longer holds; see --all." in shown
    assert "Lives in Lyon." in filled("show", "--all").stdout


def test_control_characters_cannot_drive_the_terminal(am):
    store = MemoryStore(am.root, "ada")
    store.apply([Add(memory=Preference(id="pjazz2", text="Likes \x1b[31mred\x1b[0m."))])
    assert "\x1b" not in am("show").stdout


def test_history_names_who_changed_what(filled):
    changes = filled.json("history")["changes"]
    assert [[op["op"] for op in change["ops"]] for change in changes] == [["add", "add", "add"], ["close"]]
    assert changes[1]["ops"][0]["text"] == "Lives in Lyon."
    assert changes[1]["ops"][0]["because"] == "moved"
    told = filled("history", "--limit", "1").stdout
    assert "1 earlier change" in told
    assert "- fact" in told


def test_doctor_is_content_and_repairs_a_missing_index(am, talk):
    am("observe", talk)
    am("recall", "jazz")
    assert "All is well with the memory of ada." in am("doctor").stdout
    for path in sorted((am.folder / ".index").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    result = am("doctor", code=1)
    assert "agentmem doctor --repair" in result.stderr
    assert am.json("doctor", "--repair") == {"problems": []}
    assert am.json("doctor") == {"problems": []}


# Changing


def editor(tmp_path: Path, *steps: str) -> str:
    """An editor that runs one line of Python on `text` each time it is opened."""
    script, count = tmp_path / "editor.py", tmp_path / "count"
    script.write_text(
        "import sys, pathlib\n"
        f"count = pathlib.Path({str(count)!r})\n"
        "n = int(count.read_text()) if count.exists() else 0\n"
        "count.write_text(str(n + 1))\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "text = path.read_text()\n"
        f"exec({list(steps)!r}[n])\n"
        "path.write_text(text)\n"
    )
    return f"{sys.executable} {script}"


def test_edit_takes_the_changes_over(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("EDITOR", editor(tmp_path, "text = text.replace(' [b]jazz', ' [b]blues') + '- Plays chess.\\n'"))
    monkeypatch.delenv("VISUAL", raising=False)
    ops = filled.json("edit")["ops"]
    assert {op["op"] for op in ops} == {"add", "update"}
    assert "Plays chess." in filled("show").stdout
    assert filled.json("history")["changes"][-1]["author"] == "person"


def test_edit_without_a_change_says_so(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("VISUAL", editor(tmp_path, "pass"))
    assert "Nothing was changed" in filled("edit").stdout


def test_edit_begins_a_file_where_there_is_none(am, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "VISUAL", editor(tmp_path, "text = text.replace('## Preferences\\n', '## Preferences\\n- Tea.\\n')")
    )
    am("edit")
    assert [memory["text"] for memory in am.json("show")["memories"]] == ["Tea."]


def test_edit_that_breaks_the_file_names_the_line_and_offers_to_reopen(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("VISUAL", editor(tmp_path, "text = text[4:]", "text = '---\\n' + text + '- Plays chess.\\n'"))
    monkeypatch.setattr("agentmem.cli.change.interactive", lambda: True)
    result = filled("edit", input="y\n")
    assert "memory.md:1: no front matter" in result.stderr
    assert "Open the editor again?" in result.stderr
    assert "Plays chess." in filled("show").stdout


def test_edit_left_broken_keeps_the_file_as_saved(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("VISUAL", editor(tmp_path, "text = text[4:]"))
    result = filled("edit", code=1)
    assert "memory.md:1: no front matter" in result.stderr
    assert "stays as you saved it" in result.stderr
    assert (filled.folder / "memory.md").read_text().startswith("format:")


def test_an_editor_that_is_not_there(filled, monkeypatch):
    monkeypatch.setenv("VISUAL", "no-such-editor --wait")
    assert "cannot start the editor 'no-such-editor --wait'; set EDITOR" in filled("edit", code=1).stderr


def test_undo_takes_the_last_change_back(filled):
    filled("undo")
    assert "Lives in Lyon." in filled("show").stdout
    filled("undo")
    assert filled.json("show")["memories"] == []
    assert "nothing" in filled("undo", code=1).stderr.lower()


# Moving


def test_export_and_import_carry_everything(filled, tmp_path):
    for name in ("all.json", "all.zip"):
        filled("export", tmp_path / name)
        filled("import", tmp_path / name, user=name.replace(".", "-"))
        there = filled.json("show", "--all", user=name.replace(".", "-"))["memories"]
        assert there == filled.json("show", "--all")["memories"]


def test_export_prints_without_a_file(filled):
    exported = json.loads(filled("export").stdout)
    assert exported["format"] == "agentmem-export/1"
    assert len(exported["memories"]) == 3
    assert filled("export", "--format", "md").stdout == (filled.folder / "memory.md").read_text()
    assert "needs a FILE" in filled("export", "--format", "zip", code=2).stderr


def test_export_never_overwrites_unasked(filled, tmp_path):
    filled("export", tmp_path / "all.json")
    assert "is there already" in filled("export", tmp_path / "all.json", code=1).stderr
    assert filled.json("export", tmp_path / "all.json", "--force")["memories"] == 3
    assert "cannot be written" in filled("export", tmp_path / "nowhere" / "all.json", code=1).stderr


def test_zip_has_the_files_as_they_are(filled, tmp_path):
    filled("export", tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.read("memory.md") == (filled.folder / "memory.md").read_bytes()
        assert archive.read("history.md") == (filled.folder / "history.md").read_bytes()


@pytest.mark.parametrize(
    "foreign",
    [
        ["Likes jazz.", "Lives in Lyon."],
        {"results": [{"id": "x", "memory": "Likes jazz.", "created_at": "2024-05-01T10:00:00-07:00", "score": 0.5},
                     {"memory": "Lives in Lyon."}]},
        [{"namespace": ["memories"], "key": "1", "value": {"kind": "Memory", "content": {"content": "Likes jazz."}}},
         {"text": "Lives in Lyon.", "kind": "fact"}],
    ],
)  # fmt: skip
def test_import_of_other_memories(am, tmp_path, foreign):
    (tmp_path / "other.json").write_text(json.dumps(foreign))
    assert am.json("import", tmp_path / "other.json") == {"added": 2, "known": 0, "refused": 0, "sessions": 0}
    assert am.json("import", tmp_path / "other.json")["known"] == 2
    memories = am.json("show")["memories"]
    assert {memory["text"] for memory in memories} == {"Likes jazz.", "Lives in Lyon."}
    assert {memory["basis"] for memory in memories} == {"inferred"}
    assert am.json("history")["changes"][-1]["author"] == "import"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "other.json: is neither JSON nor a memory.md"),
        ("{}", "other.json: is no list of memories"),
        ('[{"memory": "a"}, {"score": 1}]', "other.json: memory 2: has no text"),
        ('[{"memory": "a", "created_at": "May"}]', "other.json: memory 1: created_at 'May' cannot be read"),
        ('[{"memory": "a", "created_at": "2931-01-01"}]', "is dated 2931-01-01, which is in the future"),
        ('{"format": "agentmem-export/9"}', "has the format agentmem-export/9"),
        ('{"format": "agentmem-export/1", "memories": [{"id": "x"}]}', "other.json: memory 1: "),
        ("---\nformat: agentmem/1\n", "other.json:1: "),
        ("PK\x03\x04", "other.json: is a damaged zip archive"),
    ],
)
def test_import_refuses_in_one_line(am, tmp_path, text, said):
    (tmp_path / "other.json").write_text(text)
    result = am("import", tmp_path / "other.json", code=1)
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not am.root.exists()


# Settings


def test_config_says_where_each_value_comes_from(am, tmp_path):
    (tmp_path / "agentmem.toml").write_text("# mine\nk = 3\n")
    settings = am.json("config")["settings"]
    assert settings["k"] == {"value": 3, "source": "agentmem.toml:2"}
    assert settings["user"] == {"value": "ada", "source": "option"}
    assert settings["temperature"]["source"] == "built in"
    assert "agentmem.toml:2" in am("config").stdout


def test_config_set_keeps_comments(am, tmp_path):
    (tmp_path / "agentmem.toml").write_text("# mine\nk = 3\n")
    assert "k = 5 in agentmem.toml" in am("config", "set", "k", "5").stdout
    assert (tmp_path / "agentmem.toml").read_text() == "# mine\nk = 5\n"
    assert "did you mean model?" in am("config", "set", "modl", "x", code=1).stderr
    am("config", "set", "model", "fake", "--global")
    assert (tmp_path / "home" / "agentmem.toml").exists()
