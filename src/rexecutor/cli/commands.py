"""Registers commands: with `--debug`, with examples in their help, and with options that several commands share."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, Final, TypeAlias, TypeVar, get_type_hints

import typer

from rexecutor.cli.failure import DEBUGGING

T = TypeVar("T")

Debug: TypeAlias = Annotated[
    bool, typer.Option("--debug", envvar="REXECUTOR_DEBUG", help="Show the traceback of an error.")
]

_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY


def command(
    app: typer.Typer, name: str | None = None, *, examples: tuple[str, ...] = ()
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator that makes a function a command of the application.

    A keyword parameter whose type is a dataclass is a group of options: the command has an option for each field of it,
    and the function gets an instance. Every command also has `--debug`.

    Args:
        app: The application or the group of commands.
        name: The command's name; the function's by default.
        examples: Command lines that the help shows, without `rexecutor`.
    """

    def register(function: Callable[..., T]) -> Callable[..., T]:
        hints = get_type_hints(function, include_extras=True)
        groups = {key: hint for key, hint in hints.items() if is_dataclass(hint) and isinstance(hint, type)}

        @wraps(function)
        def run(*, debug: bool, **given: Any) -> T:
            DEBUGGING.set(debug or DEBUGGING.get())
            for parameter, group in groups.items():
                given[parameter] = group(**{option.name: given.pop(option.name) for option in fields(group)})
            return function(**given)

        parameters = _parameters(function, hints, groups)
        run.__dict__["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name, epilog=_epilog(examples))(run)
        return function

    return register


def _parameters(
    function: Callable[..., Any], hints: Mapping[str, Any], groups: Mapping[str, type]
) -> list[inspect.Parameter]:
    found: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in groups:
            group = groups[parameter.name]
            types = get_type_hints(group, include_extras=True)
            found.extend(
                inspect.Parameter(option.name, _KEYWORD, default=option.default, annotation=types[option.name])
                for option in fields(group)
            )
        else:
            found.append(parameter.replace(kind=_KEYWORD, annotation=hints[parameter.name]))
    return [*found, inspect.Parameter("debug", _KEYWORD, default=False, annotation=Debug)]


def _epilog(examples: tuple[str, ...]) -> str | None:
    # After \b, the lines of a paragraph are not joined.
    return "\n".join(["\b", "Examples:", *(f"  rexecutor {line}" for line in examples)]) if examples else None
