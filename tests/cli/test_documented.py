"""`docs/command-line.md`: each command and option that there is, none else, and examples that work."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from rexecutor.cli.app import app
from tests.cli.command_line import Run

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
COMMON = {"--url", "--schema", "--app", "--json", "--debug"}
NOT_RUN = ("worker", "migrate --url", "migrate --sql", "cron run", "check", "health --node", "resume")
"""Examples that are only read: they run for long, or need a server, an application or a pause."""


def commands(command: object, name: str) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for part, child in command.commands.items():
            yield from commands(child, f"{name} {part}")
    elif isinstance(command, TyperCommand):
        yield name, command


COMMANDS = dict(commands(typer.main.get_command(app), "rexecutor"))


def options_of(command: TyperCommand) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("-")}


def documented(section: str) -> set[str]:
    """The options in the first cells of the section's tables."""
    cells = re.findall(r"^\| (`-.*?) \|", SECTIONS[section], re.MULTILINE)
    return {option for cell in cells for option in re.findall(r"`(-[\w-]+)", cell)}


def examples(section: str) -> list[list[str]]:
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", SECTIONS[section], re.DOTALL | re.MULTILINE))
    lines = [line.partition(" > ")[0] for line in blocks.splitlines() if line.startswith("rexecutor ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_the_page_has_each_command_and_none_else() -> None:
    sections = {section.strip("`") for section in SECTIONS if section.startswith("`")}
    listed: list[str] = re.findall(r"^\| \[`(.*?)`\]", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert sections == set(listed) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_documented_with_each_option_and_none_else(name: str) -> None:
    options = options_of(COMMANDS[name]) - {"--help"}

    assert documented(f"`{name}`") - COMMON == options - COMMON


def test_the_common_options_are_those_of_several_commands() -> None:
    assert documented("Common options") == COMMON
    assert {option for command in COMMANDS.values() for option in options_of(command)} >= COMMON


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_examples_that_work(rexecutor: Run, url: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("REXECUTOR_URL", url)
    found = examples(f"`{name}`")

    assert found
    for arguments in found:
        words = name.split()[1:]
        assert arguments[: len(words)] == words
        if " ".join(arguments).startswith(NOT_RUN):
            COMMANDS[name].make_context(name, arguments[len(words) :])
        else:
            answer = rexecutor(*arguments)
            assert (answer.status, answer.err) == (0, ""), arguments


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_that_can_be_parsed(name: str) -> None:
    heading, title, *lines = (COMMANDS[name].epilog or "").splitlines()

    assert (heading, title) == ("\b", "Examples:")
    for line in lines:
        assert line.startswith(f"  {name}")
        COMMANDS[name].make_context(name, shlex.split(line.strip().removeprefix(name)))


def test_the_common_examples_work(rexecutor: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REXECUTOR_URL", url)

    assert [rexecutor(*arguments).status for arguments in examples("Common options")] == [0, 0]
