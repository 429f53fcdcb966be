"""The JSON form of a value: sorted keys, sorted sets, and no deeper than every interpreter and store can read."""

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, cast, runtime_checkable

import msgspec

NO_SECRETS: Final = "a pydantic secret is not stored; enqueue a reference, and read the secret in `execute`"

_BASES: Final = (str, int, float, bytes)
"""Types whose subclasses msgspec does not encode."""

DEPTH: Final = 100
"""How deep arrays and objects may be nested.

Of the libraries and stores that read the JSON, pydantic has the lowest limit: 200 levels. CPython 3.11 takes about
900, minus the frames already on the stack; PostgreSQL's `json` about 6,000 with its default `max_stack_depth`.
"""

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_SETS: Final = (set, frozenset)
_SEQUENCES: Final = (list, tuple, set, frozenset)
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


@runtime_checkable
class PydanticModel(Protocol):
    """The methods of a pydantic model that are used here. pydantic itself is not imported."""

    def model_dump(self, *, mode: str, by_alias: bool, round_trip: bool, warnings: bool) -> Any:
        """Return the model's fields by name."""

    @classmethod
    def model_validate_json(cls, json_data: bytes, *, by_alias: bool, by_name: bool) -> Any:
        """Return the model that the JSON describes."""


def is_secret(kind: object) -> bool:
    """Whether this is one of pydantic's secret types, whose JSON holds asterisks instead of the secret."""
    return isinstance(kind, type) and hasattr(kind, "get_secret_value")


def to_builtins(value: object) -> Any:
    """Return what msgspec should encode instead of a value of a type that it does not know.

    Raises:
        NotImplementedError: It is no pydantic model.
    """
    if isinstance(value, PydanticModel):
        # By name and without computed fields: with aliases, the model would be read back with its defaults.
        # No warnings about defaults that were not validated: `fidelity` checks later that they survive.
        return value.model_dump(mode="json", by_alias=False, round_trip=True, warnings=False)
    raise NotImplementedError(not_json(type(value)))


class NotData:
    """Base of Structs that are never data. msgspec would begin to write them, and name a type within them instead."""

    __slots__ = ()


def not_data(value: object, depth: int = 4) -> str | None:
    """Return the message for a value that is `NotData` or holds such a value, at most `depth` deep; None if neither."""
    if isinstance(value, NotData):
        return not_json(type(value))
    inner: Iterable[object] = ()
    if depth == 0:  # the value may hold itself
        return None
    if isinstance(value, dict):
        inner = cast("dict[object, object]", value).values()
    elif isinstance(value, _SEQUENCES):
        inner = cast("Iterable[object]", value)
    elif isinstance(value, msgspec.Struct):
        inner = (getattr(value, name) for name in value.__struct_fields__)
    return next(filter(None, (not_data(one, depth - 1) for one in inner)), None)


def not_json(kind: type[Any]) -> str:
    """Return the message for a type that JSON cannot hold: what is wrong, and what to use instead."""
    if is_secret(kind):
        return NO_SECRETS
    found = f"{kind.__qualname__} is not a type that JSON can hold"
    base = next((base for base in _BASES if issubclass(kind, base)), None)
    if base is not None:
        return f"{found}; use {base.__name__}, such as {base.__name__}(value)"
    return f"{found}; use plain JSON values, a dataclass, a msgspec Struct or a pydantic model"


ENCODER: Final = msgspec.json.Encoder(enc_hook=to_builtins)
SORTING: Final = msgspec.json.Encoder(enc_hook=to_builtins, order="deterministic")
"""Encoder that sorts keys, if all are texts. It sorts the members of a set only if Python can compare them."""

_EXACT: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def is_too_deep(text: bytes, limit: int) -> bool:
    """Whether arrays and objects are nested more than `limit` deep in the JSON text. Does not recurse."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    without_escapes = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    left = b"".join(without_escapes.split(b'"')[::2]).translate(_SQUARE, _NO_BRACKETS)
    for _ in range(limit):
        inmost, left = left, left.replace(b"[]", b"")  # removes the innermost level everywhere
        if left == inmost:  # nothing is left, or the text is not JSON
            return False
    return bool(left)


def in_order(value: object, text: bytes, read: Callable[[str], Any]) -> bytes:
    """Return the value's JSON text with its keys and the members of its sets sorted.

    Args:
        value: The value that the text was encoded from.
        text: Its JSON, with the members of sets in any order and keys in the order of the value.
        read: A JSON decoder that keeps the order of the keys.
    """
    return _EXACT.encode(_ordered(value, read(text.decode()))).encode()


def holds_set(value: object) -> bool:
    """Whether the value is or contains a set, at any depth."""
    for item in _nested(value):  # noqa: SIM110 - `any` takes twice as long, for each enqueue
        if isinstance(item, _SETS):
            return True
    return False


def set_defaults(value: object) -> None:
    """Set the fields that dataclasses in the value have as attributes of their classes only.

    msgspec decodes a dataclass without setting these fields, and encodes one without them.
    """
    for item in _nested(value):
        if dataclasses.is_dataclass(item) and hasattr(item, "__dict__"):
            for name, _ in fields_of(type(item)):
                if name not in vars(item) and hasattr(item, name):
                    object.__setattr__(item, name, getattr(item, name))  # it may be frozen


def _nested(value: object) -> Iterator[object]:
    """Yield the value and all that it contains, each object once, except the keys of dicts and plain JSON values."""
    seen: set[int] = set()
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if type(item) in _PLAIN or id(item) in seen:
            continue
        yield item
        seen.add(id(item))  # it may contain itself
        if isinstance(item, dict):
            waiting += cast("dict[object, object]", item).values()
        elif isinstance(item, _SEQUENCES):
            waiting += cast("Iterable[object]", item)
        else:
            waiting += [getattr(item, name, None) for name, _ in fields_of(type(item))]


@lru_cache(maxsize=10_000)
def fields_of(kind: type[Any]) -> Sequence[tuple[str, str]]:
    """Return pairs of each field's name and its name in JSON; empty if the class has no declared fields.

    Declared fields are those of msgspec Structs, dataclasses, attrs classes and pydantic models.
    """
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
    """Return the tree decoded from the value's JSON, with the members of sets sorted.

    JSON does not tell a set from a list. So the value and the tree are walked together, to find the sets.
    """
    if isinstance(value, set | frozenset) and isinstance(tree, list):
        return _ordered_set(cast("Collection[object]", value), cast("list[Any]", tree))
    if isinstance(value, dict) and isinstance(tree, dict):
        members, read = cast("dict[object, object]", value), cast("dict[str, Any]", tree)
        if len(members) != len(read):  # a serializer of the user's own wrote something else
            return read
        pairs = zip(members.values(), read.items(), strict=True)
        return {key: _ordered(member, inner) for member, (key, inner) in pairs}
    if isinstance(value, list | tuple) and isinstance(tree, list):
        items = zip(cast("Sequence[object]", value), cast("list[Any]", tree), strict=False)
        inners = [_ordered(item, inner) for item, inner in items]
        return [*inners, *tree[len(inners) :]]
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


def _ordered_set(members: Collection[object], read: list[Any]) -> list[Any]:
    # Members may hold sets of their own: sort those first. Encoders write the members in the set's own order.
    if any(isinstance(one, list | dict) for one in read) and len(members) == len(read):
        read = [_ordered(member, inner) for member, inner in zip(members, read, strict=True)]
    kinds = set(map(type, read))
    return sorted(read) if kinds == {str} or kinds <= {int, float} else sorted(read, key=SORTING.encode)
