"""A command that the user typed, run on the files of samples. Nothing of a sample gets into the command itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from streamwds.cli.telling import count, say
from streamwds.errors import StreamwdsError
from streamwds.stage import Sample
from streamwds.threads import in_order

__all__ = ["processed"]

NAME = "sample."


def processed(samples: Iterable[Sample], command: str, *, jobs: int, temporary: str | None) -> Iterator[Sample]:
    """What the command makes of each sample, in their order; without those of which it leaves nothing."""
    dropped = 0
    with _Commands(command, temporary).ended_with_us() as commands:
        for _, work in in_order(commands.run, samples, jobs):
            made, printed = work.result()
            sys.stderr.write(printed)
            if made is None:
                dropped += 1
            else:
                yield made
    if dropped:
        say(f"{count(dropped, 'sample')} left out, for the command left no file of them")


class _Commands:
    """The runs of a command, each in a group of processes of its own, so that they can be ended."""

    def __init__(self, command: str, temporary: str | None) -> None:
        self._command = command
        self._temporary = temporary
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def run(self, sample: Sample) -> tuple[Sample | None, str]:
        """What the command makes of a sample (None if it is nothing), and what it prints."""
        with tempfile.TemporaryDirectory(prefix="streamwds-", dir=self._temporary) as folder:
            for field, data in sample.items():
                if field not in ("__key__", "__url__"):
                    _write(os.path.join(folder, NAME + field), data, sample, field)
            status, printed = self._run(folder, sample["__key__"])
            if status:
                how = f"was ended by signal {-status}" if status < 0 else f"exited with {status}"
                last = printed.strip().rpartition("\n")[2]
                raise StreamwdsError.about(sample, f"the command {how}{last and f' ({last})'}: {self._command}")
            made = {entry.name[len(NAME) :]: _read(entry, sample) for entry in _made(folder)}
        return ({"__key__": sample["__key__"], "__url__": sample["__url__"], **made} if made else None), printed

    def _run(self, folder: str, key: str) -> tuple[int, str]:
        if self._is_over():
            return -signal.SIGKILL, ""
        process = subprocess.Popen(
            self._command,
            shell=True,
            cwd=folder,
            env={**os.environ, "SAMPLE_KEY": key.replace("\0", "")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # (ours may be the shard that is written, and a bar may stand on standard error)
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._running.add(process)
        try:
            if self._is_over():  # (since just now)
                _end(process)
            printed, _ = process.communicate()
            return process.returncode, printed.decode("utf-8", "replace")
        finally:
            self._running.discard(process)

    def _is_over(self) -> bool:
        return self._ended

    @contextlib.contextmanager
    def ended_with_us(self) -> Generator[_Commands]:
        """Commands that run when we are interrupted or terminated end at once, and so does waiting for them."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def end(number: int, frame: Any) -> Any:
            self._ended = True
            for process in list(self._running):
                _end(process)
            then = before[signal.Signals(number)]
            if callable(then):
                return then(number, frame)
            sys.exit(128 + number)

        for number in before:
            signal.signal(number, end)
        try:
            yield self
        finally:
            for number, then in before.items():
                signal.signal(number, then)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _write(path: str, data: bytes, sample: Sample, field: str) -> None:
    try:
        with open(path, "xb") as file:
            file.write(data)
    except (OSError, ValueError) as error:
        raise StreamwdsError.about(sample, f"no file can have its name here: {error}", field=field) from error


def _made(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if entry.name.startswith(NAME)), key=lambda entry: entry.name)


def _read(entry: os.DirEntry[str], sample: Sample) -> bytes:
    if not entry.is_file(follow_symlinks=False):
        raise StreamwdsError.about(sample, f"{entry.name} is no file, but a link or folder")
    with open(entry.path, "rb") as file:
        return file.read()
