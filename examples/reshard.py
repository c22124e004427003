"""Sort a dataset by one of its fields, and write it anew in shards of another size.

    python examples/reshard.py [--shards 'old-*.tar'] [--by cls] [--count 1000] [--folder reshard] [--resume]

Only the field by which it is sorted, and an index of 50 bytes a file, are held in memory; a sample is read where it
lies when its turn comes. With `--resume` it can be killed: the same command goes on where it was. Without `--shards` it
makes some first.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from streamwds import Sample, ShardFiles, Written, decode, map, to_tuple, write_to


def make_shards(folder: Path) -> str:
    """Write words of various lengths, in no order: `txt`, and the length as `cls`; the pattern of the shards."""
    chance = random.Random(0)

    def word(number: int) -> Sample:
        length = chance.randrange(1, 40)
        return {"__key__": f"{number:05}", "txt": "".join(chance.choices("aeiounstr", k=length)), "cls": length}

    range(2_000) | map(word) | write_to(folder / "words-%02d.tar", maxcount=300)
    return f"{folder}/words-*.tar"


def order_by(field: str, shards: str) -> list[int]:
    """The numbers of all samples, in the order of a field (decoded); of equals, as they were."""
    values = ShardFiles(shards, decode() | to_tuple(field), suffixes={field})  # (of the others not a byte is read)
    return sorted(range(len(values)), key=list(values).__getitem__)


def reshard(shards: str, field: str, pattern: Path, count: int, *, resume: bool = False) -> Written:
    """Write the samples sorted by a field, so many to a shard."""
    samples = ShardFiles(shards)
    return order_by(field, shards) | map(samples.__getitem__) | write_to(pattern, maxcount=count, resume=resume)


def main() -> None:
    parser = argparse.ArgumentParser(description="Sort a dataset, and write it anew in shards of another size.")
    parser.add_argument("--shards", help="pattern of local shards (default: some are made)")
    parser.add_argument("--by", default="cls", help="the field by which to sort, also __key__ (default: cls)")
    parser.add_argument("--count", type=int, default=1000, help="samples in a shard (default: 1000)")
    parser.add_argument("--folder", type=Path, default=Path("reshard"), help="for what is written (default: reshard)")
    parser.add_argument("--resume", action="store_true", help="go on where this very command was stopped")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    shards = options.shards or make_shards(options.folder)
    pattern = options.folder / "sorted-%04d.tar"
    written = reshard(shards, options.by, pattern, options.count, resume=options.resume)
    print(f"{written.samples} samples in {written.shards} shards, {written.bytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
