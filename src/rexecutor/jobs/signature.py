"""What a function job takes and returns: read from its parameters and annotations, and checked.

The parameters are of three kinds: the first may receive the running job, those with `Provide` are provided, and all
others are the job's data.
"""

import copy
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    NamedTuple,
    Never,
    NoReturn,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

import msgspec

from rexecutor.errors import DefinitionError, EncodeError
from rexecutor.jobs.definition import SIGNATURE_OPTIONS
from rexecutor.jobs.providers import PROVIDED, Needs, Provide, check_needs, needs_of
from rexecutor.model.codec import Codec
from rexecutor.model.job import Job
from rexecutor.model.outcomes import Cancel, Snooze

_REFUSED: Final = {
    inspect.Parameter.VAR_POSITIONAL: "takes *{}, which has no name in the job's data; take a list, as one parameter",
    inspect.Parameter.VAR_KEYWORD: "takes **{}, whose names are not known; take a dict, as one parameter",
    inspect.Parameter.POSITIONAL_ONLY: "{} is positional-only, but data are stored by name; leave out the `/`",
}
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_IMMUTABLE: Final = (str, bytes, int, float, NoneType, Enum, Decimal, date, time, timedelta, UUID)
"""Types of defaults that jobs may share. Each job gets a copy of any other default."""


