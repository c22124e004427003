"""Our docstrings as Markdown, for griffe, which reads the source without importing it.

In a docstring, a paragraph whose lines begin with `name: ` is a list of parameters, and one that begins with `>>>` is
an example; Markdown would join the one and quote the other. A stage that is good as it is (`tarsamples =
ready(TarSamples)`) is described by its class, whose fields are its options.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ENTRY = re.compile(r"(?:\*{0,2}\w+|`[^`]+`)(?:, \*{0,2}\w+)*: ")
UNDERLINED = re.compile(r"^Parameters\n-+\n", re.MULTILINE)


def as_markdown(docstring: str) -> str:
    """The same text, with lists for its parameters and fences around its examples."""
    paragraphs = UNDERLINED.sub("", docstring).split("\n\n")
    return "\n\n".join(map(_paragraph, paragraphs))


def _paragraph(text: str) -> str:
    if text.startswith(">>>"):
        return f"```pycon\n{text}\n```"
    lines = text.split("\n")
    if all(ENTRY.match(line) or line.startswith("    ") for line in lines) and ENTRY.match(lines[0]):
        return "\n".join(_entry(line) for line in lines)
    return text


def _entry(line: str) -> str:
    names, colon, rest = line.partition(": ")
    if line.startswith(" ") or not colon:
        return line
    marked = ", ".join("`" + name.strip("`") + "`" for name in names.split(", "))
    return f"- {marked}: {rest}"


class Docstrings(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        for module in _modules(pkg):
            for member in list(module.members.values()):
                if not member.is_alias:
                    _tell(member)


def _modules(module: Any) -> list[Any]:
    below = (member for member in module.members.values() if not member.is_alias and member.is_module)
    return [module, *(found for one in below for found in _modules(one))]


def _tell(member: Any) -> None:
    if member.is_attribute and member.docstring is None and (made := _ready_class(member)) is not None:
        member.docstring = made.docstring
    if member.docstring is not None:
        member.docstring.value = as_markdown(member.docstring.value)
    if member.is_class:
        for below in member.members.values():
            if not below.is_alias:
                _tell(below)


def _ready_class(attribute: Any) -> Any:
    found = re.fullmatch(r"ready\((\w+)\)", str(attribute.value))
    return None if found is None else attribute.parent.members.get(found[1])
