"""From data to a policy in use, by the commands a user types, on a tiny base: sft, rft, resume, export, serve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("trl", reason="needs the extra train")

from agentmem.cli import app
from agentmem.errors import ConfigError, TrainingDataError
from agentmem.policy.actions import actions_of
from agentmem.policy.rewrite import Rewrite
from agentmem.policy.trained import load_trained
from agentmem.train.histories import read_examples
from agentmem.train.recipes import RFTRecipe, read_recipe
from agentmem.train.rft import Setup, rft
from agentmem.train.runs import read_metrics
from agentmem.train.sft import lessons, observed, taught
from agentmem.train.trainer import Trainer
from tests.tiny_llama import END, SPECIAL, write_tiny_llama

EDITS = [
    {"type": "edits", "user": f"u{number}", "date": "2026-01-01",
     "memory": {"f1": "Lives in Rome.", "p1": "Likes tea."},
     "messages": [{"role": "user", "content": said}], "edits": edits}
    for number, (said, edits) in enumerate([
        ("I moved to Porto.", ['~ f1: Lives in Porto. | "I moved to Porto"']),
        ("What is the time?", ["="]),
        ("I hate beer.", ['+ preference: Hates beer. | "I hate beer"']),
        ("Thanks!", ["="]),
    ])
]  # fmt: skip
HISTORIES = [
    {"type": "history", "user": f"h{number}",
     "sessions": [{"id": "s1", "date": "2026-01-01", "messages": [{"role": "user", "content": f"I love {thing}."}]},
                  {"id": "s2", "date": "2026-01-02", "messages": [{"role": "user", "content": "Any news today?"}]}],
     "probes": [{"id": "q", "question": "What shall I have?", "options": [thing, other], "right": 0},
                {"id": "a", "question": "What do I love?", "answer": thing}]}
    for number, (thing, other) in enumerate([("tea", "beer"), ("rice", "soup"), ("figs", "plum")])
]  # fmt: skip
SHORT = {"iterations": 1, "rollouts.group": 4, "rollouts.histories": 1, "rollouts.max_tokens": 4}
QUICK = ["--set", "iterations=2", "--set", "rollouts.group=2", "--set", "rollouts.histories=2", "--set",
         "rollouts.max_tokens=12", "--set", "save_every=1", "--set", "rate=1e-3"]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in [*EDITS, *HISTORIES]), "utf-8")
    return path


def run(*words: object) -> str:
    done = CliRunner().invoke(app, ["train", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


# -- sft


def test_the_loss_is_on_the_edits_only_and_the_prompt_is_that_of_serving(data, base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    example = read_examples(data).edits[0]
    one = taught(lessons([example])[0], tokenizer, SPECIAL.index(END))
    learned = [token for token, label in zip(one.input_ids, one.labels, strict=True) if label != -100]
    assert tokenizer.decode(learned) == '~ f1: Lives in Porto. | "I moved to Porto"' + END
    assert one.labels[-len(learned) :] == learned and "I moved to Porto." in tokenizer.decode(one.input_ids)


def test_aliases_are_those_that_a_policy_would_see(data):
    example = read_examples(data).edits[0].model_copy(
        update={"memory": {"f2": "Lives in Rome.", "f1": "Is forty."}})  # fmt: skip
    example = example.model_copy(update={"edits": (example.edits[0].model_copy(update={"aliases": ("f2",)}),)})
    seen, [edit] = observed(example)
    assert [one.text for one in seen.memories] == ["Lives in Rome.", "Is forty."] and edit.aliases == ("f1",)


# -- the whole way


@pytest.fixture(scope="module")
def started(base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sft")
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in EDITS), "utf-8")
    run("sft", data, "--base", base, "--out", folder / "run", "--epochs", 2, "--set", "rank=4", "--set", "batch=2")
    return folder / "run"


def test_from_data_to_a_policy_in_use(data, base, started, tmp_path):
    assert "policy" in {path.name for path in started.iterdir()}
    out = tmp_path / "rft"
    told = run("rft", data, "--base", base, "--start", started / "policy", "--out", out, "--credit", "oprl",
               "--reward", "option_likelihood=1", "--reward", "unreadable=-0.1", *QUICK,
               "--set", "outcome.kl=0.01")  # fmt: skip
    assert "export" in told
    rows = read_metrics(out)
    assert [row["iteration"] for row in rows] == [0, 1]
    assert {"reward/mean", "reward/part/option_likelihood", "rollout/edits", "rollout/memory_tokens"} <= rows[0].keys()
    assert (out / "index.html").is_file() and "Any news today?" in (
        next((out / "trajectories").glob("*.md")).read_text("utf-8")
    )
    exported = tmp_path / "policy"
    run("export", out, "--out", exported)
    done = CliRunner().invoke(
        app, ["observe", "--policy", str(exported), "--root", str(tmp_path / "memories"), "-"],
        input=json.dumps([{"role": "user", "content": "I love tea."}]), catch_exceptions=False)  # fmt: skip
    assert done.exit_code == 0, done.output


def test_the_same_examples_teach_a_rewrite(data, base):
    from transformers import AutoTokenizer

    tokenizer, stop = AutoTokenizer.from_pretrained(base), SPECIAL.index(END)
    learned = [tokenizer.decode([token for token in taught(lesson, tokenizer, stop, Rewrite()).labels if token >= 0])
               for lesson in lessons(read_examples(data).edits)]  # fmt: skip
    assert learned == [
        "preference: Likes tea.\nfact: Lives in Porto.\nEND" + END,
        "fact: Lives in Rome.\npreference: Likes tea.\nEND" + END,
        "fact: Lives in Rome.\npreference: Likes tea.\npreference: Hates beer.\nEND" + END,
        "fact: Lives in Rome.\npreference: Likes tea.\nEND" + END,
    ]


def test_a_policy_that_rewrites_from_data_to_use(data, base, started, tmp_path):
    """All that leaves training says what it writes, and is served so."""
    cold = tmp_path / "sft"
    run("sft", data, "--base", base, "--out", cold, "--actions", "rewrite", "--epochs", 1, "--set", "rank=4",
        "--set", "memory_tokens=32")  # fmt: skip
    assert actions_of(cold / "policy") == Rewrite(32)
    out = tmp_path / "rft"
    words = ["rft", data, "--base", base, "--out", out, "--actions", "rewrite", "--memory-tokens", 32,
             "--reward", "unreadable=-1", "--reward", "oversize=-1", *QUICK,
             "--set", "rollouts.max_tokens=40"]  # fmt: skip
    run(*words, "--start", cold / "policy")
    settings = json.loads((out / "config.json").read_text("utf-8"))["settings"]
    assert (settings["actions"], settings["memory_tokens"]) == ("rewrite", 32)
    assert {"reward/part/unreadable", "reward/part/oversize"} <= read_metrics(out)[0].keys()
    sampled = next((out / "trajectories").glob("*.md")).read_text("utf-8")
    assert "Memory now:" in sampled and "the memory stays as it is" in sampled  # a random model writes no END
    assert load_trained(out / "checkpoints" / "iteration-00001").actions == Rewrite(32)
    given = words.index("--memory-tokens")  # a run's folder to begin from, and the size that it was trained with
    again = [tmp_path / "again" if word == out else word for word in [*words[:given], *words[given + 2 :]]]
    run(*again, "--start", cold)
    assert load_trained(tmp_path / "again" / "checkpoints" / "iteration-00001").actions == Rewrite(32)
    exported = tmp_path / "policy"
    run("export", out, "--out", exported)
    done = CliRunner().invoke(
        app, ["observe", "--policy", str(exported), "--root", str(tmp_path / "memories"), "-"],
        input=json.dumps([{"role": "user", "content": "I love tea."}]), catch_exceptions=False)  # fmt: skip
    assert done.exit_code == 0, done.output
    other = CliRunner().invoke(app, ["train", *map(str, words), "--start", str(started / "policy")])
    assert other.exit_code == 1 and "was trained for the actions 'edits'" in " ".join(other.output.split())


REPLAYED = {"replay": {"iterations": 2, "previous": 0.5, "reset": 2}, "outcome": {"kl": 0.1, "epochs": 2}}


@pytest.fixture
def grade_ids(monkeypatch):
    """Every trajectory earns something else: a model that has learned nothing would else have nothing to learn from."""
    from agentmem.train import playing

    real = playing._trajectory

    def graded(play, scored):
        made = real(play, scored)
        return replace(made, reward=sum(token for step in made.steps for token in step.ids) % 97 / 97)

    monkeypatch.setattr(playing, "_trajectory", graded)


def same_runs(one, other, credit):
    for first, second in zip(read_metrics(one), read_metrics(other), strict=True):
        assert {name: value for name, value in first.items() if "speed" not in name} == {
            name: value for name, value in second.items() if "speed" not in name}  # fmt: skip
        assert first["reward/degenerate_groups"] == 0 and (credit == "outcome" or first["prm/pairs"] > 0)
    last = Path("checkpoints/iteration-00003")
    found = sorted(path.relative_to(one / last) for path in (one / last).rglob("*.safetensors"))
    assert found and all((one / last / path).read_bytes() == (other / last / path).read_bytes() for path in found)


@pytest.mark.usefixtures("grade_ids")
@pytest.mark.parametrize(("credit", "further"), [("outcome", {}), ("oprl", {}), ("oprl", REPLAYED)])
def test_a_resumed_run_is_the_uninterrupted_one(data, base, tmp_path, monkeypatch, credit, further):
    """Cut between iterations, and once in the midst of one, when the process reward model has made its step already."""
    recipe = RFTRecipe.model_validate(
        {"iterations": 4, "save_every": 1, "credit": credit, "rate": 1e-3,
         "rollouts": {"histories": 2, "group": 3, "max_tokens": 8}, **further})  # fmt: skip
    setup = Setup(base=str(base), rewards={"edits": 1.0}, reconcile=False, rank=4)
    examples = read_examples(data)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    rft(examples, whole, recipe, setup)
    rft(examples, cut, recipe.model_copy(update={"iterations": 3}), setup)
    rft(examples, cut, recipe, setup, resume=True)
    same_runs(whole, cut, credit)

    real, calls = Trainer._update, []

    def stopped(self, *given):
        made = real(self, *given)
        calls.append(1)
        if len(calls) == 3:  # all of the third iteration is done, and none of it is told
            raise KeyboardInterrupt
        return made

    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", stopped)
        with pytest.raises(KeyboardInterrupt):
            rft(examples, broken, recipe.model_copy(update={"save_every": 50}), setup)
    assert [path.name for path in (broken / "checkpoints").iterdir()] == ["iteration-00001"]
    rft(examples, broken, recipe, setup, resume=True)
    same_runs(whole, broken, credit)


def test_ctrl_c_saves(data, base, tmp_path, monkeypatch):
    from agentmem.train import rft as module

    setup = Setup(base=str(base), rewards={"edits": 1.0}, reconcile=False, rank=4)
    recipe = read_recipe(RFTRecipe, None, {**SHORT, "iterations": 5})
    real, out = module.iterate, tmp_path / "run"

    def stopped(trainer, number):
        if number == 2:
            raise KeyboardInterrupt
        return real(trainer, number)

    monkeypatch.setattr(module, "iterate", stopped)
    with pytest.raises(KeyboardInterrupt):
        rft(read_examples(data), out, recipe, setup)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["iteration-00001"]
    monkeypatch.undo()
    rft(read_examples(data), out, recipe.model_copy(update={"iterations": 3}), setup, resume=True)
    assert [row["iteration"] for row in read_metrics(out)] == [0, 1, 2]


def test_settings_of_memory_reach_the_model(base):
    from agentmem.train.rft import _learner

    setup = Setup(base=str(base), rank=4, dtype="bfloat16", attention="eager", checkpointing=True)
    learner, _ = _learner(RFTRecipe(credit="oprl"), setup, None)
    model = learner.adapted.model.get_base_model()
    assert model.config._attn_implementation == "eager" and model.dtype == torch.bfloat16
    assert all(layer.gradient_checkpointing for layer in model.model.layers)
    assert {value.dtype for value in learner.adapted.weights("prm").values()} == {torch.float32}
    plain, _ = _learner(RFTRecipe(), Setup(base=str(base)), None)
    model = plain.adapted.model.get_base_model()
    assert model.config._attn_implementation == "sdpa" and not model.is_activation_checkpointing


# -- bad input


def test_a_reward_that_fails_marks_its_trajectory(data, base, tmp_path):
    given = iter([float("nan"), 1.0, float("nan"), 2.0])
    setup = Setup(base=str(base), rewards={"moody": 1.0}, reconcile=False, rank=4)
    own = {"moody": lambda ended: next(given)}
    out = rft(read_examples(data), tmp_path / "run", read_recipe(RFTRecipe, None, SHORT), setup, own_rewards=own)
    [row] = read_metrics(out)
    assert row["rollout/failed"] == 2 and row["reward/mean"] == 1.5
    assert "moody: gave nan" in next((out / "trajectories").iterdir()).read_text("utf-8")


def test_a_judge_that_gives_no_verdict_ends_the_run(data, base, tmp_path):
    """The model `fake` repeats the question; rollouts are held to the grammar. All would fail for ever, at a price."""
    settings = [str(word) for name, value in SHORT.items() for word in ("--set", f"{name}={value}")]
    words = ["rft", data, "--base", base, "--out", tmp_path / "run", "--reward", "judge=1", "--judge", "fake",
             "--constrained", *settings]  # fmt: skip
    found = CliRunner().invoke(app, ["train", *map(str, words)])
    said = " ".join(found.output.split())
    assert found.exit_code == 1 and "iteration 0: all 4 trajectories failed, the first: judge: no line VERDICT" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "rollouts.group=1"], "rollouts.group: Input should be greater than or equal to 2"),
        (["--set", "magic=1"], "magic: Extra inputs are not permitted"),
        (["--set", "group"], "give NAME=VALUE"),
        (["--reward", "magic=1"], "reward 'magic': choose some of"),
        (["--reward", "edits"], "give NAME=WEIGHT"),
        (["--start", "nowhere"], "nowhere"),
        (["--set", "rate.x=1", "--set", "rate.x.y=1"], "rate.x holds no settings"),
        (["--answerer", "nobody"], "nobody"),
        (["--set", "replay.reset=3"], "shape the penalty outcome.kl, which is 0"),
        (["--reward", "forgotten=1"], 'reward forgotten: needs a probe with the kind "forget" and an answer'),
        (["--set", "replay.previous=.5", "--set", "outcome.kl=.1"], "set outcome.epochs above 1"),
        (["--actions", "magic"], "choose edits or rewrite"),
        (["--actions", "rewrite"], "rollouts.max_tokens 128: the actions 'rewrite' write a memory of up to 512 tokens"),
        (["--sampler", "magic"], "sampler 'magic': choose own, vllm, or the URL"),
        (["--dtype", "float64"], "dtype 'float64': choose one of float32, bfloat16"),
        (["--attention", "fast"], "attention 'fast': choose one of sdpa, flash_attention_2, eager"),
        (["--attention", "flash_attention_2", "--dtype", "bfloat16"], "needs flash-attn: pip install flash-attn"),
        (["--reward", "judge=1"], "the reward judge asks a chat model: name one, as in --judge"),
        (["--reward", "judge=1", "--judge", "nobody"], "model 'nobody': write it as provider:name"),
        (["--judge", "fake"], "--judge fake: no reward asks it; add --reward judge=1"),
    ],
)
def test_wrong_settings_are_one_line(data, base, tmp_path, words, said):
    done = CliRunner().invoke(
        app, ["train", "rft", str(data), "--base", str(base), "--out", str(tmp_path / "r"), *words]
    )
    assert done.exit_code == 1 and said in done.output and "Traceback" not in done.output, done.output


@pytest.mark.parametrize(
    ("setting", "said"),
    [("rank=many", "rank: Input should be a valid integer"), ("rate=0", "rate: Input should be greater than 0"),
     ("magic=1", "magic: Extra inputs are not permitted")],
)  # fmt: skip
def test_wrong_settings_of_a_cold_start_are_one_line(data, base, tmp_path, setting, said):
    arguments = ["train", "sft", str(data), "--base", str(base), "--out", str(tmp_path / "s"), "--set", setting]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1 and said in done.output and "Traceback" not in done.output, done.output


def test_a_cold_start_can_be_resumed(base, started, tmp_path):
    """Also one that has ended: nothing is trained again, and the metrics are the same."""
    before = read_metrics(started)
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in EDITS), "utf-8")
    run("sft", data, "--base", base, "--out", started, "--epochs", 2, "--set", "rank=4", "--set", "batch=2", "--resume")
    assert read_metrics(started) == before


def test_a_recipe_is_read_from_a_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("rate: 1e-4\nrollouts: {group: 3}\n", "utf-8")
    found = read_recipe(RFTRecipe, path, {"rollouts.histories": 5})
    assert (found.rate, found.rollouts.group, found.rollouts.histories) == (1e-4, 3, 5)
    path.write_text("- a list\n", "utf-8")
    with pytest.raises(ConfigError, match="recipe.yaml: the file"):
        read_recipe(RFTRecipe, path, {})


def test_without_histories_there_is_nothing_to_train_on(data, tmp_path):
    only_edits = read_examples(data)._replace(histories=())
    with pytest.raises(TrainingDataError, match="needs histories with probes"):
        rft(only_edits, tmp_path / "run", RFTRecipe())


def test_one_user_is_not_enough(data, tmp_path):
    examples = read_examples(data)
    with pytest.raises(TrainingDataError, match="all histories are of one user, 'h0'"):
        rft(examples._replace(histories=examples.histories[:1]), tmp_path / "run", RFTRecipe())


def test_an_adapter_of_another_base_is_said(data, base, started, tmp_path):
    other = write_tiny_llama(tmp_path / "other", hidden=64)
    with pytest.raises(ConfigError, match="another base|cannot be read as an adapter"):
        rft(read_examples(data), tmp_path / "run", RFTRecipe(), Setup(base=str(other), start=started / "policy"))


def test_another_recipe_cannot_resume(data, base, tmp_path):
    recipe = read_recipe(
        RFTRecipe, None, {"iterations": 1, "rollouts.group": 2, "rollouts.histories": 1, "rollouts.max_tokens": 4}
    )
    setup = Setup(base=str(base), rewards={"edits": 1.0}, reconcile=False, rank=4)
    rft(read_examples(data), tmp_path / "run", recipe, setup)
    with pytest.raises(ConfigError, match="rate"):
        rft(read_examples(data), tmp_path / "run", recipe.model_copy(update={"rate": 0.5}), setup, resume=True)
