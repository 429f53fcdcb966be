"""What the commands show of rows that somebody has written by hand."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rexecutor.cli import change
from tests.cli.command_line import Run

NOT_UTF_8 = "CAST(x'ff1b5b324a' AS TEXT)"
ERRORS = (
    '[{"attempt":1,"kind":"exception","type_name":"Bad\\u001b[2J","details":"no","recorded_at":"2026-01-01T00:00:00Z"}]'
)


def write(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "a store.db")) as connection, connection:
        connection.execute(statement, values)


@pytest.fixture
def damaged(url: str, tmp_path: Path) -> str:
    """The store, with an executor's name that is no text, an error whose type has escapes, and a node without sense."""
    write(tmp_path, f"UPDATE rexecutor_stored_jobs SET executor = {NOT_UTF_8} WHERE id = 7")
    write(tmp_path, "UPDATE rexecutor_stored_jobs SET errors = ? WHERE id = 6", ERRORS)
    state = '{"host":"h","pid":1,"version":"1","slots":2,"running":0,"loop_lag":1e308}'
    write(tmp_path, "UPDATE rexecutor_nodes SET state = ?, executors = '{}'", state)
    write(tmp_path, f"INSERT INTO rexecutor_pauses VALUES ('executor:' || {NOT_UTF_8}, 0, NULL, {NOT_UTF_8})")
    return url


COMMANDS = [
    *("jobs list", "jobs count", "jobs show 7", "jobs show 6", "why 6", "why 7"),
    *("nodes", "stats", "pause", "cron list"),
]


@pytest.mark.parametrize("json", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_row_fails_no_command_and_controls_no_terminal(
    rexecutor: Run, damaged: str, command: str, *, json: bool
) -> None:
    answer = rexecutor(*command.split(), *(["--json"] if json else []), "--url", damaged)

    assert (answer.status, answer.err) == (0, "")
    assert "\x1b" not in answer.out
    if json:
        assert answer.json or command in {"pause", "cron list"}


def test_the_question_before_a_change_controls_no_terminal(
    rexecutor: Run, damaged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(change.typer, "confirm", lambda text, **_: bool(asked.append(text)))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]

    rexecutor("jobs", "cancel", "--status", "scheduled", "--url", damaged)

    assert asked == ["cancel 2 jobs (email 1, \\udcff\\x1b[2J 1)?"]
