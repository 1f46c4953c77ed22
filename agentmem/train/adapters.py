"""One frozen base model with low-rank adapters: policy, process reward model, reference. Needs the extra `train`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from agentmem.errors import ConfigError, ModelError, boundary
from agentmem.models.lora import adapter_folder
from agentmem.models.quiet import quiet_loading
from agentmem.train.rows import Padded

Which = Literal["policy", "prm", "reference", "base"]
ADAPTERS: tuple[Which, ...] = ("policy", "prm", "reference")

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of Llama- and Qwen-like models."""


class Adapted(nn.Module):
    """A causal model whose own weights stay as they are, with adapters that begin alike.

    All adapters live in one module, so that one wrapping (FSDP) shards them together. Dropout is off wherever it is
    read for probabilities: passes over the same rows agree to the last bit, as the exact update of a process reward
    model needs (its first pass has no gradient, its second one has).

    Args:
        model: a transformers causal model.
        rank: of the low-rank changes; their scale is alpha / rank.
        alpha: see rank.
        targets: names of linear layers, by their ends.
        names: which adapters; "policy" is always there.
        start: folder of a PEFT adapter that all of them begin from (a cold start by `agentmem train sft`).
        seed: of the first weights.

    Raises:
        ConfigError: no layer has these names, or `start` does not fit.
    """

    def __init__(
        self,
        model: Any,
        *,
        rank: int = 16,
        alpha: int = 32,
        targets: Sequence[str] = TARGETS,
        names: Sequence[Which] = ("policy",),
        start: Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        from peft import LoraConfig, get_peft_model

        _without_dropout(model)
        start = adapter_folder(start) if start is not None else None  # PEFT would look for it on a hub
        config: Any = (
            LoraConfig.from_pretrained(str(start))
            if start
            else LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=list(targets))
        )
        config.inference_mode, config.lora_dropout = False, 0.0
        torch.manual_seed(seed)
        with boundary(ConfigError, f"adapters on {type(model).__name__}"), quiet_loading():
            self.model = get_peft_model(model, config, adapter_name="policy", autocast_adapter_dtype=False)
            for name in names:
                if name != "policy":
                    self.model.add_adapter(name, config)
        if start is not None:
            self.read("policy", start)
        weights = self.weights("policy")
        for name in names:
            if name != "policy":
                self.write(name, weights)
        self.names: tuple[Which, ...] = tuple(dict.fromkeys(("policy", *names)))
        self.shares_prompts = _keeps_all(model) and self.device.type == "cpu"
        """Whether what prompts begin with is read once (`Padded.shared_P`): fewer tokens, in more and smaller calls of
        the model, which pays on a CPU. Never with sharded weights: processes would not call it equally often."""
        self.eval()
        self.use("policy")

    # -- which adapter counts

    def use(self, which: Which) -> None:
        """Let this adapter count from now on; its parameters and the others' stay trainable.

        PEFT freezes the adapters that it leaves, silently: a later backward through them would do nothing.
        """
        self.model.set_adapter(which)
        for name in self.names:
            for parameter in self.parameters_of(name):
                parameter.requires_grad_(name != "reference")

    def parameters_of(self, which: Which) -> list[nn.Parameter]:
        """The adapter's own weights, by the name in their path: a filter by requires_grad sees the active one only."""
        return [parameter for name, parameter in self.named_parameters() if f".{which}." in name]

    @contextlib.contextmanager
    def only(self, which: Which) -> Iterator[None]:
        """This adapter, or none of them ("base"), while the block runs; the policy afterwards."""
        if which == "base":
            with self.model.disable_adapter():
                yield
        else:
            self.use(which)
            yield
        self.use("policy")

    # -- reading

    def forward(self, rows: Padded, temperature: float = 1.0) -> Tensor:
        """(B, T) log-probabilities of what was written, under the adapter in use; padding has any value.

        Args:
            rows: as `padded` gives them.
            temperature: that the rows were sampled at.
        """
        places, attention_BL, cache = (rows.attention_BL.cumsum(1) - 1).clamp(min=0), rows.attention_BL, None
        if rows.shared_P is not None:
            cache = self._shared(rows.shared_P, len(rows.ids_BL))
            before_BP = attention_BL.new_ones(len(rows.ids_BL), len(rows.shared_P))
            places, attention_BL = places + len(rows.shared_P), torch.cat([before_BP, attention_BL], 1)
        logits_BTV = self.model(
            input_ids=rows.ids_BL, attention_mask=attention_BL, position_ids=places, past_key_values=cache,
            use_cache=cache is not None, logits_to_keep=rows.written + 1,
        ).logits[:, -rows.written - 1 : -1]  # fmt: skip
        if logits_BTV.shape[1] < rows.written:  # nothing stands before the first token of the longest row
            gap = rows.written - logits_BTV.shape[1]
            logits_BTV = torch.cat([logits_BTV.new_zeros(len(rows.ids_BL), gap, logits_BTV.shape[2]), logits_BTV], 1)
        ids_BT = rows.ids_BL[:, -rows.written :]
        logp_BTV = torch.log_softmax(logits_BTV.float() / temperature, -1)
        return logp_BTV.gather(-1, ids_BT[:, :, None]).squeeze(-1)

    def _shared(self, shared_P: Tensor, rows: int) -> Any:
        """Keys and values of what stands before all rows, a copy for each; gradients go through them."""
        cache = self.model(input_ids=shared_P[None], use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(rows)
        return cache

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    # -- keeping

    def weights(self, which: Which) -> dict[str, Tensor]:
        """The adapter's weights by names that do not say which adapter it is."""
        return {name.replace(f".{which}.", "."): value.detach().clone()
                for name, value in self.named_parameters() if f".{which}." in name}  # fmt: skip

    def write(self, which: Which, weights: Mapping[str, Tensor]) -> None:
        """Take over weights, as `weights` gives them. Raises ModelError when they do not fit."""
        own = {name.replace(f".{which}.", "."): value
               for name, value in self.named_parameters() if f".{which}." in name}  # fmt: skip
        if own.keys() != weights.keys():
            raise ModelError(f"adapter {which}: has {len(own)} weights, not the {len(weights)} given")
        with torch.no_grad():
            for name, value in own.items():
                given = weights[name]
                if value.shape != given.shape:
                    raise ModelError(f"adapter {which}: {name} is {tuple(value.shape)}, not {tuple(given.shape)}")
                value.copy_(given)

    def save(self, folder: Path) -> None:
        """Write each adapter in PEFT's form, into a folder of its name."""
        self.model.save_pretrained(str(folder), safe_serialization=True, selected_adapters=list(self.names))

    def read(self, which: Which, folder: Path) -> None:
        """Take over what `save` or PEFT wrote. Raises ConfigError when it was made for another base."""
        from peft import load_peft_weights, set_peft_model_state_dict

        with boundary(ConfigError, f"{folder}: cannot be read as an adapter of this base"):
            found = set_peft_model_state_dict(self.model, load_peft_weights(str(folder), device="cpu"), which)
        strange = [*found.unexpected_keys, *(key for key in found.missing_keys if f".{which}." in key)]
        if strange:
            raise ConfigError(f"{folder}: made for another base ({len(strange)} weights differ, as {strange[0]})")


def _keeps_all(model: Any) -> bool:
    """Whether every layer attends to all tokens before, so that keys and values are all that a beginning leaves."""
    config = model.config
    plain = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    return plain and not getattr(config, "sliding_window", None) and not getattr(model, "_is_stateful", False)


def _without_dropout(model: nn.Module) -> None:
    """Every pass over a row must be the same function; attention keeps its rate as a number of its own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
