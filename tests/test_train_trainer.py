"""The trainer on a real, tiny transformer: what is learned, what must stay equal, and two processes as one."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch

pytest.importorskip("peft", reason="needs the extra train")

from transformers import LlamaConfig, LlamaForCausalLM

from agentmem.errors import ConfigError
from agentmem.train.adapters import Adapted
from agentmem.train.learner import Learner
from agentmem.train.recipes import Outcome, Replayed, RFTRecipe, Rollouts, StepCredit
from agentmem.train.replay import Learned, Replay
from agentmem.train.rows import DUMMY, Row, padded
from agentmem.train.samplers import AdaptedSampler
from agentmem.train.synthetic import END, VOCABULARY, Lives
from agentmem.train.trainer import Trainer
from agentmem.train.values import Group, Step, Trajectory

ROWS = [Row((9, 5, 4), (3, 2)), Row((5,), (4, 10, 16, 1)), Row((8, 8, 9, 12, 3), (1,))]


def tiny(**settings) -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.2}  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**(sizes | settings))).double()


def adapted(names=("policy", "prm"), seed=0, checkpointing=False, **settings) -> Adapted:
    """Adapters that differ from the base and from each other."""
    made = Adapted(tiny(**settings), rank=4, alpha=8, names=names, seed=seed, checkpointing=checkpointing)
    made.double()
    with torch.no_grad():
        for number, name in enumerate(made.names):
            torch.manual_seed(number + 1)
            for parameter in made.parameters_of(name):
                parameter += 0.1 * torch.randn_like(parameter)
    return made


def learner_of(model: Adapted, rate=0.01, **options) -> Learner:
    optimizers = {name: torch.optim.AdamW(model.parameters_of(name), lr=rate) for name in ("policy", "prm")
                  if name in model.names}  # fmt: skip
    return Learner(model, optimizers, **options)


class Playing(Lives):
    """The made-up task, played by the model.

    The reward is the share of low tokens, which an untrained model already earns more or less of.
    """

    def play(self, places, times, rng):
        return [Group(group.name, [Trajectory(one.steps, low(one)) for one in group.trajectories])
                for group in super().play(places, times, rng)]  # fmt: skip

    def __init__(self, model: Adapted, **options) -> None:
        super().__init__(AdaptedSampler(model, {END}), **options)


def low(one: Trajectory) -> float:
    ids = [token for step in one.steps for token in step.ids]
    return sum(token < 9 for token in ids) / len(ids)


def recipe(**changes) -> RFTRecipe:
    base = RFTRecipe(iterations=2, rate=0.01, tokens=64, rollouts=Rollouts(histories=2, group=4),
                     steps=StepCredit(rate=0.01))  # fmt: skip
    return base.model_copy(update=changes)


def trained(iterations=2, model=None, **changes) -> tuple[Adapted, list]:
    model = model or adapted()
    own = recipe(**changes)
    trainer = Trainer(learner_of(model, tokens=own.tokens), Playing(model, turns=3), own)
    return model, [trainer.iterate(number) for number in range(iterations)]


def gradients_of(model: Adapted, which) -> list[torch.Tensor]:
    found = [parameter.grad for parameter in model.parameters_of(which)]
    return [gradient.clone() for gradient in found if gradient is not None]


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


# -- reading


@pytest.mark.parametrize("which", ["policy", "prm", "base"])
def test_log_probabilities_are_those_of_each_row_read_alone(which):
    model = adapted()
    found = learner_of(model, tokens=12).logprobs(ROWS, which)
    for row, own_T in zip(ROWS, found, strict=True):
        ids = torch.tensor([[*row.prompt, *row.written]])
        with torch.no_grad(), model.only(which):
            logits = model.model(input_ids=ids).logits.float()
        expected = torch.log_softmax(logits, -1)[0, len(row.prompt) - 1 : -1]
        np.testing.assert_allclose(own_T, expected.gather(-1, ids[0, len(row.prompt) :, None])[:, 0], rtol=1e-5)


def test_adapters_are_apart_and_dropout_is_off():
    model = adapted(attention_dropout=0.5)
    learner = learner_of(model)
    by_name = {which: learner.logprobs(ROWS, which) for which in ("policy", "prm", "base")}
    assert not torch.allclose(by_name["policy"][1], by_name["prm"][1])
    assert not torch.allclose(by_name["policy"][1], by_name["base"][1])
    model.train()  # passes agree also where a trainer of somebody else's has switched it on
    again = learner.logprobs(ROWS, "policy")
    assert all(torch.equal(a, b) for a, b in zip(by_name["policy"], again, strict=True))


def test_all_adapters_begin_alike_and_as_the_base():
    model = Adapted(tiny(), rank=4, names=("prm", "reference"), seed=3)
    learner = learner_of(model)
    base = learner.logprobs(ROWS, "base")
    for which in ("policy", "prm", "reference"):
        assert all(torch.allclose(a, b) for a, b in zip(learner.logprobs(ROWS, which), base, strict=True))
        assert same(model.weights(which), model.weights("policy"))


def test_what_was_kept_can_be_taken_up(tmp_path):
    model = adapted()
    model.save(tmp_path)
    other = Adapted(tiny(), start=tmp_path / "policy", names=("prm",))
    assert same(other.double().weights("policy"), model.weights("policy"))
    other.read("prm", tmp_path / "prm")
    assert same(other.weights("prm"), model.weights("prm"))
    with pytest.raises(ConfigError, match="another base|cannot be read"):
        Adapted(tiny(hidden_size=16), start=tmp_path / "policy")
    with pytest.raises(ConfigError, match="adapters on LlamaForCausalLM"):
        Adapted(tiny(), targets=("no_such_layer",))


# -- changing


def test_one_adapter_is_changed_and_nothing_else():
    model = adapted()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    learner = learner_of(model)
    learner.backward(ROWS, "prm", lambda new, rows, places: (new * rows.mask_BT).sum())
    assert learner.step("prm") > 0
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) == (".prm." not in name), name


def test_a_gradient_that_is_no_number_changes_nothing():
    model = adapted()
    before, learner = model.weights("policy"), learner_of(model)
    learner.backward(ROWS, "policy", lambda new, rows, places: (new * float("nan")).sum())
    assert np.isnan(learner.step("policy")) and same(model.weights("policy"), before)
    assert not gradients_of(model, "policy")


def test_gradients_do_not_depend_on_the_batches_nor_on_dummy_rows():
    gradients = []
    for tokens in (6, 12, 1000):
        model = adapted()
        learner_of(model, tokens=tokens).backward(ROWS, "policy", lambda new, rows, places: (new * rows.mask_BT).sum())
        gradients.append(gradients_of(model, "policy"))
    model = adapted()
    logp, rows = model(padded([*ROWS, DUMMY, DUMMY], "cpu")), padded([*ROWS, DUMMY, DUMMY], "cpu")
    (logp * rows.mask_BT).sum().backward()
    gradients.append(gradients_of(model, "policy"))
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


ALIKE = [
    Row((9, 5, 4, 6), (3, 2)),
    Row((9, 5, 4, 6), (4, 10, 16, 1)),
    Row((9, 5, 4, 12, 3, 3), (1,)),
    Row((9, 5, 4), (2,)),
]


@pytest.mark.parametrize("rows", [ALIKE, ALIKE[:2], [*ALIKE, *ROWS], [ALIKE[0], Row((), (3, 4))]])
def test_what_prompts_begin_with_is_read_once_and_changes_nothing(rows):
    def read(shared: bool):
        model, calls = adapted(), []
        assert model.shares_prompts
        model.shares_prompts = shared
        model.model.register_forward_hook(lambda *_: calls.append(1))
        learner = learner_of(model, tokens=1000)
        logps = learner.logprobs(rows, "policy")
        assert len(calls) == 1 + (shared and len({row.prompt[:1] for row in rows}) == 1)
        learner.backward(rows, "policy", lambda new, rows, places: (new * new * rows.mask_BT).sum())
        return [*logps, *gradients_of(model, "policy")]

    for own, expected in zip(read(True), read(False), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)


def test_a_model_with_a_sliding_window_reads_every_row_whole():
    from transformers import MistralConfig, MistralForCausalLM

    window = MistralConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                           num_attention_heads=2, num_key_value_heads=1, sliding_window=4)  # fmt: skip
    model = Adapted(MistralForCausalLM(window), rank=2)
    assert not model.shares_prompts and len(learner_of(model).logprobs(ALIKE, "policy")) == len(ALIKE)


@pytest.mark.parametrize("ratio", ["token", "step"])
def test_one_update_needs_no_pass_for_old_probabilities(ratio, monkeypatch):
    """The ratio is 1 by definition; the same weights as with the pass, to the last bit."""

    def weights(with_pass: bool):
        model, own = adapted(), recipe(outcome=Outcome(ratio=ratio))
        learner = learner_of(model, tokens=own.tokens)
        trainer = Trainer(learner, Playing(model, turns=3), own)
        calls, logprobs, update = [], learner.logprobs, trainer._update
        monkeypatch.setattr(learner, "logprobs", lambda rows, which: calls.append(which))
        if with_pass:
            passed = lambda batch, old, *rest: update(batch, logprobs(batch.rows, "policy"), *rest)  # noqa: E731
            monkeypatch.setattr(trainer, "_update", passed)
        trainer.iterate(0)
        assert calls == []
        return model.weights("policy")

    assert same(weights(False), weights(True)) and not same(weights(False), adapted().weights("policy"))


def test_two_passes_of_the_process_reward_model_equal_autograd_on_the_whole_loss():
    model, other = adapted(), adapted()
    own = recipe(credit="oprl", tokens=1000)
    seen = Trainer(learner_of(model, rate=0.0), Playing(model, turns=3), own)
    groups = seen.environment.play([0, 1], 4, random.Random(0))
    graded = [[Trajectory(one.steps, float(place % 3)) for place, one in enumerate(group.trajectories)]
              for group in groups]  # fmt: skip
    groups = [Group(group.name, own) for group, own in zip(groups, graded, strict=True)]
    rows = [Row(step.prompt_ids, step.ids) for group in groups for one in group.trajectories for step in one.steps]
    with torch.no_grad():
        old = learner_of(other).logprobs(rows, "policy")
    with other.only("prm"):
        new = [other(padded([row], "cpu"))[0] for row in rows]
        score = [own.steps.beta * (a - b).sum() for a, b in zip(new, old, strict=True)]
        totals = [torch.stack(score[start : start + 3]).sum() for start in range(0, len(score), 3)]
        gaps = [totals[4 * group + a] - totals[4 * group + b] for group in range(2) for a in range(4) for b in range(4)
                if a % 3 > b % 3]  # fmt: skip
        (-torch.nn.functional.logsigmoid(torch.stack(gaps)).mean()).backward()
    expected = gradients_of(other, "prm")

    kept: list = []
    learner = seen.learner
    learner.step = lambda which, rate=None: kept.extend(gradients_of(model, which)) or 0.0  # type: ignore[method-assign]
    from agentmem.train.trainer import _Batch

    found = seen._update_prm(_Batch.of(groups), old)
    assert found["prm/pairs"] == len(gaps)
    for a, b in zip(kept, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


def test_the_process_reward_model_learns():
    """In the authors' release its weights never change."""
    model = adapted()
    before = model.weights("prm")
    base = {name: value.detach().clone() for name, value in model.named_parameters() if "lora_" not in name}
    trained(1, model, credit="oprl")
    assert not same(model.weights("prm"), before)
    assert all(torch.equal(value, base[name]) for name, value in model.named_parameters() if name in base)


