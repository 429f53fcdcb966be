"""Checks that decoding a value's JSON gives an equal value of the same types, and if not, says where they differ."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from rexecutor.model.json_form import NO_SECRETS, PydanticModel, fields_of, is_secret

Found: TypeAlias = list[str]
"""A difference: its description, then the path to it, innermost step first."""

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_PLAIN: Final = _SCALARS | {dict, list}
"""The types that JSON has itself."""
_VALUES: Final = (UUID, Decimal, datetime, date, time, timedelta)
"""Types that may arrive in place of an equal subclass: other libraries return subclasses, such as asyncpg's UUID."""

_FOLD_ADVICE: Final = "it would arrive without its `fold=1`; give one with a fixed offset, or with `fold=0`"
_ENUM_ADVICE: Final = (
    "`use_enum_values` would make this enum a plain value; give the value, or if it is the default, set"
    " `validate_default=True` too"
)
_ORDER_ADVICE: Final = (
    "the keys of this OrderedDict would arrive in alphabetical order; give them in that order, or declare a list of"
    " pairs"
)
_EXCLUDED_ADVICE: Final = (
    "`exclude=True` keeps this field out of JSON, so it would arrive with its default; leave it at that, or declare"
    " the field without `exclude`"
)

_SHOWN_LENGTH: Final = 40
"""Maximum number of a key's characters in a message."""


def difference(given: object, came: object) -> tuple[str, str] | None:
    """Return the path to the first difference, as `$.a[0].b`, and a description. None if the values are the same.

    Types count: a `StrEnum` differs from a `str`, and a subclass from its base. Two conversions are accepted: a plain
    JSON value (a dict, a list, a text …) may become the declared type's value, and an int an equal float.

    Args:
        given: The value to be stored.
        came: What decoding its JSON returned.
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
    """Return the function that compares two values of exactly this type."""
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
        if kind.__dictoffset__:
            return lambda given, came: _fields(names, given, came) or _more(given, came)
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
            field = _pydantic_fields(type(given)).get(name)
            is_excluded = getattr(field, "exclude", False) or getattr(field, "exclude_if", None) is not None
            if is_excluded and not _holds_secret(one):
                found = [_EXCLUDED_ADVICE]
            found.append(f".{name}")
            return found
    return None


def _more(given: object, came: object) -> Found | None:
    """Look for attributes that are not declared as fields. Private ones and cached properties are ignored."""
    for name in vars(given).keys() - vars(came).keys():
        if not name.startswith("_") and not hasattr(type(given), name):
            return ["this attribute would not arrive, because it is no field; declare it as one", f".{name}"]
    return None


def _models(given: Any, came: Any) -> Found | None:
    """Compare pydantic models by their fields and the extra fields that they allow. Private attributes are ignored."""
    names = [name for name, _ in fields_of(cast("type[object]", type(given)))]
    found = _fields(names, given, came)
    if found is not None and given.model_config.get("use_enum_values"):
        *_, way = found
        if isinstance(getattr(given, way[1:], None), Enum):
            return [_ENUM_ADVICE, way]
    if found is None and given.__pydantic_extra__ != came.__pydantic_extra__:
        found = _compared(given.__pydantic_extra__, came.__pydantic_extra__)
    return found


def _dicts(given: dict[object, object], came: dict[object, object]) -> Found | None:
    keys: dict[object, object] | None = None
    for key, one in given.items():
        if key not in came:
            if isinstance(key, str):
                return [f"the key {_shown(key)} would not arrive: the declared type has no such key"]
            kind = type(key).__qualname__
            what = f"the key {_shown(key)} ({kind}) would not arrive, as JSON writes it as a text"
            return [f"{what}; declare keys of this type alone, such as dict[{kind}, …]"]
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
    if len(given) != len(came):
        return ["different keys become the same key in JSON"]
    return [_ORDER_ADVICE] if isinstance(given, OrderedDict) and list(given) != list(came) else None


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
    if given.tzinfo is None and given.fold != came.fold:
        return [_FOLD_ADVICE]
    # Not `==`: for moments in two zones it is False in the hour that a clock shows twice.
    same = given.replace(tzinfo=None) == came.replace(tzinfo=None) and given.utcoffset() == came.utcoffset()
    return None if same else _changed(given)


def _times(given: time, came: time) -> Found | None:
    if given.tzinfo is not None and came.tzinfo is None:
        return ["a time with this zone would arrive without it; give one with a fixed offset, or without a zone"]
    if given.tzinfo is None and given.fold != came.fold:
        return [_FOLD_ADVICE]
    return None if given == came else _changed(given)


def _values(given: Any, came: Any) -> Found | None:
    return None if given == came or (given != given and came != came) else _changed(given)  # noqa: PLR0124 - NaN


def _attributes(given: Any, came: Any) -> Found | None:
    """Compare objects of a class without `__eq__`, by their attributes."""
    return None if given is came else _fields(list(getattr(given, "__dict__", ())), given, came)


def _converted(given: object, came: object) -> Found | None:
    """Compare values of different types."""
    kind, other = type(given), type(came)
    if is_secret(kind):
        return [NO_SECRETS]
    if kind is int and other is float:
        return None if given == came else _changed(given)
    if kind in _PLAIN and other not in _PLAIN:
        return _interpreted(given, came)
    if kind is tuple and isinstance(came, tuple):  # a NamedTuple
        return _sequences(cast("tuple[object, ...]", given), cast("tuple[object, ...]", came))
    if issubclass(other, _VALUES) and issubclass(kind, other) and given == came:
        return _comparison(other)(given, came)
    if isinstance(given, float) and not math.isfinite(given):
        return ["NaN or an infinity, which JSON cannot hold"]
    name, theirs = _named(given), _named(came)
    article = "" if came is None else "an " if theirs[0] in "AEIOUaeiou" else "a "
    return [f"{name} given, which would arrive as {theirs}; give {article}{theirs}, or declare {name} as its type"]


def _interpreted(given: object, came: object) -> Found | None:
    """Compare a plain JSON value with the declared type's value that was decoded from it."""
    if getattr(came, "__pydantic_root_model__", False):
        return _compared(given, cast("Any", came).root)
    if isinstance(given, dict) and not is_secret(type(came)):
        return _members(cast("dict[str, object]", given), came)
    if isinstance(given, list) and isinstance(came, tuple):
        return _sequences(cast("list[object]", given), cast("tuple[object, ...]", came))
    if _holds_secret(came):
        return [NO_SECRETS]
    if isinstance(given, list) and isinstance(came, set | frozenset):
        items, count = cast("list[object]", given), len(cast("set[object]", came))
        return None if len(items) == count else [f"{len(items)} items would arrive as {count}"]
    return None


