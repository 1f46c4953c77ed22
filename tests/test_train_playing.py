"""Playing histories: what is served is what is played, questions come afterwards, and what each reward gives."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("peft", reason="needs the extra train")

from transformers import AutoTokenizer

from agentmem.errors import ConfigError, ModelError
from agentmem.memory import Evidence, Fact, Preference
from agentmem.models.fake import FakeEmbedder
from agentmem.models.likelihood import load_causal
from agentmem.models.sampling import prompt_ids
from agentmem.policy import Observation
from agentmem.policy.actions import EDITS
from agentmem.policy.marks import Marker
from agentmem.policy.rewrite import Rewrite
from agentmem.session import make_session
from agentmem.train.adapters import Adapted
from agentmem.train.answerers import CausalAnswerer, EmbeddingAnswerer, conversation
from agentmem.train.histories import History, Probe
from agentmem.train.playing import Histories, Recorder
from agentmem.train.rewards import REWARDS, Asked, Ended, Mix
from agentmem.train.samplers import ScriptedSampler
from tests.tiny_llama import END, SPECIAL, write_tiny_llama

STOP = SPECIAL.index(END)
TEA = Probe(id="q1", question="What shall I drink?", options=("A cup of tea.", "A glass of beer."), right=0)
HOME = Probe(id="q2", question="Where do I live?", answer="Porto")
LYON = Probe(id="q3", question="Where did I live?", answer="Lyon", kind="forget")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    return AutoTokenizer.from_pretrained(folder)


def history(probes=(TEA, HOME), user="ann") -> History:
    first = make_session([{"role": "user", "content": "I love tea. I live in Lyon."}], id="s1", date=date(2026, 1, 1))
    second = make_session([{"role": "user", "content": "we moved to Porto"}], id="s2", date=date(2026, 2, 1))
    return History(user=user, sessions=(first, second), probes=tuple(probes))


def recorder(tokenizer, *answers: str) -> Recorder:
    ids = [[*tokenizer(answer, add_special_tokens=False)["input_ids"], STOP] for answer in answers]
    return Recorder(ScriptedSampler(ids), tokenizer, [STOP], 200)


FIRST = '+ preference: Likes tea. | "I love tea"\n+ fact: Lives in Lyon. | "I live in Lyon"'
SECOND = '~ f1: Lives in Porto. | "we moved to Porto"'


# -- playing


def test_a_history_is_read_chunk_by_chunk_and_then_asked(tokenizer):
    own = recorder(tokenizer, FIRST, SECOND)
    world = Histories([history()], own, Mix({"value_recall": 1.0, "edits": -0.1}), chunk_tokens=20)
    [group] = world.play([0], 1, random.Random(0))
    [one] = group.trajectories
    assert group.name == "ann" and [step.text for step in one.steps] == [FIRST, SECOND]
    assert one.parts == {"value_recall": 1.0, "edits": 1.5} and one.reward == pytest.approx(0.85)
    assert "Lives in Lyon." in one.steps[1].prompt and all("drink" not in step.prompt for step in one.steps)
    assert tokenizer.decode(one.steps[0].ids) == FIRST + END


def test_what_is_played_is_what_is_served(tokenizer):
    """The tokens of a turn are those that TrainedPolicy gives its writer for the same observation."""
    own = recorder(tokenizer, "=")
    [group] = Histories([history()], own, Mix({"edits": 1.0}), chunk_tokens=20).play([0], 1, random.Random(0))
    session = history().sessions[0]
    messages, _ = EDITS.prompt(Observation(memories=(), session=session, today=date(2026, 1, 1)))
    assert list(group.trajectories[0].steps[0].prompt_ids) == prompt_ids(tokenizer, messages)


def test_each_trajectory_has_a_memory_of_its_own(tokenizer):
    own = recorder(tokenizer, FIRST, "=", SECOND, "=")
    world = Histories([history()], own, Mix({"value_recall": 1.0}), chunk_tokens=20)
    [group] = world.play([0], 2, random.Random(0))
    assert [one.reward for one in group.trajectories] == [1.0, 0.0]


def test_a_probe_is_asked_after_its_sessions(tokenizer):
    early = HOME.model_copy(update={"id": "q0", "answer": "Lyon", "after": 1})
    own = recorder(tokenizer, FIRST, SECOND)
    world = Histories([history((early, HOME))], own, Mix({"value_recall": 1.0}), chunk_tokens=1000)
    [group] = world.play([0], 1, random.Random(0))
    assert group.trajectories[0].reward == 1.0


def test_lines_that_are_no_edits_and_quotes_that_nobody_said_are_counted(tokenizer):
    own = recorder(tokenizer, "I don't know.", '+ fact: Owns a cat. | "my cat"\n=')
    world = Histories([history()], own, Mix({"unreadable": -1.0, "unfaithful": -1.0}), chunk_tokens=20)
    [group] = world.play([0], 1, random.Random(0))
    assert group.trajectories[0].parts == {"unreadable": 0.5, "unfaithful": 1.0}
    assert "quote" in group.trajectories[0].steps[1].notes[0]


def test_with_an_embedder_proposals_are_reconciled(tokenizer):
    again = '+ preference: Likes tea. | "I love tea"'
    session = make_session([{"role": "user", "content": "I love tea"}], id="s3", date=date(2026, 3, 1))
    twice = history().model_copy(update={"sessions": (history().sessions[0], session)})
    for embedder, kept in ((None, 2), (FakeEmbedder(), 1)):
        seen: list[int] = []
        own = {"count": lambda ended, seen=seen: seen.append(len(ended.memories)) or 1.0}
        world = Histories([twice], recorder(tokenizer, again), Mix({"count": 1.0}, own), embedder=embedder,
                          chunk_tokens=20)  # fmt: skip
        world.play([0], 1, random.Random(0))
        assert seen == [kept]


class Moving:
    """Finds that moving is worth something, and nothing else."""

    def probabilities(self, pairs, /):
        return np.array([[0.0, 1.0, *[0.0] * 6] if "moved" in said else [1.0, *[0.0] * 7] for said, _ in pairs])


def test_with_marks_a_chunk_without_any_is_no_turn(tokenizer):
    own = recorder(tokenizer, '+ fact: Lives in Porto. | "we moved to Porto"')
    marker = Marker(Moving(), FakeEmbedder(), 0.5)
    world = Histories([history()], own, Mix({"value_recall": 1.0}), chunk_tokens=20, marker=marker)
    [group] = world.play([0], 2, random.Random(0))
    for one in group.trajectories:
        [step] = one.steps
        assert "Keep as fact: " in step.prompt and "moved to Porto" in step.prompt and one.reward == 1.0
    nobody = Marker(Moving(), FakeEmbedder(), 0.5)
    quiet = history().model_copy(update={"sessions": history().sessions[:1]})
    world = Histories([quiet], recorder(tokenizer), Mix({"value_recall": 1.0}), chunk_tokens=20, marker=nobody)
    [group] = world.play([0], 2, random.Random(0))
    assert [(one.steps, one.reward) for one in group.trajectories] == [([], 0.0), ([], 0.0)]


# -- the other action space

FIRST_LINES = "preference: Likes tea.\nfact: Lives in Lyon.\nEND"
SECOND_LINES = "fact: Lives in Porto.\npreference: Likes tea.\nEND"


def rewriter(tokenizer, *answers: str, memory_tokens: int = 64) -> Recorder:
    plain = recorder(tokenizer, *answers)
    return Recorder(plain._sampler, tokenizer, [STOP], 200, actions=Rewrite(memory_tokens))


@pytest.mark.parametrize("embedder", [None, FakeEmbedder()])
def test_equivalent_answers_come_to_the_same_memory_and_reward_in_both_action_spaces(tokenizer, embedder):
    weights = {"value_recall": 1.0, "forgotten": 0.5, "edits": -0.1, "unreadable": -1.0, "unfaithful": -1.0,
               "oversize": -1.0, "memory": 0.0}  # fmt: skip
    for answers, lines in (
        ((FIRST, SECOND), (FIRST_LINES, SECOND_LINES)),
        ((FIRST, "="), (FIRST_LINES, FIRST_LINES)),
        (("=", "="), ("END", "END")),
        (("nothing here", SECOND[:20]), ("fact: cut", "fact: Lives in Porto.")),
    ):
        kept, rewarded = [], []
        for own in (recorder(tokenizer, *answers), rewriter(tokenizer, *lines)):
            keeps = {
                "memory": lambda ended, kept=kept: (
                    kept.append(
                        sorted((memory.kind, memory.text, memory.evidence[0].session) for memory in ended.memories)
                    )
                    or 1.0
                )
            }
            world = Histories(
                [history((TEA, HOME, LYON))], own, Mix(weights, keeps), embedder=embedder, chunk_tokens=20
            )
            [group] = world.play([0], 1, random.Random(0))
            rewarded.append((group.trajectories[0].reward, group.trajectories[0].parts))
        assert kept[0] == kept[1] and rewarded[0] == rewarded[1]


def test_a_rewrite_is_played_as_it_is_served(tokenizer):
    own = rewriter(tokenizer, FIRST_LINES, SECOND_LINES)
    world = Histories([history()], own, Mix({"value_recall": 1.0}), chunk_tokens=20)
    one, two = world.play([0], 1, random.Random(0))[0].trajectories[0].steps
    observation = Observation(memories=(), session=history().sessions[0], today=date(2026, 1, 1))
    assert list(one.prompt_ids) == prompt_ids(tokenizer, Rewrite(64).prompt(observation)[0])
    assert "Memory:\npreference: Likes tea.\nfact: Lives in Lyon.\n" in two.prompt and two.text == SECOND_LINES


def test_a_cut_rewrite_is_unreadable_and_loses_nothing(tokenizer):
    kept = []
    keeps = {"memory": lambda ended: kept.append(len(ended.memories)) or 1.0}
    own = rewriter(tokenizer, FIRST_LINES, "preference: Likes tea.\n")
    world = Histories([history()], own, Mix({"memory": 1.0, "unreadable": -1.0}, keeps), chunk_tokens=20)
    [one] = world.play([0], 1, random.Random(0))[0].trajectories
    assert kept == [2] and one.parts["unreadable"] == 0.5 and "may be cut" in one.steps[1].notes[0]


def test_dropped_lines_that_nobody_spoke_of_are_unfaithful(tokenizer):
    own = rewriter(tokenizer, FIRST_LINES, "END")
    world = Histories([history()], own, Mix({"unfaithful": 1.0, "edits": 1.0}), chunk_tokens=20)
    [one] = world.play([0], 1, random.Random(0))[0].trajectories
    assert one.parts == {"unfaithful": 0.5, "edits": 2.0}  # two of four changes: tea and Lyon are not in "Porto"


def test_the_budget_of_the_memory_is_that_of_the_actions(tokenizer):
    parts = []
    for own in (recorder(tokenizer, FIRST, "="), rewriter(tokenizer, FIRST_LINES, FIRST_LINES, memory_tokens=4)):
        world = Histories([history()], own, Mix({"oversize": -1.0}), chunk_tokens=20)
        parts.append(world.play([0], 1, random.Random(0))[0].trajectories[0].parts["oversize"])
    assert parts == [0.0, 1.0]  # "- Likes tea.\n- Lives in Lyon." has 8 estimated tokens
    with pytest.raises(ConfigError, match="max_tokens 200: the actions 'rewrite' write a memory of up to 512 tokens"):
        rewriter(tokenizer, "END", memory_tokens=512)


# -- rewards


class Told:
    """Answers as it is told: log-probabilities by memory, and one reply."""

    def __init__(self, reply="in Porto", **by_memory):
        self.said, self.asked = reply, []
        self.by_memory = by_memory

    def likelihoods(self, memory, said, options):
        self.asked.append((memory, tuple(said), tuple(options)))
        return np.log(np.array(self.by_memory["some" if memory else "none"]))

    def reply(self, memory, question):
        return self.said


def ended(*memories: str, probes=(TEA,), answerer=None, **counts) -> Ended:
    kept = tuple(Fact(id=f"f{number:05}", text=text, evidence=(Evidence(quote="q", session="s", turn=0),))
                 for number, text in enumerate(memories))  # fmt: skip
    own = Ended([Asked(probe, kept) for probe in probes], kept, turns=2, edits=4, answerer=answerer)
    return replace(own, **counts)


def test_rewards_by_options_by_hand():
    told = Told(some=[0.3, 0.1], none=[0.1, 0.2])
    one = ended("Likes tea.", answerer=told)
    assert REWARDS["option_likelihood"](one) == pytest.approx(0.75)
    assert REWARDS["option_accuracy"](one) == 1.0
    assert REWARDS["r_gen"](one) == 1.0
    assert len(told.asked) == 2 and told.asked[0] == ("- Likes tea.", (TEA.question,), TEA.options)
    worse = ended("Likes beer.", answerer=Told(some=[0.1, 0.3], none=[0.3, 0.3]))
    assert REWARDS["option_accuracy"](worse) == REWARDS["r_gen"](worse) == 0.0
    hardly = ended("x", answerer=Told(some=[0.102, 0.1], none=[0.1, 0.1]))
    assert REWARDS["r_gen"](hardly) == 0.0  # less than log 1.03


def test_rewards_by_answers_by_hand():
    one = ended("Lives in Porto.", probes=(HOME, LYON), answerer=Told(reply="In Porto."))
    assert REWARDS["exact_match"](one) == 0.0 and REWARDS["words_match"](one) == pytest.approx(2 / 3)
    assert REWARDS["value_recall"](one) == 1.0 and REWARDS["forgotten"](one) == 1.0
    assert REWARDS["forgotten"](ended("Lived in Lyon.", probes=(LYON,))) == 0.0
    exactly = ended(probes=(HOME,), answerer=Told(reply="porto"))
    assert REWARDS["exact_match"](exactly) == 1.0 and REWARDS["value_recall"](exactly) == 0.0


def test_the_follow_up_is_after_the_reply():
    told = Told(some=[0.5] * 6 + [0.25] * 6, none=[])
    assert REWARDS["follow_up"](ended("x", probes=(HOME,), answerer=told)) == pytest.approx(math.log(2))
    assert told.asked[0][1] == (HOME.question, "in Porto")


def test_costs_by_hand():
    one = ended("x", unreadable=1, unfaithful=1)
    assert (REWARDS["edits"](one), REWARDS["unreadable"](one), REWARDS["unfaithful"](one)) == (2.0, 0.5, 0.25)
    assert REWARDS["oversize"](one) == 0.0 and REWARDS["oversize"](ended("word " * 3000)) > 0.5


def test_a_failure_is_never_a_number():
    def broken(ended):
        raise RuntimeError("no answer")

    def nan(ended):
        return float("nan")

    for name, reward in {"broken": broken, "nan": nan}.items():
        scored = Mix({name: 1.0, "edits": 1.0}, {name: reward})(ended())
        assert scored.total is None and name in scored.failed
    scored = Mix({"exact_match": 1.0})(ended(probes=(HOME,), answerer=EmbeddingAnswerer(FakeEmbedder())))
    assert scored.total is None and "writes no replies" in scored.failed


def test_wrong_settings_are_said_at_once():
    with pytest.raises(ConfigError, match="'magic': choose some of option_likelihood"):
        Mix({"magic": 1.0})
    with pytest.raises(ConfigError, match="no probe of the history has options"):
        Mix({"option_accuracy": 1.0})(ended(probes=(HOME,), answerer=Told()))
    with pytest.raises(ConfigError, match="needs an answerer"):
        Mix({"option_accuracy": 1.0})(ended())
    assert Mix({"edits": 1.0, "r_gen": 1.0}).asks and not Mix({"edits": 1.0}).asks


# -- answerers


def test_a_causal_answerer_is_the_base_without_the_policy(folder, tokenizer):
    model, _ = load_causal(folder, device="cpu")
    options = ["Tea.", "Beer, then."]
    plain = CausalAnswerer(model, tokenizer).likelihoods("- Likes tea.", ["What now?"], options)
    adapted = Adapted(load_causal(folder, device="cpu")[0], rank=4)
    for parameter in adapted.parameters_of("policy"):
        parameter.data += 0.3
    answerer = CausalAnswerer(adapted.model, tokenizer, adapted)
    np.testing.assert_allclose(
        answerer.likelihoods("- Likes tea.", ["What now?"], ["Tea.", "Beer, then."]), plain, rtol=1e-5
    )
    with_policy = CausalAnswerer(adapted.model, tokenizer).likelihoods("", ["What now?"], ["Tea.", "Beer, then."])
    assert not np.allclose(with_policy, plain, rtol=1e-3)
    user_next = answerer.likelihoods("", ["What now?", "Tea."], ["Thank you!", "No."])
    assert np.isfinite(user_next).all() and isinstance(answerer.reply("- Likes tea.", "What now?"), str)


def test_an_answerer_reads_the_memory_and_the_question():
    assert conversation("", ["Hi"]) == [{"role": "user", "content": "Hi"}]
    told, *rest = conversation("- Likes tea.", ["Hi", "Hello"])
    assert told["role"] == "system" and "- Likes tea." in told["content"]
    assert [one["role"] for one in rest] == ["user", "assistant"]


def test_by_embeddings_the_memory_decides():
    answerer = EmbeddingAnswerer(FakeEmbedder())
    options = ["A cup of tea.", "A glass of beer."]
    with_tea = answerer.likelihoods("- Likes a cup of tea.", ["What shall I drink?"], options)
    with_beer = answerer.likelihoods("- Likes a glass of beer.", ["What shall I drink?"], options)
    assert with_tea[0] > with_tea[1] and with_beer[0] < with_beer[1]
    assert np.exp(with_tea).sum() == pytest.approx(1)
    with pytest.raises(ModelError, match="writes no replies"):
        answerer.reply("", "x")


def test_memories_are_shown_a_line_each():
    one = Preference(id="p22222", text="Likes tea.", evidence=(Evidence(quote="q", session="s", turn=0),))
    assert Asked(TEA, (one,)).text == "- Likes tea."
