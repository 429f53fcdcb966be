"""The data, metadata and result types of an executor: found in its definition, and applied to its stored jobs."""

import inspect
from functools import cache
from types import NoneType
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast, get_args, get_origin

from rexecutor.errors import DecodeError, DefinitionError, EncodeError
from rexecutor.jobs.definition import DeclaredTypes, ExecutorDefinition, place_of
from rexecutor.model.codec import Codec
from rexecutor.model.data_key import mistake_in_fields
from rexecutor.model.headers import decoded_headers
from rexecutor.model.job import Data, Job, JobCompleter, JobRecord, Limits, Metadata, Result, job_of
from rexecutor.model.outcomes import Cancel, Snooze

_LIMITS: Final = Limits()


class Codecs(NamedTuple, Generic[Data, Metadata, Result]):
    """The codecs of an executor's data, metadata and result types."""

    data: Codec[Data]
    metadata: Codec[Metadata]
    result: Codec[Result] | None
    """None if the executor declares no result."""


def codecs_of(
    executor_cls: type[ExecutorDefinition[Data, Metadata, Result]], limits: Limits
) -> Codecs[Data, Metadata, Result]:
    """Return the codecs of an executor's types. Made once, at first use, when forward references can be resolved.

    Raises:
        DefinitionError: JSON cannot hold one of the types, or none is given.
    """
    return _codecs_of(executor_cls, limits.data, limits.metadata, limits.result, limits.depth)


def decode(
    codecs: Codecs[Data, Metadata, Result], record: JobRecord, completer: JobCompleter | None = None
) -> Job[Data, Metadata, Result]:
    """Return the job that a stored record holds, with its `completer` if this process runs it.

    Raises:
        DecodeError: Its data, metadata or result is not of the executor's type, its headers are not texts, or the row
            could not be read.
    """
    if record.defect is not None:
        raise DecodeError(f"{record.executor}: {record.defect}")
    return job_of(
        record.id,
        record.status,
        record.executor,
        codecs.data.decode(record.data),
        None if record.metadata is None else codecs.metadata.decode(record.metadata),
        record.attempt,
        record.max_attempts,
        record.priority,
        record.tags,
        record.errors,
        record.inserted_at,
        record.scheduled_at,
        record.attempted_at,
        record.completed_at,
        record.cancelled_at,
        record.discarded_at,
        record.expires_at,
        None if record.result is None or codecs.result is None else codecs.result.decode(record.result),
        {} if record.headers is None else decoded_headers(record.headers, record.executor),
        record.version,
        completer,
    )


def encoded_result(codecs: Codecs[Any, Any, Any], executor: str, result: object) -> str | None:
    """Return the result that a job gives to `complete_in` as JSON text; None if there is none, or if it is null.

    Raises:
        EncodeError: The result is not of the executor's type, or is too large.
    """
    if isinstance(result, Cancel | Snooze):
        raise EncodeError(f"{executor}: a {type(result).__name__} is not a result; return it, without complete_in")
    if codecs.result is None:
        if result is not None:
            raise EncodeError(
                f"{executor}: result: None expected, {type(result).__name__} given; declare its type, as the third in"
                " `Executor[…]` or as a return annotation"
            )
        return None
    text = codecs.result.encode(result)
    return None if text == "null" else text


def check_types(executor_cls: type[ExecutorDefinition[Any, Any, Any]]) -> None:
    """Raise a `DefinitionError` if JSON cannot hold the types, or the data cannot have a field that makes them unique.

    A name that is not defined yet is no error here.
    """
    try:
        codecs = codecs_of(executor_cls, _LIMITS)
    except DefinitionError as error:
        if error.__cause__ is None or isinstance(error.__cause__, TypeError):
            raise
        return
    mistake = mistake_in_fields(codecs.data.kind, executor_cls.uniqueness_criteria)
    if mistake is not None:
        raise DefinitionError(f"{place_of(executor_cls)}: uniqueness_criteria: {mistake}")


PLAIN: Final[Codecs[Any, Any, Any]] = Codecs(
    *(Codec(Any, owner="job", what=what) for what in ("data", "metadata", "result"))
)
"""The codecs of a job whose executor is not known: plain JSON values."""


def codecs_or_plain(
    executor_cls: type[ExecutorDefinition[Any, Any, Any]] | None, limits: Limits
) -> Codecs[Any, Any, Any]:
    """Return the codecs of an executor's types, or those for plain JSON values if the executor is not known."""
    return PLAIN if executor_cls is None else codecs_of(executor_cls, limits)


@cache
def _codecs_of(
    executor_cls: type[ExecutorDefinition[Any, Any, Any]], data: int, metadata: int, result: int, depth: int
) -> Codecs[Any, Any, Any]:
    declared = executor_cls.declared_types()
    types = declared or _type_arguments(executor_cls)
    owner = executor_cls.name
    advice = f"use {executor_cls.__name__}.data(…)" if declared else ""  # then it is a function job
    has_result = types.result is not None and types.result is not NoneType
    return Codecs(
        Codec(types.data, owner=owner, what="data", limit=data, depth=depth, advice=advice),
        Codec(types.metadata, owner=owner, what="metadata", limit=metadata, depth=depth),
        Codec(types.result, owner=owner, what="result", limit=result, depth=depth) if has_result else None,
    )


def _type_arguments(executor_cls: type[ExecutorDefinition[Any, Any, Any]]) -> DeclaredTypes:
    """Return the type arguments in the brackets of `Executor[…]`, resolved through any generic bases in between."""
    known: dict[Any, Any] = {}
    for ancestor in executor_cls.__mro__:
        for base in cast("tuple[Any, ...]", ancestor.__dict__.get("__orig_bases__", ())):
            origin = get_origin(base)
            arguments = tuple(_substituted(argument, known) for argument in get_args(base))
            if ExecutorDefinition in getattr(getattr(origin, "__base__", None), "__bases__", ()):  # it is `Executor`
                return DeclaredTypes(*(_resolved(executor_cls, argument) for argument in arguments))
            known |= dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
    raise DefinitionError(f"{place_of(executor_cls)}: has no data type; subclass `Executor[str]`, for example")


def _substituted(argument: Any, known: dict[Any, Any]) -> Any:
    """Replace type variables in an argument, also inside a generic such as `list[T]`, if they are known."""
    if isinstance(argument, TypeVar):
        return known.get(argument, _default(argument))
    inner = tuple(known.get(parameter, _default(parameter)) for parameter in getattr(argument, "__parameters__", ()))
    return argument[inner] if get_origin(argument) is not None and inner else argument


def _default(parameter: Any) -> Any:
    """Return the default of a type variable, or the variable itself if it has none."""
    has_default = getattr(parameter, "has_default", None)  # not there before Python 3.13, except on typing_extensions'
    return parameter.__default__ if has_default is not None and has_default() else parameter


def _resolved(executor_cls: type, argument: Any) -> Any:
    if isinstance(argument, TypeVar):
        raise DefinitionError(
            f"{place_of(executor_cls)}: {argument} has no type; give one in the brackets of its base class"
        )
    names = vars(inspect.getmodule(executor_cls)) if inspect.getmodule(executor_cls) else {}
    reference = getattr(argument, "__forward_arg__", argument)
    if isinstance(reference, str):
        try:
            return eval(reference, dict(names))  # noqa: S307 - what the class's author wrote in its own brackets
        except NameError as error:
            raise DefinitionError(
                f"{place_of(executor_cls)}: type {reference!r} cannot be resolved: {error}"
            ) from error
    return argument