def _members(given: dict[str, object], came: object) -> Found | None:
    by_key = names_by_key(type(came))
    taken: set[str] | None = getattr(came, "__pydantic_fields_set__", None)
    found = _lost_keys(given, came, by_key, taken)
    if found is not None:
        return found
    for key, one in given.items():
        if key in by_key:
            found = _compared(one, getattr(came, by_key[key]))
            if found is not None:
                found.append(f"[{_shown(key)}]")
                return found
    # A validator may have made a secret from a value that was given under another key.
    others = (taken or set[str]()) - {by_key.get(key) for key in given}
    name = next((name for name in others if _holds_secret(getattr(came, name, None))), None)
    return None if name is None else [NO_SECRETS, f".{name}"]


def _lost_keys(given: dict[str, object], came: object, by_key: dict[str, str], taken: set[str] | None) -> Found | None:
    """Look for keys that were dropped in decoding. `taken` are the fields that a pydantic model has set."""
    tag = getattr(getattr(came, "__struct_config__", None), "tag_field", None)
    lost = [key for key in given if key not in by_key and key != tag]
    if taken is not None:  # a validator may have used keys that are no fields
        if len(given) <= len(taken):
            return None
        if not lost:
            twice = next(key for place, key in enumerate(given) if by_key[key] in map(by_key.get, list(given)[:place]))
            return [f"the key {_shown(twice)} would not arrive: another key is given for the same field"]
    if not lost:
        return None
    return [f"the key {_shown(lost[0])} would not arrive: {type(came).__qualname__} has no such field"]


@lru_cache(maxsize=10_000)
def names_by_key(kind: type[object]) -> dict[str, str]:
    """Map each key that may be given for a field of the class, its name or a pydantic alias, to the field's name."""
    by_key = {written: name for name, written in fields_of(kind)}
    for name, field in _pydantic_fields(kind).items():
        given: object = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
        for alias in getattr(given, "choices", (given,)):  # those of an AliasChoices; an AliasPath is ignored
            if isinstance(alias, str):
                by_key.setdefault(alias, name)
    return by_key


def _pydantic_fields(kind: type[object]) -> dict[str, object]:
    """Return pydantic's field infos of a model or a pydantic dataclass, by name; empty for other classes."""
    found: object = kind.__dict__.get("__pydantic_fields__") or kind.__dict__.get("model_fields")  # before 2.10
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def _holds_secret(value: object) -> bool:
    """Whether the value is or contains a pydantic secret. Fields of a model that were not set do not count."""
    if is_secret(type(value)):
        return True
    if isinstance(value, dict):
        return any(map(_holds_secret, cast("dict[object, object]", value).values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_secret, cast("Sequence[object]", value)))
    names: Iterable[str] = getattr(value, "__pydantic_fields_set__", None) or [
        name for name, _ in fields_of(type(value))
    ]
    return any(_holds_secret(getattr(value, name, None)) for name in names)


def _changed(given: object, *way: str) -> Found:
    if is_secret(type(given)):
        return [NO_SECRETS, *way]
    return [f"this {_named(given)} would arrive as another one: its JSON decodes to a different value", *way]


def _named(value: object) -> str:
    return "None" if value is None else type(value).__qualname__


def _shown(key: object) -> str:
    text = repr(key)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"