def test_without_step_credit_oprl_is_grpo_to_the_last_bit():
    plain, _ = trained(credit="outcome")
    steps, found = trained(credit="oprl", steps=StepCredit(alpha=0.0, rate=0.01))
    assert same(plain.weights("policy"), steps.weights("policy"))
    assert "prm/loss" in found[0].metrics
    with_steps, _ = trained(credit="oprl")
    assert not same(plain.weights("policy"), with_steps.weights("policy"))


def test_step_rewards_count_from_where_the_run_began():
    """Until its first update the process reward model is the start: from there rewards are 0, from the policy not."""
    seen = {}

    class Looking(Trainer):
        def _step_rewards(self, batch, old):
            found = super()._step_rewards(batch, old)
            seen.setdefault(self.recipe.steps.reference, []).append(found)
            return found

    for reference in ("start", "rolling"):
        model = adapted(("policy", "prm", "reference"))
        model.write("prm", model.weights("reference"))
        own = recipe(credit="oprl", steps=StepCredit(rate=0.01, reference=reference))
        Looking(learner_of(model, tokens=own.tokens), Playing(model, turns=3), own).iterate(0)
    before, after = seen["start"]
    assert not np.any(before) and np.any(after)
    assert np.any(seen["rolling"][0])


def test_kept_rollouts_are_learned_from_again():
    """With their advantages and the log-probabilities of when they were written; the new ones all the same."""
    plain, _ = trained(1)
    again, _ = trained(1, replay=Replayed(iterations=2))
    assert same(plain.weights("policy"), again.weights("policy"))  # nothing is kept yet
    read = []

    class Reading(Learner):
        def backward(self, rows, which, loss):
            read.append(len(rows))
            super().backward(rows, which, loss)

    model, own = adapted(), recipe(replay=Replayed(iterations=2, share=0.5))
    learner = Reading(model, learner_of(model).optimizers, tokens=own.tokens)
    trainer = Trainer(learner, Playing(model, turns=3), own)
    for number in range(4):
        trainer.iterate(number)
    assert read == [24, 36, 36, 36]  # 2 histories, 4 times, 3 turns
    kept = trainer.replay.drawn(1000, random.Random(0))
    assert len(kept.rows) == 48 and all(
        len(row.written) == len(old) for row, old in zip(kept.rows, kept.old, strict=True)
    )


