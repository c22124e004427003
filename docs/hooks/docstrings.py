"""Our docstrings as Markdown, for griffe, which reads the source without importing it; and signatures it can't see.

In a docstring, a paragraph whose lines begin with `name: ` is a list of parameters, and one that begins with `>>>` is
an example; Markdown would join the one and quote the other. The parameters of an attrs class are its fields. A stage
that is good as it is (`tarsamples = ready(TarSamples)`) is called with those of its step, whose docstring is its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import griffe

ENTRY = re.compile(r"(?:\*{0,2}[a-z_]\w*|`[^`]+`)(?:, \*{0,2}\w+)*: ")
UNDERLINED = re.compile(r"^Parameters\n-+\n", re.MULTILINE)


# ---- docstrings


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


# ---- signatures


def _fields(made: Any, kind: Any = griffe.ParameterKind.positional_or_keyword) -> Iterator[griffe.Parameter]:
    """The parameters of an attrs class."""
    for name, member in made.members.items():
        if not member.is_attribute or member.annotation is None or "instance-attribute" not in member.labels:
            continue  # (ClassVars have no such label)
        value = "" if member.value is None else str(member.value)
        if "init=False" not in value:
            found: Any = griffe.ParameterKind.keyword_only if "kw_only=True" in value else kind
            default = _default(value) if value else None
            yield griffe.Parameter(name.lstrip("_"), annotation=member.annotation, kind=found, default=default)


def _default(value: str) -> str | None:
    """The default that a field is given, as code: of `option(0, …)`, `attrs.field(default=0, …)` or the value alone."""
    call = ast.parse(value, mode="eval").body
    if not isinstance(call, ast.Call) or ast.unparse(call.func) not in ("option", "attrs.field"):
        return value
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if "factory" in given:
        return f"{given['factory'].partition('[')[0]}()"
    return ast.unparse(call.args[0]) if call.args else given.get("default")


def _is_attrs(made: Any) -> bool:
    return any(str(decorator.value).startswith(("attrs.frozen", "attrs.define")) for decorator in made.decorators)


def _ready_class(attribute: Any) -> Any:
    """The step of a stage that is good as it is."""
    found = re.fullmatch(r"ready\((\w+)\)", str(attribute.value))
    return None if found is None else attribute.parent.members.get(found[1])


def _as_function(name: str, made: Any) -> griffe.Function:
    """A ready stage as what it is when it is called with options."""
    parameters = griffe.Parameters(*_fields(made, griffe.ParameterKind.keyword_only))
    return griffe.Function(name, parameters=parameters, docstring=made.docstring)


# ---- the extension


class Docstrings(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        for module in _modules(pkg):
            for name, member in list(module.members.items()):
                if not member.is_alias:
                    made = _ready_class(member) if member.is_attribute else None
                    if made is not None:
                        member = _as_function(name, made)
                        module.set_member(name, member)
                    _tell(member)


def _modules(module: Any) -> list[Any]:
    below = (member for member in module.members.values() if not member.is_alias and member.is_module)
    return [module, *(found for one in below for found in _modules(one))]


def _tell(member: Any) -> None:
    if member.docstring is not None:
        member.docstring.value = as_markdown(member.docstring.value)
    if member.is_class:
        for below in list(member.members.values()):
            if not below.is_alias:
                _tell(below)
        if _is_attrs(member) and "__init__" not in member.members:
            parameters = griffe.Parameters(griffe.Parameter("self"), *_fields(member))
            member.set_member("__init__", griffe.Function("__init__", parameters=parameters))
