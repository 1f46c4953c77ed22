"""A trained adapter made ready to share: PEFT's form, and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agentmem.errors import ConfigError, ModelError, boundary
from agentmem.models.lora import CONFIG, PARTS, WEIGHTS, LoraAdapter, adapter_config, adapter_folder, read_adapter
from agentmem.policy.actions import FILE, Actions, actions_of, keep_actions

if TYPE_CHECKING:
    from torch import Tensor

CARD = "README.md"


def export(
    checkpoint: Path,
    out: Path,
    *,
    base: str,
    about: Mapping[str, object],
    dtype: str | None = None,
    part_bytes: int | None = None,
) -> Path:
    """Write the policy's adapter of a checkpoint into `out`: settings, weights, action space, model card.

    Args:
        checkpoint: folder that PEFT's `save_pretrained` wrote; the adapter may lie in a folder of its name.
        out: folder; made where there is none, and its four files replaced where there are.
        base: name of the base, as `agentmem.models.adapted.base_path` takes it; no path, which others do not have.
        about: for the card, all of it optional: `name`, `policy` (what `--policy` calls it, where that isn't its
            folder), `data` (what it was trained on), `method`, `numbers` (what was measured: name -> value), `limits`,
            `licence`, `base_licence`.
        dtype: of the weights, float16 or bfloat16 for half the size; None keeps it.
        part_bytes: where the weights are more than that, they become several files, which agentmem reads and PEFT does
            not; None: one file.

    Returns:
        The folder.

    Raises:
        ConfigError: no plain LoRA lies there, `out` is where it lies, a setting is wrong, or `about` has something else
            in it.
        ModelError: `out` cannot be written.
    """
    import torch

    if dtype not in (None, "float32", "float16", "bfloat16"):
        raise ConfigError(f"export: dtype {dtype!r}: choose float32, float16 or bfloat16")
    if unknown := sorted(about.keys() - _ABOUT):
        raise ConfigError(f"export: the card has no place for {', '.join(unknown)}; there are {', '.join(_ABOUT)}")
    folder = adapter_folder(checkpoint)
    if out.resolve() == folder.resolve():
        raise ConfigError(f"export: {out} is the checkpoint itself; name another folder")
    adapter, actions = read_adapter(folder), actions_of(folder)
    config = {**adapter_config(folder), "base_model_name_or_path": base, "inference_mode": True}
    tensors = {}
    for layer, (a_RI, b_OR) in sorted(adapter.low_rank.items()):
        name = f"base_model.model.{layer}"
        tensors |= {f"{name}.lora_A.weight": a_RI.contiguous(), f"{name}.lora_B.weight": b_OR.contiguous()}
    if dtype:
        tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in tensors.items()}
    with boundary(ModelError, f"export: {out} cannot be written"):
        out.mkdir(parents=True, exist_ok=True)
        _write(tensors, out, part_bytes)
        (out / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")
        keep_actions(actions, out)
        (out / CARD).write_text(_card(out, base, adapter, actions, about), "utf-8")
    return out


def _write(tensors: dict[str, Tensor], out: Path, part_bytes: int | None) -> None:
    """One file, or as many parts as are needed; those of an earlier export go."""
    from safetensors.torch import save_file

    for old in (out / WEIGHTS, *out.glob(PARTS)):
        old.unlink(missing_ok=True)
    parts: list[dict[str, Tensor]] = [{}]
    for name, tensor in tensors.items():
        if part_bytes and parts[-1] and sum(one.nbytes for one in parts[-1].values()) + tensor.nbytes > part_bytes:
            parts.append({})
        parts[-1][name] = tensor
    for number, part in enumerate(parts, start=1):
        name = WEIGHTS if len(parts) == 1 else PARTS.replace("*", f"{number:05}", 1).replace("*", f"{len(parts):05}", 1)
        save_file(part, out / name, metadata={"format": "pt"})


_ABOUT = ("name", "policy", "data", "method", "numbers", "limits", "licence", "base_licence")


def _card(out: Path, base: str, adapter: LoraAdapter, actions: Actions, about: Mapping[str, object]) -> str:
    """The model card, with YAML before it as model hubs read it."""
    folder = out.resolve().name
    name, policy = str(about.get("name") or folder), str(about.get("policy") or folder)
    rank = next(iter(adapter.low_rank.values()))[0].shape[0]
    size = sum(a_RI.numel() + b_OR.numel() for a_RI, b_OR in adapter.low_rank.values())
    sections = {
        "Base": f"`{base}`. Licence of the base: {about.get('base_licence') or _base_licence(base)}.",
        "Training data": str(about.get("data") or "Not stated."),
        "Training": str(about.get("method") or "Not stated."),
        "Numbers": _numbers(about.get("numbers")),
        "Use": _use(policy, base, actions, whole=(out / WEIGHTS).exists()),
        "Limits": str(about.get("limits") or _LIMITS),
        "Licence": str(about.get("licence") or _NO_LICENCE),
    }
    front = {
        "base_model": base,
        "library_name": "peft",
        "license": str(about.get("licence") or "unknown"),
        "pipeline_tag": "text-generation",
        "tags": ["agentmem", "lora", "memory"],
        "agentmem_actions": actions.name,
    }
    head = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in front.items())
    text = f"""---
{head}---

