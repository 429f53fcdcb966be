"""What an enqueue accepts is what the job receives: a value that would come back different is refused."""

import collections
import dataclasses
import enum
import functools
import math
import uuid
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, NotRequired
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from asyncpg.pgproto import pgproto
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from rexecutor import Where
from rexecutor.errors import DecodeError, DefinitionError, EncodeError
from tests.model.typed_data import codec

PRAGUE = ZoneInfo("Europe/Prague")


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


class Kind(enum.Enum):
    A = "a"


class Place(NamedTuple):
    x: int
    y: int


class Place3(NamedTuple):
    x: int
    y: int
    z: int = 0


class Kinds(NamedTuple):
    name: str


class Moment(datetime):
    pass


class Base(msgspec.Struct):
    id: int = 0


class Derived(Base):
    more: str = ""


@dataclasses.dataclass
class Point:
    x: float = 0.0


@dataclasses.dataclass
class Point3(Point):
    z: float = 0.0


class Parent(pydantic.BaseModel):
    id: int = 0


class Child(Parent):
    more: str = ""


class Login(pydantic.BaseModel):
    password: pydantic.SecretStr
    key: pydantic.SecretBytes = pydantic.SecretBytes(b"")


class Excluding(pydantic.BaseModel):
    shown: int = 1
    hidden: int = pydantic.Field(default=1, exclude=True)
    cache: dict[str, int] = pydantic.Field(default={}, exclude=True)


class Sometimes(pydantic.BaseModel):
    n: Annotated[int | None, pydantic.Field(exclude_if=lambda n: n is None)] = 4


class Sealed(pydantic.BaseModel):
    pin: pydantic.SecretStr | None = pydantic.Field(default=None, exclude=True)


class Loose(pydantic.BaseModel):
    any: Any = None
    n: int = 1


@pydantic_dataclass
class Keeping:
    hidden: int = pydantic.Field(default=1, exclude=True)


class Vault(pydantic.BaseModel):
    password: pydantic.SecretStr = pydantic.Field(pydantic.SecretStr("default"), alias="pw")
    old: list[pydantic.SecretStr] = []
    few: frozenset[pydantic.SecretStr] = frozenset()
    named: dict[str, pydantic.SecretStr] = {}
    pin: pydantic.Secret[int] | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _take_word(cls, given: Any) -> Any:
        return {"password": given["word"]} if "word" in given else given


class Bare(pydantic.RootModel[pydantic.SecretStr]):
    pass


class Aliased(pydantic.BaseModel):
    id: int = pydantic.Field(0, validation_alias=pydantic.AliasChoices("ID", pydantic.AliasPath("ids", 0)))
    at: datetime = pydantic.Field(datetime(2026, 1, 1, tzinfo=UTC), alias="At")


class Amounts(pydantic.RootModel[dict[str, int]]):
    pass


