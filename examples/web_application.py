"""A small web application that responds at once and leaves the work to jobs.

It is plain asyncio, so that it needs nothing else. With FastAPI, Starlette or Litestar the `async with` is the body of
the lifespan, and `accept` is a handler:

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Rexecutor(SQLiteBackend("jobs.db")).with_executor(Thumbnail(gallery)).set_global_backend():
            yield

    @app.post("/images/{name}")
    async def accept(name: str) -> dict[str, int]:
        return {"job": (await Thumbnail.builder().with_data(name).enqueue()).id}
"""

import asyncio
import tempfile
from pathlib import Path

from rexecutor import Executor, Job, JobHandle, Rexecutor, SQLiteBackend, Where


class Thumbnail(Executor[str]):
    """Makes the thumbnail of an image."""

    name = "thumbnail"

    def __init__(self, gallery: list[str]) -> None:
        self._gallery = gallery

    async def execute(self, job: Job[str]) -> None:
        """Make the thumbnail."""
        self._gallery.append(f"small {job.data}")


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond to `POST /images/NAME` with the id of a new job, and to `GET /jobs/ID` with the job's status."""
    method, path, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(maxsplit=2)
    _, what, name = path.split("/")
    if (method, what) == ("POST", "images"):
        handle = await Thumbnail.builder().with_data(name).enqueue()
        writer.write(f"HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n{handle.id}".encode())
    else:
        [job] = await Thumbnail.query_jobs(Where.id_equals(int(name)))
        writer.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{job.status}".encode())
    writer.close()
    await writer.wait_closed()


async def request(port: int, line: str) -> str:
    """Return the server's response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, body = (await reader.read()).decode().split("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return f"{head.splitlines()[0]}: {body}"


async def main() -> None:
    """Serve three requests."""
    with tempfile.TemporaryDirectory() as folder:
        gallery: list[str] = []
        backend = SQLiteBackend(Path(folder) / "jobs.db")
        async with Rexecutor(backend).with_executor(Thumbnail(gallery)).set_global_backend():
            server = await asyncio.start_server(accept, "127.0.0.1", 0)
            port: int = server.sockets[0].getsockname()[1]

            print(await request(port, "POST /images/cat.png"))
            print(await request(port, "POST /images/dog.png"))
            for job_id in (1, 2):
                await JobHandle(job_id, "existing", Thumbnail, backend).wait()
            print(await request(port, "GET /jobs/2"))
            print(*sorted(gallery), sep=", ")

            server.close()
            await server.wait_closed()


asyncio.run(main())
