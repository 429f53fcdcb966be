"""A disk that is full for a while: `unshare -m python -m tests.faults.programs.full_disk KIND FOLDER SECONDS`.

Mounts a small disk of its own, puts a store on it, lets workers enqueue and work, fills the disk for so many seconds,
and prints the report.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from demo.postgres_server import PostgresServer
from rexecutor import Backend
from rexecutor.model.status import OPEN
from rexecutor.model.where import StatusIn
from tests.faults.children import Child, children
from tests.faults.history import read
from tests.faults.scenario import Report, count_jobs, count_runs
from tests.faults.stores import backend_at, prepare

LEASE: Final = 2.0
WORKERS: Final = 2
MIB: Final = 1024 * 1024
SQLITE_MIB: Final = 32
POSTGRES_MIB: Final = 192
SETTINGS: Final = ("max_wal_size=64MB", "min_wal_size=32MB", "shared_buffers=16MB")
RECOVERY: Final = 15.0


class Disk:
    """A file system of fixed size; gone with this process's namespace."""

    def __init__(self, place: Path, mib: int) -> None:
        self._ballast = place / "ballast"
        self.place: Final = place
        place.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", "none", str(place))

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (MIB, 4096):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink()


class Store:
    """A store on such a disk."""

    def __init__(self, url: str, disk: Disk, server: PostgresServer | None = None) -> None:
        self.url: Final = url
        self.disk: Final = disk
        self.restarts = 0
        """How often the server had to be started again."""
        self._server = server

    def revive(self) -> None:
        """Start the server again if the full disk has ended it, as an administrator would."""
        if self._server is not None and not Path(f"/proc/{self._server.pid}/exe").exists():
            self._server.stop()
            self._server.start()
            self.restarts += 1


@contextmanager
def store_on_disk(kind: str, folder: Path) -> Generator[Store]:
    """Yield a new store. A server's data move to the disk once they are made."""
    if kind == "sqlite":
        disk = Disk(folder / "disk", SQLITE_MIB)
        yield Store(str(disk.place / "jobs.db"), disk)
        return
    with PostgresServer(settings=SETTINGS) as server:
        server.stop()
        data = server.folder / "data"
        disk = Disk(folder / "disk", POSTGRES_MIB)
        run("cp", "-a", f"{data}/.", str(disk.place))
        run("mount", "--bind", str(disk.place), str(data))
        server.start()
        try:
            yield Store(f"{server.url}#rexecutor", disk, server)
        finally:
            server.stop()
            run("umount", "-l", str(data))


def run(*command: str) -> None:
    """Run a program of the system."""
    subprocess.run(command, check=True)


async def main(kind: str, folder: Path, seconds: float) -> Report:
    """Work, fill the disk, free it, and wait until all is done."""
    histories = [folder / f"history-{number}" for number in range(WORKERS)]
    with store_on_disk(kind, folder) as store:
        await prepare(store.url)
        async with children() as nursery, backend_at(store.url) as backend:
            workers = [await nursery.start("busy", store.url, path, LEASE, 5) for path in histories]
            for worker in workers:
                assert await worker.answer() == "ready"
            await grown(workers, "acknowledged", 30)
            store.disk.fill()
            await grown(workers, "failed", 60)
            before = await acknowledged_by(workers)
            await asyncio.sleep(seconds)
            accepted = await acknowledged_by(workers) - before
            alive = sum(worker.process.returncode is None for worker in workers)
            store.disk.free()
            freed = time.monotonic()
            store.revive()
            await grown(workers, "acknowledged", 60)
            enqueued_after = time.monotonic() - freed
            counts = [await worker.ask("rest") for worker in workers]
            await drained(backend, 60)
            lines = [line for path in histories for line in read(path)]
            acknowledged = [line.job_id for line in lines if line.what == "ack"]
            report = Report(acknowledged=len(acknowledged), unknown=sum(one["failed"] for one in counts))
            count_runs(report, lines)
            await count_jobs(report, backend, acknowledged, lines)
            report.lost = (report.lost or 0) + len(acknowledged) - len(set(acknowledged))
            started_after = min(
                (line.at - freed for line in lines if line.what == "start" and line.at > freed), default=60
            )
            still = sum(worker.process.returncode is None for worker in workers)
    recovery = max(enqueued_after, started_after)
    report.recovery_s = round(recovery, 2)
    report.figures = {
        "full_s": seconds,
        "workers": WORKERS,
        "acknowledged_while_full": accepted,
        "server_restarts": store.restarts,
    }
    report.expect(f"{min(alive, still)} of {WORKERS} workers lived on", min(alive, still) == WORKERS)
    report.expect(f"they enqueued and started jobs again after {recovery:.1f} s", recovery <= RECOVERY)
    report.expect_no("lost", "unexpected", "duplicate_starts", "overlapping")
    return report


async def grown(workers: list[Child], what: str, seconds: float) -> None:
    """Wait until each of them has counted one more."""
    async with asyncio.timeout(seconds):
        for worker in workers:
            before = (await worker.ask("counts"))[what]
            while (await worker.ask("counts"))[what] == before:
                await asyncio.sleep(0.01)


async def acknowledged_by(workers: list[Child]) -> int:
    """Return how many of their jobs were acknowledged."""
    return sum([(await worker.ask("counts"))["acknowledged"] for worker in workers])


async def drained(backend: Backend, seconds: float) -> None:
    """Wait until all jobs have ended."""
    async with asyncio.timeout(seconds):
        while await backend.query(StatusIn(OPEN), limit=1):
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    found = asyncio.run(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
    sys.stdout.write(msgspec.json.encode(found).decode())
