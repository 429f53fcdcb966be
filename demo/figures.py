"""The demo's figures, from the store, the history and a direct computation of the results."""

import multiprocessing
import os
import signal
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from demo.findings import Findings, examined
from demo.history import Ended, Entry, Started
from demo.work import SourceFile
from rexecutor.model.job import ErrorKind, JobId, JobRecord
from rexecutor.model.status import JobStatus

_CHUNK: Final = 16


@dataclass(frozen=True, slots=True)
class Account:
    """What is known about the jobs when the workers have ended."""

    jobs: Mapping[JobId, SourceFile]
    """The enqueued jobs' data, by id."""
    records: Mapping[JobId, JobRecord]
    """The jobs that the store has of these."""
    history: Sequence[Entry]
    """What the workers recorded."""
    truth: Mapping[str, Findings]
    """The right findings by path, computed directly."""
    seconds: float
    """Seconds from the enqueue until the last job ended."""

    def figures(self) -> dict[str, int | float]:
        """Return the figures by the names under which they are printed."""
        statuses = Counter(record.status for record in self.records.values())
        starts = Counter(entry.id for entry in self.history if isinstance(entry, Started))
        ended = sum(record.status.has_ended for record in self.records.values())
        return {
            "enqueued": len(self.jobs),
            "complete": statuses[JobStatus.COMPLETE],
            "retried": sum(_was_retried(record) for record in self.records.values()),
            "rescued": sum(_has_error(record, ErrorKind.LOST) for record in self.records.values()),
            "discarded": statuses[JobStatus.DISCARDED],
            "run more than once": sum(count > 1 for count in starts.values()),
            "lost": len(self.lost()),
            "jobs/s": round(ended / self.seconds, 1) if self.seconds else 0.0,
            "seconds": round(self.seconds, 2),
        }

    def lost(self) -> list[JobId]:
        """Return the jobs that are missing, have not ended, or are complete without a result."""
        results = {entry.id for entry in self.history if isinstance(entry, Ended)}
        return [
            job_id
            for job_id in self.jobs
            if (record := self.records.get(job_id)) is None
            or not record.status.has_ended
            or (record.status is JobStatus.COMPLETE and job_id not in results)
        ]

    def faults(self) -> list[str]:
        """Return a line for each kind of fault; none if all is well."""
        faults: list[str] = []
        if lost := self.lost():
            what = _counted(len(lost), "job is lost or has not ended", "jobs are lost or have not ended")
            faults.append(f"{what}: {_some(self._described(lost))}")
        unexpected = [
            job_id
            for job_id, record in self.records.items()
            if record.status.has_ended and record.status is not _expected(self.jobs[job_id])
        ]
        if unexpected:
            what = _counted(len(unexpected), "job ended in the wrong status", "jobs ended in the wrong status")
            faults.append(f"{what}: {_some(self._described(unexpected))}")
        if wrong := self._wrong():
            what = _counted(len(wrong), "recorded result is wrong", "recorded results are wrong")
            faults.append(f"{what}: {_some(wrong)}")
        return faults

    def checked(self) -> int:
        """Return how many recorded results were compared with the direct computation."""
        return sum(isinstance(entry, Ended) for entry in self.history)

    def _wrong(self) -> list[str]:
        results: defaultdict[JobId, list[Findings]] = defaultdict(list)
        for entry in self.history:
            if isinstance(entry, Ended):
                results[entry.id].append(entry.findings)
        return [
            job.path
            for job_id, job in self.jobs.items()
            if any(findings != self.truth.get(job.path) for findings in results[job_id])
        ]

    def _described(self, job_ids: Iterable[JobId]) -> list[str]:
        records = self.records
        return [f"{job_id} {records[job_id].status if job_id in records else 'gone'}" for job_id in job_ids]


def computed(paths: Sequence[str]) -> dict[str, Findings]:
    """Examine the files directly, on up to 8 processors."""
    processes = min(os.cpu_count() or 1, 8, max(1, len(paths) // _CHUNK))
    # Spawned, not forked: this process has threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_be_quiet) as pool:
        return {findings.path: findings for findings in pool.map(examined, paths, chunksize=_CHUNK)}


def _be_quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the demo itself handles Ctrl-C
    warnings.simplefilter("ignore")


def _expected(job: SourceFile) -> JobStatus:
    return JobStatus.DISCARDED if job.trouble == "always fails" else JobStatus.COMPLETE


def _was_retried(record: JobRecord) -> bool:
    return record.attempt > 1 and _has_error(record, ErrorKind.EXCEPTION)


def _has_error(record: JobRecord, kind: ErrorKind) -> bool:
    return any(error.kind is kind for error in record.errors)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + (", …" if len(items) > 3 else "")  # noqa: PLR2004 - a message is short
