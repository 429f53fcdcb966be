"""`Where` as SQL: every node in parentheses, every value a parameter. The only place where SQL is composed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from rexecutor.where import And, Everything, ExecutorIn, IdIn, Not, Or, StatusIn, Where

SMALLEST_ID, LARGEST_ID = -(2**63), 2**63 - 1


@dataclass(slots=True)
class Compiled:
    """A condition, and its parameters by name."""

    text: str
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])


def compile_where(where: Where, is_member: Callable[[str, str], str]) -> Compiled:
    """Answer the expression as an SQL condition over the columns of a job.

    Args:
        where: The expression.
        is_member: Answers the dialect's condition that a column's value is in a parameter, a JSON array.
    """
    compiled = Compiled("")
    compiled.text = _compile(where, is_member, compiled.parameters)
    return compiled


def _compile(where: Where, is_member: Callable[[str, str], str], parameters: dict[str, Any]) -> str:
    def member(column: str, values: list[Any]) -> str:
        name = f"p{len(parameters)}"
        parameters[name] = msgspec.json.encode(values).decode()
        return f"({is_member(column, name)})"

    def joined(parts: tuple[Where, ...], word: str, when_empty: str) -> str:
        texts = [_compile(part, is_member, parameters) for part in parts]
        return f"({f' {word} '.join(texts)})" if texts else when_empty

    match where:
        case Everything():
            return "(1 = 1)"
        case IdIn(ids):
            return member("id", sorted(job_id for job_id in ids if SMALLEST_ID <= job_id <= LARGEST_ID))
        case StatusIn(statuses):
            return member("status", sorted(statuses))
        case ExecutorIn(names):
            return member("executor", sorted(names))
        case And(parts):
            return joined(parts, "AND", "(1 = 1)")
        case Or(parts):
            return joined(parts, "OR", "(1 = 0)")
        case Not(part):
            return f"(NOT {_compile(part, is_member, parameters)})"
        case _:
            assert_never(where)
