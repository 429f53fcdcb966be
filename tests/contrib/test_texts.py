"""What the comments and pages of `contrib/` tell people to run exists."""

import re
import shlex
from pathlib import Path

import pytest

from tests.contrib.command_lines import COMMANDS, parse, variables

ROOT = Path(__file__).parents[2]
CONTRIB = ROOT / "contrib"
FILES = [path for path in sorted(CONTRIB.rglob("*")) if path.is_file()]
TEXTS = [*FILES, ROOT / "docs" / "operations.md"]
EACH = pytest.mark.parametrize("text", [pytest.param(text, id=text.name) for text in TEXTS])


def filled(line: str) -> str:
    """The command with something in the place of what is only named."""
    return re.sub(r"\bID\b", "7", re.sub(r"{{.*?}}", "email", line))


@EACH
def test_commands_can_be_run(text: Path) -> None:
    content = re.sub(r"\n#? *", " ", text.read_text(encoding="utf-8"))
    for line in re.findall(r"`(rexecutor [^`]*)`", content):
        if line not in COMMANDS:  # then it only names one
            parse(filled(line))


@EACH
def test_lines_of_a_shell_can_be_run(text: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", text.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for line in "".join(blocks).splitlines():
        words = shlex.split(filled(line), comments=True)
        if words[:1] == ["rexecutor"]:
            parse(words)


@EACH
def test_variables_are_those_of_the_command_line(text: Path) -> None:
    named = set(re.findall(r"\bREXECUTOR_\w+", text.read_text(encoding="utf-8")))

    assert named <= variables()


def test_the_page_of_the_folder_names_each_file() -> None:
    page = (CONTRIB / "README.md").read_text(encoding="utf-8")

    assert [
        path.name for path in FILES if path.name != "README.md" and f"({path.relative_to(CONTRIB)})" not in page
    ] == []
