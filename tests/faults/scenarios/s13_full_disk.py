"""S13: the disk of the store is full for a while."""

import asyncio
import shutil
import subprocess
import sys
from functools import cache

import msgspec

from tests.faults.processes import ROOT
from tests.faults.scenario import Ground, Report, Scenario

ALONE = ("unshare", "--mount", "--propagation", "private")
"""Runs a program whose mounts nobody else sees, and which are gone with it."""


async def run(ground: Ground) -> Report:
    """Have a process with a disk of its own do it; the store that is given is not used."""
    kind = "postgres" if "#" in ground.store else "sqlite"
    program = (sys.executable, "-m", "tests.faults.programs.full_disk", kind, ground.folder, ground.size(30, 1))
    process = await asyncio.create_subprocess_exec(
        *ALONE, *map(str, program), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        said, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode:
        raise RuntimeError(errors.decode()[-400:])
    return msgspec.json.decode(said, type=Report)


@cache
def lacks() -> str | None:
    """Return why this machine cannot have a disk of its own."""
    if shutil.which(ALONE[0]) is None:
        return "no `unshare` (util-linux) here"
    mount = (*ALONE, "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt")
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    return f"no mount namespaces here: {tried.stderr.strip()}" if tried.returncode else None


SCENARIO = Scenario("S13", "the disk is full, then freed", ("Accepted", "Database outage"), run, lacks=lacks)