class Valued(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(use_enum_values=True)

    kind: Kind = Kind.A


class Appointment(pydantic.BaseModel):
    at: datetime


class Unvalidated(pydantic.BaseModel):
    n: int = "1"  # pyright: ignore[reportAssignmentType] - wrong on purpose


class Open(msgspec.Struct, dict=True):
    n: int = 1

    @functools.cached_property
    def twice(self) -> int:
        return 2 * self.n


@dataclasses.dataclass
class Summed:
    n: int = 1

    def __post_init__(self) -> None:
        self.total = self.n + 1


class Sorting(pydantic.BaseModel):
    named: collections.OrderedDict[str, int]


class Growing(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def _grow(cls, name: str) -> str:
        return name + "!"


class Family(pydantic.BaseModel):
    head: Parent
    others: list[Parent] = []


class Extra(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


class Holder(msgspec.Struct):
    one: Base = msgspec.field(default_factory=Base)
    many: list[Point] = msgspec.field(default_factory=list[Point])
    named: dict[str, Base | None] = msgspec.field(default_factory=dict[str, Base | None])
    text: str = ""
    anything: Any = None
    login: Login | None = None


@dataclasses.dataclass
class Counting:
    n: int = 0

    def __post_init__(self) -> None:
        self.n += 1


@dataclasses.dataclass
class Uncarried:
    given: int = 0
    made: int = dataclasses.field(default=0, init=False)


class Words(TypedDict):
    a: int
    b: NotRequired[int]


@pydantic_dataclass
class Even:
    n: int
    tags: set[str] = dataclasses.field(default_factory=set[str])

    @pydantic.field_validator("n")
    @classmethod
    def _check(cls, n: int) -> int:
        if n % 2:
            raise ValueError(f"{n} is odd")
        return n


class Texts(str):
    __slots__ = ()


def excluding(hidden: int) -> Excluding:
    return Excluding(hidden=hidden)


def uncarried(made: int) -> Uncarried:
    value = Uncarried()
    value.made = made
    return value


def opened(name: str) -> Open:
    value = Open()
    setattr(value, name, 5)
    return value


def used() -> Open:
    value = Open()
    assert value.twice == 2
    return value


def extended() -> Summed:
    value = Summed()
    value.more = 5  # pyright: ignore[reportAttributeAccessIssue] - wrong on purpose
    return value


def odd() -> Even:
    value = Even(2)
    value.n = 3
    return value


REFUSED: Sequence[tuple[str, Any, Any, str]] = (
    (
        "a secret",
        Login,
        Login(password=pydantic.SecretStr("x")),
        r"\$\.password: a pydantic secret is not stored; enqueue a reference, and",
    ),
    (
        "secret bytes",
        Login,
        Login(password=pydantic.SecretStr(""), key=pydantic.SecretBytes(b"x")),
        r"\$\.key: a pydantic secret is not stored",
    ),
    (
        "a secret in a Struct",
        Holder,
        Holder(login=Login(password=pydantic.SecretStr("x"))),
        r"\$\.login\.password: a pydantic secret",
    ),
    ("a secret given as a dict", Login, {"password": "pw"}, r"\$\['password'\]: a pydantic secret is not stored"),
    ("a secret in a dict in a Struct", Holder, Holder(login={"password": "pw"}), r"\$\.login\['password'\]: a py"),  # pyright: ignore[reportArgumentType]
    ("a secret in a dict for a Struct", Holder, {"login": {"password": "pw"}}, r"\$\['login'\]\['password'\]: a py"),
    ("a secret by its alias", Vault, {"pw": "x"}, r"\$\['pw'\]: a pydantic secret"),
    ("secrets in a list", Vault, {"old": ["x"]}, r"\$\['old'\]\[0\]: a pydantic secret"),
    ("secrets in a set", Vault, {"few": ["x"]}, r"\$\['few'\]: a pydantic secret"),
    ("secrets in a dict", Vault, {"named": {"a": "x"}}, r"\$\['named'\]\['a'\]: a pydantic secret"),
    ("a secret of numbers", Vault, {"pin": 1}, r"\$\['pin'\]: a pydantic secret"),
    ("a secret that a validator makes", Vault, {"word": "x"}, r"\$\.password: a pydantic secret"),
    ("a secret that is a whole model", Bare, "x", "a pydantic secret"),
    ("an excluded field", Excluding, excluding(2), r"\$\.hidden: `exclude=True` keeps this field out of JSON"),
    ("an excluded field in a list", list[Excluding], [excluding(1), excluding(2)], r"\$\[1\]\.hidden: `exclude=True`"),
    ("an excluded dict", Excluding, Excluding(cache={"b": 1}), r"\$\.cache: `exclude=True`"),
    ("an excluded field of a dataclass", Keeping, Keeping(2), r"\$\.hidden: `exclude=True`"),
    ("a field excluded by a condition", Sometimes, Sometimes(n=None), r"\$\.n: `exclude=True` keeps this field out"),
    (
        "a secret in an excluded field",
        Sealed,
        Sealed(pin=pydantic.SecretStr("x")),
        r"\$\.pin: a pydantic secret is not",
    ),
    ("a secret as Any", dict[str, Any], {"a": pydantic.SecretStr("x")}, r"SecretStr is not a type|a pydantic secret"),
    (
        "a secret as Any in a model",
        Loose,
        Loose(any=pydantic.SecretStr("x")),
        r"\$\.any: a pydantic secret is not stored",
    ),
    (
        "a None that is not declared",
        Loose,
        Loose.model_construct(n=None),
        r"Input should be a valid integer - at `\$\.n`",
    ),
    ("a subclass of a Struct", Base, Derived(1, "x"), "Base expected, Derived given, which would arrive as Base"),
    ("a subclass of a dataclass", Point, Point3(1, 2), "Point expected, Point3 given"),
    ("a subclass of a model", Parent, Child(id=1), "Parent expected, Child given"),
    ("a subclass within a Struct", Holder, Holder(one=Derived()), r"\$\.one: Derived given"),
    ("a subclass in a list", Holder, Holder(many=[Point(), Point3()]), r"\$\.many\[1\]: Point3 given"),
    ("a subclass in a dict", Holder, Holder(named={"a": None, "b": Derived()}), r"\$\.named\['b'\]: Derived given"),
    ("a subclass in an Optional", Base | None, Derived(), "Derived given"),
    ("a subclass within a model", Family, Family(head=Child(id=1)), r"\$\.head: Child given"),
    ("a subclass in a model's list", Family, Family(head=Parent(), others=[Child()]), r"\$\.others\[0\]: Child given"),
    ("a dict of a subclass", dict[str, int], collections.Counter("a"), "Counter given, which would arrive as dict"),
    (
        "an OrderedDict in another order",
        list[Sorting],
        [Sorting(named=collections.OrderedDict(z=1, a=2))],
        r"\$\[0\]\.named: the keys of this OrderedDict would arrive in alphabetical order",
    ),
    (
        "an enum as the default under use_enum_values",
        list[Valued],
        [Valued()],
        r"\$\[0\]\.kind: `use_enum_values` would make this enum a plain value; give .* `validate_default=True`",
    ),
    ("an attribute that is no field of a Struct", list[Open], [opened("more")], r"\$\[0\]\.more: this attribute"),
    ("an attribute that is no field of a dataclass", Summed, extended(), r"\$\.more: this attribute would not arrive"),
    ("a validator that adds", Growing, Growing(name="a"), r"\$\.name: this str would arrive"),
    ("a __post_init__ that adds", Counting, Counting(1), r"\$\.n: this int would arrive"),
    ("what a validator refuses", Even, odd(), "3 is odd"),
    ("what a validator refuses, nested", dict[str, list[Even]], {"a": [odd()]}, "3 is odd"),
    ("datetime as Any", dict[str, Any], {"at": datetime(2026, 1, 1, tzinfo=UTC)}, r"\$\['at'\]: datetime given, which"),
    ("date as Any", Any, [date(2026, 1, 1)], r"\$\[0\]: date given, which would arrive as str"),
    ("time as Any", Any, time(1), "time given"),
    ("timedelta as Any", Any, timedelta(1), "timedelta given"),
    (
        "UUID as object",
        dict[str, object],
        {"id": uuid.UUID(int=1)},
        r"\$\['id'\]: UUID given, which would arrive as str",
    ),
    ("Decimal as Any", dict[str, Any], {"a": {"b": Decimal(1)}}, r"\$\['a'\]\['b'\]: Decimal given"),
    ("Decimal in a plain dict", dict, {"a": Decimal(1)}, r"\$\['a'\]: Decimal given"),
    ("bytes as Any", Any, {"a": b"x"}, r"\$\['a'\]: bytes given"),
    ("a tuple as Any", dict[str, Any], {"a": (1, 2)}, r"\$\['a'\]: tuple given, which would arrive as list"),
    ("a set as Any", dict[str, Any], {"a": {1}}, r"\$\['a'\]: set given, which would arrive as list"),
    ("a frozenset as Any", Any, frozenset({1}), "frozenset given"),
    ("a NamedTuple as Any", Any, [Place(1, 2)], r"\$\[0\]: Place given"),
    ("a NamedTuple as a tuple", tuple[int, int], Place(1, 2), "Place given, which would arrive as tuple"),
    ("a Struct as Any", Any, {"a": Base()}, r"\$\['a'\]: Base given, which would arrive as dict"),
    ("a model as Any", Holder, Holder(anything=Parent()), r"\$\.anything: Parent given"),
    ("an Enum as Any", Any, [Kind.A], r"\$\[0\]: Kind given"),
    ("a StrEnum as Any", dict[str, Any], {"a": Colour.RED}, r"\$\['a'\]: Colour given, which would arrive as str"),
    ("an IntEnum as Any", Any, Size.LARGE, "Size given, which would arrive as int"),
    ("a StrEnum as str", str, Colour.RED, "str expected, Colour given"),
    ("a StrEnum in a field of str", Holder, Holder(text=Colour.RED), r"\$\.text: Colour given"),
    ("a StrEnum in a set of str", set[str], {Colour.RED}, r"\$\[\.\.\.\]: Colour given"),
    ("bytes in a field of str", Holder, Holder(text=b"x"), r"\$\.text: bytes given"),  # pyright: ignore[reportArgumentType]
    (
        "a str of a subclass",
        Any,
        [Texts("a")],
        r"Texts is not a type that JSON can hold; use str, such as str\(value\)",
    ),
    ("a key that is an int", Any, {"a": {1: 2}}, r"\$\['a'\]: the key 1 \(int\) would not arrive"),
    ("a key that is a StrEnum", dict[str, int], {Colour.RED: 1}, r"the key <Colour\.RED.* would arrive as str"),
    (
        "a key that may be an int or a text",
        dict[int | str, int],
        {1: 1},
        r"the key 1 \(int\) would not arrive, as JSON writes it as a text; declare .* alone, such as dict\[int, …\]",
    ),
    ("a key of a UUID", dict[Any, Any], {uuid.UUID(int=1): 1}, r"\(UUID\) would not arrive"),
    ("a tuple as a list", list[int], (1, 2), "tuple given, which would arrive as list"),
    ("a tuple as a Sequence", Sequence[int], (1, 2), "tuple given, which would arrive as list"),
    ("NaN as Any", dict[str, Any], {"a": math.nan}, "NaN or an infinity"),
    ("infinity in a model's extra", Extra, Extra(a=math.inf), "NaN or an infinity"),  # pyright: ignore[reportCallIssue]
    ("an extra of a model", Extra, Extra(a=Decimal(1)), r"Decimal given"),  # pyright: ignore[reportCallIssue]
    ("an int that no float holds", float, 2**53 + 1, "this int would arrive as another one"),
    ("a time with a zone's name", time, time(12, tzinfo=PRAGUE), "a time with this zone would arrive without it"),
    ("a time with a zone's name, nested", list[time | None], [None, time(12, tzinfo=PRAGUE)], r"\$\[1\]: a time with"),
    ("a fold without a zone", datetime, datetime(2026, 10, 25, 2, 30, fold=1), "arrive without its `fold=1`"),  # noqa: DTZ001 - naive on purpose
    (
        "a fold of a subclass",
        Appointment,
        Appointment.model_construct(at=Moment(2026, 10, 25, 2, fold=1)),
        "arrive without its `fold=1`",
    ),
    ("a fold of a time without a zone", list[time], [time(2, 30, fold=1)], r"\$\[0\]: .* without its `fold=1`"),
    ("a short tuple for a NamedTuple", Place3, (1, 2), "2 items would arrive as 3"),
    ("a tuple of others for a NamedTuple", Kinds, (Colour.RED,), r"\$\[0\]: Colour given"),
    ("an offset of seconds", datetime, datetime(1880, 1, 1, tzinfo=PRAGUE), "this datetime would arrive"),
    ("a key that a TypedDict lacks", Words, {"a": 1, "c": 2}, "the key 'c' would not arrive: the declared"),
    ("a key that a Struct lacks", Base, {"id": 1, "c": 2}, "the key 'c' would not arrive: Base has no such field"),
    ("a key that a model lacks", Parent, {"id": 1, "c": 2}, "the key 'c' would not arrive: Parent has no such field"),
    ("a key beside an alias", Aliased, {"ID": 1, "c": 2}, "the key 'c' would not arrive: Aliased has no such field"),
    ("a field by two keys", Aliased, {"ID": 1, "id": 1}, "the key 'id' would not arrive: another key is given"),
    ("equal items for a set", set[int], [1, 1], "2 items would arrive as 1"),
)


@pytest.mark.parametrize(
    ("kind", "value", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_would_come_back_different_is_refused_with_its_place(kind: Any, value: object, message: str) -> None:
    with pytest.raises(EncodeError, match=rf"(?s)^email_job: data.*{message}"):
        codec(kind).encode(value)


def test_a_refusal_does_not_show_the_secret() -> None:
    with pytest.raises(EncodeError) as raised:
        codec(Login).encode(Login(password=pydantic.SecretStr("hunter2")))

    assert "hunter2" not in str(raised.value)


KEPT: tuple[tuple[Any, Any], ...] = (
    (Any, {"a": [True, False, None, 1, 1.5, 0, 1.0, "x", dict[str, int](), list[int]()]}),
    (Any, [True, 1, 1.0]),
    (dict[str, Any], {"true": True, "one": 1}),
    (int, 2**200),
    (float, 1),
    (dict[str, float], {"a": 1}),
    (Base | None, Base(1)),
    (Uncarried, uncarried(1)),
    (Holder, Holder(one=Base(1), many=[Point(1.5)], named={"a": None}, text="x", anything={"a": [1]})),
    (Valued, Valued(kind=Kind.A)),
    (Open, used()),
    (Open, opened("_private")),
    (Summed, Summed()),
    (Appointment, Appointment.model_construct(at=Moment(2026, 1, 1))),
    (Sorting, Sorting(named=collections.OrderedDict(a=2, z=1))),
    (dict[str, int], {"z": 1, "a": 2}),
    (Family, Family(head=Parent(id=1), others=[Parent()])),
    (Excluding, excluding(1)),
    (Extra, Extra(a=[1])),  # pyright: ignore[reportCallIssue]
    (Even, Even(2, {"a", "b"})),
    (dict[str, list[Even | None]], {"a": [Even(2), None]}),
    (Place, Place(1, 2)),
    (tuple[int, ...], (1, 2)),
    (frozenset[Kind], frozenset({Kind.A})),
    (list[Colour | int], [Colour.RED, 1]),
    (dict[Colour, Size], {Colour.RED: Size.LARGE}),
    (dict[uuid.UUID, int], {uuid.UUID(int=1): 1}),
    (Mapping[int, str], {1: "a"}),
    (bytes, b"\0\xff"),
    (bytearray, bytearray(b"x")),
    (Decimal, Decimal("1.10")),
    (timedelta, timedelta(days=-1, microseconds=1)),
    (timedelta, timedelta.max),
    (time, time(12, 0, 0, 1)),
    (time, time(12, tzinfo=UTC)),
    (datetime, datetime(2026, 1, 1, 12, 0, 0, 999_999)),  # noqa: DTZ001 - naive on purpose
    (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-3)))),
    (datetime, datetime(2026, 10, 25, 2, 30, tzinfo=PRAGUE)),
    (datetime, datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=PRAGUE)),
    (Words, {"a": 1}),
    (Annotated[int, msgspec.Meta(ge=0)], 1),
    (uuid.UUID, pgproto.UUID("00000000-0000-0000-0000-000000000001")),
)


@pytest.mark.parametrize(("kind", "value"), KEPT, ids=[repr(kind) for kind, *_ in KEPT])
def test_what_comes_back_the_same_is_taken(kind: Any, value: object) -> None:
    came = codec(kind).decode(codec(kind).encode(value))

    assert came == value or (isinstance(value, datetime) and came.utcoffset() == value.utcoffset())


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Base, {"id": 1}, Base(1)),
        (Holder, {"one": {}, "many": [{"x": 1}]}, Holder(many=[Point(1)])),
        (Parent, {"id": 1}, Parent(id=1)),
        (datetime, "2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        (Kind, "a", Kind.A),
        (set[int], [2, 1], {1, 2}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Place, [1, 2], Place(1, 2)),
        (list[Place], [(1, 2)], [Place(1, 2)]),
        (Even, {"n": 2}, Even(2)),
        (
            Aliased,
            {"ID": 1, "At": "2027-01-01T00:00:00Z"},
            Aliased.model_validate({"ID": 1, "At": "2027-01-01T00:00:00Z"}),
        ),
        (Aliased, {"ids": [7]}, Aliased.model_validate({"ids": [7]})),
        (Amounts, {"a": 1, "b": 2}, Amounts({"a": 1, "b": 2})),
        (Vault, {}, Vault.model_validate({})),
    ],
)
def test_plain_json_may_be_given_for_what_the_declared_type_makes_of_it(
    kind: Any, value: object, expected: object
) -> None:
    assert codec(kind).decode(codec(kind).encode(value)) == expected


