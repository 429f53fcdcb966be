"""Errors are at most three lines; `--debug` shows their tracebacks."""

import pytest

from tests.cli.processes import Place

BROKEN = "raise KeyError('no such setting')\n"


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_traceback_is_shown_only_to_those_who_ask(place: Place, where: str) -> None:
    (place.folder / "broken.py").write_text(BROKEN)
    command = ("stats", "--app", "broken:rexecutor")

    plain = place(*command)
    traced = place("--debug", *command) if where == "before" else place(*command, "--debug")

    assert plain.status == traced.status == 1
    assert "broken cannot be imported: KeyError: 'no such setting'" in plain.error
    assert "Traceback" in traced.err
    assert "in <module>\n    raise KeyError" in traced.err
    assert traced.err.endswith(plain.err)


def test_an_error_that_nobody_expected_is_told_in_two_lines(place: Place) -> None:
    # As when a user's backend raises what it must not.
    (place.folder / "broken.py").write_text(
        "from rexecutor import InMemoryBackend, Rexecutor\n"
        "class Broken(InMemoryBackend):\n"
        "    async def count(self, where=None):\n"
        "        raise ZeroDivisionError('a\\nb')\n"
        "rexecutor = Rexecutor(Broken())\n"
    )

    answer = place("jobs", "count", "--app", "broken:rexecutor")

    assert answer.status == 1
    assert [line.partition(" (")[0] for line in answer.err.splitlines()] == [
        "memory: is a new, empty store in this process",
        "error: ZeroDivisionError: a b",
        "unexpected; --debug shows the traceback",
    ]
    assert "Traceback" in place("jobs", "count", "--app", "broken:rexecutor", "--debug").err
