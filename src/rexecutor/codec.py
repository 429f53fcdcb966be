"""Typed data to JSON text and back, checked in both directions.

What may be stored is the same for every backend: JSON without NaN, infinities, NUL characters or lone surrogates
(PostgreSQL's jsonb takes none of them). Types are what msgspec knows (str, int, None, list, dict, dataclass,
TypedDict, `msgspec.Struct` …) and pydantic models, also inside the others.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import msgspec
from msgspec import inspect

from rexecutor.errors import DecodeError, DefinitionError, EncodeError

T = TypeVar("T")

_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


@runtime_checkable
class _PydanticModel(Protocol):
    """What of a pydantic model is used; pydantic itself is not imported."""

    def model_dump(self, *, mode: str, by_alias: bool, round_trip: bool) -> Any: ...

    @classmethod
    def model_validate_json(cls, json_data: bytes, *, by_alias: bool, by_name: bool) -> Any: ...


def _to_builtins(value: object) -> Any:
    if isinstance(value, _PydanticModel):
        # By name and without computed fields: else a model with aliases comes back with its defaults instead.
        return value.model_dump(mode="json", by_alias=False, round_trip=True)
    raise NotImplementedError(f"{type(value).__qualname__} is not a type that JSON can hold")


def _to_sortable(value: object) -> Any:
    if isinstance(value, _PydanticModel):
        # Not as JSON, where a set has become a list in an order that differs between processes.
        return value.model_dump(mode="python", by_alias=False, round_trip=True)
    return _to_builtins(value)


def _from_builtins(kind: type, value: object) -> Any:
    if kind is object:  # as in `dict[str, object]`: whatever JSON holds
        return value
    if isinstance(kind, type) and issubclass(kind, _PydanticModel):  # pyright: ignore[reportUnnecessaryIsInstance] - msgspec may pass a generic alias
        # As JSON: a strict model takes a date's text from JSON, and from nowhere else.
        return kind.model_validate_json(msgspec.json.encode(value), by_alias=True, by_name=True)
    raise NotImplementedError(f"{kind!r} is not a type that JSON can hold")


_ENCODER = msgspec.json.Encoder(enc_hook=_to_builtins)
_SORTING = msgspec.json.Encoder(enc_hook=_to_sortable, order="deterministic")
_EXACT = msgspec.json.Decoder(float_hook=Decimal)
_ANY = msgspec.json.Decoder()
_WITH_KEYS = frozenset({"AnyType", "CustomType", "DictType", "FrozenDictType"})
"""msgspec's words for what may hold a dict with keys of whatever kind, `1` and `"1"` at the same time."""
_WITH_FIELDS = frozenset({"CustomType", "DataclassType", "NamedTupleType", "StructType", "TypedDictType"})


class Codec(Generic[T]):
    """Encodes and decodes one declared type. Thread-safe; the type is read once, when it is made."""

    def __init__(self, kind: Any, *, owner: str, what: str, limit: int | None = None, is_sorted: bool = False) -> None:
        """Prepare for a type.

        Args:
            kind: The declared type; anything that may stand in an annotation.
            owner: The executor's name, for messages.
            what: `"data"` or `"metadata"`, for messages.
            limit: The most bytes that an encoding may have; None for no limit.
            is_sorted: Whether sets and keys are written in order, so that equal values are written the same.

        Raises:
            DefinitionError: JSON cannot hold the type.
        """
        self._name = f"{owner}: {what}"
        self._type_name = _type_name(kind)
        self._limit = limit
        self._is_text = kind is str
        self._encoder = _SORTING if is_sorted else _ENCODER
        try:
            self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind, dec_hook=_from_builtins)
            kinds = _kinds(kind)
        except (TypeError, ValueError, NameError) as error:
            raise DefinitionError(f"{self._name}: {self._type_name} cannot be stored as JSON: {error}") from error
        self._has_keys = bool(kinds & _WITH_KEYS) and not is_sorted  # which refuses all keys that are no texts
        self._has_fields = bool(kinds & _WITH_FIELDS)

    def encode(self, value: T) -> str:
        """Answer the value as JSON text that will decode.

        Raises:
            EncodeError: It is of another type, too large, or holds what JSON cannot.
        """
        try:
            encoded = self._encoder.encode(value)
            self._check(value, encoded)
            decoded = self._decoder.decode(encoded)
            if self._has_keys:
                self._check_keys(encoded, decoded)
        except EncodeError:
            raise
        except Exception as error:  # hooks and properties of users' types may raise anything
            raise EncodeError(f"{self._name}: {self._type_name} expected: {_reason(error)}") from error
        return encoded.decode()

    def decode(self, text: str) -> T:
        """Answer the value that the text holds.

        Raises:
            DecodeError: The text is not JSON, or not of the declared type.
        """
        try:
            return self._decoder.decode(text)
        except Exception as error:
            raise DecodeError(f"{self._name}: {self._type_name} expected: {_reason(error)}") from error

    def missing(self) -> EncodeError:
        """Answer the error for a job without a value."""
        return EncodeError(f"{self._name} is missing, {self._type_name} expected")

    def _check(self, value: T, encoded: bytes) -> None:
        if self._is_text and not isinstance(value, str):  # msgspec writes bytes, dates and UUIDs as text
            raise EncodeError(f"{self._name}: str expected, {type(value).__name__} given")
        if self._limit is not None and len(encoded) > self._limit:
            raise EncodeError(f"{self._name} has {len(encoded):,} bytes as JSON, at most {self._limit:,} are allowed")
        if b"\\u0000" in encoded and _ESCAPED_NUL.search(encoded):
            raise EncodeError(f"{self._name} holds a NUL character, which JSON in a database cannot")
        # msgspec writes NaN and the infinities as null: without a null there is none.
        if b"null" in encoded and any(not math.isfinite(number) for number in _floats(value)):
            raise EncodeError(f"{self._name} holds NaN or an infinity, which JSON cannot")

    def _check_keys(self, encoded: bytes, decoded: T) -> None:
        """Refuse keys that JSON writes the same: of these, reading keeps one. What was read is shorter when written."""
        read: object = _ANY.decode(encoded) if self._has_fields else decoded  # of which some may have defaults
        if len(_ENCODER.encode(read)) != len(encoded) and (key := _twice(encoded)) is not None:
            raise EncodeError(f"{self._name} holds different keys that JSON writes the same, as {key}")


