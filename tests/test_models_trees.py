"""Prompts read as trees: the same answers as from a padded batch, and less that is read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_llama import write_tiny_llama
from transformers import MistralConfig, MistralForCausalLM

from agentmem.models import sampling, trees
from agentmem.models.likelihood import load_causal
from agentmem.models.sampling import sample
from agentmem.models.trees import grown, in_trees

ALIKE = [[5, 6, 7, 8, 40], [5, 6, 7, 9], [5, 6], [100, 3, 100], [5, 6, 7, 8, 40], [9]]
"""With a common beginning, twice the same, and one that another begins with."""


def load(folder: Path, attention: str = "sdpa") -> Any:
    return load_causal(write_tiny_llama(folder), device="cpu", attention=attention)[0]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("tokens", [1, 7, 512])
def test_it_writes_what_it_writes_after_a_padded_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attention: str, tokens: int
) -> None:
    model = load(tmp_path, attention)
    assert in_trees(model)
    monkeypatch.setattr(trees, "TREE_TOKENS", tokens)
    found = sample(model, ALIKE, stops={2, *range(60, 90)}, max_tokens=20)
    monkeypatch.setattr(sampling, "in_trees", lambda model: False)
    assert found == sample(model, ALIKE, stops={2, *range(60, 90)}, max_tokens=20)
    assert len({len(one) for one in found}) > 1


def test_what_is_shared_is_read_once_and_nothing_is_padded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = load(tmp_path), []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **given: (read.append(given["input_ids"].shape), forward(**given))[1])
    sample(model, ALIKE, stops={2}, max_tokens=2)
    assert read == [(1, 10), (6, 1)]


def test_trees_stay_small() -> None:
    prompts = [[place] * 300 for place in range(3)] + [[9] * 600, [1, 2], [1, 2, 3]]
    assert [[len(path) for path in tree.paths] for tree in grown(prompts)] == [[300], [300], [300], [600], [2, 3]]
    assert len(grown(prompts)[-1].nodes) == 3


def test_a_model_that_sees_a_window_only_reads_a_padded_batch() -> None:
    config = MistralConfig(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MistralForCausalLM(config).eval()
    assert not in_trees(model)
    assert sample(model, ALIKE[:2], stops={2}, max_tokens=3)[1] == sample(model, [ALIKE[1]], stops={2}, max_tokens=3)[0]
