"""Endpoints asked with GET: the protected ones, the router, a witness of our own network, the function list.

Nothing here judges. Facts carry their time; what is not configured is not asked, and says so elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from rollout_lib.model import Probe
from rollout_lib.plan import Plan

TOKEN = "SUPABASE_ACCESS_TOKEN"
ROUTER_FUNCTION = "webhook-traffic-router"
TRIES = 2


def take_probes(plan: Plan) -> tuple[Probe, ...]:
    """Ask every configured address, side by side, each twice where the first try failed."""
    wanted = [("protected", name, address) for name, address in plan.probes.protected.items()]
    if plan.probes.witness:
        wanted.append(("witness", "own network", plan.probes.witness))
    if plan.probes.router_health:
        wanted.append(("router", ROUTER_FUNCTION, plan.probes.router_health))
    if not wanted:
        return ()
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        return tuple(pool.map(lambda item: _ask(*item, plan.probes.timeout.total_seconds()), wanted))


def _ask(kind: str, name: str, address: str, timeout: float) -> Probe:
    import httpx2

    detail = ""
    for attempt in range(1, TRIES + 1):
        try:
            answer = httpx2.get(address, timeout=timeout, follow_redirects=False)
        except httpx2.HTTPError as error:
            detail = f"no answer ({type(error).__name__})"
        except (ValueError, OSError) as error:
            detail = f"could not be asked ({type(error).__name__})"
        else:
            # Below 500 the endpoint is up: a webhook may well refuse a GET, and that is its answer.
            if answer.status_code < 500:
                return _probe(kind, name, True, attempt - 1, f"HTTP {answer.status_code}")
            detail = f"HTTP {answer.status_code}"
    return _probe(kind, name, False, TRIES, detail)


def look_for_function(plan: Plan) -> Probe:
    """Is webhook-traffic-router ACTIVE? By the Management API, else the `supabase` command, else its health.

    up is None where there is no way to look.
    """
    if plan.probes.management_project and os.environ.get(TOKEN):
        return _by_api(plan)
    if plan.probes.management_project and shutil.which("supabase"):
        return _by_command(plan)
    if plan.probes.router_health:
        return _ask("function", ROUTER_FUNCTION, plan.probes.router_health, plan.probes.timeout.total_seconds())
    return _probe("function", ROUTER_FUNCTION, None, 0, "no token, no `supabase` command, no health address")


def _by_api(plan: Plan) -> Probe:
    import httpx2

    address = f"{plan.probes.management_address}/v1/projects/{plan.probes.management_project}/functions"
    headers = {"Authorization": f"Bearer {os.environ[TOKEN]}"}
    try:
        answer = httpx2.get(address, headers=headers, timeout=plan.probes.timeout.total_seconds())
        if answer.status_code != 200:
            words = f"the Management API answers HTTP {answer.status_code}"
            return _probe("function", ROUTER_FUNCTION, None, 1, words)
        return _listed(answer.json())
    except (httpx2.HTTPError, ValueError) as error:
        words = f"the Management API could not be asked ({type(error).__name__})"
        return _probe("function", ROUTER_FUNCTION, None, 1, words)


def _by_command(plan: Plan) -> Probe:
    command = [
        "supabase",
        "functions",
        "list",
        "--project-ref",
        str(plan.probes.management_project),
        "-o",
        "json",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return _listed(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        words = f"`supabase functions list` failed ({type(error).__name__})"
        return _probe("function", ROUTER_FUNCTION, None, 1, words)


def _listed(functions: object) -> Probe:
    if not isinstance(functions, list):
        return _probe("function", ROUTER_FUNCTION, None, 1, "the function list has another shape")
    for item in functions:
        name = item.get("slug") or item.get("name")
        if name == ROUTER_FUNCTION:
            status = str(item.get("status", "unknown"))
            words = f"{status}, version {item.get('version', '?')}"
            return _probe("function", ROUTER_FUNCTION, status == "ACTIVE", 0, words)
    return _probe("function", ROUTER_FUNCTION, False, 0, "not among the deployed functions")


def _probe(kind: str, name: str, up: bool | None, failures: int, detail: str) -> Probe:
    return Probe(kind=kind, name=name, up=up, failures=failures, at=datetime.now(UTC), detail=detail)
