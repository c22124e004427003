"""The frame of the benchmarks: who runs when, which way a ratio goes, what the table says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.frame import Row, measure, seconds_of, table

OURS, THEIRS = [9.0, 1.0, 2.0, 4.0], [9.0, 3.0, 2.0, 8.0]


def replay(name: str, seconds: list[float], calls: list[str]) -> Callable[[], float]:
    values = iter(seconds)

    def contender() -> float:
        calls.append(name)
        return next(values)

    return contender


def row(calls: list[str], **options: object) -> Row:
    contenders = {"ours": replay("ours", OURS, calls), "theirs": replay("theirs", THEIRS, calls)}
    return Row("work", contenders, **options)  # type: ignore[arg-type]


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    result = measure(row(calls), rounds=3)
    assert calls == ["ours", "theirs"] * 4
    assert result.seconds == {"ours": OURS[1:], "theirs": THEIRS[1:]}


def test_a_ratio_compares_the_same_round() -> None:
    assert measure(row([]), rounds=3).ratios("theirs") == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("goal", "missed"), [(None, False), (("theirs", 2.0), False), (("theirs", 2.1), True), (("absent", 9.0), False)]
)
def test_a_goal_is_missed_by_the_median(goal: tuple[str, float] | None, missed: bool) -> None:
    assert measure(row([], goal=goal), rounds=3).missed() is missed


def test_the_table_shows_rates_ratios_and_goals() -> None:
    result = measure(row([], samples=1000, goal=("theirs", 2.5)), rounds=3)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table([result]).splitlines()]
    assert lines[2] == ["work", "ours", "500 samples/s", "250 … 1,000", "", "", ""]
    assert lines[3] == ["", "theirs", "333 samples/s", "125 … 500", "2.00 ×", "1.00 … 3.00", "2.5 ×: missed"]


def test_only_reading_is_timed_and_all_of_it_is_read() -> None:
    read: list[int] = []
    contender = seconds_of(lambda: map(read.append, range(3)))
    assert read == []
    assert 0 < contender() < 1
    assert read == [0, 1, 2]
