"""One frozen base model with low-rank adapters: policy, process reward model, reference. Needs the extra `train`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from agentmem.errors import ConfigError, ModelError, boundary
from agentmem.models.lora import adapter_folder, read_weights
from agentmem.models.quiet import quiet_loading
from agentmem.train.rows import Padded
from agentmem.train.sharding import InStep, part, shard, whole

Which = Literal["policy", "prm", "reference", "base"]
ADAPTERS: tuple[Which, ...] = ("policy", "prm", "reference")

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of Llama- and Qwen-like models."""


class Adapted(nn.Module):
    """A causal model whose own weights stay as they are, with adapters that begin alike.

    All adapters live in one module, so that one wrapping (FSDP) shards them together. Dropout is off wherever it is
    read for probabilities: passes over the same rows agree to the last bit, as the exact update of a process reward
    model needs (its first pass has no gradient, its second one has).

    Over a base in bfloat16 adapters are float32: a step of 1e-5 is less than bfloat16 can tell apart. PEFT reads a
    layer's input in the adapter's type and rounds the sum to the base's.

    Args:
        model: a transformers causal model.
        rank: of the low-rank changes; their scale is alpha / rank.
        alpha: see rank.
        targets: names of linear layers, by their ends.
        names: which adapters; "policy" is always there.
        start: folder of a PEFT adapter that all of them begin from (a cold start by `agentmem train sft`).
        seed: of the first weights.
        checkpointing: keep no activations inside layers for the backward pass, and compute them again there.

    Raises:
        ConfigError: no layer has these names, `start` does not fit, or the model has no checkpointing.
    """

    def __init__(  # noqa: PLR0913  each is a setting
        self,
        model: Any,
        *,
        rank: int = 16,
        alpha: int = 32,
        targets: Sequence[str] = TARGETS,
        names: Sequence[Which] = ("policy",),
        start: Path | None = None,
        seed: int = 0,
        checkpointing: bool = False,
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
            self.model = get_peft_model(model, config, adapter_name="policy")
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
        self._in_step: InStep | None = None
        self._in_use: Which | None = None
        self._checkpointed = _checkpointed(model) if checkpointing else ()
        self.shares_prompts = _keeps_all(model) and self.device.type == "cpu" and not checkpointing
        """Whether what prompts begin with is read once (`Padded.shared_P`): fewer tokens, in more and smaller calls of
        the model, which pays on a CPU. Never with sharded weights: processes would not call it equally often; nor with
        checkpointed layers, which take no cache."""
        self.eval()
        self.use("policy")

    # -- over several processes

    def shard(self) -> None:
        """Leave this process its part of all weights, see `sharding.shard`; optimizers are made afterwards."""
        shard(self.model, "cuda" if torch.cuda.is_available() else "cpu")
        self._in_step = InStep(self.model)
        self.shares_prompts = False

    @property
    def sharded(self) -> bool:
        return self._in_step is not None

    def in_step(self) -> contextlib.AbstractContextManager[None]:
        """A block in which processes may make different numbers of passes; all processes enter it."""
        return self._in_step.block() if self._in_step else contextlib.nullcontext()

    def begin_backward(self) -> None:
        """Called before passes with gradients."""
        if self._in_step:
            self._in_step.begin()

    # -- which adapter counts

    def use(self, which: Which) -> None:
        """Let this adapter count from now on; its parameters and the others' stay trainable.

        PEFT freezes the adapters that it leaves, silently: a later backward through them would do nothing.
        """
        if which == self._in_use:  # to look at every layer is what a tiny model spends most of its time on
            return
        self._in_use = which
        self.model.set_adapter(which)
        for name in self.names:
            for parameter in self.parameters_of(name):
                parameter.requires_grad_(name != "reference")

    def parameters_of(self, which: Which) -> list[nn.Parameter]:
        """The adapter's own weights, by the name in their path: a filter by requires_grad sees the active one only."""
        return [parameter for _, parameter in self._named(which)]

    @contextlib.contextmanager
    def only(self, which: Which) -> Iterator[None]:
        """This adapter, or none of them ("base"), while the block runs; the policy afterwards."""
        if which == "base":
            with self.model.disable_adapter():
                yield
            self._in_use = None
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
        with self._recomputing():
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

    @contextlib.contextmanager
    def _recomputing(self) -> Iterator[None]:
        """Transformers checkpoints a layer in training mode alone, and such a layer takes no cache: it is in it for a
        pass with gradients, the layer's own flag only (what lies below it, dropout too, stays as it is)."""
        layers = self._checkpointed if torch.is_grad_enabled() else ()
        for layer in layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False

    def _shared(self, shared_P: Tensor, rows: int) -> Any:
        """Keys and values of what stands before all rows, a copy for each; gradients go through them."""
        cache = self.model(input_ids=shared_P[None], use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(rows)
        return cache

    @property
    def rank(self) -> int:
        """Of the low-rank changes; an adapter that all began from has its own."""
        return int(self.model.peft_config["policy"].r)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    # -- keeping

    def weights(self, which: Which) -> dict[str, Tensor]:
        """The adapter's whole weights by names that do not say which adapter it is; all processes call it at once."""
        return {_plain(name, which): whole(value.detach()).clone() for name, value in self._named(which)}

    def write(self, which: Which, weights: Mapping[str, Tensor]) -> None:
        """Take over weights, as `weights` gives them. Raises ModelError when they do not fit."""
        own = {_plain(name, which): value for name, value in self._named(which)}
        if own.keys() != weights.keys():
            raise ModelError(f"adapter {which}: has {len(own)} weights, not the {len(weights)} given")
        with torch.no_grad():
            for name, value in own.items():
                given = weights[name]
                if value.shape != given.shape:
                    raise ModelError(f"adapter {which}: {name} is {tuple(value.shape)}, not {tuple(given.shape)}")
                value.copy_(part(given, value))

    def save(self, folder: Path, weights: Mapping[Which, Mapping[str, Tensor]] | None = None) -> None:
        """Write adapters in PEFT's form, each into a folder of its name.

        Args:
            folder: of their folders.
            weights: of those to write, as `weights` gives them; None is all as they are now.
        """
        given: Mapping[Which, Mapping[str, Tensor]] = weights or {which: self.weights(which) for which in self.names}
        state = {name.removeprefix("model."): own[_plain(name, which)]
                 for which, own in given.items() for name, _ in self._named(which)}  # fmt: skip
        self.model.save_pretrained(
            str(folder), state_dict=state, safe_serialization=True, selected_adapters=list(given)
        )

    def read(self, which: Which, folder: Path) -> None:
        """Take over what `save`, PEFT or an export wrote. Raises ConfigError when it was made for another base."""
        with boundary(ConfigError, f"{folder}: cannot be read as an adapter of this base"):
            found = {f"model.{name}": value for name, value in read_weights(folder).items()}
        strange = found.keys() ^ {_plain(name, which) for name, _ in self._named(which)}
        if strange:
            raise ConfigError(f"{folder}: made for another base ({len(strange)} weights differ, as {min(strange)})")
        try:
            self.write(which, found)
        except ModelError as error:
            raise ConfigError(f"{folder}: made for another base ({error})") from error

    def _named(self, which: Which) -> list[tuple[str, nn.Parameter]]:
        return [(name, value) for name, value in self.named_parameters() if f".{which}." in name]


def read_into(model: Any, name: str, folder: Path) -> None:
    """Take over the weights in `folder` as a PEFT model's adapter `name`. Raises ConfigError for another base's."""
    from peft import set_peft_model_state_dict

    with boundary(ConfigError, f"{folder}: cannot be read as an adapter of this base"):
        found = set_peft_model_state_dict(model, read_weights(folder), name)
    strange = [*found.unexpected_keys, *(key for key in found.missing_keys if f".{name}." in key)]
    if strange:
        raise ConfigError(f"{folder}: made for another base ({len(strange)} weights differ, as {strange[0]})")


def _plain(name: str, which: Which) -> str:
    return name.replace(f".{which}.", ".")


def _checkpointed(model: Any) -> Sequence[nn.Module]:
    """The layers whose activations are not kept from now on. Raises ConfigError for a model without checkpointing."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    with boundary(ConfigError, f"checkpointing of {type(model).__name__}"):
        model.activation_checkpointing_enable({"use_reentrant": False})
    found = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not found:
        raise ConfigError(f"{type(model).__name__}: has no layers that can be checkpointed; leave checkpointing off")
    return found


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
