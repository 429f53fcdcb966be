"""`rexecutor.backend` gives the author of a backend all that is needed."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

import rexecutor.backend
from rexecutor.backend import Backend, messages

DOCS: Final = Path(__file__).parents[2] / "docs"


def test_all_is_what_the_package_imports_in_order() -> None:
    tree = ast.parse(Path(rexecutor.backend.__file__).read_text(encoding="utf-8"))
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]

    assert sorted(rexecutor.backend.__all__) == sorted(imported)


@pytest.mark.parametrize("page", ["port", "values"])
def test_every_name_of_the_port_is_there(page: str) -> None:
    text = (DOCS / "api" / f"{page}.md").read_text(encoding="utf-8")
    names: list[str] = re.findall(r"auto(?:class|data|function):: ([\w.]+)", text)

    assert names
    for module, _, name in [name.rpartition(".") for name in names]:
        if module == "rexecutor.model.rules":
            assert hasattr(rexecutor.backend.rules, name)
            continue
        value = getattr(import_module(module), name)
        if value not in Backend.__mro__[1:]:  # a part of the port comes with the whole
            assert getattr(rexecutor.backend, name) is value


def test_every_message_is_there() -> None:
    own = {name for name, value in vars(messages).items() if getattr(value, "__module__", "") == messages.__name__}

    assert "Demand" in own
    assert own <= set(rexecutor.backend.__all__)


def test_the_guide_needs_no_other_module_of_rexecutor() -> None:
    text = (DOCS / "write-a-backend.md").read_text(encoding="utf-8")
    lines: list[str] = re.findall(r"^(?:from|import) rexecutor.*$", text, re.MULTILINE)

    assert {line.split()[1] for line in lines} == {"rexecutor", "rexecutor.backend", "rexecutor.testing"}
    assert [line for line in lines if line.split()[1] == "rexecutor"] == ["from rexecutor import Executor, Job"]


def test_importing_it_loads_no_driver() -> None:
    code = (
        "import sys; from rexecutor import Rexecutor, SQLiteBackend; before = set(sys.modules);"
        " import rexecutor.backend;"
        " print(sorted({'psycopg', 'asyncpg', 'typer', 'pytest'} & set(sys.modules)), set(sys.modules) - before)"
    )

    answer = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)

    assert answer.stdout == "[] set()\n"
