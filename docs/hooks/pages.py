"""Pages of the site: those that lie outside docs/, where readers of the repository look for them; bars in tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

OUTSIDE = {
    "architecture.md": "ARCHITECTURE.md",
    "changelog.md": "CHANGELOG.md",
    "chart.png": "benchmarks/chart.png",
    "results.md": "benchmarks/results.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, path in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **more: Any) -> str:
    """A bar in code in a table has a backslash before it, as GitHub wants it (`a \\| b`), which is not to be seen."""
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace(r"\|", "|"), markdown)
