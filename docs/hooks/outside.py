"""Files of the site that lie outside docs/, where those who read the repository look for them."""

from __future__ import annotations

from pathlib import Path

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
