"""What is done with URLs, told to the log."""

from __future__ import annotations

import os
import sys

from streamwds.redacted import redacted

__all__ = ["note"]


def note(message: str, url: str, *details: object) -> None:
    """Tell the log of what is done with a URL, and standard error too where GOPEN_VERBOSE is set and not 0."""
    import logging  # (it takes a while, and `import streamwds` doesn't need it)

    logging.getLogger("streamwds.gopen").debug(message, redacted(url), *details)
    if os.environ.get("GOPEN_VERBOSE", "0") not in ("", "0"):
        sys.stderr.write(f"GOPEN {message % (redacted(url), *details)}\n")
