"""Fields of the models, for the columns of both stores. A damaged value does not fail the query.

SQLite stores moments as microseconds since 1970, and lists and objects as JSON texts; PostgreSQL has types for these.
"""

import json
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone

from rexecutor.backend.sql.rows import EPOCH
from rexecutor.model.job import is_storable

if TYPE_CHECKING:
    AnyField = models.Field[Any, Any]
    AnyMoment = models.DateTimeField[Any, Any]
else:
    AnyField = models.Field
    AnyMoment = models.DateTimeField

_MICROSECOND: Final = timedelta(microseconds=1)


class Unreadable(str):
    """The text of a stored value that is not JSON."""

    __slots__ = ()


class Text(AnyField):
    """A text. On SQLite, bytes that are not UTF-8 are read as U+FFFD."""

    def get_internal_type(self) -> str:
        """Return Django's name of the column's type."""
        return "TextField"

    def to_python(self, value: Any) -> Any:
        """Return the text; refuse one that no store can hold, such as a key in the address of a page."""
        if isinstance(value, str) and not is_storable(value):
            raise ValidationError("it holds a NUL or a lone surrogate")
        return value

    def select_format(self, compiler: SQLCompiler, sql: str, params: Any) -> tuple[str, Any]:
        """Return the expression that reads the column."""
        return (f"CAST({sql} AS BLOB)" if compiler.connection.vendor == "sqlite" else sql), params

    def from_db_value(self, value: Any, expression: object, connection: BaseDatabaseWrapper) -> Any:  # noqa: ARG002 - Django's signature
        """Return the column's value as str; None for NULL."""
        return text_of(value)


class Json(AnyField):
    """A JSON value; an `Unreadable` if the stored text is not JSON."""

    def get_internal_type(self) -> str:
        """Return a name for which Django's databases have no converter."""
        return "RexecutorJson"

    def select_format(self, compiler: SQLCompiler, sql: str, params: Any) -> tuple[str, Any]:
        """Return the expression that reads the column, as a text."""
        return f"CAST({sql} AS {'BLOB' if compiler.connection.vendor == 'sqlite' else 'text'})", params

    def get_transform(self, lookup_name: str) -> Any:
        """Return what finds the value of the key of this name."""
        return super().get_transform(lookup_name) or partial(JsonKey, lookup_name)

    def from_db_value(self, value: Any, expression: object, connection: BaseDatabaseWrapper) -> Any:  # noqa: ARG002 - Django's signature
        """Return the JSON value; None for NULL, and an `Unreadable` for a text that is not JSON."""
        text = text_of(value)
        try:
            return text if text is None else json.loads(text)
        except (ValueError, RecursionError):
            return Unreadable(text)


class JsonKey(models.Transform):
    """The value of a key of a JSON object, as a text: what `filter(data__path="shop.tasks.greet")` looks at."""

    def __init__(self, key: str, *expressions: Any) -> None:
        """Make it for a key of the object."""
        super().__init__(*expressions, output_field=Text())
        self._key: Final = key

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, Any]:  # noqa: ARG002 - Django's signature
        """Return the expression; it is NULL if the value is no JSON, or has no such key."""
        column, params = compiler.compile(self.lhs)
        sql = f"CASE WHEN json_valid({column}) THEN CAST(json_extract({column}, %s) AS TEXT) END"
        return sql, (*params, *params, f'$."{self._key}"')

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, Any]:  # noqa: ARG002 - Django's signature
        """Return the expression; it is NULL if there is no such key."""
        column, params = compiler.compile(self.lhs)
        return f"({column} ->> %s)", (*params, self._key)


class Tags(Json):
    """A list of texts: an array on PostgreSQL, JSON on SQLite."""

    def select_format(self, compiler: SQLCompiler, sql: str, params: Any) -> tuple[str, Any]:
        """Return the expression that reads the column, as a text of JSON."""
        if compiler.connection.vendor == "sqlite":
            return super().select_format(compiler, sql, params)
        return f"CAST(to_json({sql}) AS text)", params


class Moment(AnyMoment):
    """A moment; None if `datetime` has no such year."""

    def get_internal_type(self) -> str:
        """Return a name for which Django's databases have no converter."""
        return "RexecutorMoment"

    def select_format(self, compiler: SQLCompiler, sql: str, params: Any) -> tuple[str, Any]:
        """Return the expression that reads the column; NULL for moments that the driver cannot read."""
        if compiler.connection.vendor == "sqlite":
            return sql, params
        low, high = "'0001-01-02 00:00:00+00'", "'9999-12-31 00:00:00+00'"
        return f"CASE WHEN {sql} >= {low} AND {sql} < {high} THEN {sql} END", (*params, *params, *params)

    def from_db_value(self, value: Any, expression: object, connection: BaseDatabaseWrapper) -> Any:  # noqa: ARG002 - Django's signature
        """Return the moment as other models have it: aware in UTC, or naive in `TIME_ZONE` without `USE_TZ`."""
        if not isinstance(value, int):
            return value
        try:
            moment = EPOCH + value * _MICROSECOND
            return moment if settings.USE_TZ else timezone.make_naive(moment)
        except OverflowError:
            return None

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        """Return the moment as the column stores it: a number on SQLite, an aware `datetime` on PostgreSQL."""
        moment: datetime | None = value if prepared else self.get_prep_value(value)
        if moment is None:
            return None
        aware = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
        return (aware - EPOCH) // _MICROSECOND if connection.vendor == "sqlite" else aware


def text_of(value: Any) -> str | None:
    """Return a column's value as str, decoded if SQLite has returned bytes; None for NULL."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if value is None or isinstance(value, str) else str(value)