def test_what_is_kept_survives_its_file(tmp_path):
    rows = [Row([1, 2], [3]), Row([], [4, 5]), Row([6], [7, 8, 9])]
    old = [torch.tensor([-0.5]), torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, 0.0, -0.25])]
    written, read = Replay(2), Replay(2)
    written.add(Learned(rows[:1], old[:1], [0.1]))
    written.add(Learned(rows[1:], old[1:], [0.2, -0.3]))
    written.save(tmp_path)
    read.read(tmp_path)
    for rng in (7, 8):
        one, other = (replay.drawn(2, random.Random(rng)) for replay in (written, read))
        assert one.rows == other.rows and one.advantages == other.advantages
        assert all(torch.equal(a, b) for a, b in zip(one.old, other.old, strict=True))
    read.add(Learned([], [], []))
    assert len(read.drawn(9, random.Random(0)).rows) == 2  # the older iteration went


def test_the_penalty_may_be_shared_between_two_references():
    """Where an iteration has several updates: each share leads elsewhere, and all on the previous asks no start."""
    found = {}
    for previous in (1.0, 0.5, 0.0):
        own = {"outcome": Outcome(kl=5.0, epochs=3), "replay": Replayed(previous=previous)}
        found[previous], _ = trained(1, model=adapted(("policy", "prm", "reference")), **own)
    assert not same(found[1.0].weights("policy"), found[0.5].weights("policy"))
    assert not same(found[0.5].weights("policy"), found[0.0].weights("policy"))
    other = adapted(("policy", "prm", "reference"))
    other.write("reference", other.weights("prm"))
    elsewhere, _ = trained(1, model=other, outcome=Outcome(kl=5.0, epochs=3), replay=Replayed(previous=1.0))
    assert same(found[1.0].weights("policy"), elsewhere.weights("policy"))
    free, _ = trained(1, model=adapted(("policy", "prm", "reference")), outcome=Outcome(epochs=3))
    assert not same(found[1.0].weights("policy"), free.weights("policy"))


