"""Whether there is anything to learn from: answers with the gold memory, with none, with another user's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("peft", reason="needs the extra train")

from agentmem.cli import app
from agentmem.errors import TrainingDataError
from agentmem.session import make_session
from agentmem.train.check import gold_memory, ground
from agentmem.train.histories import History, Probe


def history(user: str, thing: str, other: str, memory=()) -> History:
    session = make_session([{"role": "user", "content": f"I love {thing}."}], id="s1")
    probe = Probe(id="q", question="What shall I have?", options=(thing, other), right=0)
    return History(user=user, sessions=(session,), probes=(probe,), memory=memory)


class Reading:
    """Takes the option that the memory names; without one, the last."""

    def likelihoods(self, memory, said, options):
        return np.array([float(option in memory) + 0.1 * place for place, option in enumerate(options)])

    def reply(self, memory, question):
        return ""


class Deaf(Reading):
    def likelihoods(self, memory, said, options):
        return np.arange(len(options), dtype=float)


USERS = [history("a", "tea", "rum"), history("b", "rice", "soup"), history("c", "figs", "plums", ("Loves figs.",))]


def test_a_reader_gains_from_the_gold_memory_only():
    found = ground(USERS, Reading())
    assert (found.gold, found.empty, found.shuffled, found.probes, found.chance) == (1.0, 0.0, 0.0, 3, 0.5)
    assert found.enough and len(found.lines()) == 1


def test_an_answerer_that_does_not_listen_teaches_nothing():
    found = ground(USERS, Deaf())
    assert not found.enough and "there is nothing to learn from; use a larger answerer" in found.lines()[1]


def test_the_gold_memory_is_what_is_given_else_what_the_user_said():
    assert gold_memory(USERS[2]) == "- Loves figs." and gold_memory(USERS[0]) == "- I love tea."
    long = make_session([{"role": "user", "content": "word " * 1500}, {"role": "user", "content": "newest"}], id="s1")
    assert gold_memory(USERS[0].model_copy(update={"sessions": (long, long)})).startswith("- newest\n")


def test_one_user_cannot_be_shuffled():
    with pytest.raises(TrainingDataError, match="two users or more"):
        ground(USERS[:1], Reading())


def test_the_command_says_what_leaks(tmp_path: Path):
    said = "Which tea should I buy for my sister this time, do you think?"
    first = {"type": "history", "user": "a",
             "sessions": [{"id": "s", "messages": [{"role": "user", "content": said}]}],
             "probes": [{"id": "q", "question": said, "answer": "green"}]}  # fmt: skip
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(first) + "\n", "utf-8")
    done = CliRunner().invoke(app, ["train", "check", str(path)])
    assert done.exit_code == 1 and "its question stands" in done.output and "1 history, 0 examples" in done.output
    told = CliRunner().invoke(app, ["train", "check", str(path), "--json"])
    assert json.loads(told.stdout)["leaks"]
