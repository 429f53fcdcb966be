"""What `import rexecutor` gives."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rexecutor


def names_for_type_checkers() -> dict[str, str]:
    """Answer what the `if TYPE_CHECKING` block imports, and from where."""
    tree = ast.parse(Path(rexecutor.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_all_is_what_type_checkers_see() -> None:
    assert sorted(rexecutor.__all__) == sorted(names_for_type_checkers())


@pytest.mark.parametrize(("name", "module"), sorted(names_for_type_checkers().items()))
def test_each_public_name_is_that_of_its_module(name: str, module: str) -> None:
    code = f"import {module}; from rexecutor import {name}; assert {name} is {module}.{name}; assert {name}.__doc__"

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = getattr(rexecutor, "Nonsense")  # noqa: B009


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, rexecutor; assert not {'asyncio', 'sqlite3', 'msgspec'} & set(sys.modules), sys.modules.keys()"

    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
