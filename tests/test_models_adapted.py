"""A base with a merged adapter: sampling, the grammar, what is refused. On tiny Llamas with real weights."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from test_edits import LINES
from tiny_gguf import write_tiny_gguf
from tiny_llama import write_tiny_adapter, write_tiny_llama

from agentmem.errors import ConfigError, ModelError
from agentmem.models.adapted import AdaptedModel, CausalWriter, base_path
from agentmem.models.likelihood import fast_dtype, load_causal
from agentmem.models.lora import adapter_folder, merge, read_adapter
from agentmem.models.sampling import (
    Answer,
    Chances,
    Constraint,
    answer_text,
    constraint,
    line_chances,
    prompt_ids,
    sample,
    stop_ids,
)
from agentmem.models.weights import cached
from agentmem.policy.edits import format_edits, grammar, parse_edits
from agentmem.train.adapters import Adapted
from agentmem.train.samplers import AdaptedSampler

peft = pytest.importorskip("peft", reason="adapters of the tests are written by PEFT, of the extra train")

PROMPTS = [[5, 6, 7], [40, 41, 42, 43, 44, 45, 46, 47], [9], [100, 3, 100]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def loaded(base: Path) -> tuple[Any, Any]:
    return load_causal(base, device="cpu")


def asked(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def short(aliases: Any) -> str:
    """The grammar with texts of a few characters, so that a random model comes to an end."""
    return re.sub(r"(\]|char)\*", r"\1{0,5}", grammar(aliases)).replace('("\\n" line)*', '("\\n" line){0,2}')


# -- sampling


def test_a_batch_is_sampled_as_each_prompt_alone_and_as_transformers_does(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    stops = {2, *range(60, 90)}  # enough of them, so that rows end at different lengths
    together = sample(model, PROMPTS, stops=stops, max_tokens=30)
    assert together == [sample(model, [one], stops=stops, max_tokens=30)[0] for one in PROMPTS]
    assert len({len(one) for one in together}) > 1
    for prompt, new in zip(PROMPTS, together, strict=True):
        ids = torch.tensor([prompt])
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30,
                                eos_token_id=sorted(stops), pad_token_id=0)  # fmt: skip
        assert new == theirs[0, len(prompt) :].tolist()


def test_the_stop_is_kept_and_nothing_after_it(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    free = sample(model, PROMPTS, stops=(), max_tokens=12)
    assert [len(one) for one in free] == [12] * 4
    stop = free[0][4]
    for whole, cut in zip(free, sample(model, PROMPTS, stops=[stop], max_tokens=12), strict=True):
        assert cut == (whole[: whole.index(stop) + 1] if stop in whole else whole)
    assert sample(model, [], stops=[2], max_tokens=5) == []


def test_it_ends_when_every_row_has_ended(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = loaded
    stops = {one[place] for place, one in enumerate(sample(model, PROMPTS, stops=(), max_tokens=4))}
    passes: list[int] = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda *given, **named: (passes.append(named["input_ids"].shape[1]), forward(**named))[1]
    )
    longest = max(map(len, sample(model, PROMPTS, stops=stops, max_tokens=50)))
    assert len(passes) == longest <= 4 and passes[1:] == [1] * (longest - 1)  # the prompts are read once


def test_temperature_draws_from_the_distribution_and_repeats_with_a_seed(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    scores = torch.full((352,), -torch.inf)
    scores[[10, 20, 30, 351]] = torch.tensor([1.0, 0.5, -1.0, 0.0])

    def drawn(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        fixed = [lambda ids, own: scores.expand_as(own)]
        return [one[0] for one in sample(model, [[5]] * 4000, stops=[2], max_tokens=1, temperature=0.5,
                                         generator=generator, processors=fixed)]  # fmt: skip

    first = drawn(1)
    assert first == drawn(1) != drawn(2)
    counts = Counter(first)
    for token, wanted in enumerate(torch.softmax(scores / 0.5, -1).tolist()):
        assert counts[token] / len(first) == pytest.approx(wanted, abs=0.03)
    assert len(set(map(tuple, sample(model, [[5]] * 50, stops=[2], max_tokens=3, temperature=1.0)))) > 40


def test_the_mode_of_the_model_is_put_back_and_dropout_is_off(base: Path) -> None:
    model, _ = load_causal(base, device="cpu")
    expected = sample(model, PROMPTS, stops=[2], max_tokens=8)
    model.config.attention_dropout = 0.9
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.9
    model.train()
    assert sample(model, PROMPTS, stops=[2], max_tokens=8) == expected
    assert model.training


def test_how_likely_each_token_was_is_what_a_plain_pass_says(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    chances = Chances()
    written = sample(model, PROMPTS, stops=stop_ids(model, tokenizer), max_tokens=6, processors=[chances])
    for place, (prompt, new) in enumerate(zip(PROMPTS, written, strict=True)):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + new])).logits[0, len(prompt) - 1 : -1]
        plain = logits.float().log_softmax(-1)[range(len(new)), new].tolist()
        assert chances.row(place)[: len(new) - 1] == pytest.approx(plain[:-1], abs=1e-3)


def test_how_sure_a_line_is_leaves_its_quotes_out() -> None:
    pieces = ["+ fact:", " Skis", ".", " |", ' "I ski"', "\n", "- f1", " |", ' "gone"', "<end>"]
    logps = [math.log(one) for one in (0.5, 0.5, 1.0, 0.1, 0.1, 0.1, 0.25, 0.1, 0.1)]  # the last one is not known
    assert line_chances(pieces, logps) == pytest.approx([0.25 ** (1 / 3), 0.25])
    assert line_chances(["=", "<end>"], [math.log(0.5)]) == [0.5]
    assert line_chances([], []) == [1.0]


def test_an_answer_says_how_sure_it_is(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    answers = CausalWriter(model, tokenizer, max_tokens=6).write(asked("one", "two three"), [(), ()])
    assert all(isinstance(one, Answer) and all(0 < chance <= 1 for chance in one.sure) for one in answers)


def test_an_answer_that_was_cut_loses_its_last_line(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    ids = tokenizer("- f1\n- f2 é", add_special_tokens=False)["input_ids"]
    assert answer_text(tokenizer, [*ids, 2], [2]) == "- f1\n- f2 é"
    assert answer_text(tokenizer, ids, [2]) == "- f1\n"
    assert answer_text(tokenizer, ids[:1], [2]) == answer_text(tokenizer, [], [2]) == ""
    assert answer_text(tokenizer, ids[:-1], [2]) == "- f1\n"  # in the middle of a character


# -- merging


def test_merged_is_the_base_with_the_adapter_beside_it(base: Path, tmp_path: Path, loaded: tuple[Any, Any]) -> None:
    folder = write_tiny_adapter(tmp_path / "a", base, lora_alpha=12)
    model, _ = load_causal(base, device="cpu")
    weight = model.model.layers[1].mlp.down_proj.weight.clone()
    adapter = read_adapter(folder)
    merge(model, adapter)
    a_RI, b_OR = adapter.low_rank["model.layers.1.mlp.down_proj"]
    torch.testing.assert_close(model.model.layers[1].mlp.down_proj.weight, weight + 3 * b_OR @ a_RI)
    theirs: Any = peft.PeftModel.from_pretrained(load_causal(base, device="cpu")[0], str(folder))
    ids = torch.tensor([PROMPTS[1]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, theirs(ids).logits, atol=1e-4, rtol=0)
        assert (model(ids).logits - loaded[0](ids).logits).abs().max() > 0.01


def test_a_model_in_training_writes_as_it_does_once_it_is_saved(base: Path, tmp_path: Path) -> None:
    folder = write_tiny_adapter(tmp_path / "a", base)
    model, tokenizer = load_causal(base, device="cpu")
    training: Any = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=True).train()
    prompts, aliases = asked("I live in Lyon", "hi", "no more emojis"), [["f1"], [], ["p1"]]
    answers = CausalWriter(training, tokenizer, grammar=short).write(prompts, aliases)
    saved = AdaptedModel(folder, grammar=short, device="cpu", dtype="float32")
    assert answers == saved.write(prompts, aliases)
    assert training.training


@pytest.mark.parametrize(("settings", "said"), [
    ({"use_rslora": True}, "use_rslora"), ({"use_dora": True}, "use_dora"), ({"bias": "all"}, "bias"),
    ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"), ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
])  # fmt: skip
def test_other_forms_of_lora_are_refused_by_name(
    base: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    folder = write_tiny_adapter(tmp_path / "a", base, **settings)
    with pytest.raises(ConfigError, match=rf"adapter .*: uses {said}; only plain LoRA"):
        AdaptedModel(folder)


def test_other_adapters_and_broken_ones_are_refused(base: Path, tmp_path: Path) -> None:
    folder = write_tiny_adapter(tmp_path / "a", base)
    file = folder / "adapter_config.json"
    good = json.loads(file.read_text())
    for change, said in (
        ({"peft_type": "IA3"}, "is of PEFT's type IA3"), ({"init_lora_weights": "pissa"}, "uses init_lora_weights"),
        ({"base_model_name_or_path": None}, "names no base"),
    ):  # fmt: skip
        file.write_text(json.dumps(good | change))
        with pytest.raises(ConfigError, match=said):
            AdaptedModel(folder)
    file.write_text(json.dumps(good | {"r": 8}))
    with pytest.raises(ConfigError, match="has no A and B of rank 8"):
        read_adapter(folder)
    file.write_text("{")
    with pytest.raises(ConfigError, match=r"adapter_config\.json: Expecting"):
        AdaptedModel(folder)
    file.write_text(json.dumps(good))
    (folder / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors: "):
        read_adapter(folder)


def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    wide = write_tiny_llama(tmp_path / "wide", hidden=64)
    folder = write_tiny_adapter(tmp_path / "a", wide)
    said = rf"was made for base '{wide}', whose model\.layers\.0\.mlp\.down_proj is \(64, 128\).*here it is \(32, 64\)"
    with pytest.raises(ConfigError, match=said):
        AdaptedModel(folder, base=str(base), device="cpu").write(asked("hi"), [[]])
    deep = write_tiny_adapter(tmp_path / "b", write_tiny_llama(tmp_path / "deep", layers=3))
    with pytest.raises(ConfigError, match=r"model\.layers\.2\..*here it is no linear layer"):
        AdaptedModel(deep, base=str(base), device="cpu").write(asked("hi"), [[]])


def test_where_an_adapter_lies(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no trained adapter lies there; its folder holds adapter_config\.json"):
        adapter_folder(tmp_path)
    prm = write_tiny_adapter(tmp_path / "run", base, name="prm")
    assert adapter_folder(tmp_path / "run") == prm == adapter_folder(prm)
    other = write_tiny_adapter(tmp_path / "run", base, name="other")
    with pytest.raises(ConfigError, match=r"several adapters \(other, prm\)"):
        adapter_folder(tmp_path / "run")
    policy = write_tiny_adapter(tmp_path / "run", base, name="policy")
    assert adapter_folder(tmp_path / "run") == policy
    (other / "adapter_model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has no adapter_model\.safetensors"):
        AdaptedModel(other)


def test_bases_by_name(base: Path, tmp_path: Path) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf")
    assert base_path(str(base)) == base
    assert base_path(f"local:{gguf}") == base_path(str(gguf)) == gguf
    with pytest.raises(ConfigError, match=r"base 'gpt-17': not one of smollm2-135m"):
        base_path("gpt-17")
    with pytest.raises(ConfigError, match="no such GGUF file"):
        base_path("local:none.gguf")
    folder = write_tiny_adapter(tmp_path / "a", base)
    with pytest.raises(ConfigError, match=r"adapter .*: base 'gpt-17'"):
        AdaptedModel(folder, base="gpt-17").write(asked("hi"), [[]])


def test_an_adapter_over_a_gguf_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A converted base, whose tokenizer is SentencePiece of bytes, writes under the grammar too."""
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf")
    model, _ = load_causal(gguf, tmp_path / "cache", "cpu")
    assert "GGUF" not in "".join(capfd.readouterr())  # the first thing that a new user would see
    model.save_pretrained(tmp_path / "base")
    folder = write_tiny_adapter(tmp_path / "a", tmp_path / "base")
    adapted = AdaptedModel(folder, base=str(gguf), grammar=short, cache=tmp_path / "cache", device="cpu")
    [answer] = adapted.write(asked("I live in Lyon"), [["f1"]])
    assert parse_edits(answer).problems == ()


