"""`rexecutor health`: for probes, whether the workers of a store do their work."""

from typing import TYPE_CHECKING, Annotated

import typer

from rexecutor.cli.output import write_json, write_line
from rexecutor.cli.store import AsJson, Store, use_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rexecutor.backend.base import Backend
    from rexecutor.backend.messages import StoredNode


def health(
    *,
    node: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only nodes whose name, as `nodes` shows it, begins with this: a host."),
    ] = None,
    store: Store,
    json: AsJson = False,
) -> None:
    """Say whether the workers do their work; the exit status is 0 if so, otherwise 1.

    They do not if no node is live, the heartbeat of one is late, one has not renewed its lease, or the event loop of
    one does not respond; or if jobs are due that no live node runs.
    """
    from rexecutor.answers.health import complaints  # loads msgspec

    async def look(backend: "Backend") -> "tuple[Sequence[StoredNode], list[str]]":
        await backend.check_schema()
        nodes = await backend.nodes()
        return nodes, complaints(nodes, await backend.load(), node=node)

    nodes, found = use_store(store, look)
    if json:
        write_json({"healthy": not found, "nodes": sum(each.is_live for each in nodes), "complaints": found})
    elif found:
        for complaint in found:
            write_line(complaint)
    else:
        live = sum(each.is_live for each in nodes)
        write_line(f"{live} live node{'' if live == 1 else 's'}; all is well")
    if found:
        raise typer.Exit(1)
