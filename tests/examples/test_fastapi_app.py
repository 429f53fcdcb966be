"""`examples/fastapi_app`: a server and workers, of which the first is killed while it runs a job."""

from pathlib import Path

from tests.examples.programs import Programs, new_database


def test_an_order_is_charged_although_its_worker_is_killed_and_a_refused_one_leaves_no_job(tmp_path: Path) -> None:
    url = new_database(tmp_path)
    with Programs.of_example("fastapi_app", tmp_path, DATABASE_URL=url, LEASE="0.6") as programs:
        programs.run("-m", "shop.database")
        programs.run("-m", "rexecutor", "migrate", "--url", url)
        server = programs.serve("-m", "uvicorn", "shop.web:app", "--port", "{port}")

        placed = server.post("/orders", {"item": "tea", "cents": 450}).json()
        refused = server.post("/orders", {"item": "ship", "cents": 900_000})
        job = f"/jobs/{placed['job']}"
        killed = programs.worker("shop.jobs:worker", GATEWAY_SECONDS="600")
        programs.until(lambda: server.get(job).json()["status"] == "executing")
        killed.kill()
        programs.worker("shop.jobs:worker")
        programs.until(lambda: server.get(job).json()["status"] == "complete")

        receipt = f"receipt {placed['order']}: 450 cents"
        assert server.get(job).json() == {"status": "complete", "attempt": 2, "result": receipt}
        assert server.get(f"/orders/{placed['order']}").json() == {"item": "tea", "receipt": receipt}
        assert (refused.status_code, server.get(f"/orders/{placed['order'] + 1}").status_code) == (409, 404)
        listed = programs.run("-m", "rexecutor", "jobs", "list", "--url", url)
        assert listed.count("charge") == 1, listed
