"""Every example in the README and in `docs/` is a test. `tests/project/test_docs.py` reads those in docstrings."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.integration.pytest import SybilItem
from sybil.parsers.markdown import PythonCodeBlockParser


@pytest.fixture(scope="module")
def in_an_empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Examples write files; they do it there."""
    before = Path.cwd()
    folder = tmp_path_factory.mktemp("examples")
    os.chdir(folder)
    yield folder
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md"],
    fixtures=["in_an_empty_folder"],
).pytest()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a document's examples in their order, whatever order the rest runs in."""
    places = [place for place, item in enumerate(items) if isinstance(item, SybilItem)]
    examples = sorted(
        (item for item in items if isinstance(item, SybilItem)), key=lambda item: (item.path, item.example.line)
    )
    for place, item in zip(places, examples, strict=True):
        items[place] = item
