"""The mathematics of the trainer: hand-computed tables, laws, and agreement with TRL and with autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentmem.train.advantages import joined, outcome_advantages, pairs, step_advantages
from agentmem.train.losses import Clip, pair_coefficients, policy_divisor, policy_loss, step_reward
from agentmem.train.rows import DUMMY, Row, alike, batches, beginning, padded, shared_batches, shares

REWARDS = st.lists(st.lists(st.floats(-5, 5), min_size=2, max_size=6), min_size=1, max_size=4)


# -- advantages of the outcome


def test_grpo_by_hand():
    """[1, 0, 0, 0]: mean .25, unbiased deviation .5."""
    [own] = outcome_advantages([[1, 0, 0, 0]])
    np.testing.assert_allclose(own, np.array([0.75, -0.25, -0.25, -0.25]) / (0.5 + 1e-4))
    [own] = outcome_advantages([[1, 0, 0, 0]], scale="none")
    np.testing.assert_allclose(own, [0.75, -0.25, -0.25, -0.25])
    first, second = outcome_advantages([[1, 0], [3, 0]], scale="batch")
    deviation = np.std([1, 0, 3, 0], ddof=1) + 1e-4
    np.testing.assert_allclose(first, np.array([0.5, -0.5]) / deviation)
    np.testing.assert_allclose(second, np.array([1.5, -1.5]) / deviation)


def test_rloo_by_hand():
    """[1, 0, 0.5]: each against the mean of the others."""
    [own] = outcome_advantages([[1, 0, 0.5]], "rloo")
    np.testing.assert_allclose(own, [1 - 0.25, 0 - 0.75, 0.5 - 0.5])


@given(REWARDS, st.sampled_from(["grpo", "rloo"]), st.sampled_from(["group", "batch", "none"]))
def test_outcome_advantages_sum_to_nothing_in_a_group(rewards, estimator, scale):
    for own in outcome_advantages(rewards, estimator, scale):
        assert abs(own.sum()) < 1e-6 * (1 + np.abs(own).max())


def test_a_group_of_one_has_nothing_to_compare_with():
    for estimator in ("grpo", "rloo"):
        np.testing.assert_array_equal(outcome_advantages([[3.0]], estimator)[0], [0.0])


# -- advantages of the steps

STEPS = [[[1.0, 3.0], [2.0, 6.0]], [[0.0, 0.0], [4.0, 0.0]]]


def test_equal_rewards_are_nothing_not_rounding():
    """Three times .2 less their mean is 3e-17, and 3e-13 once divided: skip_degenerate asks for zeros."""
    rewards = [[0.2] * 3, [0.1, 0.9, 0.9]]
    found = [outcome_advantages(rewards), outcome_advantages(rewards, "rloo"),
             outcome_advantages(rewards, scale="batch"), outcome_advantages(rewards, scale="none")]  # fmt: skip
    for equal, other in found:
        assert not np.any(equal) and np.any(other)


def test_step_advantages_by_hand():
    first = step_advantages(STEPS, "group")[0]
    mean, deviation = 3.0, np.std([1, 3, 2, 6])
    np.testing.assert_allclose(first, [[(1 - mean) / deviation, 0], [(2 - mean) / deviation, 3 / deviation]])
    by_turn = step_advantages(STEPS, "turn")
    np.testing.assert_allclose(by_turn[0], [[-1, -1], [1, 1]])
    np.testing.assert_allclose(by_turn[1], [[-1, 0], [1, 0]])
    every = np.array(STEPS).ravel()
    np.testing.assert_allclose(np.ravel(step_advantages(STEPS, "batch")), (every - every.mean()) / every.std())


def test_step_advantages_over_the_spread_of_the_batch_by_hand():
    """[group][trajectory][turn] less the mean of the turn: +-0.5, +-1.5; +-2, 0."""
    whole = np.sqrt((2 * 0.25 + 2 * 2.25 + 2 * 4 + 2 * 0) / 8)
    found = step_advantages(STEPS, "turn", spread="batch")
    np.testing.assert_allclose(found[0], np.array([[-0.5, -1.5], [0.5, 1.5]]) / whole)
    np.testing.assert_allclose(found[1], np.array([[-2, 0], [2, 0]]) / whole)
    bounded = step_advantages(STEPS, "turn", spread="batch", most=0.5)
    np.testing.assert_allclose(bounded, np.clip(found, -0.5, 0.5))
    np.testing.assert_allclose(step_advantages(STEPS, "batch", spread="batch"), step_advantages(STEPS, "batch"))


def test_before_the_first_update_steps_weigh_nothing():
    for pool in ("group", "turn", "batch"):
        found = step_advantages([[[0.0, 0.0], [0.0, 0.0]]], pool)
        assert not np.any(found)


def test_turns_that_only_some_have_are_compared_among_these():
    found = step_advantages([[[1.0], [3.0, 5.0], [5.0, 9.0]]], "turn")[0]
    np.testing.assert_allclose(found[0], [-np.sqrt(1.5)])
    np.testing.assert_allclose([found[1][1], found[2][1]], [-1, 1])


@given(st.lists(st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), min_size=2, max_size=4), min_size=1,
                max_size=3))  # fmt: skip
def test_step_advantages_sum_to_nothing_in_their_pool(rewards):
    for own, by_turn in zip(step_advantages(rewards, "group"), step_advantages(rewards, "turn"), strict=True):
        assert abs(np.sum(own)) < 1e-6
        np.testing.assert_allclose(np.sum(by_turn, axis=0), 0, atol=1e-6)
    assert abs(sum(np.sum(own) for own in step_advantages(rewards, "batch"))) < 1e-6


def test_joined_by_hand():
    outcome = [np.array([1.0, -1.0]), np.array([0.0, 0.0])]
    steps = step_advantages(STEPS, "turn")
    turns = [[2, 2], [2, 2]]
    found = joined(outcome, steps, turns, alpha=0.5)
    np.testing.assert_allclose(found[0], [[0.5, 0.5], [-0.5, -0.5]])
    np.testing.assert_allclose(found[1], [[-0.5, 0], [0.5, 0]])
    skipped = joined(outcome, steps, turns, alpha=0.5, skip_degenerate=True)
    np.testing.assert_allclose(skipped[1], np.zeros((2, 2)))
    np.testing.assert_allclose(skipped[0], found[0])


def test_without_alpha_every_turn_gets_the_outcome():
    outcome = outcome_advantages([[1, 0, 2]])
    found = joined(outcome, step_advantages([[[1.0, 2], [3, 4], [5, 7]]]), [[2, 2, 2]], alpha=0.0)
    copied = joined(outcome, None, [[2, 2, 2]], alpha=1.0)
    for a, b, value in zip(found[0], copied[0], outcome[0], strict=True):
        assert a.tolist() == b.tolist() == [value, value]


# -- pairs and the process reward model


def test_pairs_by_hand():
    rewards = [0.9, 0.1, 0.5]
    assert pairs(rewards) == [(0, 1), (0, 2), (2, 1)]
    assert pairs(rewards, margin=0.5) == [(0, 1)]
    assert pairs(rewards, "binary", 0.5) == [(0, 1), (0, 2)]
    assert pairs(rewards, "best-worst") == [(0, 1)]
    assert pairs([0.5, 0.5]) == pairs([0.5, 0.5], "best-worst") == pairs([], "best-worst") == []


def test_pair_coefficients_by_hand():
    """One pair with scores 1 and 0: sigma(-1) each way, and -log sigma(1)."""
    found, loss = pair_coefficients([1.0, 0.0], [(0, 1)], 1)
    share = 1 / (1 + math.e)
    np.testing.assert_allclose(found, [-share, share])
    assert loss == pytest.approx(math.log(1 + math.exp(-1)))


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_two_passes_give_the_gradient_of_the_whole_loss(scores):
    """The gradient of sum c_i score_i with c fixed is that of the loss, whatever the scores are made of."""
    own = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    found = [(0, 1), (2, 1), (3, 0)]
    gaps = torch.stack([own[a] - own[b] for a, b in found])
    whole = -torch.nn.functional.logsigmoid(gaps).mean()
    whole.backward()
    assert own.grad is not None
    coefficients, loss = pair_coefficients(scores, found, len(found))
    np.testing.assert_allclose(own.grad.numpy(), coefficients, atol=1e-12)
    assert loss == pytest.approx(whole.item())


def test_step_reward_by_hand():
    new, old, mask = torch.tensor([[-1.0, -2, 9]]), torch.tensor([[-2.0, -2.5, 0]]), torch.tensor([[1.0, 1, 0]])
    assert step_reward(new, old, mask, 0.1).item() == pytest.approx(0.15)
    assert step_reward(new, old, mask, 0.1, per_token=True).item() == pytest.approx(0.075)


# -- the loss of the policy


def test_policy_loss_by_hand():
    """Ratios 1.5 and .5 of one row with advantage 1, and 1.5 of another with advantage -1; clipped at .8 and 1.2."""
    new = torch.tensor([[math.log(1.5), math.log(0.5)], [0.0, math.log(1.5)]])
    mask = torch.tensor([[1.0, 1], [0, 1]])
    found = policy_loss(new, torch.zeros(2, 2), torch.tensor([1.0, -1.0]), mask)
    assert found.loss.item() == pytest.approx(-(1.2 + 0.5) + 1.5)
    assert found.clipped.item() == 1
    by_step = policy_loss(new, torch.zeros(2, 2), torch.tensor([1.0, -1.0]), mask, ratio="step")
    assert by_step.loss.item() == pytest.approx(-0.75 + 1.5)
    high = policy_loss(new, torch.zeros(2, 2), torch.tensor([1.0, -1.0]), mask, clip=Clip(0.2, 0.6))
    assert high.loss.item() == pytest.approx(-(1.5 + 0.5) + 1.5)


def test_the_penalty_by_hand():
    new, reference = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, -2.0]])
    found = policy_loss(new, new, torch.zeros(1), torch.ones(1, 2), penalties=[(reference, 2.0)])
    penalty = math.exp(-0.5) + 0.5 - 1
    assert found.kl.item() == pytest.approx(penalty) and found.loss.item() == pytest.approx(2 * penalty)
    by_step = policy_loss(new, new, torch.zeros(1), torch.ones(1, 2), penalties=[(reference, 2.0)], ratio="step")
    assert by_step.loss.item() == pytest.approx(penalty)  # the mean over the step's two tokens


def test_divisors():
    assert policy_divisor([3, 0, 2]) == 5 and policy_divisor([3, 0, 2], "step") == 2 and policy_divisor([]) == 1


# -- rows


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 4), st.integers(16, 80))
def test_every_row_is_read_once_and_all_devices_have_as_many_batches(lengths, parts, budget):
    found = shared_batches(lengths, parts, budget)
    assert sorted(place for own in found for batch in own for place in batch) == list(range(len(lengths)))
    assert len({len(own) for own in found}) == 1
    for batch in (batch for own in found for batch in own if batch):
        assert len(batch) == 1 or max(lengths[place] for place in batch) * len(batch) <= budget


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 4))
def test_devices_get_nearly_as_many_tokens(lengths, parts):
    loads = [sum(lengths[place] for place in own) for own in shares(lengths, parts)]
    assert max(loads) - min(loads) <= max(lengths)


PROMPTS = st.lists(st.integers(0, 2), max_size=8)


@given(st.lists(st.tuples(PROMPTS, st.integers(0, 9)), min_size=1, max_size=12), st.integers(16, 60))
def test_rows_that_begin_alike_go_together_and_no_batch_grows(drawn, budget):
    rows = [Row(prompt, [7] * written) for prompt, written in drawn]
    lengths = [len(row) for row in rows]
    found = alike(rows, range(len(rows)), budget)
    assert sorted(place for batch in found for place in batch) == list(range(len(rows)))
    for batch in found:
        assert len(batch) == 1 or max(lengths[place] for place in batch) * len(batch) <= budget
        own = [rows[place].prompt for place in batch]
        same = beginning([rows[place] for place in batch])
        assert all(prompt[:same] == own[0][:same] and (not same or len(prompt) > same) for prompt in own)


def test_rows_of_one_prompt_are_read_with_it_once():
    """Two prompts of 300 tokens that differ early: a batch each, though by length all would go together."""
    one, other = [1] * 300, [1, *[2] * 299]
    rows = [Row(prompt, [7] * 10) for prompt in (one, other) * 8]
    assert alike(rows, range(16), 16 * 310) == [list(range(0, 16, 2)), list(range(1, 16, 2))]
    assert beginning(rows[::2]) == 299 and beginning(rows) == 1 and beginning(rows[:1]) == 0
    together = padded([Row((5, 6, 7), (8,)), Row((5, 6, 1, 9), (2, 3))], "cpu", shared=2)
    assert together.shared_P is not None and together.shared_P.tolist() == [5, 6]
    assert together.ids_BL.tolist() == [[0, 0, 7, 8], [1, 9, 2, 3]]


def test_padding_stands_before_the_rows():
    found = padded([Row((5, 6), (7,)), Row((1,), (2, 3, 4)), DUMMY], "cpu")
    assert found.ids_BL.tolist() == [[0, 5, 6, 7], [1, 2, 3, 4], [0, 0, 0, 0]]
    assert found.attention_BL.tolist() == [[0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]]
    assert found.written == 3 and found.mask_BT.tolist() == [[0, 0, 1], [1, 1, 1], [0, 0, 0]]
    assert batches([3, 3, 9], [0, 1, 2], 6) == [[0, 1], [2]]
