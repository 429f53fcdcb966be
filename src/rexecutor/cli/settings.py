"""The settings that commands take from the table `[tool.rexecutor]` of `pyproject.toml` in the working directory.

Options on the command line win over the environment, and the environment wins over this table.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard

from typer.core import TyperGroup

from rexecutor.cli.failure import MisusedError

FILE: Final = "pyproject.toml"
_TABLE: Final = "[tool.rexecutor]"
_ARGUMENTS: Final = {"app": "target"}
"""Settings that are arguments of the worker, with the parameter's name. The others are its options."""
_OF_STORES: Final = frozenset({"app", "url", "schema"})
"""Settings that say where the store is. For the other commands `Store` reads them, because variables outrank them."""


def table() -> Mapping[str, Any]:
    """Return the settings in the table by name, with dashes; empty if there is no file, or no such table in it.

    Raises:
        MisusedError: The file is not TOML in UTF-8, or `[tool.rexecutor]` is not a table.
    """
    try:
        content = Path(FILE).read_bytes()
    except OSError:  # most folders have none
        return {}
    if b"rexecutor" not in content:  # so that the files of other projects cost nothing
        return {}
    import tomllib

    try:
        parsed: dict[str, Any] = tomllib.loads(content.decode())
    except ValueError as error:
        raise MisusedError(f"{FILE}: {error}") from error
    tools: Any = parsed.get("tool")
    settings: Any = tools.get("rexecutor", {}) if _is_table(tools) else {}
    if not _is_table(settings):
        raise MisusedError(f"{FILE}: {_TABLE} must be a table")
    return {name.replace("_", "-"): value for name, value in settings.items()}


def text(name: str) -> str | None:
    """Return a setting of the table that is a text; None if it is not set."""
    value = table().get(name)
    return None if value is None else str(_checked(name, value))


def defaults(app: TyperGroup, worker: str) -> dict[str, Any]:
    """Return the values that the table sets, by command and parameter, as the command line's library takes defaults.

    Args:
        app: The command line.
        worker: Name of the command whose options are settings.

    Raises:
        MisusedError: The file cannot be read, or a setting is unknown or of a wrong type.
    """
    settings = table()
    if not settings:
        return {}
    own = {str(one.name).replace("_", "-"): str(one.name) for one in app.commands[worker].params}
    known = {
        **{name: name for name in own if own[name] not in _ARGUMENTS.values()},
        **{name: name for name in _OF_STORES},
        **_ARGUMENTS,
    }
    for name in settings:
        if name not in known:
            raise MisusedError(_unknown(name, known))
    return {worker: {own.get(name, known[name]): _checked(name, value) for name, value in settings.items()}}


def _checked(name: str, value: object) -> object:
    """Return the value as an option takes it; a list is joined with commas."""
    if isinstance(value, str | int | float):
        return value
    if _is_list(value):
        return ",".join(str(_checked(name, one)) for one in value)
    raise MisusedError(f"{FILE}: {name} in {_TABLE} must be a text, a number, true or false")


def _is_table(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _unknown(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    advice = f"; did you mean {close[0]!r}?" if close else f"; it may have {', '.join(sorted(known))}"
    return f"{FILE}: {_TABLE} has no setting {name!r}{advice}"
