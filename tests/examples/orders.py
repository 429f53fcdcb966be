"""What the shops of the examples do: charge an order although a worker is killed, and refuse another one."""

from tests.examples.programs import Programs, Server


def check_that_an_order_is_charged(programs: Programs, server: Server, worker: str, store: str) -> None:
    placed = server.post("/orders", {"item": "tea", "cents": 450}).json()
    refused = server.post("/orders", {"item": "ship", "cents": 900_000})
    job = f"/jobs/{placed['job']}"
    killed = programs.worker(worker, GATEWAY_SECONDS="600")
    programs.until(lambda: server.get(job).json()["status"] == "executing")
    killed.kill()
    programs.worker(worker)
    programs.until(lambda: server.get(job).json()["status"] == "complete")

    receipt = f"receipt {placed['order']}: 450 cents"
    assert server.get(job).json() == {"status": "complete", "attempt": 2, "result": receipt}
    assert server.get(f"/orders/{placed['order']}").json() == {"item": "tea", "receipt": receipt}
    assert (refused.status_code, server.get(f"/orders/{placed['order'] + 1}").status_code) == (409, 404)
    listed = programs.run("-m", "rexecutor", "jobs", "list", "--url", store)
    assert listed.count("charge") == 1, listed
