"""`manage.py rexecutor_prune`: delete ended jobs of a Django project."""

import asyncio
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

import typer
from django.core.management.base import BaseCommand, CommandError, CommandParser

from rexecutor.cli.failure import MisusedError
from rexecutor.cli.prune import MAX_KEPT, count_prunable, prune_all, prune_spec, pruned_text
from rexecutor.cli.values import duration
from rexecutor.django.stores import Store, shared_backend, stores
from rexecutor.errors import RexecutorError
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.status import ENDED, JobStatus


class Command(BaseCommand):
    """Deletes ended jobs in the databases that the settings name: `rexecutor prune` for a Django project."""

    help = "Delete ended jobs permanently, by age (--older-than) or by number (--keep), 1,000 in a transaction."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of `rexecutor prune`, and the database."""
        ended = [str(status) for status in JobStatus if status in ENDED]
        parser.add_argument("--status", required=True, choices=ended, help="Only jobs that ended in this status.")
        age = "Only jobs that ended longer ago: 90s, 15m, 12h, 31d or 2w."
        parser.add_argument("--older-than", type=_duration, metavar="AGE", help=age)
        most = "All except the N jobs of each executor that ended last."
        parser.add_argument("--keep", type=_number, metavar="N", help=most)
        parser.add_argument("--only", action="append", metavar="NAME", help="Only of this executor; may be repeated.")
        parser.add_argument(
            "--except",
            dest="excepted",
            action="append",
            metavar="NAME",
            help="Not of this executor; may be repeated.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Delete nothing; print how many would be deleted.")
        parser.add_argument("--database", metavar="ALIAS", help="Only jobs in this database. [all that hold jobs]")

    def handle(self, **given: Any) -> None:
        """Delete the jobs, and print how many there were in each store."""
        status = JobStatus(given["status"])
        try:
            spec = prune_spec(status, given["older_than"], given["keep"], given["only"], given["excepted"])
            chosen = _stores(given["database"])
            for store in chosen:
                jobs = asyncio.run(_pruned(store, spec, dry_run=given["dry_run"]))
                where = f" in {store.database}, schema {store.schema}" if len(chosen) > 1 else ""
                self.stdout.write(pruned_text(jobs, status, dry_run=given["dry_run"]) + where)
        except (MisusedError, RexecutorError) as error:
            raise CommandError(str(error)) from error


def _stores(database: str | None) -> list[Store]:
    found = [store for store in stores() if store.database is not None and database in (None, store.database)]
    if not found:
        which = "DATABASES" if database is None else f"the database {database!r}"
        raise MisusedError(f"no task backend in TASKS has its jobs in {which}; jobs in memory end with their process")
    return found


async def _pruned(store: Store, spec: PruneSpec, *, dry_run: bool) -> int:
    async with shared_backend(store) as backend:
        return await (count_prunable(backend, spec) if dry_run else prune_all(backend, spec))


def _duration(text: str) -> timedelta:
    try:
        return duration(text)
    except typer.BadParameter as error:
        raise ArgumentTypeError(error.message) from error


def _number(text: str) -> int:
    if text.isdecimal() and len(text) < len(str(MAX_KEPT)):
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number of jobs")
