"""`python -m demo` runs the demo; `--help` lists its options."""

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from demo.command import demo
from rexecutor.cli.app import run_app

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(demo)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the demo and exit the process with its status: 0 nothing was lost, 1 failed, 2 misused.

    Args:
        arguments: What follows the program's name; None for the arguments of the process.
    """
    raise SystemExit(run_app(app, sys.argv[1:] if arguments is None else arguments, "python -m demo"))


if __name__ == "__main__":
    main()
