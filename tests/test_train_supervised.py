"""Runs by TRL's trainers: preferences move the right way, weights count, Ctrl-C saves, a resumed run is the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from typer.testing import CliRunner

pytest.importorskip("trl", reason="needs the extra train")

from agentmem.cli import app
from agentmem.errors import ConfigError, ModelError, TrainingDataError
from agentmem.models.adapted import AdaptedModel
from agentmem.models.embed import get_embedder
from agentmem.models.likelihood import load_causal
from agentmem.models.lora import merge, read_adapter
from agentmem.policy.actions import EDITS as EDIT_LINES
from agentmem.policy.actions import actions_of, get_actions, keep_actions
from agentmem.policy.edits import parse_edits
from agentmem.policy.marks import Marker
from agentmem.policy.trained import load_trained
from agentmem.session import Message
from agentmem.train import supervised
from agentmem.train.dpo import _trainer, compared, dpo
from agentmem.train.histories import EditExample, PairExample
from agentmem.train.recipes import DPORecipe, SFTRecipe
from agentmem.train.runs import policy_of, read_metrics
from agentmem.train.sft import IGNORED, Lesson, _Alike, _Padded, lessons, sft, taught
from agentmem.train.sft import _trainer as sft_trainer
from agentmem.train.supervised import adapted, arguments, stop_of
from tests.tiny_llama import END, SPECIAL, write_tiny_llama

ASKED = ("What shall I drink?", "What shall I eat?", "Where do I live?", "Who am I?", "What now?", "And then?")
FAST = {"rank": 4, "batch": 2, "at_once": 1, "rate": 5e-3, "log_every": 1, "warmup": 0.0}


def pair(asked: str, chosen: str, rejected: str, **more: Any) -> PairExample:
    prompt = [Message(role="user", content=asked)]
    return PairExample(**{"user": "ann", "prompt": prompt, "chosen": chosen, "rejected": rejected, **more})


PAIRS = [pair(asked, "Tea.", "A beer, then.") for asked in ASKED]
EDITS = [
    EditExample(user=f"u{number}", messages=[Message(role="user", content=asked)], edits=["="])  # type: ignore[arg-type]
    for number, asked in enumerate(ASKED)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def started(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sft(EDITS, tmp_path_factory.mktemp("sft") / "run", SFTRecipe(base=str(base), **FAST))


def recipe(base: Path, **changes: Any) -> DPORecipe:
    return DPORecipe(**{"base": str(base), "epochs": 4, **FAST, **changes})


def logp(base: Path, adapter: Path | None, one: PairExample) -> tuple[float, float]:
    """Log-probabilities of the chosen and the rejected answer, without TRL and PEFT."""
    model, tokenizer = load_causal(base, device="cpu")
    if adapter is not None:
        merge(model, read_adapter(adapter))
    tokens = compared(one, tokenizer, stop_of(model, tokenizer))
    found = []
    for answer in (tokens.chosen_ids, tokens.rejected_ids):
        ids = torch.tensor([[*tokens.prompt_ids, *answer]])
        with torch.no_grad():
            logp_LV = torch.log_softmax(model(ids).logits[0], -1)
        at = torch.arange(len(tokens.prompt_ids) - 1, ids.shape[1] - 1)
        found.append(float(logp_LV[at, ids[0, at + 1]].sum()))
    return found[0], found[1]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "policy" / "adapter_model.safetensors")


# -- preferences


def test_the_chosen_answer_gains_on_the_rejected_one(base: Path, tmp_path: Path) -> None:
    unseen = pair("What else?", "Tea.", "A beer, then.", user="bob", split="test")
    policy = dpo([*PAIRS, unseen], tmp_path / "run", recipe(base))
    for one in (PAIRS[0], unseen):
        (chosen, rejected), (chosen_before, rejected_before) = logp(base, policy, one), logp(base, None, one)
        assert chosen - rejected > chosen_before - rejected_before + 1.0
        assert chosen > chosen_before and rejected < rejected_before
    rows = read_metrics(tmp_path / "run")
    trained = [row for row in rows if "dpo/margin" in row]
    assert [row["iteration"] for row in trained] == list(range(1, 13))
    assert trained[0]["dpo/margin"] == pytest.approx(0.0, abs=1e-4)  # the policy is its reference
    assert trained[0]["dpo/loss"] == pytest.approx(0.6931, abs=1e-3)
    assert trained[-1]["dpo/margin"] > 0.1 and trained[-1]["dpo/accuracy"] == 1.0
    assert trained[-1]["dpo/loss"] < trained[0]["dpo/loss"]
    tested = [row["dpo/eval_margin"] for row in rows if "dpo/eval_margin" in row]
    assert len(tested) == 4 and tested[-1] > tested[0]
    run = tmp_path / "run"
    assert {"loss.png", "preferred.png", "answers.png"} <= {path.name for path in (run / "plots").iterdir()}
    assert (run / "index.html").is_file() and policy_of(run) == (policy, str(base))
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert (settings["pairs"], settings["left_out"], settings["beta"]) == (6, 0, 0.1)


def test_the_tokens_are_those_of_serving_and_the_answer_ends(base: Path) -> None:
    model, tokenizer = load_causal(base, device="cpu")
    tokens = compared(PAIRS[0], tokenizer, stop_of(model, tokenizer))
    assert tokenizer.decode(tokens.prompt_ids) == (
        "<|im_start|>user\nWhat shall I drink?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(tokens.chosen_ids) == "Tea." + END
    assert tokens.rejected_ids[-1] == SPECIAL.index(END)


def test_it_begins_from_an_adapter_which_is_the_reference(base: Path, started: Path, tmp_path: Path) -> None:
    policy = dpo(PAIRS, tmp_path / "run", recipe(base, start=started, epochs=1))
    first = read_metrics(tmp_path / "run")[0]
    assert first["dpo/margin"] == pytest.approx(0.0, abs=1e-4) and first["dpo/loss"] == pytest.approx(0.6931, abs=1e-3)
    of_start = [logp(base, started, one) for one in PAIRS]
    of_base = [logp(base, None, one) for one in PAIRS]
    chosen = {round(one, 3) for one, _ in of_start}
    assert not chosen & {round(one, 3) for one, _ in of_base}  # the start had learned something
    before, after = weights(started.parent), weights(tmp_path / "run")
    assert before.keys() == after.keys()
    least = min(logp[0] for logp in of_start), max(logp[0] for logp in of_start)
    assert least[0] - 1e-3 <= first["dpo/chosen_logp"] <= least[1] + 1e-3
    assert not any(path.is_dir() for path in policy.iterdir())  # the reference is not served
    assert AdaptedModel(policy, device="cpu").write([[{"role": "user", "content": "Hi"}]], [[]])


def test_of_two_contradictory_pairs_the_heavier_wins(base: Path, tmp_path: Path) -> None:
    for heavier, (first, second) in {"tea": (3.0, 1.0), "beer": (1.0, 3.0)}.items():
        both = [pair(ASKED[0], "Tea.", "Beer.", weight=first), pair(ASKED[0], "Beer.", "Tea.", weight=second)]
        policy = dpo(both, tmp_path / heavier, recipe(base, epochs=8))
        (tea, beer), (tea_before, beer_before) = logp(base, policy, both[0]), logp(base, None, both[0])
        gained = (tea - beer) - (tea_before - beer_before)
        assert gained > 0.5 if heavier == "tea" else gained < -0.5


def test_the_loss_is_the_weighted_mean_of_the_losses_of_the_pairs(base: Path, started: Path, tmp_path: Path) -> None:
    def loss(pairs: list[PairExample], name: str) -> float:
        model, tokenizer = load_causal(base, device="cpu")
        tokens = [compared(one, tokenizer, stop_of(model, tokenizer)) for one in pairs]
        own = _trainer(adapted(model, started), tokenizer, {"train": tokens}, tmp_path / name, recipe(base, at_once=3,
                       start=started))  # fmt: skip
        with torch.no_grad():
            for path, weight in own.model.named_parameters():
                if ".default." in path:
                    weight.add_(0.05)
        own.model.eval()
        batch = own.data_collator(list(own.train_dataset))
        return float(own.compute_loss(own.model, batch))

    three = [pair(ASKED[0], "Tea.", "A beer, then."), pair(ASKED[1], "Nothing at all.", "Rice."),
             pair(ASKED[2], "Porto.", "Rome, I think.")]  # fmt: skip
    single = [loss([one], str(number)) for number, one in enumerate(three)]
    assert len({round(one, 3) for one in single}) == 3
    assert loss(three, "alike") == pytest.approx(sum(single) / 3, rel=1e-4)
    heavy = [one.model_copy(update={"weight": own}) for one, own in zip(three, (4.0, 1.0, 1.0), strict=True)]
    assert loss(heavy, "heavy") == pytest.approx((4 * single[0] + single[1] + single[2]) / 6, rel=1e-4)


# -- bad input


def test_it_keeps_the_action_space_that_it_begins_from(base: Path, started: Path, tmp_path: Path) -> None:
    rewriting = tmp_path / "rewriting"
    shutil.copytree(started, rewriting)
    keep_actions(get_actions("rewrite", 64), rewriting)
    policy = run_of("dpo", base, tmp_path / "run", start=rewriting)
    assert actions_of(policy) == get_actions("rewrite", 64) == load_trained(policy).actions
    with pytest.raises(ConfigError, match="actions 'edits': the adapter .* was trained for 'rewrite'"):
        run_of("dpo", base, tmp_path / "other", start=rewriting, actions="edits")


def test_a_batch_is_as_large_as_was_asked_for(tmp_path: Path) -> None:
    def given(batch: int, at_once: int) -> dict[str, Any]:
        recipe = SFTRecipe(batch=batch, at_once=at_once)
        kind: Any = lambda **own: SimpleNamespace(**own, n_gpu=1)  # noqa: E731
        return dict(vars(arguments(kind, recipe, tmp_path, cpu=True, test=False)))

    for batch, at_once, passes in ((8, 4, 2), (2, 4, 1), (4, 4, 1)):
        found = given(batch, at_once)
        assert found["gradient_accumulation_steps"] == passes
        assert found["per_device_train_batch_size"] * passes == batch
    with pytest.raises(ConfigError, match="batch 6: no multiple of at_once 4"):
        given(6, 4)


def test_without_pairs_there_is_nothing_to_learn(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match='no pair of the split "train"'):
        dpo([], tmp_path / "run", recipe(base))
    with pytest.raises(TrainingDataError, match='no pair of the split "train"'):
        dpo([pair("a", "b", "c", split="test")], tmp_path / "run", recipe(base))
    with pytest.raises(TrainingDataError, match="fits into max_tokens=16"):
        dpo([pair("a " * 30, "b", "c")], tmp_path / "run", recipe(base, max_tokens=16))
    assert not (tmp_path / "run").exists()


def data_of(examples: list[Any], path: Path) -> Path:
    kind = "pair" if isinstance(examples[0], PairExample) else "edits"
    records = [{"type": kind, **one.model_dump(mode="json", exclude_defaults=True)} for one in examples]
    for record in records:
        if kind == "edits":
            record["edits"] = ["="]
    path.write_text("".join(json.dumps(one) + "\n" for one in records), "utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "beta=0"], "beta: Input should be greater than 0"),
        (["--set", "magic=1"], "magic: Extra inputs are not permitted"),
        (["--start", "nowhere"], "nowhere"),
        (["--base", "gpt-17"], "base 'gpt-17': not one of"),
        (["--resume"], "no run to resume"),
    ],
)
def test_wrong_settings_are_one_line(base: Path, tmp_path: Path, words: list[str], said: str) -> None:
    data = data_of(PAIRS[:1], tmp_path / "data.jsonl")
    given = ["train", "dpo", str(data), "--base", str(base), "--out", str(tmp_path / "r"), *words]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 1 and said in done.output and "Traceback" not in done.output, done.output


def test_an_adapter_of_another_base_is_said(started: Path, tmp_path: Path) -> None:
    other = write_tiny_llama(tmp_path / "other", hidden=64)
    with pytest.raises(ConfigError, match="another base|cannot be read as an adapter"):
        dpo(PAIRS, tmp_path / "run", recipe(other, start=started))


def test_a_run_with_other_settings_cannot_be_resumed(base: Path, tmp_path: Path) -> None:
    dpo(PAIRS, tmp_path / "run", recipe(base, epochs=1))
    with pytest.raises(ConfigError, match=r"cannot resume with other settings: beta was 0\.1, is 0\.2"):
        dpo(PAIRS, tmp_path / "run", recipe(base, epochs=1, beta=0.2), resume=True)


# -- Ctrl-C, and going on


def run_of(kind: str, base: Path, out: Path, *, resume: bool = False, **changes: Any) -> Path:
    if kind == "sft":
        return sft(EDITS, out, SFTRecipe(base=str(base), **FAST, **changes), resume=resume)
    return dpo(PAIRS, out, recipe(base, **{"epochs": 2, **changes}), resume=resume)


def same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
    assert read_metrics(one) == read_metrics(other)


@pytest.mark.parametrize(("kind", "at"), [("sft", 1), ("sft", 3), ("dpo", 4), ("dpo from an adapter", 2)])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    base: Path, started: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, at: int
) -> None:
    """In the middle of a step, of the first epoch and of the second."""
    changes: dict[str, Any] = {"start": started} if "adapter" in kind else {}
    whole = run_of(kind, base, tmp_path / "whole", **changes).parent
    real = supervised._Stop.on_substep_end

    def pressed(self: Any, args: Any, state: Any, control: Any, **named: Any) -> None:
        if state.global_step == at:
            os.kill(os.getpid(), signal.SIGINT)
        real(self, args, state, control, **named)

    monkeypatch.setattr(supervised._Stop, "on_substep_end", pressed)
    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt, match=rf"Stopped after step {at} of 6; the same command with --resume"):
        run_of(kind, base, cut, **changes)
    assert [path.name for path in (cut / "hf").glob("checkpoint-*")] == [f"checkpoint-{at}"]
    assert [row["iteration"] for row in read_metrics(cut)] == list(range(1, at + 1))
    assert (cut / "index.html").is_file() and not (cut / "policy").exists()
    assert (cut / "hf" / f"checkpoint-{at}" / "agentmem.json").is_file()  # it may be exported, as what it is
    with pytest.raises(ConfigError, match="was stopped before its end; --resume finishes it"):
        policy_of(cut)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    run_of(kind, base, cut, resume=True, **changes)
    same(whole, cut)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=70), st.integers(1, 8), st.integers(0, 3))
def test_examples_of_like_length_come_together_and_each_once(lengths: list[int], batch: int, epoch: int) -> None:
    sampler = _Alike(lengths, batch, seed=1)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert order == list(sampler) and sorted(order) == list(range(len(lengths)))
    spread = sum(max(part) - min(part) for start in range(0, len(order), batch)
                 if (part := [lengths[place] for place in order[start : start + batch]]))  # fmt: skip
    assert spread <= max(lengths) - min(lengths)  # all are in one of its parts: batches follow each other in length


def test_a_second_ctrl_c_stops_at_once(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(self: Any, args: Any, state: Any, control: Any, **named: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("still here")

    monkeypatch.setattr(supervised._Stop, "on_substep_end", twice)
    with pytest.raises(KeyboardInterrupt):
        run_of("sft", base, tmp_path / "run")
    assert not list((tmp_path / "run").glob("hf/checkpoint-*"))
    monkeypatch.undo()
    run_of("sft", base, tmp_path / "run", resume=True)  # from its beginning
    assert read_metrics(tmp_path / "run")[-1]["iteration"] == 6


def test_a_failure_keeps_the_metrics_and_the_last_checkpoint(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Any, args: Any, state: Any, control: Any, **named: Any) -> None:
        if state.global_step == 3:
            raise RuntimeError("out of memory")

    whole = run_of("dpo", base, tmp_path / "whole").parent
    monkeypatch.setattr(supervised._Stop, "on_substep_end", fails)
    run = tmp_path / "run"
    with pytest.raises(ModelError, match="dpo: out of memory"):
        run_of("dpo", base, run, save_every=2)
    assert [row["iteration"] for row in read_metrics(run)] == [1, 2, 3]
    torn = run / "hf" / "checkpoint-3"
    torn.mkdir()  # the run was killed while it saved: not what to go on from
    monkeypatch.undo()
    run_of("dpo", base, run, resume=True)
    same(whole, run)


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_ctrl_c_in_a_process_saves_and_the_same_command_goes_on(base: Path, tmp_path: Path, kind: str) -> None:
    data = data_of(EDITS if kind == "sft" else PAIRS, tmp_path / "data.jsonl")
    reached, out = tmp_path / "reached", tmp_path / "run"
    settings = [word for name, value in {**FAST, "epochs": 2}.items() for word in ("--set", f"{name}={value}")]
    words = ["train", kind, str(data), "--base", str(base), "--out", str(out), *settings]
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": f"{here.parent}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "tests.interrupted", "2", str(reached), *words], env=env,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    deadline = time.monotonic() + 120
    while not reached.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert "Stopping after this pass" in err and "Stopped after step 2 of 6" in err
    assert [path.name for path in (out / "hf").glob("checkpoint-*")] == ["checkpoint-2"]
    done = CliRunner().invoke(app, [*words, "--resume"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    whole = CliRunner().invoke(app, [*words[:6], str(tmp_path / "whole"), *words[7:]], catch_exceptions=False)
    assert whole.exit_code == 0, whole.output
    same(tmp_path / "whole", out)


# -- what a cold start learns, and how much of it


LONG = EditExample(
    user="liv",
    messages=(
        Message(role="user", content="Hi there. I moved to Oslo! What now?"),
        Message(role="assistant", content="Nice."),
        Message(role="user", content="keep it short from now on"),
    ),
    memory={"f1": "Lives in Bergen."},
    edits=parse_edits(
        '~ f1: Lives in Oslo. | "I moved to Oslo!"\n'
        '+ instruction: always => keep answers short. | "keep it short from now on"'
    ).edits,
)


def test_signs_and_ends_weigh_more_and_nothing_that_is_only_read_weighs(base: Path) -> None:
    model, tokenizer = load_causal(base, device="cpu")
    stop, [lesson] = stop_of(model, tokenizer), lessons([LONG])
    plain, weighed = taught(lesson, tokenizer, stop), taught(lesson, tokenizer, stop, decisive=5.0)
    assert (plain.input_ids, plain.labels) == (weighed.input_ids, weighed.labels)
    assert set(plain.weights) == {0.0, 1.0}
    for label, weight in zip(plain.labels, plain.weights, strict=True):
        assert (label == IGNORED) == (weight == 0)
    heavy = [
        tokenizer.decode([one]) for one, weight in zip(weighed.labels, weighed.weights, strict=True) if weight == 5
    ]
    assert [one[0] for one in heavy[:-1]] == ["~", "+"] and heavy[-1] == END


class Worth:
    """Finds that a sentence is worth more, the longer it is."""

    def probabilities(self, pairs: Any, /) -> Any:
        worth_N = np.array([min(len(said) / 40, 1.0) for said, _ in pairs], np.float32)
        return np.stack([1 - worth_N, *([worth_N / 7] * 7)], 1)


def test_a_lesson_is_a_sentence_that_edits_quote_and_sometimes_another_that_looks_like_it() -> None:
    marker = Marker(Worth(), get_embedder("hash"), 0.5)
    chat = EditExample(
        user="una", edits=["="],  # type: ignore[arg-type]
        messages=(Message(role="user", content="Hi there. My sister moved to Oslo last year. What is it like?"),),
    )  # fmt: skip
    plain, all_of_them = lessons([LONG, chat], marker), lessons([LONG, chat], marker, distract=1.0)

    def asked(some: list[Lesson]) -> list[tuple[str, int]]:
        return [(one.seen.mark.text, len(one.edits)) for one in some if one.seen.mark]

    assert asked(plain) == [("I moved to Oslo!", 1), ("keep it short from now on", 1)]
    assert asked(all_of_them) == [*asked(plain), ("Hi there.", 0), ("My sister moved to Oslo last year.", 0)]
    shown = [EDIT_LINES.prompt(one.seen)[0][-1]["content"].splitlines()[-2] for one in plain]
    assert shown == ["Change: I moved to Oslo!", "Keep as instruction: keep it short from now on"]


def test_the_loss_is_the_weighted_sum_over_the_learned_tokens(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_causal(base, device="cpu")
    stop = stop_of(model, tokenizer)
    rows = [taught(one, tokenizer, stop, decisive=5.0) for one in lessons([LONG, EDITS[0]])]
    batch = _Padded(0)([row._asdict() for row in rows])
    expected = torch.zeros(())
    with torch.no_grad():
        for row in rows:
            logp_LV = torch.log_softmax(model(torch.tensor([row.input_ids])).logits[0].double(), -1)
            for place, (label, weight) in enumerate(zip(row.labels, row.weights, strict=True)):
                if label != IGNORED:
                    expected = expected - weight * logp_LV[place - 1, label]
    trainer = sft_trainer(model, tokenizer, {"train": rows, "test": []}, tmp_path / "out",
                           SFTRecipe(base=str(base), rank=4))  # fmt: skip
    count = sum(label != IGNORED for row in rows for label in row.labels)
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(count))
    assert float(loss.detach()) == pytest.approx(float(expected) / count, rel=1e-4)  # a new adapter changes nothing


def test_watched_users_are_not_learned_and_the_test_set_stays_unseen(base: Path, tmp_path: Path) -> None:
    unseen = EditExample(user="zoe", messages=[Message(role="user", content="x" * 5000)], edits=["="], split="test")  # type: ignore[arg-type]
    recipe = SFTRecipe(base=str(base), epochs=1, watch=0.4, max_tokens=400, **FAST)
    sft([*EDITS, unseen], tmp_path / "run", recipe)
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert settings["examples"] < len(EDITS) and settings["left_out"] == 0  # the long one was not even read
    assert [row for row in read_metrics(tmp_path / "run") if "sft/eval_loss" in row]


def test_a_cold_start_goes_on_from_an_adapter(base: Path, started: Path, tmp_path: Path) -> None:
    again = sft(EDITS, tmp_path / "run", SFTRecipe(base=str(base), start=started, **FAST))
    first = read_metrics(tmp_path / "run")[0]["sft/loss"]
    assert first < read_metrics(started.parent)[0]["sft/loss"] - 1.0
    assert weights(again.parent)["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape[0] == 4
    keep_actions(get_actions("rewrite", 64), started)
    try:
        with pytest.raises(ConfigError, match="was trained for 'rewrite'"):
            sft(EDITS, tmp_path / "other", SFTRecipe(base=str(base), start=started, actions="edits", **FAST))
    finally:
        keep_actions(EDIT_LINES, started)