# -- writing


def test_it_computes_in_what_is_fast_here(base: Path, tmp_path: Path) -> None:
    model = AdaptedModel(write_tiny_adapter(tmp_path / "a", base), device="cpu").writer.model
    assert model.dtype == getattr(torch, fast_dtype("cpu"))


def test_it_loads_once_and_again_after_a_new_training(base: Path, tmp_path: Path) -> None:
    folder = write_tiny_adapter(tmp_path / "a", base)
    first = AdaptedModel(folder, device="cpu")
    assert AdaptedModel(tmp_path / "a", device="cpu").writer is first.writer
    write_tiny_adapter(tmp_path / "a", base, seed=5)
    assert AdaptedModel(folder, device="cpu").writer is not first.writer
    assert AdaptedModel(folder).write([], []) == []


def test_batches_do_not_change_answers(loaded: tuple[Any, Any]) -> None:
    prompts = asked("hi", "I live in Lyon " * 9, "", "always give me prices in euros", "hi")
    aliases = [[], ["f1"], ["p1", "p2"], [], ["f1"]]
    wide = CausalWriter(*loaded, grammar=short).write(prompts, aliases)
    one_by_one = CausalWriter(*loaded, grammar=short, batch_tokens=1).write(prompts, aliases)
    assert wide == one_by_one
    assert all(parse_edits(answer).problems == () for answer in wide)


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(loaded: tuple[Any, Any]) -> None:
    writer = CausalWriter(*loaded)
    long = asked("ž " * 2000)
    tokens = len(prompt_ids(loaded[1], long[0]))
    with pytest.raises(ModelError, match=rf"has {tokens:,} tokens; with 256 for the answer .* context of 4,096"):
        writer.write([*asked("hi"), *long], [[], []])


