"""The settings of the command line: built-in values < agentmem.toml < AGENTMEM_* environment < options.

Only entry points read these; the library takes arguments.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agentmem.errors import ConfigError

FILE_NAME = "agentmem.toml"
ENV_PREFIX = "AGENTMEM_"
EVAL_PREFIX = "AGENTMEM_EVAL_"
"""Variables of the evaluations (eval/), which are no settings."""

DEFAULT_MODEL = "local:qwen2.5-coder-1.5b"
"""The smallest local model whose answers visibly follow the memory (transcripts in LOG.md)."""

PresentationName = Literal["lists", "flat", "dated", "evidence", "newest", "prose", "reminder"]


LOCAL_HISTORY, REMOTE_HISTORY = 300, 8000
"""Tokens of kept conversations that a small local model, or a large one behind an API, is given whole."""

_LOCAL = ("local:", "fake", "agentmem-local")


class Config(BaseModel):
    """Every setting, with its built-in value."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    user: str = Field(default="me", min_length=1)
    """whose memory: the name of a folder under root"""
    root: Path = Path("memories")
    """folder with one folder a user"""
    model: str = Field(default=DEFAULT_MODEL, min_length=1)
    """chat model, as provider:name, for example local:smollm2-135m, openai:gpt-5-mini, ollama:llama3.2"""
    base_url: str | None = None
    """address of an OpenAI-compatible server, for a model named openai:NAME"""
    policy: str = Field(default="auto", min_length=1)
    """what reads memories out of a conversation: auto (the trained policy; the offline one while its base, fetched
    at the first use, cannot be had), trained (a small model that ships words what a detector finds), offline (no
    generation), prompted (asks the chat model), or the folder of a trained adapter"""
    embedder: str = Field(default="minilm", min_length=1)
    """what search is built on: minilm, hash (words only, for tests), or a sentence-transformers model"""
    reranker: str = Field(default="ms-marco", min_length=1)
    """what reads the best hits again with the query: ms-marco (fetched at the first search, 34 MB), none, or a
    sentence-transformers cross-encoder"""
    device: str | None = None
    """where local models run: cpu, cuda, mps; unset chooses"""
    cache: Path | None = None
    """folder of downloaded models; unset is the user's cache folder"""
    keep_sessions: bool = True
    """whether conversations are kept beside the memory (for search, and to extract again later)"""
    memory_budget: int = Field(default=2000, ge=0)
    """tokens: up to here the whole memory goes into the prompt, above it is searched"""
    history_budget: int | None = Field(default=None, ge=0)
    """tokens: up to here the kept conversations go into the prompt too; unset is 300 for local models, which mix them
    up, and 8000 for others, which read them better than any memory of them (LOG.md, "Router")"""
    k: int = Field(default=8, ge=1, le=1000)
    """how many memories or turns a search brings"""
    elicit: bool = True
    """whether one short question may come before an answer that hangs on something unknown"""
    presentation: PresentationName = "lists"
    """how the memory is shown to the model: lists (what the user is like, then rules), flat (one list), dated (lists
    with dates), evidence (lists with the user's words), newest (lists, newest first), prose (one paragraph), reminder
    (one list that ends in a reminder)"""
    max_reply_tokens: int = Field(default=300, ge=1)
    """longest answer of the chat model"""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0 answers the same each time"""

    def history_limit(self, model: str = "") -> int:
        """`history_budget`, or what stands for it while it is unset, for `model` (by default the configured one)."""
        if self.history_budget is not None:
            return self.history_budget
        return LOCAL_HISTORY if (model or self.model).startswith(_LOCAL) else REMOTE_HISTORY

    @field_validator("user", "model", "policy", "embedder", "reranker")
    @classmethod
    def _no_blanks_around(cls, value: str) -> str:
        if value != value.strip():
            raise ValueError("must not begin or end with a blank")
        return value

    @field_validator("base_url")
    @classmethod
    def _web_address(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url

    @field_validator("root", "cache")
    @classmethod
    def _home_folder(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path is not None else None


class Setting(NamedTuple):
    """One value as given, and who gave it."""

    value: Any
    source: str
    """In words: a file with its line, an environment variable, "option"."""


def load_config(path: Path | None = None, env: Mapping[str, str] | None = None, **overrides: Any) -> Config:
    """The effective settings. See `read_settings` for the arguments and the errors."""
    return check(read_settings(path, env, **overrides))


def read_settings(
    path: Path | None = None, env: Mapping[str, str] | None = None, **overrides: Any
) -> dict[str, Setting]:
    """What was set, by whom; a later source replaces an earlier one.

    Args:
        path: the file; by default the one `find_file` finds, if any.
        env: the environment; by default the process's own. An empty variable counts as not set.
        overrides: explicit values; None counts as not set.

    Raises:
        ConfigError: names the file and line or the variable, the key, and the nearest valid name.
    """
    settings = _from_file(path or find_file())
    settings |= _from_env(os.environ if env is None else env)
    for key, value in overrides.items():
        if value is not None:
            _known(key, "option")
            settings[key] = Setting(value, "option")
    return settings


def check(settings: Mapping[str, Setting]) -> Config:
    """The Config of these settings. Raises ConfigError naming where a wrong value comes from."""
    try:
        return Config(**{key: setting.value for key, setting in settings.items()})
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        setting = settings[key]
        raise ConfigError(f"{setting.source}: {key} = {_show(setting.value)}: {_in_words(first)}") from error


def find_file() -> Path | None:
    """agentmem.toml in the working folder, else in the user's configuration folder, else None."""
    return next((path for path in (Path(FILE_NAME), user_file()) if os.path.isfile(path)), None)  # noqa: PTH113  a folder that may not be looked into has none


