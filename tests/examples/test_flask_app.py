"""`examples/flask_app`: gunicorn and workers, of which the first is killed while it runs a job."""

from pathlib import Path

from tests.examples.programs import Programs


def test_an_order_is_charged_although_its_worker_is_killed_and_a_refused_one_leaves_no_job(tmp_path: Path) -> None:
    with Programs.of_example("flask_app", tmp_path, LEASE="0.6") as programs:
        programs.run("-m", "rexecutor", "migrate", "--url", "sqlite:///shop.db")
        server = programs.serve(
            "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--no-control-socket", "shop:create_app()"
        )

        placed = server.post("/orders", {"item": "tea", "cents": 450}).json()
        refused = server.post("/orders", {"item": "ship", "cents": 900_000})
        job = f"/jobs/{placed['job']}"
        killed = programs.worker("shop.worker:worker", GATEWAY_SECONDS="600")
        programs.until(lambda: server.get(job).json()["status"] == "executing")
        killed.kill()
        programs.worker("shop.worker:worker")
        programs.until(lambda: server.get(job).json()["status"] == "complete")

        receipt = f"receipt {placed['order']}: 450 cents"
        assert server.get(job).json() == {"status": "complete", "attempt": 2, "result": receipt}
        assert server.get(f"/orders/{placed['order']}").json() == {"item": "tea", "receipt": receipt}
        assert (refused.status_code, server.get(f"/orders/{placed['order'] + 1}").status_code) == (409, 404)
        listed = programs.run("-m", "rexecutor", "jobs", "list", "--url", "sqlite:///shop.db")
        assert listed.count("charge") == 1, listed
