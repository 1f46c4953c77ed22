"""Chat models by name: "provider:model"."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentmem.config import DEFAULT_MODEL
from agentmem.errors import ConfigError, boundary

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

__all__ = ["DEFAULT_MODEL", "get_chat_model"]

KNOWN = "local:NAME or local:FILE.gguf, openai:NAME, anthropic:NAME, ollama:NAME, fake"

_EXTRAS = {"openai": "langchain_openai", "anthropic": "langchain_anthropic", "ollama": "langchain_ollama"}
"""Our optional extras, and the package each brings."""

_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}

_OWN_TEMPERATURE = re.compile(r"o\d|gpt-5")
"""OpenAI's reasoning models refuse any temperature but their own."""


def get_chat_model(
    name: str = DEFAULT_MODEL,
    *,
    base_url: str | None = None,
    max_tokens: int = 300,
    temperature: float = 0.0,
    cache: Path | None = None,
) -> BaseChatModel:
    """The LangChain chat model called `name`.

    Args:
        name: "local:smollm2-135m" or another of weights.WEIGHTS (downloaded on first use), "local:FILE.gguf",
            "openai:…", "anthropic:…", "ollama:…", any other provider of LangChain's init_chat_model whose package is
            installed, or "fake", which repeats the last message.
        base_url: address of an OpenAI-compatible server (name "openai:MODEL"; a key is optional then), or of Ollama.
        max_tokens: longest reply.
        temperature: 0 picks the likeliest word each time.
        cache: folder of downloaded weights; None is the user's cache folder.

    Raises ConfigError for a name, package or key that is missing, ModelError when weights cannot be had.
    """
    provider, _, model = name.partition(":")
    if provider in ("local", "fake") and base_url is not None:
        raise ConfigError(f"model {name!r}: base_url is for openai:NAME and ollama:NAME; remove it or change the model")
    if name == "fake":
        from agentmem.models.fake import FakeChatModel

        return FakeChatModel(_repeat)
    if not model:
        raise ConfigError(f"model {name!r}: write it as provider:name, one of {KNOWN}")
    if provider == "local":
        return _local(model, max_tokens, temperature, cache)
    return _remote(provider, model, base_url, max_tokens, temperature)


def _repeat(messages: list[BaseMessage]) -> str:
    return str(messages[-1].content)


def _local(model: str, max_tokens: int, temperature: float, cache: Path | None) -> BaseChatModel:
    from agentmem.models import weights
    from agentmem.models.local import LocalChatModel, check_file

    path = check_file(Path(model).expanduser()) if model.endswith(".gguf") else weights.fetch(model, cache)
    return LocalChatModel(path=path, label=f"local:{model}", max_tokens=max_tokens, temperature=temperature)


def _remote(provider: str, model: str, base_url: str | None, max_tokens: int, temperature: float) -> BaseChatModel:
    where = f"model {provider}:{model}"
    package = _EXTRAS.get(provider)
    if package and not (_installed(package) and _installed("langchain")):
        raise ConfigError(f"{where}: needs a package that is not installed: pip install 'agentmem[{provider}]'")
    if not _installed("langchain"):
        raise ConfigError(f"{where}: no such provider; known are {KNOWN}; others need: pip install langchain")
    settings: dict[str, Any] = {"num_predict" if provider == "ollama" else "max_tokens": max_tokens}
    if not (provider == "openai" and _OWN_TEMPERATURE.match(model)):
        settings["temperature"] = temperature
    if base_url is not None:
        settings["base_url"] = base_url
    key = _KEYS.get(provider)
    if key and not os.environ.get(key):
        if base_url is None:
            raise ConfigError(f"{where}: set {key}, or choose a model that needs no key, such as {DEFAULT_MODEL}")
        settings["api_key"] = "none"  # the client insists on one; a local server ignores it
    from langchain.chat_models import init_chat_model

    try:
        with boundary(ConfigError, where):
            return init_chat_model(model, model_provider=provider, **settings)
    except ConfigError as error:
        if "Unsupported" in str(error):  # LangChain's message lists thirty providers, but not how to write them
            raise ConfigError(f"{where}: no such provider; known are {KNOWN}") from error
        raise


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
