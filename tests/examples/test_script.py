"""`examples/script`: a script that stores jobs, and a worker that runs them."""

from pathlib import Path

from rexecutor import ErrorKind, JobStatus, SQLiteBackend, job_handle
from tests.examples.programs import Programs


def test_a_script_gets_its_results_although_the_first_worker_is_killed(tmp_path: Path) -> None:
    with Programs.of_example("script", tmp_path, LEASE="0.6") as programs:
        words = {name: len((programs.folder / name).read_text().split()) for name in ("README.md", "jobs.py")}
        script = programs.start("count.py", *words)
        programs.until(lambda: "jobs 1, 2 are stored" in script.said)

        killed = programs.worker("jobs:rexecutor", WORK="600")
        first = job_handle(1, backend=SQLiteBackend(programs.folder / "jobs.db"))
        programs.until(lambda: first.fetch_sync().status is JobStatus.EXECUTING)
        killed.kill()
        programs.worker("jobs:rexecutor")

        assert script.ended() == 0, str(script)
        assert script.said.splitlines()[1:] == [f"{name}: {count} words" for name, count in words.items()]
        assert [error.kind for error in first.fetch_sync().errors] == [ErrorKind.LOST]
