"""Killed at random moments and started again, a reader gets every batch exactly once, in the undisturbed order."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from streamwds import TarWriter
from tests import consumer

ROOT = Path(__file__).parent.parent
KILLS, BATCHES = (30, 300) if os.environ.get("STREAMWDS_PROFILE") == "deep" else (3, 40)


def write_shards(folder: Path) -> None:
    """Two datasets of six shards each, of 3 to 20 samples."""
    for name in "ab":
        for shard in range(6):
            with TarWriter(folder / f"{name}-{shard}.tar", mtime=0) as writer:
                for n in range(3 + (7 * shard + 5) % 18):
                    writer.write({"__key__": f"{name}{shard}-{n}", "cls": n})


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.consumer", str(folder), str(BATCHES)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)


def lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def kill_after(folder: Path, more: int, delay: float) -> None:
    """Start the reader, and kill it with its workers some time after it has written so many lines more."""
    begun = lines(folder / "log")
    with start(folder) as process:
        while lines(folder / "log") < begun + more and process.poll() is None:
            time.sleep(0.001)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)


def finish(folder: Path) -> list[Any]:
    """Let the reader come to its end, and say what it wrote."""
    with start(folder) as process:
        _, error = process.communicate()
    assert process.returncode == 0, error.decode()
    return [json.loads(line) for line in (folder / "log").read_bytes().splitlines()]


def test_a_killed_reader_gets_every_batch_exactly_once(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (pytest shows it where the test fails)
    random_ = random.Random(seed)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    write_shards(whole)
    shutil.copytree(whole, killed)
    expected = finish(whole)
    assert len(expected) == consumer.EPOCHS * consumer.WORKERS * BATCHES
    for _ in range(KILLS):
        kill_after(killed, random_.randint(1, 12), random_.random() * 0.005)
    assert 0 < lines(killed / "log") < len(expected)
    found = finish(killed)
    assert [line["ids"] for line in found] == [line["ids"] for line in expected]
    assert found == expected  # (epochs and states, too)