def test_stops_come_from_tokenizer_and_model(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = loaded
    assert stop_ids(model, tokenizer) == {2}
    monkeypatch.setattr(model.generation_config, "eos_token_id", [1, 7])
    assert stop_ids(model, tokenizer) == {1, 2, 7}


# -- the grammar


@pytest.fixture(scope="module")
def held(loaded: tuple[Any, Any]) -> Constraint:
    model, tokenizer = loaded
    return Constraint(tokenizer, model.config.vocab_size, stop_ids(model, tokenizer))


def accepts(held: Constraint, text: str, aliases: list[str]) -> bool:
    matcher = held.matcher(grammar(aliases))
    tokens = held._tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens([*tokens, 2]) == len(tokens) + 1


def test_llguidance_reads_our_grammar_as_llama_cpp_does(held: Constraint) -> None:
    aliases = ["p1", "p4", "f3", "f7"]
    assert accepts(held, "=", aliases) and accepts(held, "=", []) and accepts(held, LINES + "\n", aliases)
    for line in LINES.split("\n"):
        assert accepts(held, line + "\n", aliases)
        needs = line[0] in "~-" or line.startswith("x f7")
        assert accepts(held, line + "\n", []) is not needs
    quoted = '+ fact: Ça va 😀. | "%s"\n'
    assert accepts(held, quoted % r"a\n\"b\" \\ é 😀", [])
    for wrong in ("", " ", "a\tb", "a\nb", "\x01", "a\x00", "\x1f", "\u00a0", "\u3000", 'a" b', "\\x"):
        assert not accepts(held, quoted % wrong, []), wrong
    for text in (" a", "a|b", "a\x00b", "a\x1fb", "a\x7f", "\u2003", "\x85"):
        assert not accepts(held, f'+ fact: {text} | "q"\n', []), text
    assert not accepts(held, '+ instruction: a = b => c | "q"\n', [])


@pytest.mark.parametrize(("day", "right"), [
    ("2026-02-28", True), ("2026-02-29", False), ("2024-02-29", True), ("2000-02-29", True), ("1900-02-29", False),
    ("2026-02-30", False), ("2026-04-30", True), ("2026-04-31", False), ("2026-12-31", True), ("2026-00-10", False),
    ("2026-13-01", False), ("2026-10-29", True), ("2026-10-00", False), ("2026-11-31", False), ("2026-01-09", True),
])  # fmt: skip
def test_only_days_that_exist_can_be_written(held: Constraint, day: str, right: bool) -> None:
    assert accepts(held, f'+ fact: x | "q" @{day}\n', []) is right


def test_all_that_is_sampled_under_the_grammar_can_be_read(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    writer = CausalWriter(model, tokenizer, grammar=short)
    names = [["p1", "f12"], []] * 30
    prompts = [prompt_ids(tokenizer, asked("hi")[0])] * len(names)
    rows = writer.sample(prompts, max_tokens=400, temperature=1.5, generator=torch.Generator().manual_seed(0),
                         processors=writer.processors(names))  # fmt: skip
    signs = set()
    for row, own in zip(rows, names, strict=True):
        assert row[-1] == 2
        edits, problems = parse_edits(answer_text(tokenizer, row, writer.stops))
        assert not problems
        assert {alias for edit in edits for alias in edit.aliases} <= set(own)
        signs |= {edit.sign for edit in edits}
    assert signs == set("+~-x")


def test_prompts_in_several_batches_keep_their_own_grammar(loaded: tuple[Any, Any]) -> None:
    """The sampler of rollouts sorts prompts by length and cuts them into batches."""
    model, tokenizer = loaded
    adapted = Adapted(load_causal(Path(model.name_or_path), device="cpu")[0], rank=2)
    held = constraint(adapted.model, tokenizer)
    names = [["p1"], [], ["f2", "f3"], ["i4"], [], ["p5", "p6"], ["f7"]] * 3
    prompts = [prompt_ids(tokenizer, asked("hi " * (place * 5 % 7))[0]) for place in range(len(names))]
    sampler = AdaptedSampler(adapted, stop_ids(model, tokenizer), temperature=1.5, rows=4)
    only_closing = [short(own).replace("(add | update | close | forget)", "close") for own in names]
    rows = sampler.sample(prompts, 400, random.Random(0), [held.rows(only_closing)])
    named = set()
    for row, own in zip(rows, names, strict=True):
        edits, problems = parse_edits(answer_text(tokenizer, row, [2]))
        assert row[-1] == 2 and not problems
        assert {alias for edit in edits for alias in edit.aliases} <= set(own)
        named |= {alias for edit in edits for alias in edit.aliases}
    assert len(named) >= 5  # each row could have named those of another


def test_cut_answers_hold_whole_lines_only(loaded: tuple[Any, Any]) -> None:
    cut = CausalWriter(*loaded, grammar=grammar, max_tokens=25).write(asked(*"abcdef"), [["p1"]] * 6)
    assert all(answer == "" or parse_edits(answer).problems == () for answer in cut)


def test_a_grammar_with_a_mistake_is_named(loaded: tuple[Any, Any]) -> None:
    writer = CausalWriter(*loaded, grammar=lambda aliases: "root ::= nothing")
    with pytest.raises(ModelError, match="grammar: "):
        writer.write(asked("hi"), [[]])


@pytest.mark.slow
def test_smollm2_writes_edits_that_can_be_read() -> None:
    path = cached("smollm2-135m")
    if path is None:
        pytest.skip("smollm2-135m is not downloaded; run: agentmem chat --model local:smollm2-135m")
    writer = CausalWriter(*load_causal(path, device="cpu"), grammar=grammar, max_tokens=64)
    answers = writer.write(asked("I live in Lyon. Edits:", "hello. Edits:", "Edits:"), [["f1"], [], ["p1", "p2"]])
    assert any(answers)
    assert all(answer == "" or parse_edits(answer).problems == () for answer in answers)


@pytest.mark.parametrize("text", [
    "=", '+ fact: Lives in Oslo. | "Oslo"', '~ p1: x => y. | "a" | "b" @2026-01-02\n- p1 | "c"\nx p1 | "d"',
])  # fmt: skip
def test_what_training_teaches_may_end_where_it_ends(loaded: tuple[Any, Any], text: str) -> None:
    """A cold start's answers have no line break at their end: the grammar must let the model stop there."""
    model, tokenizer = loaded
    assert format_edits(parse_edits(text).edits) == text
    matcher = constraint(model, tokenizer).matcher(grammar(["p1"]))
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        assert matcher.consume_token(token)
    assert matcher.is_accepting()