def user_file() -> Path:
    """Where the settings for all folders of this user lie."""
    import platformdirs

    return platformdirs.user_config_path("agentmem", appauthor=False) / FILE_NAME


def set_value(key: str, value: str, path: Path) -> Config:
    """Write one setting into `path` (made when missing), keeping comments and layout; returns the file's settings.

    Raises ConfigError, and writes nothing, for an unknown key, a wrong value or a file that cannot be written.
    """
    import tomlkit

    _known(key, str(path))
    others = {name: setting for name, setting in _from_file(path).items() if name != key} if path.exists() else {}
    typed = getattr(check({key: Setting(value, f"agentmem config set {key}")}), key)
    config = check(others | {key: Setting(value, str(path))})
    try:
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
        folder = isinstance(typed, Path) or (key == "policy" and _holds_adapter(Path(typed)))
        document[key] = _path_for(path, Path(typed)) if folder else typed
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        beside.write_text(tomlkit.dumps(document), "utf-8")
        beside.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    return config


def _from_file(path: Path | None) -> dict[str, Setting]:
    if path is None:
        return {}
    try:
        text = path.read_text("utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}; text needs quotes: user = 'me'") from error
    settings = {}
    for key, value in values.items():
        where = f"{path}:{_line_of(key, text)}"
        _known(key, where)
        settings[key] = Setting(_beside(path, key, value), where)
    return settings


def _beside(path: Path, key: str, value: Any) -> Any:
    """A folder named in a file is meant from that file's own folder."""
    if not isinstance(value, str):
        return value
    if key in ("root", "cache"):
        return path.parent / Path(value).expanduser()
    return str(path.parent / value) if key == "policy" and _holds_adapter(path.parent / value) else value


def _holds_adapter(folder: Path) -> bool:
    """Whether a trained policy lies there, so that its value is a folder and no name."""
    return folder.is_dir() and any((place / "adapter_config.json").is_file() for place in (folder, *folder.glob("*/")))


def _path_for(path: Path, folder: Path) -> str:
    """The folder, typed in the working folder, as it has to stand in the file `path`."""
    return str(folder if path.resolve().parent == Path.cwd() else folder.resolve())


def _from_env(env: Mapping[str, str]) -> dict[str, Setting]:
    settings = {}
    for name, value in env.items():
        if name.startswith(ENV_PREFIX) and not name.startswith(EVAL_PREFIX) and value:
            key = name.removeprefix(ENV_PREFIX).lower()
            _known(key, f"environment variable {name}")
            settings[key] = Setting(value, f"environment variable {name}")
    return settings


def _known(key: str, where: str) -> None:
    if key in Config.model_fields:
        return
    near = difflib.get_close_matches(key, Config.model_fields, n=1)
    fix = f"did you mean {near[0]}?" if near else f"there are: {', '.join(Config.model_fields)}"
    raise ConfigError(f"{where}: no setting is called {key!r}; {fix}")


def _line_of(key: str, text: str) -> int:
    found = re.search(rf"^[ \t]*[\"'\[]*{re.escape(key)}\b", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _show(value: Any) -> str:
    return repr(str(value)) if isinstance(value, str | Path) else str(value)


_TYPE_IN_WORDS = {
    "int_parsing": "must be a whole number", "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number", "float_type": "must be a number",
    "bool_parsing": "must be true or false", "bool_type": "must be true or false",
    "string_type": "must be text in quotes", "path_type": "must be a folder in quotes",
    "string_too_short": "must not be empty",
}  # fmt: skip


def _in_words(error: Any) -> str:
    said = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    return _TYPE_IN_WORDS.get(error["type"], said)