def test_the_penalty_counts_from_anew_after_a_reset():
    model, own = adapted(("policy", "prm", "reference")), recipe(outcome=Outcome(kl=0.1), replay=Replayed(reset=1))
    trainer = Trainer(learner_of(model, tokens=own.tokens), Playing(model, turns=3), own)
    far = [trainer.iterate(number).metrics["policy/kl"] for number in range(2)]
    assert far[0] > 1e-6 and abs(far[1]) < 1e-9


def test_the_ratio_is_one_at_the_first_update():
    """Nothing is clipped, and the loss is minus the mean advantage of a token."""
    _, [first] = trained(1, outcome=Outcome(kl=0.1))
    assert first.metrics["policy/clipped"] == 0
    rows = [(float(value), len(step.ids)) for group, own in zip(first.groups, first.advantages, strict=True)
            for one, values in zip(group.scored, own, strict=True)
            for value, step in zip(values, one.steps, strict=True)]  # fmt: skip
    expected = -sum(value * count for value, count in rows) / sum(count for _, count in rows)
    away = first.metrics["policy/kl"]
    assert away > 0 and first.metrics["policy/loss"] == pytest.approx(expected + 0.1 * away, rel=1e-4, abs=1e-6)


def test_the_same_run_again_is_the_same():
    one, first = trained(credit="oprl")
    other, second = trained(credit="oprl")
    assert same(one.weights("policy"), other.weights("policy"))
    told = [[(name, value) for name, value in made.metrics.items() if not name.startswith("speed")] for made in first]
    assert told == [[(name, value) for name, value in made.metrics.items() if not name.startswith("speed")]
                    for made in second]  # fmt: skip