NOTHING: dict[str, Any] = {}
AS_PLAIN: Sequence[tuple[Any, Any, Any]] = (
    (Base, Base(), NOTHING),
    (Point, Point(1.0), {"x": 1.0}),
    (Parent, Parent(), NOTHING),
    (list[Base | None], [Base(), None], [NOTHING, None]),
    (Holder, Holder(many=[Point()]), {"many": [NOTHING]}),
    (Holder, Holder(one=Base(2)), Holder(one={"id": 2})),  # pyright: ignore[reportArgumentType] - plain on purpose
    (dict[str, datetime], {"a": datetime(2026, 1, 1, tzinfo=UTC)}, {"a": "2026-01-01T00:00:00+00:00"}),
    (uuid.UUID, uuid.UUID(int=10), "00000000-0000-0000-0000-00000000000A"),
    (list[Decimal], [Decimal("1.5")], [1.5]),
    (set[int], {1, 2}, [2, 1]),
    (float, 1.0, 1),
    (dict[float, list[float]], {1.0: [2.0]}, {1: [2]}),
    (Aliased, Aliased.model_validate({"At": datetime(2026, 1, 1, tzinfo=UTC)}), {"At": "2026-01-01T00:00:00Z"}),
    (Even, Even(2), {"n": 2}),
    (Amounts, Amounts({"a": 1, "b": 2}), {"b": 2, "a": 1}),
)


