"""A small web application that responds at once and leaves the work to jobs.

It is plain asyncio, so that it needs nothing else. With FastAPI the `async with` is the lifespan (with Starlette and
Litestar likewise), and the handlers are:

    rexecutor = Rexecutor(SQLiteBackend("jobs.db"), executors=[make_thumbnail]).set_global_backend()
    app = FastAPI(lifespan=rexecutor.lifespan)

    @app.post("/images/{name}")
    async def accept(name: str) -> dict[str, int]:
        return {"job": (await make_thumbnail.enqueue(name)).id}

    @app.get("/jobs/{id}")
    async def report(id: int) -> dict[str, str | None]:
        job = await make_thumbnail.get_job(id)
        return {"status": job.status, "thumbnail": job.result}
"""

import asyncio
import tempfile
from pathlib import Path

from rexecutor import Rexecutor, SQLiteBackend, job


@job
async def make_thumbnail(image: str) -> str:
    """Make the thumbnail of an image, and return its name."""
    return f"small {image}"


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond to `POST /images/NAME` with the id of a new job, and to `GET /jobs/ID` with its status and result."""
    method, path, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(maxsplit=2)
    _, what, name = path.split("/")
    if (method, what) == ("POST", "images"):
        handle = await make_thumbnail.enqueue(name)
        writer.write(f"HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n{handle.id}".encode())
    else:
        found = await make_thumbnail.get_job(int(name))
        body = f"{found.status}, {found.result}"
        writer.write(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}".encode())
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
        backend = SQLiteBackend(Path(folder) / "jobs.db")
        async with Rexecutor(backend, executors=[make_thumbnail]).set_global_backend():
            server = await asyncio.start_server(accept, "127.0.0.1", 0)
            port: int = server.sockets[0].getsockname()[1]

            print(await request(port, "POST /images/cat.png"))
            print(await request(port, "POST /images/dog.png"))
            print(await make_thumbnail.handle(1).result())
            await make_thumbnail.handle(2).wait()
            print(await request(port, "GET /jobs/2"))

            server.close()
            await server.wait_closed()


asyncio.run(main())