# -- memory


def test_checkpointing_computes_layers_again_and_changes_no_gradient():
    gradients, calls = [], []
    for checkpointing in (False, True):
        model = adapted(checkpointing=checkpointing)
        runs, backward = {"forward": 0, "backward": 0}, [False]

        def count(*_, runs=runs, backward=backward):
            runs["backward" if backward[0] else "forward"] += 1

        for layer in model.model.get_base_model().model.layers:
            layer.self_attn.register_forward_hook(count)  # what lies in a layer is what is computed again

        def loss(new, rows, places, backward=backward):
            found = (new * rows.mask_BT).sum()
            backward[0] = True
            return found

        learner = learner_of(model, tokens=1000)
        learner.backward(ROWS, "prm", loss)
        calls.append(dict(runs))
        gradients.append(gradients_of(model, "prm"))
        sampled = AdaptedSampler(model, {END}).sample([[9, 5]], 4, random.Random(0))  # with a cache, as before
        assert sampled and not any(module.training for module in model.modules())
    assert calls == [{"forward": 2, "backward": 0}, {"forward": 2, "backward": 2}]
    assert gradients[0] and all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_checkpointing_trains_the_same():
    model = adapted(("policy", "prm"))
    model.shares_prompts = False  # as with checkpointing; what is read once is another order of sums
    plain, _ = trained(model=model, credit="oprl")
    again, _ = trained(model=adapted(checkpointing=True), credit="oprl")
    assert same(plain.weights("policy"), again.weights("policy")) and same(plain.weights("prm"), again.weights("prm"))


