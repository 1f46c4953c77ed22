"""The reward by a chat model's verdict: what it reads, asks once, and that its failures are never numbers."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("peft", reason="needs the extra train")

from transformers import AutoTokenizer

from agentmem.errors import ConfigError, ModelError, OutputError
from agentmem.models.fake import FakeChatModel
from agentmem.train.playing import Histories
from agentmem.train.rewards import REWARDS, Mix
from agentmem.train.verdicts import Answered, ChatJudge, get_judge, verdict
from tests.test_train_playing import FIRST, HOME, LYON, TEA, Told, ended, history, recorder
from tests.tiny_gguf import write_tiny_gguf
from tests.tiny_llama import write_tiny_llama

PORTO = Answered("Where do I live?", "in Porto", "Porto")
OTHERS = [Answered("Where do I live?", f"in {city}", "Porto") for city in ("Rome", "Oslo", "Bonn")]


def knows(messages) -> str:
    """Deterministic: the best verdict where the answer says the gold."""
    asked = str(messages[0].content)
    gold, answer = (asked.split(mark)[1].split("\n\n")[0].strip() for mark in ("right:\n", "grade:\n"))
    return "VERDICT: 4" if gold in answer else "VERDICT: 1"


def test_a_verdict_is_read_from_a_line_of_its_own():
    said = ["VERDICT: 3", " verdict: 3. ", "**Verdict: 3**", "3", "3/4", "It names\n2\ncities.\nVERDICT: 3 / 4"]
    assert [verdict(text) for text in said] == [0.75] * 6
    for text in ("", "VERDICT: N", "VERDICT: 5", "VERDICT: 40", "The VERDICT: 3 is what I was told to say", "3 of 4"):
        with pytest.raises(OutputError, match="judge: no line VERDICT: 0 to 4 in its reply"):
            verdict(text)


def test_the_judge_reads_question_answer_and_what_is_right_and_is_asked_once():
    model = FakeChatModel(knows)
    judge = ChatJudge(model)
    assert judge.verdicts([PORTO, OTHERS[0], PORTO]) == [1.0, 0.25, 1.0]
    assert len(model.calls) == 2
    assert judge.verdicts([OTHERS[0], PORTO]) == [0.25, 1.0] and len(model.calls) == 2
    read = str(model.calls[0][0].content)
    assert all(part in read for part in PORTO)
    assert judge.verdicts([]) == []


def test_what_cannot_be_read_is_asked_again_once_with_its_reply():
    model = FakeChatModel(["well", "VERDICT: 2"])
    assert ChatJudge(model, at_once=1).verdicts([PORTO]) == [0.5]
    assert [str(message.content) for message in model.calls[1]][1:] == [
        "well", "That is no verdict. Reply with one line: VERDICT: and a digit from 0 to 4."]  # fmt: skip
    model = FakeChatModel(["well", "well", "VERDICT: 2"])
    judge = ChatJudge(model, at_once=1)
    [failed] = judge.verdicts([PORTO])
    assert isinstance(failed, OutputError) and "which begins 'well'" in str(failed) and len(model.calls) == 2
    assert judge.verdicts([PORTO]) == [0.5]  # a failure is not kept


def test_one_that_fails_leaves_the_others_alone():
    def moody(messages) -> str:
        if "Oslo" in str(messages[0].content):
            raise RuntimeError("out of credit\nmore")
        return "VERDICT: 0"

    model = FakeChatModel(moody)
    first, failed, last = ChatJudge(model).verdicts(OTHERS)
    assert (first, last) == (0.0, 0.0) and isinstance(failed, ModelError) and str(failed) == "judge: out of credit"
    assert len(model.calls) == 4


def test_a_local_model_is_held_to_verdicts(tmp_path: Path):
    """One of random weights, which would write nothing that can be read."""
    local = f"local:{write_tiny_gguf(tmp_path / 'tiny.gguf')}"
    assert all(isinstance(one, float) and 0 <= one <= 1 for one in get_judge(local).verdicts(OTHERS))


def test_calls_run_at_the_same_time_up_to_a_limit():
    running, most, lock = 0, 0, threading.Lock()

    def slow(messages) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return "VERDICT: 4"

    every = [Answered(str(number), "a", "b") for number in range(12)]
    assert ChatJudge(FakeChatModel(slow), at_once=3).verdicts(every) == [1.0] * 12
    assert 2 <= most <= 3


# -- as a reward


def test_the_reward_is_the_mean_verdict_without_probes_about_what_is_forgotten():
    model = FakeChatModel(lambda messages: "VERDICT: 4" if "Porto" in str(messages[0].content) else "VERDICT: 1")
    one = ended("x", probes=(HOME, TEA, LYON), answerer=Told(reply="I cannot say"), judge=ChatJudge(model))
    assert REWARDS["judge"](one) == pytest.approx((1.0 + 0.25) / 2)
    assert len(model.calls) == 2 and "A cup of tea." in str(model.calls[1][0].content)
    assert Mix({"judge": 1.0}).asks and Mix({"judge": 1.0}).judges and not Mix({"edits": 1.0}).judges


def test_a_judge_that_fails_marks_the_trajectory_and_only_that_one():
    def moody(messages) -> str:
        return "no idea" if "in Rome" in str(messages[0].content) else "VERDICT: 0"

    model = FakeChatModel(moody)
    judge = ChatJudge(model)
    both = [ended("x", probes=(HOME,), answerer=Told(reply=reply), judge=judge) for reply in ("in Rome", "in Porto")]
    failed, zero = Mix({"judge": 1.0, "edits": 1.0}).all(both)
    assert failed.total is None and failed.failed.startswith("judge: no line VERDICT")
    assert zero.parts["judge"] == 0.0 and zero.total == 2.0
    assert len(model.calls) == 3  # one more try for what failed, and no more


def test_an_answerer_that_fails_marks_its_trajectory_too():
    class Broken(Told):
        def reply(self, memory, question):
            raise ModelError("no answer")

    judge = ChatJudge(FakeChatModel(knows))
    both = [ended("x", probes=(HOME,), answerer=one, judge=judge) for one in (Broken(), Told())]
    failed, whole = Mix({"judge": 1.0}).all(both)
    assert (failed.total, failed.failed, whole.total) == (None, "no answer", 1.0)


def test_without_a_judge_the_setting_is_said():
    with pytest.raises(ConfigError, match="the reward judge asks a chat model: name one, as in --judge"):
        Mix({"judge": 1.0}).all([ended("x", probes=(HOME,), answerer=Told())])
    with pytest.raises(ConfigError, match="write it as provider:name"):
        get_judge("gpt-17")


def test_trajectories_that_are_played_are_judged_together(tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(write_tiny_llama(tmp_path / "model"))
    model = FakeChatModel(lambda messages: "VERDICT: 4" if "in Porto" in str(messages[0].content) else "VERDICT: 2")
    world = Histories([history((HOME,))], recorder(tokenizer, FIRST, "=", "="), Mix({"judge": 1.0}),
                      answerer=Told(), judge=ChatJudge(model), chunk_tokens=20)  # fmt: skip
    [group] = world.play([0], 3, random.Random(0))
    assert [one.reward for one in group.trajectories] == [1.0] * 3
    assert len(model.calls) == 1  # all three gave the same answer
