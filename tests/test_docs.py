"""The documents are true: their code runs, their commands work, what they name exists."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentmem import Agent
from agentmem.cli import app
from agentmem.importers import read_sessions
from agentmem.policy import DEFAULT
from eval.report import BEGIN, END, markdown, read_reports
from examples import main_job

HOME = Path(__file__).parent.parent
README = (HOME / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_the_python_of_the_readme_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert "aisle seat" in capsys.readouterr().out.lower()
    assert list(tmp_path.glob("memories/*/memory.md"))


def test_the_commands_of_the_readme_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOME)
    commands = [line for block in blocks(README, "sh") for line in block.splitlines() if line.startswith("agentmem ")]
    assert len(commands) >= 7
    for command in commands:
        arguments = shlex.split(command, comments=True)[1:]
        result = CliRunner().invoke(app, arguments, env={"AGENTMEM_ROOT": str(tmp_path)})
        assert result.exit_code == 0, f"{command}\n{result.output}"


def test_the_make_targets_that_documents_name_exist() -> None:
    makefile = (HOME / "Makefile").read_text(encoding="utf-8")
    for page in [HOME / "README.md", HOME / "LOG.md", HOME / "eval" / "README.md", *HOME.glob("docs/*.md")]:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{page.name}: make {target}"


def test_the_tables_of_the_evaluations_are_those_of_the_kept_reports() -> None:
    """`make eval-tables` wrote them."""
    written = (HOME / "eval" / "README.md").read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert written == markdown(read_reports(HOME / "eval" / "results"))


def test_what_nouns_and_readme_point_to_is_there() -> None:
    for page in ("README.md", "NOUNS.md"):
        text = (HOME / page).read_text(encoding="utf-8")
        for path in re.findall(r"`(agentmem/[\w/.]+)`|\]\(([\w/.]+)\)", text):
            named = next(filter(None, path))
            assert (HOME / named).exists(), f"{page}: {named}"


def test_the_capture_is_of_the_example_s_conversations() -> None:
    """What its memories say is a model's, and follows its weights (`make docs`); what they rest on was said."""
    capture = README.split("<!-- capture -->")[1].split("<!-- end of capture -->")[0]
    conversations = {}
    for file in main_job.CONVERSATIONS:
        [session] = read_sessions(HOME / "examples" / file)
        conversations[session.id] = session
        assert f"examples/{file}: {len(session.messages)} messages of {session.date}" in capture
    flat = re.sub(r"[│\s]+", "", capture)
    rests_on = re.findall(r'-("(?:[^"\\]|\\.)*")\(session([\w-]+),turn(\d+)', flat)
    assert len(rests_on) >= 3
    for quote, session, turn in rests_on:
        message = conversations[session].messages[int(turn)]
        assert message.role == "user" and json.loads(quote) in re.sub(r"\s+", "", message.content)
    assert f"What agentmem wrote (policy trained:{DEFAULT.name})" in capture
    assert main_job.QUESTION in capture and "The answer follows:" in capture


def test_the_example_learns_and_shows_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it but the answers, which need the large model."""
    monkeypatch.setattr(main_job, "ROOT", tmp_path)
    with Agent("alice", root=tmp_path) as agent:
        main_job.show_memory(agent)
        for file in main_job.CONVERSATIONS:
            main_job.learn(agent, HOME / "examples" / file)
        main_job.show_memory(agent)
    shown = capsys.readouterr().out
    assert "policy none: nothing was written" in shown and "(policy offline)" in shown
    assert "demo/alice/memory.md" in shown and "demo/alice/history.md" in shown
