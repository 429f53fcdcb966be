"""The key of a unique job that is made of its data, or of some of their fields."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final, cast, get_origin

import msgspec
from msgspec import inspect

from rexecutor.errors import InvalidJobError
from rexecutor.model.codec import Codec, canonical
from rexecutor.model.fidelity import names_by_key
from rexecutor.model.json_form import PydanticModel, fields_of
from rexecutor.model.unique import UniquenessCriteria

_SHOWN_FIELDS: Final = 10
"""How many fields a message lists."""
_WITH_FIELDS: Final = (inspect.StructType, inspect.DataclassType, inspect.NamedTupleType, inspect.TypedDictType)


def with_data_key(criteria: UniquenessCriteria, codec: Codec[Any], encoded: str) -> UniquenessCriteria:
    """Return the criteria with the key that the data make; the same criteria if they do not compare data.

    Args:
        criteria: The job's criteria.
        codec: The codec of the executor's data.
        encoded: The data, as this codec has encoded them.

    Raises:
        InvalidJobError: The data lack one of the fields, or have no fields at all.
    """
    if criteria.data_fields is None:
        return criteria
    if criteria.data_fields:
        encoded = _chosen(sorted(criteria.data_fields), codec, encoded)
    # `person` makes it another digest than that of an equal key.
    key = hashlib.blake2b(f"{criteria.key or ''}:{canonical(encoded)}".encode(), digest_size=32, person=b"by_data")
    return replace(criteria, key=key.hexdigest(), data_fields=None)


def mistake_in_fields(kind: Any, criteria: UniquenessCriteria | None) -> str | None:
    """Return what is wrong with the fields that criteria take from data of a declared type; None if they may be right.

    Only an enqueue can tell whether a dict has a key.
    """
    if criteria is None or not criteria.data_fields:
        return None
    fields = sorted(criteria.data_fields)
    known = _known_fields(inspect.type_info(kind))
    unknown = None if known is None else next((field for field in fields if field not in known), None)
    return None if known is None or unknown is None else f"{_named(fields)}: {_no_field(unknown, known.values())}"


def _chosen(fields: Sequence[str], codec: Codec[Any], encoded: str) -> str:
    """Return the JSON of an object with these fields of the data. One that may be absent from the data is left out."""
    value: object = codec.decode(encoded)
    while getattr(value, "__pydantic_root_model__", False):
        value = cast("Any", value).root
    what = f"{codec.name}: {_named(fields)}"
    members = _members(value, encoded)
    if members is None:
        raise InvalidJobError(f"{what}: the data have no fields; write by_data() to compare all data")
    cls = type(value)
    known = names_by_key(cls) or _known_fields(inspect.type_info(codec.kind)) or {}
    stored = dict(fields_of(cls))
    chosen: dict[str, msgspec.Raw] = {}
    for field in fields:
        name = field if field in stored else known.get(field, field)
        written = stored.get(name, name)
        if written in members:
            chosen[written] = members[written]
        elif field not in known and field not in stored:
            raise InvalidJobError(f"{what}: {_no_field(field, stored or known.values() or members)}")
    return msgspec.json.encode(chosen).decode()


def _members(value: object, encoded: str) -> dict[str, msgspec.Raw] | None:
    """Return the JSON of each field of an encoded value, by the field's name in JSON; None if it has no fields."""
    if encoded.startswith("{"):
        return msgspec.json.decode(encoded, type=dict[str, msgspec.Raw])
    names: Sequence[str] = [written for _, written in fields_of(type(value))] or getattr(value, "_fields", ())
    if not encoded.startswith("[") or not names:
        return None
    items = msgspec.json.decode(encoded, type=list[msgspec.Raw])
    tag = max(len(items) - len(names), 0)  # a Struct with `array_like` may have a tag before its fields
    return dict(zip(names, items[tag:], strict=False))


def _known_fields(info: inspect.Type) -> Mapping[str, str] | None:
    """Map the names by which a type's fields may be given to the fields' names. None if there may be any field."""
    if isinstance(info, inspect.Metadata):
        return _known_fields(info.type)
    if isinstance(info, inspect.UnionType):
        known: dict[str, str] = {}
        for one in info.types:
            of_one = _known_fields(one)
            if of_one is None:
                return None
            known |= of_one
        return known
    if isinstance(info, _WITH_FIELDS):
        names = {field.encode_name: field.name for field in info.fields}
        aliases = {} if isinstance(info, inspect.TypedDictType) else names_by_key(_class_of(info.cls))
        return names | dict(aliases) | {field.name: field.name for field in info.fields}
    if isinstance(info, inspect.CustomType) and issubclass(_class_of(info.cls), PydanticModel):
        kind: Any = _class_of(info.cls)
        has_more = kind.model_config.get("extra") == "allow" or kind.__pydantic_root_model__
        return None if has_more else names_by_key(kind)
    return None if isinstance(info, inspect.AnyType | inspect.DictType | inspect.CustomType) else {}


def _class_of(kind: Any) -> type[object]:
    """Return the class of what may be a generic alias, such as `Page[int]`."""
    return cast("type[object]", get_origin(kind) or kind)


def _named(fields: Iterable[str]) -> str:
    return f"by_data({', '.join(map(repr, fields))})"


def _no_field(field: str, known: Iterable[str]) -> str:
    names = sorted(set(known))
    if not names:
        return f"the data have no field {field!r}; write by_data() to compare all data"
    listed = ", ".join(map(repr, names[:_SHOWN_FIELDS])) + ", …" * (len(names) > _SHOWN_FIELDS)
    meant = get_close_matches(field, names, n=1)
    return f"the data have no field {field!r}; they have {listed}" + (f"; did you mean {meant[0]!r}?" if meant else "")
