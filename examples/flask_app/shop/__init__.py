"""A shop: `flask --app shop run`, or `gunicorn "shop:create_app()"`."""

import os
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask, abort, request

from rexecutor import JobNotFoundError

from .jobs import charge
from .orders import Order, db


def create_app() -> Flask:
    """Make the application."""
    app = Flask(__name__)
    file = Path(os.environ.get("SHOP_DB", "shop.db")).absolute()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{file}"
    db.init_app(app)
    with app.app_context():
        db.create_all()

    @app.post("/orders")
    def place() -> tuple[dict[str, int], int]:
        """Store an order and the job that charges it: both, or neither."""
        order = Order(item=request.json["item"], cents=request.json["cents"])
        db.session.add(order)
        db.session.flush()
        handle = charge.options(connection=db.session).enqueue_sync(order.id)
        if order.cents > 100_000:
            abort(HTTPStatus.CONFLICT)  # not committed: there is no order, and no job
        db.session.commit()
        return {"order": order.id, "job": handle.id}, HTTPStatus.ACCEPTED

    @app.get("/orders/<int:order_id>")
    def show(order_id: int) -> dict[str, Any]:
        """Show an order, with its receipt once it is charged."""
        order = db.get_or_404(Order, order_id)
        return {"item": order.item, "receipt": order.receipt}

    @app.get("/jobs/<int:job_id>")
    def show_job(job_id: int) -> dict[str, Any]:
        """Show how far the job is."""
        try:
            job = charge.get_job_sync(job_id)
        except JobNotFoundError:
            abort(HTTPStatus.NOT_FOUND)
        return {"status": job.status, "attempt": job.attempt, "result": job.result}

    return app
