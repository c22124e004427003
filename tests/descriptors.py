"""What files this process holds open, for tests that nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["open_below"]


def open_below(folder: Path) -> list[str]:
    """The files below a folder that this process has open, once for each time.

    Others are none of a test's business: an earlier test's may be closed at any time, when its garbage is collected.
    """
    held = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # (the one that lists them, or another thread's)
            continue
        if Path(target).is_relative_to(folder):
            held.append(target)
    return sorted(held)
