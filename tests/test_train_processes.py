"""Two processes on the CPU (gloo) train as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft", reason="needs the extra train")

from safetensors.torch import load_file

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
