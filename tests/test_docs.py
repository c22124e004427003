"""The code in docs/ runs, each page from top to bottom, as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = {
    page.stem: found
    for page in sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
    if (found := re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S))
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning")  # few cores
def test_every_python_block_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(PAGES[page]):
        exec(compile(block, f"{page}.md, block {number}", "exec"), names)
