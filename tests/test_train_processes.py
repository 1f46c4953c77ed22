"""Two processes on the CPU (gloo) train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft", reason="needs the extra train")

from safetensors.torch import load_file

from agentmem.train.runs import newest_checkpoint, read_metrics
from tests.test_train_runs_whole import HISTORIES
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
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(
                together[name], value, rtol=1e-5, atol=1e-7, msg=lambda said, name=name: f"{name}: {said}"
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
