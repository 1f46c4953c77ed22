"""A trained adapter made ready to share: read back by PEFT and by us, and its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tiny_llama import write_tiny_adapter, write_tiny_llama

from agentmem.errors import ConfigError, ModelError
from agentmem.models.adapted import AdaptedModel
from agentmem.models.likelihood import load_causal
from agentmem.models.lora import read_adapter
from agentmem.policy.actions import EDITS, keep_actions
from agentmem.policy.rewrite import Rewrite
from agentmem.policy.trained import load_trained
from agentmem.train.export import export
from agentmem.train.supervised import adapted

peft = pytest.importorskip("peft", reason="of the extra train")

ABOUT = {
    "name": "Edits of Lyon", "data": "Twelve dialogues written for it.", "method": "GRPO, 3 iterations.",
    "numbers": {"reward": 0.51234567, "dialogues": 12}, "limits": "English only.", "licence": "apache-2.0",
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("name", ["default", "policy"])
def test_peft_and_agentmem_read_the_same_model_from_it(base: Path, tmp_path: Path, name: str) -> None:
    checkpoint = tmp_path / "run"
    if name == "policy":
        write_tiny_adapter(checkpoint, base, name="prm", seed=9)
    write_tiny_adapter(checkpoint, base, name=name, target_modules=["q_proj", "v_proj", "o_proj", "up_proj"])
    out = export(checkpoint, tmp_path / "out", base=str(base), about={})
    theirs: Any = peft.PeftModel.from_pretrained(load_causal(base, device="cpu")[0], str(out))
    ours = AdaptedModel(out, device="cpu", dtype="float32").writer.model
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-4, rtol=0)
        plain = load_causal(base, device="cpu")[0](ids).logits
        assert (ours(ids).logits - plain).abs().max() > 0.01


def test_four_files_without_pickle_and_as_peft_writes_them(base: Path, tmp_path: Path) -> None:
    checkpoint = write_tiny_adapter(tmp_path / "run", base)
    out = export(checkpoint, tmp_path / "out", base="smollm2-135m", about=ABOUT)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "agentmem.json"]  # fmt: skip
    ours, theirs = (json.loads((place / "adapter_config.json").read_text()) for place in (out, checkpoint))
    assert ours["base_model_name_or_path"] == "smollm2-135m" and ours["inference_mode"] is True
    assert {**ours, "base_model_name_or_path": ""} == {**theirs, "base_model_name_or_path": ""}
    for path in (out / "adapter_model.safetensors", checkpoint / "adapter_model.safetensors"):
        with safe_open(str(path), framework="pt") as file:
            names = set(file.keys())
            assert file.metadata() == {"format": "pt"}
        assert len(names) == 8 and all(".lora_" in name for name in names)
    assert str(tmp_path) not in "".join(path.read_text("utf-8", "replace") for path in out.iterdir())
    again = export(checkpoint, out, base="smollm2-135m", about={})
    assert again == out and "Not measured." in (out / "README.md").read_text()


def test_the_action_space_goes_with_the_adapter(base: Path, tmp_path: Path) -> None:
    checkpoint = write_tiny_adapter(tmp_path / "run", base)
    keep_actions(Rewrite(memory_tokens=64), checkpoint)
    out = export(checkpoint, tmp_path / "out", base=str(base), about={})
    card = (out / "README.md").read_text()
    assert 'agentmem_actions: "rewrite"\n' in card and "the whole memory" in card and "policy.rewrite.Rewrite" in card
    served = load_trained(out, device="cpu")
    assert served.actions == Rewrite(memory_tokens=64)
    policies = [served, load_trained(out, device="cpu")]
    writers = [policy._writer for policy in policies if isinstance(policy._writer, AdaptedModel)]
    assert len(writers) == 2 and writers[0].writer is writers[1].writer  # loaded once
    (checkpoint / "agentmem.json").unlink()  # an adapter from before there was a choice
    again = export(checkpoint, out, base=str(base), about={})
    assert load_trained(again).actions == EDITS and 'agentmem_actions: "edits"\n' in (out / "README.md").read_text()


def test_the_card_says_what_it_is_and_how_to_use_it(base: Path, tmp_path: Path) -> None:
    checkpoint = write_tiny_adapter(tmp_path / "run", base)
    out = export(checkpoint, tmp_path / "lyon", base="smollm2-135m", about=ABOUT)
    card = (out / "README.md").read_text()
    front, body = card.removeprefix("---\n").split("---\n", 1)
    assert 'base_model: "smollm2-135m"\n' in front and 'license: "apache-2.0"\n' in front
    for said in (
        "# Edits of Lyon", "LoRA of rank 4 over 4 layers", "Apache-2.0 (SmolLM2-135M-Instruct by", "English only.",
        "Twelve dialogues", "GRPO, 3 iterations.", "| reward | 0.5123 |", "| dialogues | 12 |", "--policy lyon",
        'PeftModel.from_pretrained(model, "lyon")',
    ):  # fmt: skip
        assert said in body
    bare = export(checkpoint, tmp_path / "bare", base="mine", about={})
    card = (bare / "README.md").read_text()
    for said in (
        "# bare",
        "Not stated yet. Name one",
        "not stated; see its own card",
        "all but forgetting can be undone",
    ):
        assert said in card
    with pytest.raises(ConfigError, match="no place for author; there are name, policy, data"):
        export(checkpoint, tmp_path / "out", base="mine", about={"author": "me"})


def test_what_cannot_be_exported(base: Path, tmp_path: Path) -> None:
    checkpoint = write_tiny_adapter(tmp_path / "run", base)
    with pytest.raises(ConfigError, match="is the checkpoint itself"):
        export(checkpoint, checkpoint, base="mine", about={})
    with pytest.raises(ConfigError, match="no trained adapter lies there"):
        export(tmp_path / "nothing", tmp_path / "out", base="mine", about={})
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        export(checkpoint, tmp_path / "file", base="mine", about={})
    scaled = write_tiny_adapter(tmp_path / "scaled", base, use_rslora=True)
    with pytest.raises(ConfigError, match="use_rslora"):
        export(scaled, tmp_path / "out", base="mine", about={})
    assert not (tmp_path / "out").exists()


def test_weights_in_parts_and_of_half_size_are_the_same_adapter(base: Path, tmp_path: Path) -> None:
    checkpoint = write_tiny_adapter(tmp_path / "run", base)
    whole = export(checkpoint, tmp_path / "whole", base=str(base), about={}, dtype="bfloat16")
    parts = export(checkpoint, tmp_path / "parts", base=str(base), about={}, dtype="bfloat16", part_bytes=1500)
    files = sorted(parts.glob("*.safetensors"))
    assert "one file of them" in (parts / "README.md").read_text()
    assert "one file of them" not in (whole / "README.md").read_text()
    assert len(files) > 1 and files[0].name == f"adapter_model-00001-of-{len(files):05}.safetensors"
    assert sum(file.stat().st_size for file in files) < (checkpoint / "adapter_model.safetensors").stat().st_size
    one, other = read_adapter(whole), read_adapter(parts)
    assert one.low_rank.keys() == other.low_rank.keys()
    for layer, pair in one.low_rank.items():
        assert all(torch.equal(*sides) for sides in zip(pair, other.low_rank[layer], strict=True))
    tuned = adapted(load_causal(base, device="cpu")[0], parts)  # what a run begins from
    found = dict(tuned.named_parameters())["base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"]
    torch.testing.assert_close(found.float(), one.low_rank["model.layers.0.self_attn.q_proj"][0].float())
    assert [path.name for path in export(parts, whole, base=str(base), about={}).glob("*.safetensors")] == [
        "adapter_model.safetensors"]  # fmt: skip
    files[0].unlink()
    with pytest.raises(ConfigError, match=rf"has {len(files) - 1} parts of {len(files)}; copy the others"):
        read_adapter(parts)
    with pytest.raises(ConfigError, match="choose float32, float16 or bfloat16"):
        export(checkpoint, whole, base=str(base), about={}, dtype="int4")
