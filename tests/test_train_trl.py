"""Our loss against TRL's, on the same model and rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="needs the extra train")

from agentmem.models.likelihood import load_causal
from agentmem.train.adapters import Adapted
from agentmem.train.advantages import outcome_advantages
from agentmem.train.learner import Learner, aligned
from agentmem.train.losses import policy_divisor, policy_loss
from agentmem.train.rows import Row
from tests.test_train_trainer import gradients_of
from tests.tiny_llama import write_tiny_llama

ROWS = [Row((5, 6, 7), (8, 9, 10)), Row((5, 6, 7), (11,)), Row((12, 13), (8, 20, 21, 22)), Row((12, 13), (30, 31))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")


def trl_trainer(model, tokenizer, out: Path, **options):
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    args = GRPOConfig(output_dir=str(out), per_device_train_batch_size=4, num_generations=2, report_to=[], use_cpu=True,
                      loss_type="bnpo", use_bias_correction_kl=False, bf16=False, **options)  # fmt: skip
    return GRPOTrainer(model=model, reward_funcs=lambda completions, **rest: [0.0] * len(completions), args=args,
                       train_dataset=Dataset.from_list([{"prompt": "a"}] * 4), processing_class=tokenizer)  # fmt: skip


def right_padded(values, width: int) -> torch.Tensor:
    found = torch.zeros(len(values), width)
    for row, own in zip(found, values, strict=True):
        row[: len(own)] = torch.as_tensor(own, dtype=torch.float32)
    return found


def test_the_loss_and_its_gradient_are_those_of_trl(folder, tmp_path):
    model, tokenizer = load_causal(folder, device="cpu")
    adapted = Adapted(model, rank=4, alpha=8)
    with torch.no_grad():
        torch.manual_seed(1)
        for parameter in adapted.parameters_of("policy"):
            parameter += 0.05 * torch.randn_like(parameter)
    learner = Learner(adapted, {})
    now, base = learner.logprobs(ROWS, "policy"), learner.logprobs(ROWS, "base")
    torch.manual_seed(2)
    old = [own + 0.3 * torch.randn_like(own) for own in now]
    advantages = [float(value) for own in outcome_advantages([[1.0, 0.0], [0.3, 0.7]]) for value in own]

    def loss(new_BT, rows, places):
        lay = lambda values: aligned([values[place] for place in places], rows.written, "cpu")  # noqa: E731
        found = policy_loss(new_BT, lay(old), torch.tensor([advantages[place] for place in places]), rows.mask_BT,
                            penalties=[(lay(base), 0.1)])  # fmt: skip
        return found.loss / policy_divisor([len(row.written) for row in ROWS])

    values: list[float] = []
    learner.backward(ROWS, "policy", lambda *given: (values.append(loss(*given).item()), loss(*given))[1])
    own = gradients_of(adapted, "policy")
    adapted.zero_grad()

    width = max(len(row.written) for row in ROWS)
    longest = max(len(row.prompt) for row in ROWS)
    inputs = {
        "prompt_ids": torch.tensor([[0] * (longest - len(row.prompt)) + list(row.prompt) for row in ROWS]),
        "prompt_mask": torch.tensor([[0] * (longest - len(row.prompt)) + [1] * len(row.prompt) for row in ROWS]),
        "completion_ids": right_padded([row.written for row in ROWS], width).long(),
        "completion_mask": right_padded([[1] * len(row.written) for row in ROWS], width).long(),
        "advantages": torch.tensor(advantages),
        "old_per_token_logps": right_padded(old, width),
        "ref_per_token_logps": right_padded(base, width),
    }
    trainer = trl_trainer(adapted.model, tokenizer, tmp_path)
    trainer.beta = 0.1  # set afterwards: else it wants to make a reference of its own
    trainer.current_gradient_accumulation_steps = 1
    adapted.use("policy")
    theirs = trainer._compute_loss(adapted.model, inputs)
    theirs.backward()
    assert sum(values) == pytest.approx(theirs.item(), rel=1e-4)
    for mine, parameter in zip(own, adapted.parameters_of("policy"), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-3, atol=1e-6)


def test_advantages_are_those_of_trl():
    """As GRPOTrainer computes them: group mean away, over the unbiased standard deviation and 1e-4."""
    rewards = torch.tensor([[0.2, 0.9, 0.4], [1.0, 1.0, 0.0]])
    theirs = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    np.testing.assert_allclose(np.stack(outcome_advantages(rewards.tolist())), theirs, rtol=1e-5)