def test_a_small_step_counts_over_a_base_in_bfloat16():
    """A weight near 0.2 in bfloat16 has its neighbour 1e-3 away: steps of 1e-5 would all be lost."""
    model = Adapted(tiny().bfloat16(), rank=4, names=("policy", "prm"))
    with torch.no_grad():
        for parameter in model.parameters_of("policy"):
            parameter += 0.1
    before = model.weights("policy")
    learner = learner_of(model, rate=1e-5)
    learner.backward(ROWS, "policy", lambda new, rows, places: (new * rows.mask_BT).sum())
    assert learner.step("policy") > 0
    for name, value in model.weights("policy").items():
        assert value.dtype == torch.float32
        moved = (value - before[name]).abs()
        assert 0.9e-5 < moved.max() < 1.1e-5, name
    assert {value.dtype for name, value in model.named_parameters() if "lora_" not in name} == {torch.bfloat16}
    assert model(padded(ROWS, "cpu")).dtype == torch.float32  # log-probabilities; logits are the base's


# -- failures


class Failing(Playing):
    """Some trajectories have no reward."""

    def play(self, places, times, rng):
        groups = super().play(places, times, rng)
        lost = [Trajectory(group.trajectories[0].steps, None, failed="the judge did not answer") for group in groups]
        return [Group(group.name, [gone, *group.trajectories[1:]]) for group, gone in zip(groups, lost, strict=True)]


def test_a_failed_trajectory_is_left_out_of_its_group():
    model = adapted()
    own = recipe(credit="oprl")
    made = Trainer(learner_of(model), Failing(model, turns=3), own).iterate(0)
    assert made.metrics["rollout/failed"] == 2 and all(group[0] is None for group in made.advantages)
    for group in made.advantages:
        assert all(values is not None and len(values) == 3 for values in group[1:])


def test_an_iteration_without_any_reward_changes_nothing():
    model = adapted()
    before = model.weights("policy")

    class None_(Playing):
        def play(self, places, times, rng):
            step = Step((1,), (2,))
            return [Group("g", [Trajectory([step], None, failed="no") for _ in range(times)]) for _ in places]

    made = Trainer(learner_of(model), None_(model, turns=3), recipe()).iterate(0)
    assert same(model.weights("policy"), before) and made.metrics["rollout/failed"] == 8


@pytest.mark.parametrize("credit", ["outcome", "oprl"])
def test_an_iteration_in_which_the_policy_was_never_asked_changes_nothing(credit):
    """As where nothing is marked in any of its histories."""
    model = adapted()
    before = {name: model.weights(name) for name in model.names}

    class Silent(Playing):
        def play(self, places, times, rng):
            return [Group("g", [Trajectory([], float(number)) for number in range(times)]) for _ in places]

    made = Trainer(learner_of(model), Silent(model, turns=3), recipe(credit=credit)).iterate(0)
    assert all(same(model.weights(name), before[name]) for name in model.names)
    assert made.metrics["reward/mean"] == 1.5 and made.advantages == [[None] * 4] * 2


# -- learning


@pytest.mark.parametrize("credit", ["outcome", "oprl"])
def test_rewards_rise(credit):
    model = adapted()
    own = recipe(rollouts=Rollouts(histories=4, group=8), rate=0.03, tokens=4096, credit=credit)
    trainer = Trainer(learner_of(model, tokens=4096), Playing(model, turns=3), own)
    rewards = [trainer.iterate(number).metrics["reward/mean"] for number in range(24)]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.3, rewards


def test_histories_come_once_before_any_comes_again():
    model = adapted()
    trainer = Trainer(learner_of(model), Playing(model, many=6), recipe(rollouts=Rollouts(histories=4, group=2)))
    order = [place for number in range(3) for place in trainer._histories(number)]
    assert sorted(order[:6]) == sorted(order[6:]) == list(range(6))
    assert copy.copy(trainer)._histories(1) == order[4:8]
