"""Whether a value that was written as JSON and read again is the one that was given, and if not, where."""

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from rexecutor.json_form import PydanticModel, fields_of

Found: TypeAlias = list[str]
"""A difference: what it is, then the way to it, from the inside to the outside."""

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_PLAIN: Final = _SCALARS | {dict, list}
"""The types that JSON has by itself."""
_VALUES: Final = (UUID, Decimal, datetime, date, time, timedelta)
"""Types whose subclasses other libraries return, such as asyncpg's UUID: equal is good enough."""

_LONGEST: Final = 40
"""Characters of a key that are shown."""


def difference(given: object, came: object) -> tuple[str, str] | None:
    """Return where the values differ, as `$.a[0].b`, and in what. None if they are the same.

    Types count: a `StrEnum` is no `str`, and a subclass is not its base. But a plain JSON value (a dict, a list, a
    text …) may have become what the declared type makes of it, and an int may have become an equal float.
    """
    found = _compared(given, came)
    if found is None:
        return None
    what, *way = found
    return "$" + "".join(reversed(way)), what


def _compared(given: object, came: object) -> Found | None:
    kind = type(came)
    if type(given) is not kind:
        return _converted(given, came)
    if kind in _SCALARS:
        return None if given == came else _changed(given)
    return _comparison(kind)(given, came)


@lru_cache(maxsize=10_000)
def _comparison(kind: type[object]) -> Callable[[Any, Any], Found | None]:
    """Return what compares two values of this very type."""
    if issubclass(kind, dict):
        return _dicts
    if issubclass(kind, list | tuple):
        return _sequences
    if issubclass(kind, set | frozenset):
        return _sets
    if issubclass(kind, datetime):
        return _moments
    if issubclass(kind, time):
        return _times
    if hasattr(kind, "__pydantic_extra__") and issubclass(kind, PydanticModel):
        return _models
    names = [name for name, _ in fields_of(kind)]
    if names or hasattr(kind, "__struct_fields__") or hasattr(kind, "__dataclass_fields__"):
        return lambda given, came: _fields(names, given, came)
    return _values if kind.__eq__ is not object.__eq__ or issubclass(kind, Enum) else _attributes


def _fields(names: Sequence[str], given: object, came: object) -> Found | None:
    for name in names:
        one: object = getattr(given, name)
        other: object = getattr(came, name)
        kind = type(one)
        if kind is type(other) and kind in _SCALARS and one == other:
            continue
        found = _compared(one, other)
        if found is not None:
            found.append(f".{name}")
            return found
    return None


def _models(given: Any, came: Any) -> Found | None:
    """Compare pydantic models: their fields, and others that they allow. What is private to them counts not."""
    names = [name for name, _ in fields_of(cast("type[object]", type(given)))]
    found = _fields(names, given, came)
    if found is None and given.__pydantic_extra__ != came.__pydantic_extra__:
        found = _compared(given.__pydantic_extra__, came.__pydantic_extra__)
    return found


def _dicts(given: dict[object, object], came: dict[object, object]) -> Found | None:
    keys: dict[object, object] | None = None
    for key, one in given.items():
        if key not in came:
            if isinstance(key, str):
                return [f"the key {_shown(key)} would not arrive: the declared type has no such key"]
            return [f"the key {_shown(key)} ({type(key).__qualname__}) would not arrive; declare the type of the keys"]
        other = came[key]
        if type(key) is not str:
            keys = keys or {own: own for own in came}
            if _compared(key, keys[key]) is not None:
                return [f"the key {_shown(key)} would arrive as {type(keys[key]).__qualname__}"]
        kind = type(one)
        if kind is type(other) and kind in _SCALARS and one == other:
            continue
        found = _compared(one, other)
        if found is not None:
            found.append(f"[{_shown(key)}]")
            return found
    return None if len(given) == len(came) else ["different keys become the same key in JSON"]


