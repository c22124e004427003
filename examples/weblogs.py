"""Web-server logs, kept as shards: leave out the robots, keep the rest as shards, and sum up what people asked for.

    python examples/weblogs.py [--logs 'logs-*.tar'] [--folder weblogs]

A shard is a day, and a sample an hour of it, `2026-11-23T07.jsonl`: one request in each line. Without `--logs` it makes
three days of them. The logs are read once, an hour at a time, whatever their size; what people asked for passes through
`tee`, which writes it to shards of the same form, and ends in a table.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from streamwds import Sample, ShardWriter, decode, map, select, stage, tarsamples, tee, unlisted, urls, write_to

Request = dict[str, Any]
Table = dict[str, dict[str, int]]

PATHS = ("/", "/docs", "/docs/formats", "/search?q=tar", "/search?q=cat", "/login")
AGENTS = ("Firefox/142", "Safari/26", "Chrome/141", "Googlebot/2.1", "bingbot/2.0")
ROBOTS = ("bot", "spider", "crawl")

# ---- logs, if there are none


def hour_of_requests(day: int, hour: int) -> Sample:
    """Some requests of one hour: other ones each hour, the same in each run."""
    chance = random.Random(24 * day + hour)
    requests = [
        {
            "time": f"2026-11-{day:02}T{hour:02}:{second // 60:02}:{second % 60:02}Z",
            "path": chance.choice(PATHS),
            "status": chance.choices((200, 304, 404, 500), (80, 10, 8, 2))[0],
            "bytes": chance.randrange(200, 50_000),
            "agent": chance.choice(AGENTS),
        }
        for second in sorted(chance.randrange(3600) for _ in range(50))
    ]
    return {"__key__": f"2026-11-{day:02}T{hour:02}", "jsonl": requests}


def make_logs(folder: Path) -> str:
    """Write the logs of three days; the pattern of their shards."""
    with ShardWriter(folder / "logs-%02d.tar", maxcount=24) as writer:
        for day in range(23, 26):
            for hour in range(24):
                writer.write(hour_of_requests(day, hour))
    return f"{folder}/logs-*.tar"


# ---- the job


def by_people(request: Request) -> bool:
    return not any(robot in request["agent"].lower() for robot in ROBOTS)


def without_robots(hour: Sample) -> Sample:
    return {**hour, "jsonl": list(filter(by_people, hour["jsonl"]))}


@stage
def parsed(requests: Iterable[Request]) -> Iterator[Request]:
    """The requests, with their paths free of what was asked for in them (`?q=…`), and whether they failed."""
    for request in requests:
        yield {**request, "path": request["path"].partition("?")[0], "failed": request["status"] >= 500}


def summed(requests: Iterable[Request]) -> Table:
    """For each path: how many requests there were, how many of them failed, and the bytes that were sent."""
    table: Table = {}
    for request in requests:
        sums = table.setdefault(request["path"], {"requests": 0, "failed": 0, "bytes": 0})
        sums["requests"] += 1
        sums["failed"] += request["failed"]
        sums["bytes"] += request["bytes"]
    return table


def sum_up(logs: str, folder: Path) -> Table:
    """Run the job: people's requests go to `folder/people-NN.tar`, the table to `folder/table-00.tar`."""
    table: Table = (
        urls(logs)
        | tarsamples
        | decode()
        | map(without_robots)
        | select(itemgetter("jsonl"))  # (hours in which there was somebody)
        | tee(folder / "people-%02d.tar", maxcount=24)
        | map(itemgetter("jsonl"))
        | unlisted
        | parsed
        | summed
    )
    [{"__key__": "table", "json": table}] | write_to(folder / "table-%02d.tar")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="Sum up web-server logs that are kept as shards of JSON lines.")
    parser.add_argument("--logs", help="pattern of the shards (default: three days of logs are made)")
    parser.add_argument("--folder", type=Path, default=Path("weblogs"), help="for what is written (default: weblogs)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    table = sum_up(options.logs or make_logs(options.folder), options.folder)
    print(f"{'path':<20}{'requests':>10}{'failed':>8}{'MB':>8}")
    for path, sums in sorted(table.items(), key=lambda row: -row[1]["requests"]):
        print(f"{path:<20}{sums['requests']:>10}{sums['failed']:>8}{sums['bytes'] / 1e6:>8.2f}")


if __name__ == "__main__":
    main()
