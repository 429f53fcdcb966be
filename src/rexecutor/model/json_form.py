"""The one JSON form of a value: keys and sets in order, no deeper than every interpreter and store can read."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, cast, runtime_checkable

import msgspec

NO_SECRETS: Final = "a pydantic secret is not stored; enqueue a reference, and read the secret in `execute`"

_BASES: Final = (str, int, float, bytes)
"""Types of which msgspec writes no subclass."""

DEPTH: Final = 100
"""How deep arrays and objects may be nested.

The smallest limit of what reads the JSON is pydantic's: 200 levels. CPython 3.11 takes about 900, less what the stack
holds already; PostgreSQL's `json` takes about 6,000 with its default `max_stack_depth`.
"""

_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


@runtime_checkable
class PydanticModel(Protocol):
    """The part of a pydantic model that is used. pydantic itself is not imported."""

    def model_dump(self, *, mode: str, by_alias: bool, round_trip: bool, warnings: bool) -> Any:
        """Return its fields by name."""

    @classmethod
    def model_validate_json(cls, json_data: bytes, *, by_alias: bool, by_name: bool) -> Any:
        """Return the model that the JSON describes."""


def is_secret(kind: object) -> bool:
    """Whether it is one of pydantic's types of secrets. Their JSON holds asterisks."""
    return isinstance(kind, type) and hasattr(kind, "get_secret_value")


def to_builtins(value: object) -> Any:
    """Return what msgspec can write in the place of a value that it does not know."""
    if isinstance(value, PydanticModel):
        # By name and without computed fields: with aliases, the model would come back with its defaults.
        # Without warnings of defaults that were not validated: whether they come back is looked at later.
        return value.model_dump(mode="json", by_alias=False, round_trip=True, warnings=False)
    raise NotImplementedError(not_json(type(value)))


def not_json(kind: type[Any]) -> str:
    """Return what is wrong with a type that JSON cannot hold, and what to do."""
    if is_secret(kind):
        return NO_SECRETS
    found = f"{kind.__qualname__} is not a type that JSON can hold"
    base = next((base for base in _BASES if issubclass(kind, base)), None)
    if base is not None:
        return f"{found}; use {base.__name__}, such as {base.__name__}(value)"
    return f"{found}; use plain JSON values, a dataclass, a msgspec Struct or a pydantic model"


ENCODER: Final = msgspec.json.Encoder(enc_hook=to_builtins)
SORTING: Final = msgspec.json.Encoder(enc_hook=to_builtins, order="deterministic")
"""Puts keys in order, if all are texts. Members of sets it orders only if Python can compare them."""

_EXACT: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def is_too_deep(text: bytes, most: int) -> bool:
    """Whether arrays and objects are nested more than `most` deep in the JSON text. Does not recurse."""
    if text.count(b"[") + text.count(b"{") <= most:
        return False
    without_escapes = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    left = b"".join(without_escapes.split(b'"')[::2]).translate(_SQUARE, _NO_BRACKETS)
    for _ in range(most):
        inmost, left = left, left.replace(b"[]", b"")  # takes one level away, everywhere
        if left == inmost:  # nothing is left, or it is no JSON
            return False
    return bool(left)


def in_order(value: object, text: bytes, read: Callable[[str], Any]) -> bytes:
    """Return the JSON text of the value with the members of its sets in order, and with its keys in order.

    Args:
        value: What the text was written from.
        text: JSON, with the members of sets in any order, and keys in the order of the value.
        read: Reads the text, and keeps the order of the keys.
    """
    return _EXACT.encode(_ordered(value, read(text.decode()))).encode()


def holds_set(value: object) -> bool:
    """Whether the value is or contains a set, at any depth."""
    seen: set[int] = set()
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, set | frozenset):
            return True
        if item is None or isinstance(item, str | int | float) or id(item) in seen:
            continue
        seen.add(id(item))  # it may contain itself
        if isinstance(item, dict):
            waiting += cast("dict[object, object]", item).values()
        elif isinstance(item, list | tuple):
            waiting += cast("Sequence[object]", item)
        else:
            waiting += [getattr(item, name, None) for name, _ in fields_of(type(item))]
    return False


@lru_cache(maxsize=10_000)
def fields_of(kind: type[Any]) -> Sequence[tuple[str, str]]:
    """Return the fields of a class, each with its name in JSON; none if it is no class of fields."""
    if issubclass(kind, msgspec.Struct):
        return tuple(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    names: Iterable[str] = ()
    if dataclasses.is_dataclass(kind):
        names = (field.name for field in dataclasses.fields(kind))
    elif hasattr(kind, "__attrs_attrs__"):
        names = (attribute.name for attribute in cast("Any", kind).__attrs_attrs__)
    elif issubclass(kind, PydanticModel):
        names = cast("Any", kind).model_fields
    return tuple((name, name) for name in names)


def _ordered(value: object, tree: Any) -> Any:
    """Return what was read from the value's JSON, with the members of sets in the order of their JSON text."""
    if isinstance(value, set | frozenset) and isinstance(tree, list):
        return _ordered_set(cast("set[object]", value), cast("list[Any]", tree))
    if isinstance(value, dict) and isinstance(tree, dict):
        members, read = cast("dict[object, object]", value), cast("dict[str, Any]", tree)
        pairs = zip(members.values(), read.items(), strict=True)
        return {key: _ordered(member, inner) for member, (key, inner) in pairs}
    if isinstance(value, list | tuple) and isinstance(tree, list):
        items = zip(cast("Sequence[object]", value), cast("list[Any]", tree), strict=True)
        return [_ordered(item, inner) for item, inner in items]
    return _ordered_fields(cast("object", value), tree)


def _ordered_fields(value: object, tree: Any) -> Any:
    fields = fields_of(type(value))
    if getattr(value, "__pydantic_root_model__", False):
        return _ordered(getattr(value, "root", None), tree)
    if fields and isinstance(tree, dict):
        read = cast("dict[str, Any]", tree)
        by_name = {written: getattr(value, name, None) for name, written in fields}
        return {key: _ordered(by_name.get(key), inner) for key, inner in read.items()}
    if fields and isinstance(tree, list):  # a Struct with `array_like`, after its tag if it has one
        read = cast("list[Any]", tree)
        first = max(len(read) - len(fields), 0)
        values = [getattr(value, name) for name, _ in fields]
        return [*read[:first], *(_ordered(member, inner) for member, inner in zip(values, read[first:], strict=False))]
    return tree


def _ordered_set(members: Iterable[object], read: list[Any]) -> list[Any]:
    if any(isinstance(one, list | dict) for one in read):  # which may hold sets of their own
        own = [(member, json.loads(ENCODER.encode(member))) for member in members]
        texts = set(map(_EXACT.encode, read))
        if all(_EXACT.encode(written) in texts for _, written in own):
            read = [_ordered(member, written) for member, written in own]
    kinds = set(map(type, read))
    return sorted(read) if kinds == {str} or kinds <= {int, float} else sorted(read, key=SORTING.encode)