# {name}

A memory policy for agentmem: it reads what is known of a user and a conversation, and writes {_WRITES[actions.name]}
A LoRA of rank {rank} over {len(adapter.low_rank)} layers of its base ({size:,} weights).
"""
    return text + "".join(f"\n## {title}\n\n{body.strip()}\n" for title, body in sections.items())


_WRITES = {
    "edits": "edits of the memory,\neach with the user's own words.",
    "rewrite": "the whole memory\nanew, which is read as edits.",
}

_LIMITS = """It errs: it misses what is only hinted at, and may write down what the user did not mean. agentmem refuses
a change that no words of the user support, and keeps these words beside it; all but forgetting can be undone."""

_NO_LICENCE = "Not stated yet. Name one before you share this; it must agree with those of the base and the data."


def _numbers(numbers: object) -> str:
    """A table of what was measured."""
    if not isinstance(numbers, Mapping) or not numbers:
        return str(numbers or "Not measured.")
    rows = "".join(
        f"| {name} | {f'{value:.4g}' if isinstance(value, float) else value} |\n" for name, value in numbers.items()
    )
    return f"| measure | value |\n| --- | --- |\n{rows}"


def _base_licence(base: str) -> str:
    from agentmem.models.weights import WEIGHTS as BASES

    known = BASES.get(base.removeprefix("local:"))
    return f"{known.licence} ({known.notice})" if known else "not stated; see its own card"


_LANGUAGE = {
    "edits": "`agentmem.policy.actions.EDITS`, and answers are in the action language of\n`agentmem/policy/edits.py`.",
    "rewrite": "`agentmem.policy.rewrite.Rewrite`, and answers are lines as in\n`agentmem/policy/rewrite.py`.",
}


_PARTS = """Its weights lie in parts, which agentmem reads and PEFT does not.
`agentmem train export FOLDER --out {whole}`, with this folder for FOLDER, makes one file of them.

"""


def _use(policy: str, base: str, actions: Actions, *, whole: bool) -> str:
    """How to serve it, with agentmem and without. `whole`: its weights are one file."""
    folder = policy if whole else "adapter"
    return f"""In agentmem, which fetches the base and merges the adapter into it:

```bash
agentmem observe chat.json --policy {policy}
```

```python
from agentmem import Agent

agent = Agent("alice", policy="{policy}")
```

With PEFT, for work of your own on it:

{"" if whole else _PARTS.format(whole=folder)}```python
from agentmem.models.adapted import base_path
from agentmem.models.likelihood import load_causal
from peft import PeftModel

model, tokenizer = load_causal(base_path("{base}"))  # the weights it was trained on, in transformers' form
model = PeftModel.from_pretrained(model, "{folder}")
```

Prompts are those of {_LANGUAGE[actions.name]} `{FILE}` says so, and agentmem reads it."""
