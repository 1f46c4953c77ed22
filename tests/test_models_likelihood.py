"""Option log-likelihoods against plain forward passes over prompt and option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_gguf import write_tiny_gguf
from transformers import LlamaConfig, LlamaForCausalLM

from agentmem.errors import ConfigError, ModelError
from agentmem.models import likelihood
from agentmem.models.likelihood import OptionScorer, fast_dtype, load_causal
from agentmem.models.weights import cached


class _Bytes:
    """A tokenizer whose tokens are the bytes of the text."""

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}


@pytest.fixture(scope="module")
def scorer() -> OptionScorer:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.5,
    )  # fmt: skip
    return OptionScorer(LlamaForCausalLM(config).eval(), _Bytes())


def plain(scorer: OptionScorer, prompt: str, option: str) -> tuple[float, int]:
    """The slow way: one whole pass per option, without cache or padding."""
    start = scorer.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    end = scorer.tokenizer(option, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = scorer.model(torch.tensor([start + end])).logits[0].double()
    logp = torch.log_softmax(logits, -1)
    return sum(float(logp[len(start) + i - 1, token]) for i, token in enumerate(end)), len(end)


def check(scorer: OptionScorer, prompts: list[str], options: list[list[str]], atol: float) -> None:
    for prompt, own, scores in zip(prompts, options, scorer.score(prompts, options), strict=True):
        expected = [plain(scorer, prompt, option) for option in own]
        np.testing.assert_allclose(scores.total, [total for total, _ in expected], atol=atol)
        np.testing.assert_allclose(scores.mean, [total / n for total, n in expected], atol=atol)


PROMPTS = ["Which drink does the user like?", "x", "A prompt of another length, with é in it"]
OPTIONS = [[" tea", " black coffee without sugar", "w"], ["a", "b"], [" é", " long " * 10, " tea", " no"]]


def test_the_same_as_plain_passes(scorer: OptionScorer) -> None:
    check(scorer, PROMPTS, OPTIONS, atol=1e-4)


def test_more_options_than_one_pass_takes(scorer: OptionScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "OPTIONS_AT_ONCE", 2)
    check(scorer, ["Pick one:"], [["a", " bb", " ccc", " d d d", "e"]], atol=1e-4)


def test_a_prompt_that_begins_like_the_last_one_is_read_from_there(
    scorer: OptionScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "OPTIONS_AT_ONCE", 3)
    prompts = [
        "The user likes tea. Which drink?",
        "The user likes tea. Which drink? A warm one",  # longer
        "The user likes tea.",  # shorter
        "The user likes tea.",  # the same again
        "The user likes golf. Which sport?",  # parts in the middle
        "Nothing in common",
        "N",
    ]
    own = [" black tea", " coffee", " t", " water, please", " no"]
    OptionScorer(scorer.model, scorer.tokenizer).score(["warm-up"], [own])
    check(scorer, prompts, [own[: len(own) - place % 3] for place in range(len(prompts))], atol=1e-4)
    read: list[int] = []
    forward = scorer.model.forward
    monkeypatch.setattr(
        scorer.model, "forward", lambda ids, **rest: (read.append(ids.shape[1]), forward(ids, **rest))[1]
    )
    fresh = OptionScorer(scorer.model, scorer.tokenizer)
    fresh.score(["abcdef", "abcxy", "abcxy"], [["1"], ["1"], ["1"]])
    assert read == [6, 2, 1]  # what is new, and always the last token


def test_the_kept_prompt_survives_a_failure(scorer: OptionScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = OptionScorer(scorer.model, scorer.tokenizer)
    fresh.score(["abcdef"], [["12", "3"]])
    with monkeypatch.context() as broken:
        broken.setattr(fresh, "_batch", lambda *given: 1 / 0)
        with pytest.raises(ModelError, match="option likelihood"):
            fresh.score(["abcd"], [["12", "3"]])
    check(fresh, ["abcdefg", "abcdef"], [["12", "3"], ["x", "yz"]], atol=1e-4)


def test_all_single_tokens_form_a_distribution(scorer: OptionScorer) -> None:
    (scores,) = scorer.score(["The answer is "], [[chr(code) for code in range(1, 128)]])
    assert scores.total.shape == (127,) and 0 < np.exp(scores.total).sum() <= 1 + 1e-6
    np.testing.assert_array_equal(scores.total, scores.mean)


def test_no_options_no_prompts_and_empty_texts(scorer: OptionScorer) -> None:
    assert scorer.score([], []) == []
    assert scorer.score(["x"], [[]])[0].total.shape == (0,)
    with pytest.raises(ConfigError, match="empty option"):
        scorer.score(["x"], [["a", ""]])
    with pytest.raises(ConfigError, match="empty prompt"):
        scorer.score([""], [["a"]])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gguf_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    model, tokenizer = load_causal(path, tmp_path / "cache", "cpu", dtype)
    first = OptionScorer(model, tokenizer).score(["abc"], [["d", "ef"]])[0].total
    monkeypatch.setattr(path.__class__, "replace", None)  # a second conversion would fail here
    again, _ = load_causal(path, tmp_path / "cache", "cpu", dtype)
    assert model.dtype == again.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(OptionScorer(again, tokenizer).score(["abc"], [["d", "ef"]])[0].total, first, atol=1e-6)


def test_weights_in_another_dtype(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    assert load_causal(path, tmp_path / "cache", "cpu")[0].dtype == torch.float32
    model, tokenizer = load_causal(path, tmp_path / "cache", "cpu", dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    rough = OptionScorer(model, tokenizer).score(["abc"], [["d", "ef"]])[0].total
    exact = OptionScorer(*load_causal(path, tmp_path / "cache", "cpu")).score(["abc"], [["d", "ef"]])[0].total
    np.testing.assert_allclose(rough, exact, rtol=0.05)
    assert fast_dtype() in ("bfloat16", "float32")


@pytest.mark.slow
def test_smollm2_the_same_as_plain_passes_and_sensible() -> None:
    path = cached("smollm2-135m")
    if path is None:
        pytest.skip("smollm2-135m is not downloaded; run: agentmem chat --model local:smollm2-135m")
    scorer: Any = OptionScorer(*load_causal(path, device="cpu"))
    prompt = scorer.chat_prompt([{"role": "user", "content": "What is the capital of France? One word."}])
    check(scorer, [prompt], [["Paris", "Lyon", "a green bicycle"]], atol=2e-3)
    assert scorer.score([prompt], [["Lyon", "Paris", "Porto"]])[0].total.argmax() == 1
