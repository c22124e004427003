"""The command line's door, `streamwds` and `python -m streamwds`: it says what to install where typer is missing."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line on `sys.argv`; exits with 0, or with 1 and a line on stderr that says what went wrong."""
    try:
        from streamwds.cli import run

        run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in {"rich", "typer"}:
            raise
        sys.exit(f"streamwds: the command line needs {missing}: pip install 'streamwds[cli]'")


if __name__ == "__main__":
    main()
