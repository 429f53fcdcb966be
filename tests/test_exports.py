"""What `import rexecutor` gives."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import rexecutor


def imported_names() -> dict[str, str]:
    """Return the names that the package's own module imports, and from where."""
    tree = ast.parse(Path(rexecutor.__file__).read_text(encoding="utf-8"))
    imports = [(str(node.module), node.names) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name: module for module, names in imports for alias in names if module.startswith("rexecutor.")}


def test_all_is_what_can_be_imported() -> None:
    assert sorted(rexecutor.__all__) == sorted(imported_names())
    assert set(rexecutor.__all__) <= set(dir(rexecutor))


@pytest.mark.parametrize(("name", "module"), sorted(imported_names().items()))
def test_each_public_name_is_that_of_its_module(name: str, module: str) -> None:
    public: object = getattr(rexecutor, name)

    assert public is getattr(import_module(module), name)
    assert public.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = getattr(rexecutor, "Nonsense")  # noqa: B009


def test_importing_the_package_loads_no_extra_and_no_test_tool() -> None:
    code = "import sys, rexecutor; print({'psycopg', 'typer', 'rich', 'pytest', 'hypothesis'} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)

    assert answer.stdout == "set()\n"


@pytest.mark.parametrize("missing", ["psycopg", "psycopg_pool"])
def test_all_names_can_be_imported_without_the_extra_for_postgresql(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from rexecutor import *\n"
        "print('SQLiteBackend' in globals(), 'PostgresBackend' in globals())\n"
        "import rexecutor\n"
        "rexecutor.PostgresBackend"
    )

    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True)

    assert done.stdout == "True False\n"
    assert "pip install 'rexecutor[postgres]'" in done.stderr