class Shape(NamedTuple):
    """What a function takes and returns."""

    data: type[msgspec.Struct]
    """Type of the data: its fields are the parameters that an enqueue gives."""
    given: inspect.Signature
    """These parameters, as a signature."""
    job: str | None
    """Name of the parameter that receives the running job."""
    needs: Needs
    """The parameters that are provided, by name."""
    positional: tuple[str, ...]
    """Names of all parameters that may be given by position, in order."""
    keywords: tuple[str, ...]
    """Names of the keyword-only parameters."""
    result: Any
    """The declared type of the result; `NoneType` for none."""

    def call(self, function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """Call the function with these values of all its parameters.

        By position where that is possible: decorators look for arguments there.
        """
        return function(*[values[name] for name in self.positional], **{name: values[name] for name in self.keywords})


def check_parameters(function: Callable[..., Any], where: str) -> None:
    """Raise a `DefinitionError` if a parameter has no name, or one that data cannot have. Reads no annotation."""
    parameters = _parameters(function, where)
    for parameter in parameters:
        if parameter.kind in _REFUSED:
            raise DefinitionError(f"{where}: {_REFUSED[parameter.kind].format(parameter.name)}")
        if parameter.name.startswith("__"):
            raise DefinitionError(f"{where}: {parameter.name} begins with two underscores; give it another name")
    if parameters and _is_self(parameters[0], function):
        raise DefinitionError(
            f"{where}: takes {parameters[0].name}, but a job has no instance; write @staticmethod above @job, or"
            " subclass Executor, which keeps what its jobs share"
        )


def shape_of(
    function: Callable[..., Any], where: str, *, in_loop: bool, reduce: Callable[[msgspec.Struct], tuple[Any, ...]]
) -> Shape:
    """Inspect the function's parameters and annotations.

    Args:
        function: The function, maybe a decorated one.
        where: Its full name, for messages.
        in_loop: Whether it is called in an event loop.
        reduce: Returns how data are pickled, as `__reduce__` does: their type has no name to be imported by.

    Raises:
        DefinitionError: It cannot be a job. If an annotation names something that is not defined yet, the cause is
            that `NameError`.
    """
    parameters = _parameters(function, where)
    try:
        hints = get_type_hints(function, include_extras=True)
        needs = {name: need for name, need in needs_of(function).items() if name in {one.name for one in parameters}}
        check_needs(where, needs, in_loop=in_loop)
    except DefinitionError:
        raise
    except Exception as error:  # annotations are code of the user's
        raise DefinitionError(
            f"{where}: an annotation cannot be resolved: {error}; define or import it at the top of the module, outside"
            " `if TYPE_CHECKING:`"
        ) from error
    own_job = parameters[0].name if parameters and _is_job(hints.get(parameters[0].name)) else None
    given = [one for one in parameters if one.name not in needs and one.name != own_job]
    fields = [_field(where, one, hints.get(one.name, Any)) for one in given]
    return Shape(
        data=_data_type(where, fields, reduce),
        given=inspect.Signature([one.replace(annotation=hints.get(one.name, one.empty)) for one in given]),
        job=own_job,
        needs=needs,
        positional=tuple(one.name for one in parameters if one.kind is not one.KEYWORD_ONLY),
        keywords=tuple(one.name for one in parameters if one.kind is one.KEYWORD_ONLY),
        result=_result_type(hints["return"], is_async=inspect.iscoroutinefunction(function))
        if "return" in hints
        else NoneType,
    )


def _parameters(function: Callable[..., Any], where: str) -> list[inspect.Parameter]:
    """Return the parameters of the function; of a decorator's wrapper only if it names them itself."""
    try:
        own = _signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # a wrapper that is no function, such as that of `lru_cache`
        own = None
    if own is None or any(one.kind in _VARIADIC for one in own.parameters.values()):
        try:
            own = _signature(function, follow_wrapped=True)
        except (TypeError, ValueError) as error:
            raise DefinitionError(f"{where}: its parameters are not known: {error}; wrap it in a function") from error
    return list(own.parameters.values())


def _signature(function: Callable[..., Any], *, follow_wrapped: bool) -> inspect.Signature:
    return inspect.signature(function, follow_wrapped=follow_wrapped, **SIGNATURE_OPTIONS)


def _is_self(first: inspect.Parameter, function: Callable[..., Any]) -> bool:
    """Whether this is the first parameter of a function in the body of a class, which takes the instance."""
    body = function.__qualname__.rpartition(".")[0]
    return bool(body) and not body.endswith(">") and first.name in ("self", "cls") and first.annotation is first.empty


def _field(where: str, parameter: inspect.Parameter, hint: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    name, default = parameter.name, parameter.default
    if _mentions_job(hint):
        raise DefinitionError(f"{where}: {name} is annotated with Job; only the first parameter can receive the job")
    if (provider := _meant_provider(hint, default)) is not None:
        kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        written = f"Annotated[{getattr(kind, '__name__', kind)}, Provide({provider})]"
        raise DefinitionError(f"{where}: {name} has its provider in the wrong place; write `{name}: {written}`")
    Codec[Any](hint, owner=where, what=name)
    if default is parameter.empty:
        return name, hint
    if default is PROVIDED:
        raise DefinitionError(f"{where}: {name} is PROVIDED, but not annotated: Annotated[…, Provide(…)]")
    try:
        Codec[Any](hint, owner=where, what=f"the default of {name}").encode(default)
    except EncodeError as error:
        raise DefinitionError(str(error)) from None  # without a cause: a cause may be a name that is defined later
    if isinstance(default, _IMMUTABLE):
        return name, hint, default
    return name, hint, msgspec.field(default_factory=partial(copy.deepcopy, default))


def _meant_provider(hint: Any, default: object) -> str | None:
    """Return the name of a provider that stands where other libraries have it: as the default, or without `Provide`."""
    marks = (default, *(get_args(hint)[1:] if get_origin(hint) is Annotated else ()))
    for mark in marks:
        provider: Any = mark.provider if isinstance(mark, Provide) else mark
        if provider is Provide:
            return "…"
        if isinstance(mark, Provide) or (inspect.isfunction(provider) and mark is not default):
            return getattr(provider, "__name__", "…")
    return None


def _data_type(
    where: str, fields: list[Any], reduce: Callable[[msgspec.Struct], tuple[Any, ...]]
) -> type[msgspec.Struct]:
    def pickled(data: msgspec.Struct) -> tuple[Any, ...]:
        return reduce(data)

    try:
        return msgspec.defstruct(
            "Arguments",
            fields,
            frozen=True,
            kw_only=True,
            forbid_unknown_fields=True,
            namespace={"__reduce__": pickled, "__doc__": f"Arguments of {where}, as data of a job."},
        )
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{where}: its parameters cannot be stored: {error}") from error


def _is_job(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint is Job or get_origin(hint) is Job


def _mentions_job(hint: Any) -> bool:
    return _is_job(hint) or any(map(_mentions_job, get_args(hint)))


def _result_type(hint: Any, *, is_async: bool) -> Any:
    """Return the annotated type of the result without `Cancel` and `Snooze`, which are no results."""
    while hasattr(hint, "__value__"):  # a name that `type … = …` has given
        hint = hint.__value__
    if not is_async and get_origin(hint) in (Awaitable, Coroutine):  # what a decorated function returns
        return _result_type(get_args(hint)[-1], is_async=True)
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        kind = _result_type(inner, is_async=is_async)
        return kind if kind is NoneType else Annotated[(kind, *notes)]
    if get_origin(hint) in (Union, UnionType):
        kept = [one for one in get_args(hint) if one not in (Cancel, Snooze)]
        return Union[tuple(kept)] if kept else NoneType  # noqa: UP007 - made at run time
    return NoneType if hint in (Cancel, Snooze, NoReturn, Never, None) else hint
