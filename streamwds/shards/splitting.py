"""Who reads what: split_by_node and split_by_worker by shard, split_samples by sample, everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import attrs

from streamwds.context import Context
from streamwds.errors import FewShardsWarning
from streamwds.stage import Same
from streamwds.steps import At, Pair, Run, Step, Upstream

__all__ = [
    "Everywhere",
    "SplitByNode",
    "SplitByWorker",
    "SplitSamples",
    "everywhere",
    "split_by_node",
    "split_by_worker",
    "split_samples",
]


class _Split(Step[Any, Any]):
    """Every n-th item, from this reader's number on. Remembers how many items went by."""

    ready: ClassVar[bool] = True
    same: ClassVar[bool] = True
    keeps: ClassVar[bool] = True
    memory: ClassVar[Mapping[str, Any]] = {"passed": 0}
    what: ClassVar[str] = "shards"
    readers: ClassVar[str] = "workers"
    advice: ClassVar[str] = (
        "write more, smaller shards, use fewer {readers}, or split samples instead of shards "
        "(… | tarsamples | split_samples)"
    )

    def share(self, context: Context) -> tuple[int, int]:
        """This reader's number, and how many there are."""
        raise TypeError(f"{type(self).__name__} does not say between whom it splits")

    def words(self, upstream: Upstream, at: At) -> list[str]:
        return upstream.words(self.recall(at)[-1])

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        passed, inner = self.recall(at)
        mine, readers = self.share(run.context)
        for item, inner in upstream(inner):  # noqa: B020
            passed += 1
            if (passed - 1) % readers == mine:
                yield item, (passed, inner)
        if 0 < passed < readers and mine == 0 and run.context.worker == 0:
            what = self.what[: len(self.what) - (passed == 1)]
            run.tell(
                f"{self.name}: {passed} {what} for {readers} {self.readers}, so {readers - passed} of them "
                f"will have nothing to read; {self.advice.format(readers=self.readers)}",
                FewShardsWarning,
            )


@attrs.frozen(repr=False, slots=False)
class SplitByNode(_Split):
    """Every world_size-th item, from number `rank` on. Remembers how many items went by."""

    name: ClassVar[str] = "split_by_node"
    readers: ClassVar[str] = "nodes"
    splits: ClassVar[frozenset[str]] = frozenset({"node"})

    def share(self, context: Context) -> tuple[int, int]:
        return context.rank, context.world_size


@attrs.frozen(repr=False, slots=False)
class SplitByWorker(_Split):
    """Every workers-th item, from number `worker` on. Remembers how many items went by."""

    name: ClassVar[str] = "split_by_worker"
    splits: ClassVar[frozenset[str]] = frozenset({"worker"})

    def share(self, context: Context) -> tuple[int, int]:
        return context.worker, context.workers


@attrs.frozen(repr=False, slots=False)
class SplitSamples(_Split):
    """Every n-th item, for n workers on all nodes together. Remembers how many items went by."""

    name: ClassVar[str] = "split_samples"
    splits: ClassVar[frozenset[str]] = frozenset({"node", "worker"})
    what: ClassVar[str] = "samples"
    advice: ClassVar[str] = "use fewer {readers}"

    def share(self, context: Context) -> tuple[int, int]:
        return context.rank + context.worker * context.world_size, context.world_size * context.workers


@attrs.frozen(repr=False, slots=False)
class Everywhere(Step[Any, Any]):
    """Passes everything on. Remembers nothing."""

    name: ClassVar[str] = "everywhere"
    ready: ClassVar[bool] = True
    same: ClassVar[bool] = True
    decides: ClassVar[bool] = False
    splits: ClassVar[frozenset[str]] = frozenset({"node", "worker"})

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return items

    def open(self, run: Run, upstream: Upstream, at: At) -> Iterator[Pair]:
        return upstream(at)


split_by_node: Same = Same((SplitByNode(),))
"""Each node's own part of the stream: every world_size-th item, from number `rank` on.

Put it behind `urls`, before the samples. The parts of all nodes are the whole, each item once.
"""

split_by_worker: Same = Same((SplitByWorker(),))
"""Each DataLoader worker's own part of the stream: every workers-th item, from number `worker` on.

Put it behind `urls` (and `split_by_node`): it splits shards. The parts of all workers are the whole, each item once;
fewer shards than workers is a warning.
"""

split_samples: Same = Same((SplitSamples(),))
"""Each worker's own part of the samples, on all nodes: every n-th, where n workers read on all nodes together.

Put it behind `tarsamples` where there are fewer shards than workers. Every worker reads all the shards and keeps its
part, so splitting shards is quicker where there are enough. The parts of all workers are the whole, each sample once.
"""

everywhere: Same = Same((Everywhere(),))
"""Says that every node and worker is to get all the data, where a pipeline without a split would be refused."""
