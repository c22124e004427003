"""The examples of training: killed and started again, they end as if nobody had disturbed them, to the last bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"


def start(example: str, folder: Path, *options: str) -> subprocess.Popen[str]:
    """An example in a process group of its own, so that it can be killed with all its children."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment |= {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / example), "--folder", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=environment,
    )


def run(example: str, folder: Path, *options: str, kill_after: int | None = None) -> list[str]:
    """The lines that it prints; killed after so many steps, if that is asked for."""
    lines: list[str] = []
    with start(example, folder, *options) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if kill_after is not None and sum(line.startswith("step ") for line in lines) >= kill_after:
                os.killpg(process.pid, signal.SIGKILL)
                return lines
    assert process.returncode == 0, "\n".join(lines)
    return lines


def steps_of(lines: list[str]) -> dict[int, str]:
    """What was printed of each step."""
    return {int(line.split()[1].rstrip(",")): line for line in lines if line.startswith("step ")}


def check_killed(example: str, folder: Path, kills: int, *options: str, least: int = 1, most: int = 5) -> list[str]:
    """Kill it so often at random steps: what it says of its steps, and its weights, are the undisturbed ones."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (pytest shows it where the test fails)
    random_ = random.Random(seed)
    whole = run(example, folder / "whole", *options)
    found: dict[int, str] = {}
    for _ in range(kills):
        lines = run(example, folder / "killed", *options, kill_after=random_.randint(least, most))
        assert all(found.get(step, line) == line for step, line in steps_of(lines).items())
        found.update(steps_of(lines))
    lines = run(example, folder / "killed", *options)
    assert {**found, **steps_of(lines)} == steps_of(whole)
    assert lines[-1] == whole[-1]
    assert lines[-1].startswith("weights ")
    return whole


def test_a_killed_training_ends_with_the_weights_of_the_undisturbed_one(tmp_path: Path) -> None:
    if DEEP:
        *_, read_right, _ = check_killed("train.py", tmp_path, 5, most=200)
        assert float(read_right.removeprefix("accuracy ").removesuffix("%")) > 95
    else:
        check_killed("train.py", tmp_path, 1, "--steps", "12", "--every", "2", least=3)  # (behind the first checkpoint)


def test_killed_ranks_end_with_the_weights_of_the_undisturbed_ones(tmp_path: Path) -> None:
    check_killed("ddp.py", tmp_path, 1, "--epochs", "2", most=7)