@pytest.mark.parametrize(("kind", "value", "plain"), AS_PLAIN, ids=[repr(kind) for kind, *_ in AS_PLAIN])
def test_plain_json_is_stored_as_the_value_that_it_stands_for(kind: Any, value: object, plain: object) -> None:
    assert codec(kind).encode(plain) == codec(kind).encode(value)


def test_a_dataclass_that_was_read_is_stored_as_one_that_was_made() -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen:
        x: int = 1
        inner: Point = dataclasses.field(default_factory=Point)

    for kind, made, text in (
        (Point, Point(), "{}"),
        (Frozen, Frozen(), '{"inner":{}}'),
        (list[Point], [Point()], "[{}]"),
    ):
        read = codec(kind).decode(text)

        assert Where.data_equals(read) == Where.data_equals(made)
        assert codec(kind).encode(read) == codec(kind).encode(made)


def test_a_default_that_cannot_be_stored_is_left_out_as_it_was_given() -> None:
    assert codec(Vault).encode({"named": {}}) == '{"named":{}}'


def test_a_pydantic_dataclass_runs_its_validators_when_it_is_read() -> None:
    for kind, text in ((Even, '{"n":3}'), (list[Even], '[{"n":3}]')):
        with pytest.raises(DecodeError, match="3 is odd"):
            codec(kind).decode(text)


def test_a_pydantic_dataclass_in_a_struct_is_a_type_that_cannot_be_stored() -> None:
    class Holding(msgspec.Struct):
        even: Even

    with pytest.raises(DefinitionError, match=r"Holding cannot be stored as JSON: a msgspec Struct together"):
        codec(Holding)


def test_a_default_that_pydantic_has_not_validated_is_refused_without_its_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EncodeError, match=r"\$\.n: str given, which would arrive as int"):
            codec(Unvalidated).encode(Unvalidated())
