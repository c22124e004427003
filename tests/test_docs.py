"""The code in docs/ runs, each page from top to bottom, as a reader would run it; and no page is forgotten."""

from __future__ import annotations

import pkgutil
import re
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

import streamwds

DOCS = Path(__file__).parent.parent / "docs"

BLOCK = re.compile(r"^([ \t]*)```python\b.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

TEXTS = {page.relative_to(DOCS).with_suffix("").as_posix(): page.read_text() for page in sorted(DOCS.rglob("*.md"))}
PAGES = {page: found for page, text in TEXTS.items() if (found := [match[2] for match in BLOCK.finditer(text)])}

THEIR_FILES = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # (webdataset leaves them open)
THEIR_WARNINGS = pytest.mark.filterwarnings("ignore")
MARKS = {
    "webdataset": [THEIR_FILES],
    "cookbook/lightning": [THEIR_WARNINGS],
    "cookbook/transformers": [THEIR_WARNINGS],
}


@pytest.mark.parametrize("page", [pytest.param(page, marks=MARKS.get(page, ())) for page in PAGES])
@pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning")  # few cores
@pytest.mark.filterwarnings("ignore::streamwds.errors.SkippedWarning")  # (where a page shows what handlers do)
def test_every_python_block_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(PAGES[page]):
        exec(compile(textwrap.dedent(block), f"{page}.md, block {number}", "exec"), names)


def test_all_code_of_pages_is_in_blocks_that_are_found() -> None:
    """A fence that is written in another way would be passed over in silence."""
    for page, text in TEXTS.items():
        languages = re.findall(r"^[ \t]*(?:```+|~~~+)[ \t]*\{?\.?(\w*)", text, re.MULTILINE)
        opened = [language for language in languages if language]
        assert set(opened) <= {"python", "sh", "text", "console"}, page  # (test_cli.py runs "console")
        assert opened.count("python") == len(PAGES.get(page, ())), page
        assert len(languages) == 2 * len(opened), page


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- (?:\w+: )?(\S+)\.md$", (DOCS.parent / "mkdocs.yml").read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(TEXTS) <= set(listed)


def documented() -> list[object]:
    """What the pages of the API tell of; of a module that is told of as a whole, all that is in it."""
    told: list[object] = []
    for page, text in TEXTS.items():
        for path in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
            assert page.startswith("api/"), page
            found = pkgutil.resolve_name(path)
            told += [getattr(found, each) for each in found.__all__] if isinstance(found, ModuleType) else [found]
    return told


def test_the_api_tells_of_every_public_name() -> None:
    told = {id(found) for found in documented()}
    public = {name: getattr(streamwds, name) for name in streamwds.__all__}
    missing = [name for name, value in public.items() if not isinstance(value, ModuleType) and id(value) not in told]
    assert not missing, f"add lines such as `::: streamwds.stages.mapping.map` to a page in docs/api/: {missing}"
