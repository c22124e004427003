"""Context: a checked value, and where its numbers come from. (With real processes and DataLoaders: test_torch.py.)"""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from streamwds import Context, split_by_node, split_by_worker
from streamwds.errors import DistributionError


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of which neither the environment nor torch knows a rank or worker."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("torch", "torch.utils.data"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def environment(monkeypatch: pytest.MonkeyPatch, rank: str | None, world_size: str | None) -> None:
    for name, value in (("RANK", rank), ("WORLD_SIZE", world_size)):
        if value is not None:
            monkeypatch.setenv(name, value)


def torch_with(monkeypatch: pytest.MonkeyPatch, rank: int | None = None, worker: int | None = None) -> None:
    """A torch that says so: rank of 8, or torch.distributed not initialised; DataLoader worker of 4, or none."""
    distributed = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: rank is not None,
        get_rank=lambda: rank,
        get_world_size=lambda: 8,
    )
    info = None if worker is None else SimpleNamespace(id=worker, num_workers=4)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(distributed=distributed))
    monkeypatch.setitem(sys.modules, "torch.utils.data", SimpleNamespace(get_worker_info=lambda: info))


# ---- the value


def test_is_a_value() -> None:
    context = Context(seed=-7, epoch=2, rank=1, world_size=2, worker=0, workers=3)
    assert context == Context(-7, 2, 1, 2, 0, 3)
    assert context != Context()
    assert hash(context) == hash(attrs.evolve(context))
    assert pickle.loads(pickle.dumps(context)) == eval(repr(context)) == context
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        context.epoch = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["seed", "epoch", "rank", "world_size", "worker", "workers"])
@pytest.mark.parametrize("value", [1.0, "1", None, True])
def test_takes_integers_only(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be an integer.*{re.escape(repr(value))}"):
        Context(**{name: value})


@pytest.mark.parametrize(
    ("name", "least"), [("epoch", 0), ("rank", 0), ("world_size", 1), ("worker", 0), ("workers", 1)]
)
def test_counts_have_a_least_value(name: str, least: int) -> None:
    assert getattr(Context(**{name: least}), name) == least
    with pytest.raises(ValueError, match=f"^{name} must be an integer of at least {least}, not {least - 1}"):
        Context(**{name: least - 1})


def test_a_reader_is_one_of_those_that_read() -> None:
    assert Context(rank=1, world_size=2, worker=2, workers=3).worker == 2
    with pytest.raises(ValueError, match="rank 2 of world_size 2"):
        Context(rank=2, world_size=2)
    with pytest.raises(ValueError, match="worker 3 of 3 workers"):
        Context(worker=3, workers=3)


# ---- the ranks


@pytest.mark.parametrize(
    ("rank", "world_size", "expected"),
    [
        (None, None, Context()),
        ("1", "4", Context(rank=1, world_size=4)),
        ("0", "1", Context()),
        (None, "1", Context()),
        ("", "", Context()),
        ("gold", None, Context()),  # a word that others use, too
    ],
)
def test_ranks_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, rank: str | None, world_size: str | None, expected: Context
) -> None:
    environment(monkeypatch, rank, world_size)
    assert Context.current() == expected
    torch_with(monkeypatch)  # (imported, but not initialised)
    assert Context.current() == expected


@pytest.mark.parametrize(
    ("rank", "world_size"),
    [(None, "4"), ("", "4"), ("4", "4"), ("3", "1"), ("-1", "4"), ("x", "4"), ("0", "four"), ("0", "0"), ("0.0", "2")],
)
def test_an_environment_that_names_no_rank_is_refused(
    monkeypatch: pytest.MonkeyPatch, rank: str | None, world_size: str
) -> None:
    environment(monkeypatch, rank, world_size)
    with pytest.raises(DistributionError, match=rf"RANK={rank or ''} and WORLD_SIZE={world_size} .*within\("):
        list([1, 2] | split_by_node)
    assert list(([1, 2] | split_by_node).within(rank=1, world_size=2)) == [2]  # the way out that the message names
    torch_with(monkeypatch, rank=3)
    assert Context.current() == Context(rank=3, world_size=8)


def test_torch_distributed_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, "1", "4")
    torch_with(monkeypatch, rank=7)
    assert Context.current() == Context(rank=7, world_size=8)


@pytest.mark.parametrize("distributed", [None, SimpleNamespace(is_available=lambda: False)])
def test_a_torch_without_distributed(monkeypatch: pytest.MonkeyPatch, distributed: Any) -> None:
    environment(monkeypatch, "1", "4")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(distributed=distributed))
    assert Context.current() == Context(rank=1, world_size=4)


# ---- the workers


def test_workers_come_from_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_with(monkeypatch, rank=7, worker=2)
    assert Context.current() == Context(rank=7, world_size=8, worker=2, workers=4)
    assert list(range(10) | split_by_node | split_by_worker) == []
    assert list(range(60) | split_by_node | split_by_worker) == [7 + 8 * 2, 7 + 8 * 6]


def test_what_is_fixed_goes_before_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, "1", "4")
    torch_with(monkeypatch, rank=7, worker=2)
    fixed = Context(seed=9, epoch=5, rank=0, world_size=1, worker=1, workers=2)
    assert Context.current(**attrs.asdict(fixed)) == fixed
    assert Context.current(rank=3) == Context(rank=3, world_size=8, worker=2, workers=4)
    assert Context.current(workers=3) == Context(rank=7, world_size=8, worker=2, workers=3)


def test_the_context_is_resolved_anew_by_each_iter(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = range(4) | split_by_node
    assert list(stream) == [0, 1, 2, 3]
    environment(monkeypatch, "1", "2")
    assert list(stream) == [1, 3]


def test_asks_torch_only_if_it_is_imported() -> None:
    code = (
        "import sys; from streamwds import split_by_node, split_by_worker;"
        "print(list(range(4) | split_by_node | split_by_worker), *[m for m in sys.modules if m.startswith('torch')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"RANK": "1", "WORLD_SIZE": "2"}
    )
    assert (done.stdout, done.stderr) == ("[1, 3]\n", "")
