"""`examples/flask_app`: gunicorn and workers, of which the first is killed while it runs a job."""

from pathlib import Path

from tests.examples.orders import check_that_an_order_is_charged
from tests.examples.programs import Programs


def test_an_order_is_charged_although_its_worker_is_killed_and_a_refused_one_leaves_no_job(tmp_path: Path) -> None:
    with Programs.of_example("flask_app", tmp_path, LEASE="0.6") as programs:
        programs.run("-m", "rexecutor", "migrate", "--url", "sqlite:///shop.db")
        server = programs.serve(
            "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--no-control-socket", "shop:create_app()"
        )

        check_that_an_order_is_charged(programs, server, "shop.worker:worker", "sqlite:///shop.db")
