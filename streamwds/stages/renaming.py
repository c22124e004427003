"""Stages that rename fields of samples: rename by their names, rename_keys by patterns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from streamwds.errors import RenameError
from streamwds.handlers import Handler, reraise_exception
from streamwds.memo import Memo
from streamwds.stage import Sample, Stage, maker
from streamwds.stages.fields import alternatives, check_pattern, check_sample, matches, missing_field
from streamwds.stages.mapping import each_item
from streamwds.steps import Lifted, Run, option

__all__ = ["Rename", "RenameKeys", "rename", "rename_items", "rename_keys", "rename_keys_items"]


def _meta(field: str) -> bool:
    """Whether a field is metadata, such as `__key__`: it stays, whatever is renamed or left out."""
    return field[:2] == "__"


# ---- by their names


def _check_names(names: Mapping[Any, Any]) -> None:
    if not names:
        raise ValueError('rename takes new names and old ones, as in rename(image="jpg;png")')
    for new, old in names.items():
        if not isinstance(new, str) or not new or not isinstance(old, str) or not all(alternatives(old)):
            raise ValueError(f'rename takes new="old", alternatives apart by ";" ("jpg;png"), not {new!r}: {old!r}')


def rename_items(
    names: Mapping[str, str],
    samples: Iterable[Mapping[str, Any]],
    *,
    keep: bool = True,
    missing_is_error: bool = True,
    handler: Handler = reraise_exception,
) -> Iterator[Sample]:
    """Samples with their fields renamed, by a mapping from new names to old ones."""
    choices = {new: alternatives(old) for new, old in names.items()}

    def planned(there: tuple[str, ...]) -> tuple[list[str], dict[str, str], str | None]:
        """The fields that stay, new name -> old one, and the first that is missing, by the names of all fields."""
        found = {new: next((old for old in olds if old in there), None) for new, olds in choices.items()}
        renamed = {new: old for new, old in found.items() if old is not None}
        gone = set(renamed.values())
        kept = [field for field in there if field not in gone and (keep or _meta(field))]
        return kept, renamed, next((names[new] for new, old in found.items() if old is None), None)

    memo = Memo(planned, most=4096)

    def renamed(sample: Any) -> Sample:
        check_sample("rename", sample)
        kept, found, missing = memo[tuple(sample)]
        if missing is not None and missing_is_error:
            raise missing_field(sample, missing)
        result: Sample = {field: sample[field] for field in kept}
        for new, old in found.items():
            if new in result:
                raise RenameError.about(
                    sample,
                    f"the sample has such a field already, and {old!r} is to become it, too; rename that one as well, "
                    "or leave it out first",
                    field=new,
                )
            result[new] = sample[old]
        return result

    return each_item(renamed, samples, handler=handler)


@attrs.frozen(repr=False, slots=False)
class Rename(Lifted[Sample, Sample]):
    name: ClassVar[str] = "rename"
    hands_on: ClassVar[bool] = True
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "Sample"
    decides: ClassVar[bool] = False
    names: Mapping[str, str] = option(check=_check_names)
    keep: bool = option(True)
    missing_is_error: bool = option(True)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return rename_items(
            self.names,
            items,
            keep=self.keep,
            missing_is_error=self.missing_is_error,
            handler=run.guard(self.handler),
        )


@maker
def rename(
    names: Mapping[str, str] | None = None,
    /,
    *,
    keep: bool = True,
    missing_is_error: bool = True,
    handler: Handler = reraise_exception,
    **more: str,
) -> Stage[Sample, Sample]:
    """Rename fields of samples: `rename(image="jpg;png")` calls the first of these that a sample has `image`.

    names: new name -> old name, for names that can't be keywords: `rename({"seg.png": "mask"})`.
    keep: whether other fields stay, the alternatives that were not taken among them; metadata (`__key__`) always does.
    missing_is_error: whether a sample that has none of the old fields is a `MissingFieldError`; else it goes by.
    handler: gets the errors, also the `RenameError` of a sample that would have two fields of the same name.

    >>> [{"__key__": "a", "png": b"...", "cls": 1}] | rename(image="jpg;png") | list
    [{'__key__': 'a', 'cls': 1, 'image': b'...'}]
    >>> [{"__key__": "a", "png": b"...", "cls": 1}] | rename(image="jpg;png", keep=False) | list
    [{'__key__': 'a', 'image': b'...'}]
    """
    return Stage((Rename({**(names or {}), **more}, keep, missing_is_error, handler),))


# ---- by patterns


def _check_pairs(pairs: tuple[Any, ...]) -> None:
    if not pairs:
        raise ValueError('rename_keys takes new names and patterns, as in rename_keys(image="*.jpg;*.png")')
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str) or not pair[0]:
            raise ValueError(f'rename_keys takes pairs (new name, pattern), as in ("image", "*.jpg"), not {pair!r}')
        check_pattern("rename_keys", pair[1])


def rename_keys_items(
    pairs: Sequence[tuple[str, str]],
    samples: Iterable[Mapping[str, Any]],
    *,
    keep_unselected: bool = False,
    must_match: bool = True,
    duplicate_is_error: bool = True,
    handler: Handler = reraise_exception,
) -> Iterator[Sample]:
    """Samples with their fields renamed, by pairs of new names and patterns."""

    def planned(names: tuple[str, ...]) -> tuple[list[tuple[str, str]], str | None]:
        """(new name, old name) for those that stay, in their order; and the first pattern that means none of them."""
        plan: list[tuple[str, str]] = []
        used: set[int] = set()
        for name in names:
            found = next((n for n in range(len(pairs) - 1, -1, -1) if matches(name, pairs[n][1])), None)
            if found is not None:
                used.add(found)
                plan.append((pairs[found][0], name))
            elif keep_unselected or _meta(name):
                plan.append((name, name))
        return plan, next((pattern for n, (_, pattern) in enumerate(pairs) if n not in used), None)

    memo = Memo(planned, most=4096)

    def renamed(sample: Any) -> Sample:
        check_sample("rename_keys", sample)
        plan, unmatched = memo[tuple(sample)]
        if unmatched is not None and must_match:
            raise missing_field(sample, unmatched)
        result: Sample = {}
        for new, old in plan:
            if new not in result:
                result[new] = sample[old]
            elif duplicate_is_error:
                raise RenameError.about(
                    sample,
                    f"several fields would become it: {', '.join(o for n, o in plan if n == new)}; make the patterns "
                    "narrower, or keep the first with duplicate_is_error=False",
                    field=new,
                )
        return result

    return each_item(renamed, samples, handler=handler)


@attrs.frozen(repr=False, slots=False)
class RenameKeys(Lifted[Sample, Sample]):
    name: ClassVar[str] = "rename_keys"
    hands_on: ClassVar[bool] = True
    keeps: ClassVar[bool] = True
    takes: ClassVar[str | None] = "Sample"
    yields: ClassVar[str | None] = "Sample"
    decides: ClassVar[bool] = False
    pairs: tuple[tuple[str, str], ...] = option(star=True, check=_check_pairs)
    keep_unselected: bool = option(False)
    must_match: bool = option(True)
    duplicate_is_error: bool = option(True)
    handler: Handler = option(reraise_exception, decides=False)

    def plain(self, run: Run, items: Iterator[Any]) -> Iterator[Any]:
        return rename_keys_items(
            self.pairs,
            items,
            keep_unselected=self.keep_unselected,
            must_match=self.must_match,
            duplicate_is_error=self.duplicate_is_error,
            handler=run.guard(self.handler),
        )


@maker
def rename_keys(
    *pairs: tuple[str, str],
    keep_unselected: bool = False,
    must_match: bool = True,
    duplicate_is_error: bool = True,
    handler: Handler = reraise_exception,
    **more: str,
) -> Stage[Sample, Sample]:
    """Rename the fields that patterns mean: `rename_keys(("image", "*.jpg;*.png"), label="cls")`.

    pairs: (new name, pattern), patterns as in `extract_keys`; of several that mean a field, the last counts.
    keep_unselected: whether fields stay that no pattern means; metadata (`__key__`) always does.
    must_match: whether a pattern that means no field of a sample (or only such as a later one means, too) is a
        `MissingFieldError`.
    duplicate_is_error: whether several fields of one new name are a `RenameError`; else the first is kept.
    handler: gets these errors; true skips the sample.

    >>> [{"__key__": "a", "left.png": b"...", "cls": 1}] | rename_keys(("image", "*.png"), label="cls") | list
    [{'__key__': 'a', 'image': b'...', 'label': 1}]
    """
    options = (keep_unselected, must_match, duplicate_is_error, handler)
    return Stage((RenameKeys((*pairs, *more.items()), *options),))
