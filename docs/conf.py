"""How `make docs` builds these pages: Markdown by MyST, the API from docstrings, nothing from the network."""
# ruff: noqa: INP001 - Sphinx runs this file; it belongs to no package

import re
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.ext.napoleon import Config, GoogleDocstring

project = "rexecutor"
author = "the authors of rexecutor"
version = release = version_of("rexecutor")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
suppress_warnings = ["myst.header"]  # the changelog, which is included, begins with a title of its own

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide-code.css"]
html_title = "rexecutor"
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 3
default_role = "code"  # docstrings write names in single backticks, as Markdown does

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88

nitpick_ignore_regex = [
    # Other projects' names: to link them, their indexes would have to be fetched.
    ("py:.*", r"(asyncio|collections|contextlib|datetime|enum|hypothesis|msgspec|pathlib|types|unittest|zoneinfo)\..*"),
    ("py:.*", r"(psycopg_pool|sqlite3|prometheus_client|opentelemetry)\..*"),
    ("py:class", r"AnyResult|AnyTask|(rexecutor\.)?django\.(tasks|db|test)\..*"),  # of Django 6, which these pages lack
    ("py:class", r"(Async|Sync)Connection"),  # unions of protocols; the table in enqueuing.md says which there are
    ("py:class", r"rexecutor\.backend\.unwrapping\.SqlAlchemy\w+"),  # likewise
    ("py:class", r"rexecutor\.backend\.django_connection\.DjangoConnection"),  # likewise
    ("py:class", r"rexecutor\.testing\.suite\.case\.Cases"),  # what `BackendSuite` and a part of it have in common
    ("py:class", r"rexecutor\.clock\.T"),  # a type variable as well
    ("py:class", r"rexecutor\.jobs\.definition\.ExecutorDefinition"),  # the part of `Executor` that a subclass defines
    ("py:.*", r"(typing_extensions\.|rexecutor\.model\.job\.)?(Data|Metadata|Result)"),  # type variables
    ("py:.*", r"(typing\.~)?P|rexecutor\.jobs\.providers\.T"),  # likewise
    ("py:class", r"rexecutor\.jobs\.function\._\w+"),  # the two forms of `@job`, for type checkers
    ("py:class", r"rexecutor\.jobs\.definition\.DeclaredTypes"),  # what the library itself asks an executor for
]

_MADE_BY_OTHERS = {  # nobody calls these: their fields are no signature
    f"rexecutor.{name}"
    for name in (
        "BackoffStrategy",
        "CatchUp",
        "ErrorKind",
        "Jitter",
        "Job",
        "JobBuilder",
        "JobError",
        "JobHandle",
        "JobStatus",
        "Pruner",
        "Replace",
        "UniquenessCriteria",
        "clock.Timer",
    )
}

_FENCE = re.compile(r"^```py(thon)?$")
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*"""
    r"""|<link\b[^>]*\brel=["']?(?:stylesheet|preload|icon|preconnect)[^>]*\bhref=["']?(?:https?:)?//[^>]*"""
    r"""|@import\s[^;]*//[^;]*|url\(\s*["']?(?:https?:)?//[^)]*"""
)


def _as_rst(app: Sphinx, what: str, name: str, documented: object, options: object, lines: list[str]) -> None:
    """Turn a docstring's fenced examples, and its sections, into what Sphinx reads there."""
    converted: list[str] = []
    is_inside = False
    for line in lines:
        if _FENCE.match(line):
            converted += [".. code-block:: python", ""]
            is_inside = True
        elif is_inside and line == "```":
            converted.append("")
            is_inside = False
        else:
            converted.append(f"    {line}" if is_inside else line)
    if what not in {"attribute", "data", "property"}:  # there it would take what stands before a colon for a type
        converted = GoogleDocstring(converted, Config(), app, what, name, documented, options).lines()
    lines[:] = converted


def _without_fields(_app: Sphinx, what: str, name: str, *_: object) -> tuple[str, None] | None:
    """Leave the signature out where it would only list fields."""
    return ("", None) if what == "class" and name in _MADE_BY_OTHERS else None


def _require_nothing_from_elsewhere(app: Sphinx, exception: Exception | None) -> None:
    """Fail the build where a page or a style sheet makes a browser fetch something from another place."""
    if exception is None:
        for built in sorted(Path(app.outdir).rglob("*")):
            if built.suffix in {".html", ".css"}:
                found = _LOADED.search(built.read_text(encoding="utf-8"))
                if found:
                    raise ExtensionError(f"{built}: loads from elsewhere: {found.group()}")


def setup(app: Sphinx) -> None:
    """Add the steps above to the build."""
    app.connect("autodoc-process-docstring", _as_rst)
    app.connect("autodoc-process-signature", _without_fields)
    app.connect("build-finished", _require_nothing_from_elsewhere)
