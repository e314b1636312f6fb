"""A stand-in for the Management API's function list: GET /v1/projects/<ref>/functions with a bearer
token.
"""

from __future__ import annotations

import json

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout_lib.probes import ROUTER_FUNCTION

TOKEN = "rehearsal"  # no secret: it opens nothing
STATUSES = ("ACTIVE", "REMOVED", "THROTTLED")


def app(token: str = TOKEN) -> Starlette:
    """The list has the router alone; PUT /status with {"status": …} changes what it says, null
    removes it.
    """
    state: dict[str, str | None] = {"status": "ACTIVE"}

    async def functions(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {token}":
            return JSONResponse({"message": "Unauthorized"}, 401)
        if state["status"] is None:
            return JSONResponse([])
        return JSONResponse(
            [
                {
                    "id": "00000000-0000-0000-0000-000000000001",
                    "slug": ROUTER_FUNCTION,
                    "name": ROUTER_FUNCTION,
                    "status": state["status"],
                    "version": 1,
                    "verify_jwt": False,
                }
            ]
        )

    async def put(request: Request) -> Response:
        try:
            wanted = json.loads(await request.body())["status"]
        except (ValueError, KeyError, TypeError):
            wanted = ""
        if wanted is not None and wanted not in STATUSES:
            return JSONResponse(
                {"message": f"status is one of {', '.join(STATUSES)}, or null"}, 400
            )
        state["status"] = wanted
        return JSONResponse(state)

    return Starlette(
        routes=[
            Route("/v1/projects/{ref}/functions", functions),
            Route("/status", put, methods=["PUT"]),
        ]
    )