def _sequences(given: Sequence[object], came: Sequence[object]) -> Found | None:
    for place, (one, other) in enumerate(zip(given, came, strict=False)):
        kind = type(one)
        if kind is type(other) and kind in _SCALARS and one == other:
            continue
        found = _compared(one, other)
        if found is not None:
            found.append(f"[{place}]")
            return found
    return None if len(given) == len(came) else [f"{len(given)} items would arrive as {len(came)}"]


def _sets(given: set[object], came: set[object]) -> Found | None:
    own = {member: member for member in came}
    for member in given:
        if member not in own:
            return _changed(member, "[...]")
        found = _compared(member, own[member])
        if found is not None:
            found.append("[...]")
            return found
    return None if len(given) == len(came) else [f"{len(given)} items would arrive as {len(came)}"]


def _moments(given: datetime, came: datetime) -> Found | None:
    # Not `==`, which finds moments of two zones different in the hour that a clock shows twice.
    same = given.replace(tzinfo=None) == came.replace(tzinfo=None) and given.utcoffset() == came.utcoffset()
    return None if same else _changed(given)


def _times(given: time, came: time) -> Found | None:
    if given.tzinfo is not None and came.tzinfo is None:
        return ["a time with this zone would arrive without it; give one with a fixed offset, or without a zone"]
    return None if given == came else _changed(given)


def _values(given: Any, came: Any) -> Found | None:
    return None if given == came or (given != given and came != came) else _changed(given)  # noqa: PLR0124 - NaN


def _attributes(given: Any, came: Any) -> Found | None:
    """Compare objects that say nothing of when they are equal."""
    return None if given is came else _fields(list(getattr(given, "__dict__", ())), given, came)


def _converted(given: object, came: object) -> Found | None:
    """Compare values of two types."""
    kind, other = type(given), type(came)
    if kind is int and other is float:
        return None if given == came else _changed(given)
    if kind in _PLAIN and other not in _PLAIN:
        return _interpreted(given, came)
    if issubclass(other, _VALUES) and issubclass(kind, other) and given == came:
        return None
    if isinstance(given, float) and not math.isfinite(given):
        return ["NaN or an infinity, which JSON cannot hold"]
    name, theirs = kind.__qualname__, "None" if came is None else other.__qualname__
    return [f"{name} given, which would arrive as {theirs}; give a {theirs}, or declare {name} as its type"]


def _interpreted(given: object, came: object) -> Found | None:
    """Compare a plain JSON value with what the declared type has made of it."""
    if isinstance(given, list) and isinstance(came, tuple | set | frozenset):
        items = cast("list[object]", given)
        if isinstance(came, tuple):
            return _sequences(items, cast("tuple[object, ...]", came))
        count = len(cast("set[object]", came))
        return None if len(items) == count else [f"{len(items)} items would arrive as {count}"]
    if isinstance(given, dict):
        return _members(cast("dict[str, object]", given), came)
    return None


def _members(given: dict[str, object], came: object) -> Found | None:
    by_name = {written: name for name, written in fields_of(type(came))}
    taken: set[str] | None = getattr(came, "__pydantic_fields_set__", None)
    if taken is not None:  # keys may be aliases
        if len(given) > len(taken):
            return [
                f"{len(given) - len(taken)} of the keys would not arrive: {type(came).__qualname__} has no such field"
            ]
    else:
        tag = getattr(getattr(came, "__struct_config__", None), "tag_field", None)
        for key in given:
            if key not in by_name and key != tag:
                return [f"the key {_shown(key)} would not arrive: {type(came).__qualname__} has no such field"]
    for key, one in given.items():
        if key in by_name:
            found = _compared(one, getattr(came, by_name[key]))
            if found is not None:
                found.append(f"[{_shown(key)}]")
                return found
    return None


def _changed(given: object, *way: str) -> Found:
    return [
        f"this {type(given).__qualname__} would arrive as another one: its JSON, read again, does not give it",
        *way,
    ]


def _shown(key: object) -> str:
    text = repr(key)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
