"""`manage.py rexecutor`: the worker of a Django project."""

import os
import sys
from collections.abc import Iterable
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

try:
    import typer
    from typer.core import TyperOption

    from rexecutor.cli.app import run_app
    from rexecutor.cli.worker import worker
except ModuleNotFoundError as error:
    if error.name not in ("rich", "typer"):
        raise
    raise SystemExit(
        f"manage.py rexecutor needs {error.name}, which is missing: pip install 'rexecutor[cli]'"
    ) from None

from rexecutor.django import worker as project
from rexecutor.django.stores import task_backends

_CHOICES: Final = {
    "backends": ("ALIAS,ALIAS", project.BACKENDS, "Run only the tasks of these task backends. [all]"),
    "queues": ("NAME,NAME", project.QUEUES, "Run only the tasks in these queues. [all]"),
}
"""Options that `rexecutor worker` does not have. The worker processes read them from their environment."""


class Command(BaseCommand):
    """Runs tasks and jobs until SIGTERM or SIGINT: `rexecutor worker` for a Django project."""

    help = (
        "Run the tasks of django.tasks, and the jobs of the Rexecutor that REXECUTOR names in the settings, until"
        " SIGTERM or SIGINT; then let them finish."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of `rexecutor worker`, with its help texts, and those of this command alone."""
        for name, (metavar, _, text) in _CHOICES.items():
            parser.add_argument(f"--{name}", metavar=metavar, help=text)
        for option in _options():
            text = (option.help or "").replace("%", "%%")
            if option.is_flag:
                parser.add_argument(option.opts[0], action="store_true", help=text)
            else:
                parser.add_argument(option.opts[0], metavar=option.metavar, help=text)

    def handle(self, **given: Any) -> None:
        """Run the worker, and exit the process with its status."""
        if getattr(project.settings, "REXECUTOR", None) is None and not task_backends():
            raise CommandError(project.nothing_to_run())
        for name, (_, variable, _) in _CHOICES.items():
            if given.get(name):
                os.environ[variable] = given[name]
        arguments = [project.TARGET]
        for option in _options():
            value: object = given.get(str(option.name))
            if value is not None and value is not False:
                arguments += [option.opts[0]] if option.is_flag else [option.opts[0], str(value)]
        if given.get("traceback"):
            arguments.append("--debug")
        status = run_app(_app(), arguments, "manage.py rexecutor")
        if status:
            sys.exit(status)


def _app() -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(worker)
    return app


def _options() -> Iterable[TyperOption]:
    """Return the options of `rexecutor worker`."""
    command = typer.main.get_command(_app())
    return [one for one in command.params if isinstance(one, TyperOption) and one.opts[0] != "--help"]