def canonical(text: str) -> str:
    """Answer the one form of all JSON texts that mean the same: keys sorted, 1.0 and 1e0 written as 1 is.

    Numbers are compared as decimals, exactly, as PostgreSQL's `jsonb` does. Text that is not JSON, or too large to be
    taken apart, is answered as it is.
    """
    return _short(text) if len(text) <= _SHORT else _long(text)


def _long(text: str) -> str:
    try:
        return "".join(_canonical_parts(_EXACT.decode(text)))
    except (ValueError, ArithmeticError, RecursionError):
        return text


_SHORT = 1_024
_short = lru_cache(maxsize=1_000)(_long)


def _canonical_parts(value: object) -> Iterator[str]:
    match value:
        case dict():
            members = cast("dict[str, object]", value)
            yield "{"
            for place, key in enumerate(sorted(members)):
                yield f"{',' * (place > 0)}{_ENCODER.encode(key).decode()}:"
                yield from _canonical_parts(members[key])
            yield "}"
        case list():
            yield "["
            for place, item in enumerate(cast("list[object]", value)):
                yield "," * (place > 0)
                yield from _canonical_parts(item)
            yield "]"
        case bool() | None | str():
            yield _ENCODER.encode(value).decode()
        case _:
            sign, digits, exponent = Decimal(cast("int | Decimal", value)).as_tuple()
            written = "".join(map(str, digits)).lstrip("0")
            significant = written.rstrip("0")
            zeros = len(written) - len(significant)
            yield f"{'-' * sign}{significant}e{int(exponent) + zeros}" if significant else "0"


def _kinds(kind: Any) -> frozenset[str]:
    """Answer the names of msgspec's words for all that the type is made of."""
    seen: dict[int, object] = {}
    waiting: list[object] = [inspect.type_info(kind)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, tuple):
            waiting += cast("tuple[object, ...]", part)
        elif isinstance(part, inspect.Type | inspect.Field) and id(part) not in seen:
            seen[id(part)] = part
            waiting += (getattr(part, name) for name in part.__struct_fields__)
    return frozenset(type(part).__name__ for part in seen.values())


def _twice(encoded: bytes) -> str | None:
    """Answer the first key that stands twice in one object, as JSON; None where there is none."""
    found: list[str] = []

    def look(members: list[tuple[str, object]]) -> None:
        found.extend(key for key, times in Counter(key for key, _ in members).items() if times > 1)

    json.loads(encoded, object_pairs_hook=look, parse_int=str, parse_float=str)
    return _ENCODER.encode(found[0]).decode() if found else None


def _floats(value: object) -> Iterator[float]:
    """Walk all floats in a value, by the same road as the encoder."""
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float):
            yield item
        elif isinstance(item, dict):
            members = cast("dict[object, object]", item)
            waiting += members.keys()
            waiting += members.values()
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += cast("list[object]", item)
        elif item is not None and not isinstance(item, str | int):
            inner = msgspec.to_builtins(item, enc_hook=_to_builtins)
            if type(inner) is not type(item):
                waiting.append(inner)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "it holds a lone surrogate, which is no character"
    return str(error) or type(error).__name__


def _type_name(kind: Any) -> str:
    name: str | None = None if getattr(kind, "__args__", None) else getattr(kind, "__qualname__", None)
    return "None" if kind is None or kind is type(None) else name or str(kind)
