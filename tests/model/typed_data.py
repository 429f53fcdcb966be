"""Types of data, and codecs for them."""

import enum
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec
import pydantic
from typing_extensions import TypedDict

from rexecutor.model.codec import Codec
from rexecutor.model.job import Limits
from rexecutor.model.json_form import DEPTH

LIMIT = Limits().data


class Line(msgspec.Struct, frozen=True):
    sku: str
    count: int = 1


class Order(msgspec.Struct, frozen=True):
    id: int
    lines: list[Line]
    note: str | None = None


@dataclass
class Point:
    x: float
    y: float = 0.0
    inner: "Point | None" = None
    tags: list[str] = field(default_factory=list[str])


class Address(TypedDict):
    street: str
    numbers: list[int]


class User(pydantic.BaseModel):
    name: str
    born: date
    friends: "list[User]" = []


class Colour(enum.Enum):
    RED = "red"


class NotJson:
    pass


def codec(kind: Any, *, limit: int | None = LIMIT, depth: int = DEPTH) -> Codec[Any]:
    return Codec(kind, owner="email_job", what="data", limit=limit, depth=depth)
