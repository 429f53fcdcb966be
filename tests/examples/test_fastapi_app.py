"""`examples/fastapi_app`: a server and workers, of which the first is killed while it runs a job."""

from pathlib import Path

from tests.examples.orders import check_that_an_order_is_charged
from tests.examples.programs import Programs, new_database


def test_an_order_is_charged_although_its_worker_is_killed_and_a_refused_one_leaves_no_job(tmp_path: Path) -> None:
    url = new_database(tmp_path)
    with Programs.of_example("fastapi_app", tmp_path, DATABASE_URL=url, LEASE="0.6") as programs:
        programs.run("-m", "shop.database")
        programs.run("-m", "rexecutor", "migrate", "--url", url)
        server = programs.serve("-m", "uvicorn", "shop.web:app", "--port", "{port}")

        check_that_an_order_is_charged(programs, server, "shop.jobs:worker", url)
