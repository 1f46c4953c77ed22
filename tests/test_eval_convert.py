"""Training data out of benchmarks: the converters, on fixtures and where it is there on real data; the command."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentmem.errors import ConfigError
from agentmem.train.histories import Examples, History, read_examples
from agentmem.train.leaks import leaks
from agentmem.train.splits import chunks, split_users
from eval.benchmarks.personamem_data import load_histories
from eval.benchmarks.prefeval import load_pairs
from eval.benchmarks.stale import Stale
from eval.cli import app
from eval.convert import CONVERTERS, Converted, convert
from eval.errors import DataError
from eval.settings import Settings

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
HERE = Path(__file__).parent / "eval_data"
FOLDERS = {"personamem": "personamem/ours", "prefeval": "prefeval/ours", "stale": "stale/ours"}


def converted(benchmark: str, folder: str = "") -> Converted:
    return convert(benchmark, Settings(data=HERE / (folder or FOLDERS[benchmark])))


def golds(histories: list[History]) -> list[str]:
    return [probe.gold for own in histories for probe in own.probes]


# -- fixtures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["ours", "v1"])
def test_personamem_version_1(layout: str) -> None:
    (own,), licence, notes = converted("personamem", f"personamem/{layout}")
    assert own.user == "7" and notes == []
    assert [probe.after for probe in own.probes] == [1, 2, 2, 3]
    assert own.probes[0].kind == "recall_user_shared_facts"
    assert own.probes[3].gold == "You carve spoons out of birch with a hook knife."
    assert {one.role for session in own.sessions for one in session.messages} == {"user", "assistant"}
    assert "pelicans" not in repr(own)
    assert ("must not be shared" in licence) == (layout == "ours") and ("MIT" in licence) == (layout == "v1")


@pytest.mark.parametrize("layout", ["v2", "v2_sample"])
def test_personamem_version_2(layout: str) -> None:
    (own,), licence, _ = converted("personamem", f"personamem/{layout}")
    (loaded,) = load_histories(Settings(data=HERE / "personamem" / layout))
    assert golds([own]) == [asked.options[0] for asked in loaded.questions]
    assert "CC BY 4.0" in licence and "may be shared if" in licence


def test_an_option_that_stands_twice_is_kept_once(tmp_path: Path) -> None:
    shutil.copytree(HERE / "personamem" / "ours", tmp_path / "twice")
    path = tmp_path / "twice" / "questions.jsonl"
    text = path.read_text("utf-8")
    right = "You keep bees on your balcony and bottle the honey."
    path.write_text(text.replace("You have no balcony.", right), "utf-8")
    (own,), _, notes = convert("personamem", Settings(data=tmp_path / "twice"))
    assert len(own.probes[0].options) == 3 and own.probes[0].gold == right
    assert notes == ["1 questions have an option twice, which stands once in their probes"]


@pytest.mark.parametrize("layout", ["ours", "upstream"])
def test_prefeval(layout: str) -> None:
    histories, licence, _ = converted("prefeval", f"prefeval/{layout}")
    pairs = load_pairs(Settings(data=HERE / "prefeval" / layout))
    assert [own.user for own in histories] == [pair.id for pair in pairs for _ in range(2)]
    assert [own.probes[0].kind for own in histories] == ["choice", "persona"] * len(pairs)
    assert [own.sessions for own in histories[:2]] == [(pairs[0].dialogues[f],) for f in ("choice", "persona")]
    assert golds(histories) == [pair.options[0] for pair in pairs for _ in range(2)]
    assert "CC BY-NC 4.0" in licence and "must not be shared" in licence


def test_pairs_with_one_preference_are_one_user(tmp_path: Path) -> None:
    shutil.copytree(HERE / "prefeval" / "ours", tmp_path / "same")
    path = tmp_path / "same" / "prefeval" / "pairs.jsonl"
    first, second, *_ = load_pairs(Settings(data=tmp_path / "same"))
    path.write_text(path.read_text("utf-8").replace(second.preference, first.preference), "utf-8")
    histories = convert("prefeval", Settings(data=tmp_path / "same")).histories
    assert [own.user for own in histories[:4]] == [first.id] * 4


@pytest.mark.parametrize("layout", ["ours", "upstream"])
def test_stale(layout: str) -> None:
    histories, licence, _ = converted("stale", f"stale/{layout}")
    units = Stale().load(Settings(data=HERE / "stale" / layout))
    assert [own.user for own in histories] == [unit.cases[0].group for unit in units]
    assert [own.sessions for own in histories] == [unit.history for unit in units]
    probe = histories[0].probes[0]
    assert (probe.id, probe.kind) == (f"{units[0].id}/current", "current")
    assert probe.answer == units[0].cases[0].gold.answers["current"] and not probe.options
    assert "no licence" in licence and "must not be shared" in licence


def test_options_are_shuffled_by_the_seed() -> None:
    settings = Settings(data=HERE / FOLDERS["prefeval"])
    places = [own.probes[0].right for own in convert("prefeval", settings).histories]
    assert len(set(places)) > 1 and places[::2] == places[1::2]
    assert convert("prefeval", settings) == convert("prefeval", settings)
    other = [convert("prefeval", settings.model_copy(update={"seed": seed})).histories for seed in range(1, 4)]
    assert any([own.probes[0].right for own in one] != places for one in other)


def test_a_history_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    shutil.copytree(HERE / "stale" / "ours", tmp_path / "stale")
    path = tmp_path / "stale" / "chains.jsonl"
    said = "My regular tea house is Quiet Kettle."
    path.write_text(path.read_text("utf-8").replace(f'"content": "{said}"', '"content": " "'), "utf-8")
    with pytest.raises(DataError, match="chain000-0a0a0a0a: has no message with words in it"):
        convert("stale", Settings(data=tmp_path / "stale"))


# -- the command -----------------------------------------------------------------------------------------------------


def command(*arguments: Any) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.mark.parametrize("benchmark", CONVERTERS)
def test_the_command_writes_what_was_converted(tmp_path: Path, benchmark: str) -> None:
    out = tmp_path / "out" / "data.jsonl"
    said, _ = command(benchmark, "--data", HERE / FOLDERS[benchmark], "--out", out)
    own = converted(benchmark)
    assert read_examples(out) == Examples(tuple(own.histories))
    assert own.licence in said.splitlines()
    assert re.search(rf" {len(own.histories)} histories of \d+ users, {len(golds(own.histories))} probes", said)


def test_the_command_says_what_leaks(tmp_path: Path) -> None:
    shutil.copytree(HERE / "personamem" / "ours", tmp_path / "data")
    path = tmp_path / "data" / "documents.jsonl"
    path.write_text(path.read_text("utf-8").replace("A hook knife from my uncle.", "What do I work with now?"), "utf-8")
    _, said = command("personamem", "--data", tmp_path / "data", "--out", tmp_path / "out.jsonl")
    assert "user 7, probe q4: its question stands in session quill_2, message 2, by the user" in said


def test_what_cannot_be_converted_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'locomo' cannot be converted; choose one of personamem, prefeval, stale"):
        command("locomo", "--data", tmp_path, "--out", tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="neither pairs.jsonl"):
        command("prefeval", "--data", tmp_path, "--out", tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()


# -- real data -------------------------------------------------------------------------------------------------------


def real(folder: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (DATA / folder).is_dir(), reason="the benchmark data is not here")


@real("personamem_v1")
def test_real_personamem() -> None:
    histories, _, notes = convert("personamem", Settings(data=DATA))
    assert (len(histories), len({own.user for own in histories}), len(golds(histories))) == (29, 16, 458)
    assert notes == ["12 questions have an option twice, which stands once in their probes"]
    found = [str(leak) for leak in leaks(Examples(histories))]
    assert "the longest option is right for 53% (chance 25%)" in found[0]
    assert sum("its question stands" in line for line in found) == 161  # the question is asked in the last session
    assert not any("system message" in line for line in found)
    assert all(chunk.session.messages for own in histories for chunk in chunks(own))


@real("prefeval")
def test_real_prefeval() -> None:
    histories = convert("prefeval", Settings(data=DATA)).histories
    assert (len(histories), len({own.user for own in histories})) == (2 * 688, 680)
    train, test = split_users(histories, 0.2)
    found = [str(leak) for leak in leaks(Examples([*train, *test]))]
    assert len(found) == 4 and sum("the longest option" in line for line in found) == 2


@real("stale_chain")
def test_real_stale() -> None:
    histories = convert("stale", Settings(data=DATA)).histories
    assert (len(histories), len({own.user for own in histories})) == (81, 31)
    assert Counter(probe.kind for own in histories for probe in own.probes) == {
        "current": 81, "premise": 81, "point_in_time": 81,
    }  # fmt: skip
    train, test = split_users(histories, 0.2)
    assert leaks(Examples([*train, *test])) == []
