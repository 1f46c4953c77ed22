"""The documents are true: their code runs, their commands work, what they name exists."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentmem.cli import app
from eval.report import BEGIN, END, markdown, read_reports

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


def test_the_capture_shows_what_the_example_writes_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memories printed in the README are those that the same code writes now (the answers need the large model)."""
    capture = README.split("<!-- capture -->")[1].split("<!-- end of capture -->")[0]
    monkeypatch.syspath_prepend(str(HOME / "examples"))
    main_job = importlib.import_module("main_job")

    monkeypatch.setattr(main_job, "ROOT", tmp_path)
    with main_job.Agent("alice", root=tmp_path) as agent:
        for file in main_job.CONVERSATIONS:
            main_job.learn(agent, HOME / "examples" / file)
        flat = re.sub(r"[│\s]+", "", capture)
        for memory in agent.memories(all=True):
            assert re.sub(r"\s+", "", memory.text) in flat
            for evidence in memory.evidence:
                assert re.sub(r"\s+", "", evidence.quote) in flat
    sys.modules.pop("main_job")
