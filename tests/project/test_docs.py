"""What of the documentation can be checked without building it; `make docs` checks the rest."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import reduce
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import get_args, get_origin, get_type_hints

import pytest

import rexecutor
import rexecutor.events
import rexecutor.testing
from rexecutor import Backend, JobStatus
from rexecutor.events import Event, Outcome, Queue, Subscriber
from rexecutor.model.outcomes import Change

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
OTHERS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "contrib/README.md", "examples/README.md")
TEXTS = [*PAGES, *(ROOT / name for name in OTHERS)]
BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
WIDEST = 112
"""Columns that a line of code may have."""
NOT_FOR_USERS = {"JobBuilder.build"}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_blocks(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def toctree_of(page: Path) -> Iterator[Path]:
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for entry in block.splitlines():
            if entry and not entry.startswith(":"):
                yield page.parent / f"{entry}.md"


def links_of(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", without_blocks(page))
    found: list[str] = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in found if not re.match(r"https?:", link)]


def anchors_of(page: Path) -> set[str]:
    headings: list[str] = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def documented() -> dict[str, str]:
    """Every name on an API page, with the members that are listed for it: all of them if there is no list."""
    found: dict[str, str] = {}
    for page in sorted((DOCS / "api").glob("*.md")):
        directive = re.compile(r"^\.\. auto\w+:: (\S+)$((?:\n   :.*)*)", re.MULTILINE)
        for name, options in directive.findall(page.read_text(encoding="utf-8")):
            members = re.search(r":members:(.*)", options)
            found[name] = members[1].strip() if members else ""
    return found


def the(name: str) -> object:
    """What a dotted name stands for."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module: object = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[length:], module)
    raise AssertionError(name)


def test_every_page_is_in_the_table_of_contents_once() -> None:
    listed = [entry for page in PAGES for entry in toctree_of(page)]

    assert sorted([DOCS / "index.md", *listed]) == PAGES


@pytest.mark.parametrize("index", ["docs/index.md", "docs/api/index.md"])
def test_an_index_links_all_that_it_lists(index: str) -> None:
    page = ROOT / index

    assert {page.parent / link for link in links_of(page)} >= set(toctree_of(page))


@pytest.mark.parametrize("page", TEXTS, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("page", TEXTS, ids=named)
def test_code_fits_the_column_at_1280_pixels(page: Path) -> None:
    """`docs/_static/wide-code.css` makes room for 120 columns of the usual fonts; others are a little wider."""
    blocks = [block for block in BLOCK.findall(page.read_text(encoding="utf-8")) if not block.startswith("```{")]

    assert [line for block in blocks for line in block.splitlines() if len(line) > WIDEST] == []


@pytest.mark.parametrize("page", TEXTS, ids=named)
def test_files_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"`((?:src|tests|docs|benchmarks|contrib)/[\w./-]+)`", without_blocks(page)):
        assert path.startswith("docs/_build/") or (ROOT / path).exists(), path  # that one is made by `make docs`


@pytest.mark.parametrize("module", [rexecutor, rexecutor.testing], ids=lambda module: module.__name__)
def test_every_public_name_is_on_an_api_page(module: ModuleType) -> None:
    missing = {f"{module.__name__}.{name}" for name in module.__all__} - documented().keys()

    assert not missing


def classes_in(annotation: object) -> Iterator[type]:
    """The classes that an annotation is made of."""
    if inspect.isclass(annotation) and get_origin(annotation) is None:
        yield annotation
    for part in get_args(annotation):
        yield from classes_in(part)


def test_every_class_of_ours_in_the_ports_signatures_is_on_an_api_page() -> None:
    members = [member for part in Backend.__mro__ for member in vars(part).items()]
    methods = [method for name, method in members if not name.startswith("_") and callable(method)]
    hints = [hint for method in methods for hint in get_type_hints(method).values()]
    ours = {kind for hint in [*hints, Change] for kind in classes_in(hint) if kind.__module__.startswith("rexecutor.")}
    shown = [the(name) for name in documented()]  # a whole module stands for its classes

    assert [kind for kind in ours if kind not in shown and sys.modules[kind.__module__] not in shown] == []


def test_what_the_api_pages_name_exists() -> None:
    for name in documented():
        assert the(name) is not None, name


def test_no_list_of_members_leaves_a_public_method_out() -> None:
    listed = {name: set(members.split(", ")) for name, members in documented().items() if members}
    for name, members in listed.items():
        kind = the(name)
        if inspect.isclass(kind) and not issubclass(kind, Backend):  # what all backends do is on the port's page
            public = {each for each in vars(kind) if not each.startswith("_") and callable(getattr(kind, each))}
            assert {f"{kind.__name__}.{each}" for each in public - members} <= NOT_FOR_USERS


def docstring_examples() -> Iterator[tuple[str, str]]:
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for example in re.findall(r"```python\n(.*?)```", ast.get_docstring(node) or "", re.DOTALL):
                    yield f"{file.relative_to(ROOT)}:{getattr(node, 'name', '')}", example


@pytest.mark.parametrize("example", [pytest.param(text, id=place) for place, text in docstring_examples()])
def test_an_example_in_a_docstring_says_only_what_there_is(example: str) -> None:
    """They have no imports and no loop to run in; so it is their syntax that is checked, and each name of ours."""
    tree = compile(example, "docstring", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    nodes = list(ast.walk(tree))
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    ours = set(rexecutor.__all__) - own

    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
            assert hasattr(getattr(rexecutor, node.value.id), node.attr), ast.unparse(node)


def rows_of(page: Path) -> dict[str, str]:
    """The last cell of each row of the page's tables whose first cell is a name of the module `rexecutor.events`."""
    rows = re.findall(r"^\| `(\w+)` \|.*\|(.*)\|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: cell for name, cell in rows if name in rexecutor.events.__all__}


def test_the_page_of_events_has_each_event_and_each_outcome_with_its_fields() -> None:
    rows = rows_of(DOCS / "events.md")
    kinds = [*get_args(Event), *get_args(Outcome)]

    assert sorted(rows) == sorted(kind.__name__ for kind in kinds)
    for kind in kinds:
        named_there = [name for name in re.findall(r"`(\w+)`", rows[kind.__name__]) if name in kind.__match_args__]
        assert named_there == list(kind.__match_args__), kind


def test_the_public_events_are_all_there_are() -> None:
    public = {getattr(rexecutor.events, name) for name in rexecutor.events.__all__}

    assert public == {*get_args(Event), *get_args(Outcome), Event, Outcome, rexecutor.subscribe, Subscriber, Queue}


def test_the_picture_of_a_jobs_life_has_every_status() -> None:
    picture = (DOCS / "pictures" / "job-life.svg").read_text(encoding="utf-8")

    assert {status for status in JobStatus if f">{status}<" in picture} == set(JobStatus)
