"""Two processes on the CPU (gloo) train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft", reason="needs the extra train")

from safetensors.torch import load_file

from agentmem.errors import ConfigError
from agentmem.train import rft as rft_module
from agentmem.train.runs import newest_checkpoint, read_metrics
from tests import mortal, one_sharded
from tests.test_train_runs_whole import HISTORIES
from tests.test_train_trainer import adapted
from tests.tiny_llama import write_tiny_llama

ROOT = Path(__file__).parents[1]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.one_of_several", str(tmp_path)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
              "tests.one_of_several", str(tmp_path)]  # fmt: skip
    for arguments in ([*command, "alone"], [*launch, "several"]):
        done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
    alone = load_file(tmp_path / "0-of-1.safetensors")
    for rank in range(2):
        together = load_file(tmp_path / f"{rank}-of-2.safetensors")
        assert_near(together, alone)


def test_two_sharded_processes_train_as_one(tmp_path: Path) -> None:
    """Weights, optimizers and metrics, though processes make different numbers of passes in their rollouts; and a
    checkpoint of sharded processes goes on in sharded ones and in one that is not."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
              "tests.one_sharded", str(tmp_path)]  # fmt: skip
    done = subprocess.run(launch, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = one_sharded.alone(tmp_path / "alone", [0, 1])
    resumed = one_sharded.alone(tmp_path / "resumed", [1], tmp_path / "half")
    files = sorted(path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*.safetensors"))
    assert len(files) == 5
    for file in files:
        for other in ("whole", "resumed"):
            assert_near(load_file(tmp_path / other / file), load_file(tmp_path / "alone" / file))
    assert_near(resumed, {name: value for name, value in expected.items() if ".1." in name})
    size = sum(parameter.numel() for parameter in adapted(one_sharded.NAMES).parameters())
    for rank in range(2):
        told = load_file(tmp_path / f"told-{rank}.safetensors")
        assert 0.49 * size < told.pop("held") < 0.51 * size
        assert_near(told, expected)


def test_a_sharded_run_goes_on_in_one_process(tmp_path: Path) -> None:
    """`rft` as `accelerate launch` would start it with distributed_type: FSDP."""
    base = write_tiny_llama(tmp_path / "base")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in HISTORIES), "utf-8")
    fsdp = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    environment = {**os.environ, **fsdp, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DIE_AT": ""}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
              "tests.mortal", str(data), str(base), str(tmp_path / "run")]  # fmt: skip
    done = subprocess.run(launch, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    mortal.train(data, base, tmp_path / "run", iterations=5, resume=True)
    assert [row["iteration"] for row in read_metrics(tmp_path / "run")] == [0, 1, 2, 3, 4]
    adapters = [load_file(path) for path in sorted((tmp_path / "run/checkpoints").rglob("adapter_model.safetensors"))]
    assert len(adapters) == 2 and adapters[0].keys() == adapters[1].keys()
    assert {name: value.shape for name, value in adapters[0].items()} == {
        name: value.shape for name, value in adapters[1].items()}  # fmt: skip


@pytest.mark.parametrize("version", ["1", ""])
def test_only_the_second_fsdp_is_taken(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    for name, value in {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": version}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="fsdp_version: 2"):
        rft_module._accelerator()


def assert_near(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-5, atol=1e-7, msg=lambda said, name=name: f"{name}: {said}"
        )


def test_a_killed_process_leaves_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    """Rank 1 dies in iteration 2; the run ends with an error, and goes on from its checkpoint afterwards."""
    base = write_tiny_llama(tmp_path / "base")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in HISTORIES), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DIE_AT": "2"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
              "tests.mortal", str(data), str(base), str(tmp_path / "run")]  # fmt: skip
    died = subprocess.run(launch, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert died.returncode != 0
    kept = [row["iteration"] for row in read_metrics(tmp_path / "run")]
    assert kept in ([0], [0, 1]) and newest_checkpoint(tmp_path / "run")  # the other one may be stopped while it writes
    again = subprocess.run([*launch, "--resume"], cwd=ROOT, env={**environment, "DIE_AT": ""}, capture_output=True,
                           text=True, timeout=240)  # fmt: skip
    assert again.returncode == 0, again.stderr[-3000:]
    assert [row["iteration"] for row in read_metrics(tmp_path / "run")] == [0, 1, 2, 3]
