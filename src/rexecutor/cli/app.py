"""The command line application: its commands, and the exit status and message for each error."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated, Final

import typer
from typer.core import TyperGroup

from rexecutor.cli.cancel import cancel_jobs, rerun_jobs
from rexecutor.cli.check import check
from rexecutor.cli.commands import Debug, command
from rexecutor.cli.cron import cron, list_schedules, preview, run_schedule
from rexecutor.cli.doctor import doctor
from rexecutor.cli.enqueue import enqueue_job
from rexecutor.cli.failure import AS_JSON, DEBUGGING, FailedError, MisusedError, described, report
from rexecutor.cli.health import health
from rexecutor.cli.jobs import count_jobs, jobs, list_jobs, show_job
from rexecutor.cli.migrate import migrate
from rexecutor.cli.nodes import nodes
from rexecutor.cli.output import write_line
from rexecutor.cli.pause import pause, resume
from rexecutor.cli.prune import prune
from rexecutor.cli.settings import FILE, defaults
from rexecutor.cli.stats import stats
from rexecutor.cli.update import update_jobs
from rexecutor.cli.why import why
from rexecutor.cli.worker import worker
from rexecutor.command import program
from rexecutor.errors import RexecutorError

FAILED: Final = 1
MISUSED: Final = 2

app = typer.Typer(
    name="rexecutor",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its panels leave little room in 80 columns, and take a third of the time of `--help`
)


@app.callback(invoke_without_command=True)
def main(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Debug = False,
) -> None:
    """Durable background jobs: run workers, look at jobs, change them, prune them."""
    DEBUGGING.set(debug or DEBUGGING.get())
    if version:
        from importlib.metadata import version as installed  # not needed for anything else

        write_line(f"rexecutor {installed('rexecutor')}")
        raise typer.Exit


command(
    app,
    examples=(
        "worker app:rexecutor",
        "worker app:make --processes 4 --grace 60 --health-port 8080",
        "worker app:make --reload",
    ),
)(worker)
command(app, examples=("why 7", "why 7 --json"))(why)
command(app, examples=("stats", "stats --watch", "stats --json"))(stats)
command(app, examples=("nodes", "nodes --json"))(nodes)
command(app, examples=("pause email --for 1h --reason 'provider is down'", "pause --all", "pause"))(pause)
command(app, examples=("resume email", "resume --all"))(resume)
app.add_typer(jobs)
command(
    jobs,
    "list",
    examples=(
        "jobs list --status discarded --newest",
        "jobs list --executor email --data user.id=7 --since 2h",
        "jobs list --error TimeoutError --limit 20",
    ),
)(list_jobs)
command(jobs, "count", examples=("jobs count", "jobs count --executor email --since 1d"))(count_jobs)
command(jobs, "show", examples=("jobs show 6", "jobs show 6 --json"))(show_job)
command(
    jobs,
    "enqueue",
    examples=(
        """jobs enqueue email --data '"bob@example.com"' --app app:rexecutor""",
        "jobs enqueue report --data null --schedule-in 15m",
    ),
)(enqueue_job)
command(
    jobs,
    "cancel",
    examples=('jobs cancel 7 --reason "ordered twice"', "jobs cancel --executor email --tag campaign-3 --dry-run"),
)(cancel_jobs)
command(
    jobs,
    "update",
    examples=("jobs update 1 2 --priority 0", "jobs update --executor email --data user.id=7 --priority 9"),
)(update_jobs)
command(
    jobs, "rerun", examples=("jobs rerun 6", "jobs rerun --status discarded --last-error TimeoutError --since 2h --yes")
)(rerun_jobs)
app.add_typer(cron)
command(
    cron, "preview", examples=('cron preview "30 2 * * *"', 'cron preview "30 2 * * *" --timezone Europe/Berlin -n 3')
)(preview)
command(cron, "list", examples=("cron list", "cron list --json"))(list_schedules)
command(cron, "run", examples=("cron run nightly --app app:rexecutor",))(run_schedule)
command(app, examples=("check app:rexecutor", "check app:rexecutor --url postgresql://user@host/database"))(check)
command(app, examples=("doctor", "doctor --json"))(doctor)
command(app, examples=("health", "health --node $(hostname)"))(health)
command(app, examples=("migrate --url postgresql://user@host/database", "migrate --check"))(migrate)
command(
    app,
    examples=(
        "prune --status complete --older-than 31d --dry-run",
        "prune --status discarded --keep 200 --only email",
    ),
)(prune)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status; without arguments, print the help, which is a misuse."""
    status = run_app(app, arguments or ["--help"], program())
    return status if status or arguments else MISUSED


def run_app(app: typer.Typer, arguments: Sequence[str], name: str) -> int:
    """Run an application under this name and return its exit status. An error is at most three lines on stderr."""
    DEBUGGING.set("--debug" in arguments)  # also for errors before the options are read
    AS_JSON.set(False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # otherwise an ASCII terminal ends a command by a UnicodeEncodeError
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _invoke(app, arguments, name)
        sys.stdout.flush()
    except typer.TyperException as error:
        report(_place(error) + error.format_message().replace("Value error, ", ""), error, hint=_hint(error))
        return error.exit_code
    except MisusedError as error:
        report(str(error), error)
        return MISUSED
    except (RexecutorError, FailedError) as error:
        report(str(error), error)
        return FAILED
    except (typer.Abort, KeyboardInterrupt) as error:
        report("interrupted", error)
        return FAILED
    except OSError as error:
        _drop_output()
        if not isinstance(error, BrokenPipeError):  # then the reader, such as `head`, has read enough
            report(str(error), error)
        return FAILED
    except Exception as error:  # noqa: BLE001 - the end of the program: a traceback helps only those who ask for one
        report(described(error), error, hint=None if DEBUGGING.get() else "unexpected; --debug shows the traceback")
        return FAILED
    return status


def _invoke(app: typer.Typer, arguments: Sequence[str], name: str) -> int:
    command = typer.main.get_command(app)
    chosen = {} if "--help" in arguments or not isinstance(command, TyperGroup) else defaults(command, "worker")
    status: object = command.main(list(arguments), prog_name=name, standalone_mode=False, default_map=chosen)
    return status if isinstance(status, int) else 0


def _drop_output() -> None:
    """Discard output that cannot be written; otherwise the interpreter would try again at exit and print an error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _place(error: typer.TyperException) -> str:
    """Return where the value stands that the error is about, if it is neither an option nor in the environment."""
    source_of, parameter = (
        getattr(getattr(error, "ctx", None), "get_parameter_source", None),
        getattr(error, "param", None),
    )
    if source_of is None or parameter is None:
        return ""
    source: object = source_of(str(parameter.name))
    return f"{FILE}: " if getattr(source, "name", None) == "DEFAULT_MAP" else ""


def _hint(error: typer.TyperException) -> str | None:
    """Return the command to run for help; None if the error does not concern a command."""
    path: object = getattr(getattr(error, "ctx", None), "command_path", None)
    option: object = getattr(error, "option_name", None)
    if isinstance(path, str) and path.endswith(" worker") and option in ("--url", "--schema", "--app"):
        return "the application says which store its worker uses: worker MODULE:REXECUTOR"
    return f"try: {path} --help" if isinstance(path, str) else None
