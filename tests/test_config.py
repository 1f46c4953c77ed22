"""Settings: where they come from, and what is said when one is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.config import (
    FILE_NAME,
    LOCAL_HISTORY,
    REMOTE_HISTORY,
    Config,
    find_file,
    load_config,
    read_settings,
    set_value,
)
from agentmem.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agentmem.config.user_file", lambda: tmp_path / "home" / FILE_NAME)
    return tmp_path


def wrong(env=None, **overrides) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(env=env or {}, **overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_built_in_values_need_nothing():
    assert load_config(env={}) == Config()
    assert len(Config.model_fields) <= 20
    assert all(field.description for field in Config.model_fields.values())


def test_option_beats_environment_beats_file(folder):
    (folder / FILE_NAME).write_text("user = 'file'\nk = 3\ntemperature = 0.5\n")
    config = load_config(env={"AGENTMEM_USER": "env", "AGENTMEM_K": "4", "OTHER": "x"}, user="option")
    assert (config.user, config.k, config.temperature) == ("option", 4, 0.5)
    settings = read_settings(env={"AGENTMEM_K": "4"}, user="option", model=None)
    assert {key: setting.source for key, setting in settings.items()} == {
        "user": "option", "k": "environment variable AGENTMEM_K", "temperature": "agentmem.toml:3"}  # fmt: skip


def test_file_of_the_folder_beats_file_of_the_user(folder):
    (folder / "home").mkdir()
    (folder / "home" / FILE_NAME).write_text("user = 'home'\nroot = 'notes'\n")
    config = load_config(env={})
    assert config.user == "home"
    assert config.root == folder / "home" / "notes"  # a folder in a file is meant from where the file is
    (folder / FILE_NAME).write_text("user = 'here'\n")
    assert find_file() == Path(FILE_NAME)
    assert load_config(env={}).user == "here"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nk = 'many'\n", "agentmem.toml:2: k = 'many': must be a whole number"),
        ("usr = 'x'", "agentmem.toml:1: no setting is called 'usr'; did you mean user?"),
        ("[tool]\nuser = 'x'", "agentmem.toml:1: no setting is called 'tool'; there are: user, root,"),
        ("user = me", "agentmem.toml: is not TOML: Invalid value (at line 1, column 8)"),
        ("keep_sessions = 'maybe'", "agentmem.toml:1: keep_sessions = 'maybe': must be"),
        ("user = 5", "agentmem.toml:1: user = 5: must be text in quotes"),
        ("root = 5", "agentmem.toml:1: root = 5: must be a folder in quotes"),
        ("base_url = 'localhost'", "agentmem.toml:1: base_url = 'localhost': must begin with http"),
        ("temperature = 3.5", "agentmem.toml:1: temperature = 3.5: must be less than or equal to 2"),
        ("user = ' me'", "agentmem.toml:1: user = ' me': must not begin or end with a blank"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(folder, text, said):
    (folder / FILE_NAME).write_text(text)
    assert wrong().startswith(said)


def test_files_that_cannot_be_read(folder):
    (folder / FILE_NAME).write_bytes(b"user = '\xff'")
    assert "is not UTF-8 text" in wrong()
    with pytest.raises(ConfigError, match="other.toml: cannot be read"):
        load_config(folder / "other.toml", env={})


def test_wrong_environment_and_options():
    assert wrong({"AGENTMEM_K": "x"}) == "environment variable AGENTMEM_K: k = 'x': must be a whole number"
    assert wrong({"AGENTMEM_EMBEDER": "x"}).endswith("no setting is called 'embeder'; did you mean embedder?")
    assert wrong(k=0) == "option: k = 0: must be greater than or equal to 1"
    assert wrong(modell="x").startswith("option: no setting is called 'modell'; did you mean model?")
    assert load_config(env={"AGENTMEM_K": ""}).k == Config().k  # an empty variable counts as not set


def test_set_keeps_comments_and_layout(folder):
    path = folder / FILE_NAME
    path.write_text("# mine\nuser = 'ada'   # me\n\nk = 3\n")
    set_value("k", "12", path)
    set_value("keep_sessions", "no", path)
    assert path.read_text() == "# mine\nuser = 'ada'   # me\n\nk = 12\nkeep_sessions = false\n"
    assert load_config(env={}).k == 12


def test_set_refuses_and_writes_nothing(folder):
    path = folder / FILE_NAME
    for key, value in [("kk", "1"), ("k", "many"), ("k", "0")]:
        with pytest.raises(ConfigError):
            set_value(key, value, path)
    assert not path.exists()


def test_set_mends_a_wrong_value(folder):
    path = folder / FILE_NAME
    path.write_text("k = 'many'\n")
    set_value("k", "5", path)
    assert load_config(env={}).k == 5


def test_set_writes_a_folder_so_that_it_is_found_again(folder):
    set_value("root", "notes", folder / FILE_NAME)
    assert load_config(env={}).root == Path("notes")
    elsewhere = folder / "home" / FILE_NAME
    set_value("root", "notes", elsewhere)
    assert load_config(elsewhere, env={}).root == folder / "notes"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text == text.strip()))
def test_any_text_survives_set(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("set") / FILE_NAME
    set_value("model", value, path)
    assert tomllib.loads(path.read_text("utf-8"))["model"] == value
    assert load_config(path, env={}).model == value


def test_how_much_history_is_shown_depends_on_the_model():
    assert Config().history_limit() == Config(model="local:any").history_limit() == LOCAL_HISTORY
    assert Config(model="openai:gpt-5-mini").history_limit() == REMOTE_HISTORY
    assert Config().history_limit("openai-chat") == REMOTE_HISTORY, "a model object that was given wins"
    assert Config(model="openai:gpt-5-mini", history_budget=7).history_limit() == 7
