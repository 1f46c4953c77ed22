"""The folder of a training run: what is in it, killed and resumed runs, the page, and how far a run is."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

pytest.importorskip("tensorboard", reason="needs the extra train")

from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem.errors import ConfigError
from agentmem.train.page import shown, table
from agentmem.train.plots import plots_of, running_mean
from agentmem.train.progress import progress, spoken
from agentmem.train.runs import RunFolder, read_metrics
from agentmem.train.settings import plain
from agentmem.train.values import Group, Step, Trajectory

CONFIG = {"seed": 7, "lr": 1e-5, "iterations": 4, "reward": {"weights": {"recall": 1.0}}}
PNG = b"\x89PNG\r\n"


def save(text: str = "weights"):
    return lambda folder: (folder / "adapter.bin").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def step(prompt: str = "Known:", text: str = "=", notes: tuple[str, ...] = ()) -> Step:
    return Step(prompt_ids=[1, 2, 3], ids=[4, 5], prompt=prompt, text=text, notes=notes)


# -- a whole run


def test_a_run_leaves_everything_in_its_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", CONFIG) as run:
        for iteration in range(1, 5):
            metrics = {"reward/mean": 0.1 * iteration, "reward/part/recall": 0.5, "policy/kl": 0.01}
            run.log(iteration, {**metrics, "speed/seconds": 3.0, "lonely": 1})
        run.sample(4, [Group("ann", [Trajectory([step()], 0.5)])])
        run.checkpoint(4, save())
        run.draw()
    home = tmp_path / "run"
    kept = ["checkpoints", "config.json", "index.html", "metrics.jsonl", "plots", "tensorboard", "trajectories"]
    assert names(home) == kept
    assert names(home / "plots") == ["kl.png", "more-other.png", "more-speed.png", "reward-parts.png", "reward.png"]
    assert all(path.read_bytes().startswith(PNG) for path in (home / "plots").iterdir())
    config = json.loads((home / "config.json").read_text())
    assert config["settings"] == CONFIG and config["seed"] == 7
    assert {"agentmem", "torch", "transformers", "peft"} <= config["versions"].keys()
    assert read_metrics(home) == read_metrics(home / "metrics.jsonl")
    assert [row["iteration"] for row in read_metrics(home)] == [1, 2, 3, 4]


def test_the_page_needs_nothing_beside_it_and_escapes_what_it_shows(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", {**CONFIG, "note": "<script>x</script>", "out": tmp_path}) as run:
        run.draw()
        assert "No iteration is done yet" in (tmp_path / "run" / "index.html").read_text()
        run.log(1, {"reward/mean": 0.25, "prm/loss": 0.75})
        run.log(2, {"reward/mean": 0.5, "prm/loss": math.nan})
        run.sample(2, [])
        run.checkpoint(2, save())
        run.draw()
    page = (tmp_path / "run" / "index.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2
    assert not re.search(r'(src|href)="(?!data:|trajectories/|checkpoints/)', page)
    assert '<a href="trajectories/iteration-00002.md">iteration 2</a>' in page and "iteration-00002/" in page
    assert "<script>" not in page and "reward.weights.recall" in page
    assert "<td>reward/mean</td><td>0.5000</td><td>0.3750</td><td>0.2500</td><td>0.5000</td>" in page


def test_a_plot_of_a_group_that_is_gone_goes_too(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        (tmp_path / "plots" / "more-old.png").write_bytes(PNG)
        run.log(1, {"prm/pair_accuracy": 0.6})
        run.draw()
    assert names(tmp_path / "plots") == ["pair-accuracy.png"]


# -- metrics


def test_a_value_that_is_no_number_is_null_and_the_run_goes_on(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        run.log(1, {"policy/kl": math.nan, "policy/loss": math.inf, "prm/loss": None, "reward/mean": 0.5})
        run.log(2, {"reward/mean": 1e308, "reward/best": -1e308})
        run.draw()
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first == {"iteration": 1, "policy/kl": None, "policy/loss": None, "prm/loss": None, "reward/mean": 0.5}
    assert math.isnan(read_metrics(tmp_path)[0]["policy/kl"])
    assert names(tmp_path / "plots") == ["reward.png"]  # of nothing but null there is nothing to draw


def test_an_iteration_is_logged_once(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        run.log(3, {"reward/mean": 0.5})
        with pytest.raises(ValueError, match="iteration 3 comes after 3"):
            run.log(3, {"reward/mean": 0.5})
        with pytest.raises(ValueError, match="no name of a metric"):
            run.log(4, {"iteration": 4})


def test_tensorboard_gets_the_same_numbers_and_forgets_what_was_resumed_over(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunFolder(tmp_path, CONFIG) as run:
        for iteration in (1, 2, 3):
            run.log(iteration, {"reward/mean": iteration / 4})
    with RunFolder(tmp_path, CONFIG, resume=True) as run:
        run.resume_at(2)
        run.log(3, {"reward/mean": 2.0})
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(one.step, one.value) for one in read.Scalars("reward/mean")] == [(1, 0.25), (2, 0.5), (3, 2.0)]


@pytest.mark.parametrize("text", ['{"reward/mean": 1}', "[]", "nonsense", '{"iteration": 2, "reward/mean": "much"}'])
def test_a_line_of_something_else_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"iteration": 1}}\n{text}\n')
    with pytest.raises(ConfigError, match=r"metrics\.jsonl:2: not a line of a training run"):
        read_metrics(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_metrics(tmp_path / "other.jsonl")


# -- killed and resumed

METRICS = st.dictionaries(st.sampled_from(["reward/mean", "policy/kl", "prm/loss"]), st.floats(width=32), max_size=3)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(METRICS, min_size=1, max_size=8),
    every=st.integers(1, 4),
    killed=st.integers(0, 8),
    torn=st.sampled_from([b"", b"{", b'{"iteration": 3, "rew', b'{"iteration": 9}', b"\x00\x00"]),
)
def test_a_resumed_run_ends_like_one_that_was_never_interrupted(
    rows: list[dict[str, float]], every: int, killed: int, torn: bytes
) -> None:
    """Iterations count from 1. The run dies after iteration `killed`, in the middle of the next line."""

    def go(run: RunFolder, first: int, last: int) -> None:
        for iteration in range(first, last + 1):
            run.log(iteration, rows[iteration - 1])
            run.sample(iteration, [Group("ann", [Trajectory([step(f"{rows[iteration - 1]}")], 1.0)])])
            if iteration % every == 0:
                run.checkpoint(iteration, save(str(iteration)))
        run.close()

    with TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        go(RunFolder(whole, CONFIG), 1, len(rows))
        go(RunFolder(broken, CONFIG), 1, min(killed, len(rows)))
        with (broken / "metrics.jsonl").open("ab") as file:
            file.write(torn)
        run = RunFolder(broken, CONFIG, resume=True)
        at = (run.latest() or (0, None))[0]
        run.resume_at(at)
        go(run, at + 1, len(rows))
        for path in ("metrics.jsonl", "trajectories/*", "checkpoints/*/*"):
            one, other = (
                {str(file.relative_to(home)): file.read_bytes() for file in home.glob(path)} for home in (whole, broken)
            )
            assert one == other


def test_what_a_dead_run_left_half_written_is_removed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, CONFIG)
    run.log(1, {"reward/mean": 0.5})
    run.checkpoint(1, save())
    run.close()
    half = tmp_path / "checkpoints" / ".abc.new" / "iteration-00002"
    half.mkdir(parents=True)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 2, "re')
    with RunFolder(tmp_path, CONFIG, resume=True) as run:
        latest = run.latest()
        assert latest is not None and latest[0] == 1 and (latest[1] / "adapter.bin").is_file()
        run.log(2, {"reward/mean": 0.5})
    assert names(tmp_path / "checkpoints") == ["iteration-00001"]
    assert len(read_metrics(tmp_path)) == 2


def test_without_a_checkpoint_a_run_is_resumed_from_its_beginning(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        run.log(0, {"reward/mean": 0.1})
        run.log(1, {"reward/mean": 0.1})
        run.sample(1, [])
    with RunFolder(tmp_path, CONFIG, resume=True) as run:
        assert run.latest() is None
        run.resume_at(-1)
        run.log(0, {"reward/mean": 0.2})
    assert [row["reward/mean"] for row in read_metrics(tmp_path)] == [0.2]
    assert names(tmp_path / "trajectories") == []


# -- checkpoints


def test_the_newest_checkpoints_stay_and_a_failed_one_leaves_no_trace(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        for iteration in (1, 2, 3, 100_000):
            run.checkpoint(iteration, save())
        assert names(tmp_path / "checkpoints") == ["iteration-00003", "iteration-100000"]

        def fails(folder: Path) -> None:
            (folder / "adapter.bin").write_text("half")
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            run.checkpoint(100_001, fails, keep=1)
        assert names(tmp_path / "checkpoints") == ["iteration-00003", "iteration-100000"]
        run.checkpoint(100_000, fails, keep=1)  # is there already
        assert run.latest() == (100_000, tmp_path / "checkpoints" / "iteration-100000")
        assert names(tmp_path / "checkpoints") == ["iteration-100000"]
        with pytest.raises(ValueError, match="one checkpoint at least"):
            run.checkpoint(100_001, save(), keep=0)


def test_a_later_checkpoint_is_not_removed_unasked(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        run.checkpoint(2, save())
        run.checkpoint(4, save())
        with pytest.raises(ConfigError, match="iteration-00004: a later checkpoint than iteration 2; delete it"):
            run.resume_at(2)


# -- settings


def test_a_new_run_does_not_write_over_another(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", CONFIG).close()
    with pytest.raises(ConfigError, match="run: holds a run already; --resume or another --out"):
        RunFolder(tmp_path / "run", CONFIG)
    with pytest.raises(ConfigError, match="holds files of something else; another --out"):
        RunFolder(tmp_path, CONFIG)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="is a file"):
        RunFolder(file, CONFIG)


def test_there_has_to_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run to resume; leave --resume out"):
        RunFolder(tmp_path / "none", CONFIG, resume=True)
    assert not (tmp_path / "none").exists()
    for text in ("{", "[]", "{}", '{"settings": 1, "resumed": []}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ConfigError, match=r"config\.json: not the settings of a run"):
            RunFolder(tmp_path, CONFIG, resume=True)


def test_a_run_that_died_in_its_first_moment_can_be_begun_again(tmp_path: Path) -> None:
    (tmp_path / "config.json.new").write_text("{")
    RunFolder(tmp_path, CONFIG).close()
    assert "config.json.new" not in names(tmp_path)


def test_other_settings_are_named_unless_they_may_change(tmp_path: Path) -> None:
    RunFolder(tmp_path, CONFIG).close()
    before = (tmp_path / "config.json").read_text()
    other = {"seed": 7, "lr": 2e-5, "iterations": 9, "reward": {"weights": {"recall": 2.0}}, "new": True}
    with pytest.raises(ConfigError) as caught:
        RunFolder(tmp_path, other, resume=True, may_change=["iterations"])
    said = "lr was 1e-05, is 2e-05; reward.weights.recall was 1.0, is 2.0; new was not set, is True"
    assert said in str(caught.value) and "iterations" not in str(caught.value)
    assert (tmp_path / "config.json").read_text() == before
    RunFolder(tmp_path, other, resume=True, may_change=["iterations", "lr", "new", "reward"]).close()
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["settings"] == other and len(config["resumed"]) == 1


def test_settings_of_any_kind_are_the_same_after_a_resume(tmp_path: Path) -> None:
    @dataclass
    class Recipe:
        ranks: tuple[int, ...] = (8, 16)
        limit: float = math.inf

    config = {"recipe": Recipe(), "targets": {"q", "k", "v"}, "data": Path("a/b"), "nothing": None, "inner": {}}
    assert plain(config) == {
        "recipe": {"ranks": [8, 16], "limit": "inf"}, "targets": ["k", "q", "v"], "data": "a/b", "nothing": None,
        "inner": {},
    }  # fmt: skip
    RunFolder(tmp_path, config).close()
    RunFolder(tmp_path, config, resume=True).close()


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    with pytest.raises(ConfigError, match=r"training needs tensorboard: pip install 'agentmem\[train\]'"):
        RunFolder(tmp_path / "run", CONFIG)
    assert names(tmp_path) == []


# -- trajectories


def test_trajectories_are_readable(tmp_path: Path) -> None:
    long = "HEAD " + "x" * 5000 + " ```old``` TAIL"
    good = Trajectory(
        [step(long, '+ fact: Lives in Lyon. | "Lyon"', ("refused: no\nsuch quote",)), step()],
        0.625,
        {"recall": 0.75, "edits": -0.125},
        notes=["Where does Ann live? – Lyon"],
    )
    bad = Trajectory([step()], None, failed="the prompt is too long.")
    dull = Trajectory([step()], 0.1)
    with RunFolder(tmp_path, CONFIG) as run:
        groups = [Group("ann", [good, bad, dull]), Group("bob", [dull])]
        run.sample(10, groups, [[np.array([0.5, -0.25]), None, [0.0]], [[0.0]]])
    text = (tmp_path / "trajectories" / "iteration-00010.md").read_text()
    for part in (
        "# Iteration 10", "## ann", "| 1 | 0.625 | 0.750 | -0.125 | 2 |", "| 2 | failed | – | – | 1 |", "## bob",
        "### Trajectory 1: reward 0.625", "Parts of the reward: recall 0.750, edits -0.125",
        "- Where does Ann live? – Lyon", "#### Turn 1: advantage +0.500", "#### Turn 2: advantage -0.250",
        "- refused: no such quote", "Failed: the prompt is too long.\n", "Left out of training.", "Written (2 tokens):",
    ):  # fmt: skip
        assert part in text, part
    assert text.count("Left out of training.") == 1
    assert "HEAD" in text and "TAIL" in text and "2,620 characters left out" in text and "x" * 2400 not in text
    assert "````text\n" in text  # the prompt's own fence does not end the block


def test_advantages_have_to_fit(tmp_path: Path) -> None:
    group = Group("ann", [Trajectory([step(), step()], 0.5)])
    with RunFolder(tmp_path, CONFIG) as run:
        with pytest.raises(ValueError, match="trajectory 1: 1 advantages, 2 turns"):
            run.sample(1, [group], [[[0.5]]])
        with pytest.raises(ValueError, match="2 lists of advantages, 1 trajectories"):
            run.sample(1, [group], [[None, None]])
        with pytest.raises(ValueError, match="advantages of 0 groups for 1 groups"):
            run.sample(1, [group], [])
        assert names(tmp_path / "trajectories") == []
        run.sample(1, [group])


# -- plots and the table


def test_a_mean_runs_over_what_is_known() -> None:
    means = running_mean([1.0, 3.0, math.nan, 5.0], window=3)
    assert means[:2] == [1.0, 2.0] and math.isnan(means[2]) and means[3] == 4.0


def test_each_group_of_metrics_has_one_plot() -> None:
    rows = [{"iteration": n, "a/x": 1.0, "a/y/z": 2.0, "b/x": -1.0, "policy/kl": -0.1, "c": 0.0} for n in range(1, 31)]
    assert [plot.name for plot in plots_of(rows)] == ["kl", "more-a", "more-b", "more-other"]
    assert plots_of([]) == []


def test_the_table_says_when_a_value_is_of_an_earlier_iteration() -> None:
    rows = [{"iteration": 1, "a": 1.0, "b": 2.0}, {"iteration": 2, "a": math.nan}]
    assert [(row.name, row.last, row.mean, row.note) for row in table(rows)] == [
        ("a", "–", "1.0000", ""), ("b", "2.0000", "2.0000", "iteration 1")]  # fmt: skip
    assert [shown(value) for value in (0.0, 1e-5, 1234.5, 1e9)] == ["0.0000", "1.000e-05", "1,234.5", "1.000e+09"]


# -- progress


def test_where_nobody_watches_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock) // 2))  # asked twice an iteration
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with progress(12, 4, every=60) as advance:
        for _ in range(8):
            advance("reward 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("iteration 5 of 12, reward 0.5, ") and lines[0].endswith("left")
    assert lines[-1] == "iteration 12 of 12, reward 0.5" and 2 < len(lines) < 6


def test_on_a_terminal_there_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress(3, 1) as advance:
        advance("reward [0.5]")
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "2/3" in said and "reward [0.5]" in said and "left" in said


def test_a_failure_passes_through_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    for colors in ("", "1"):
        monkeypatch.setenv("FORCE_COLOR", colors)
        with pytest.raises(KeyError), progress(3):
            raise KeyError("x")


def test_times_are_said_as_people_say_them() -> None:
    assert [spoken(seconds) for seconds in (0.1, 40, 720, 7500)] == ["1 s", "40 s", "12 min", "2 h 05 min"]
