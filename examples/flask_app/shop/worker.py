"""What runs the jobs: `rexecutor worker shop.worker:worker`."""

import os
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from rexecutor import Job, Rexecutor

from . import create_app
from .jobs import backend, charge

LEASE = timedelta(seconds=float(os.environ.get("LEASE", "30")))  # how long until a dead worker's jobs run elsewhere

app = create_app()


def in_app_context(_: Job[Any, Any, Any]) -> AbstractContextManager[Any]:
    """Give each job an application context of its own, and so a `db.session` of its own."""
    return app.app_context()


worker = Rexecutor(backend, executors=[charge], around_execute=[in_app_context], lease=LEASE)
