"""Endpoints asked with GET: the protected ones, the router, a witness of our own network, the
function list.

Nothing here judges. Facts carry their time; what is not configured is not asked, and says so
elsewhere."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rollout_lib.model import Probe
from rollout_lib.plan import Plan

if TYPE_CHECKING:
    import httpx2

TOKEN = "SUPABASE_ACCESS_TOKEN"
ROUTER_FUNCTION = "webhook-traffic-router"
TRIES, PAUSE_S = 2, 1.0  # the second try is not part of the same blink
_REFUSED = re.compile(r"[0-9,]{1,12} of [0-9,]{1,12} refused since [0-9:]{5} UTC: secret rotated\?")
_LONGEST_ANSWER = 10_000  # bytes, of what lets something happen
_GONE = (404, 410)  # the platform answers for a function that is not there


def take_probes(plan: Plan, *, function: bool = False) -> tuple[Probe, ...]:
    """Ask every configured address, side by side, each twice where the first try failed.

    function: the function list too, which only a pre-flight needs. The witness (a reference
    address) must answer beside the others and, where a protected endpoint did not, once more after
    it: a network of ours that was away for a moment is then not taken for theirs."""
    timeout = plan.probes.timeout.total_seconds()
    wanted: list[tuple[str, str, str]] = [
        ("protected", name, address) for name, address in plan.probes.protected.items()
    ]
    if plan.probes.witness:
        wanted.append(("witness", "own network", plan.probes.witness))
    if plan.probes.router_health:
        wanted.append(("router", ROUTER_FUNCTION, plan.probes.router_health))
    if not wanted and not function:
        return ()
    with ThreadPoolExecutor(max_workers=len(wanted) + 1) as pool:
        listed = pool.submit(look_for_function, plan) if function else None
        found = tuple(pool.map(lambda item: _ask(item[0], item[1], item[2], timeout), wanted))
        found += (listed.result(),) if listed else ()
    if plan.probes.witness and any(probe.kind == "protected" and not probe.up for probe in found):
        again = _ask("witness", "own network, asked after", plan.probes.witness, timeout)
        found = (*found, again)
    return found


def take_again(plan: Plan, failed: Collection[str]) -> tuple[Probe, ...]:
    """All is asked once more, a tripwire's period later; `failures` of what failed before says
    both.
    """
    time.sleep(plan.monitoring.tripwire.total_seconds())
    return tuple(
        (
            replace(probe, failures=probe.failures + 1)
            if probe.kind == "protected" and probe.name in failed
            else probe
        )
        for probe in take_probes(plan)
    )


def _get(address: str, timeout: float, headers: Mapping[str, str] | None = None) -> httpx2.Response:
    import httpx2

    # A proxy of the environment is for the world outside, never for this machine.
    return httpx2.get(
        address,
        headers=headers,
        timeout=timeout,
        follow_redirects=False,
        trust_env=not _is_loopback(address),
    )


def request(
    method: str, address: str, timeout: float, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, str] | str:
    """One request without a second try: status and text, or why there was no answer; no longer than
    the timeout as a whole, however slowly it comes.
    """
    import httpx2

    got, until = b"", time.monotonic() + timeout
    try:
        with httpx2.stream(
            method,
            address,
            headers=headers,
            content=body,
            timeout=timeout,
            follow_redirects=False,
            trust_env=not _is_loopback(address),
        ) as answer:
            for part in answer.iter_bytes():
                got += part
                if time.monotonic() > until or len(got) > _LONGEST_ANSWER:
                    return "no answer (it takes too long, or is too long)"
            return answer.status_code, got.decode("utf-8", "replace")
    except httpx2.HTTPError as error:
        return f"no answer ({type(error).__name__})"


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ask(kind: str, name: str, address: str, timeout: float) -> Probe:
    import httpx2

    detail = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_S)
        try:
            answer = _get(address, timeout)
            status = answer.status_code
        except httpx2.HTTPError as error:
            detail = f"no answer ({type(error).__name__})"
        except (ValueError, OSError) as error:
            detail = f"could not be asked ({type(error).__name__})"
        else:
            detail = f"HTTP {status}{_refused(answer) if kind in ('router', 'function') else ''}"
            # A webhook may well refuse a GET: that is its own answer, and it is up. A redirect is
            # somebody else's.
            if 200 <= status < 300 or (400 <= status < 500 and status not in _GONE):
                return _probe(kind, name, True, 0, detail)
    return _probe(kind, name, False, 1, detail)


def _refused(answer: httpx2.Response) -> str:
    """What the router's health says of refused signatures; only those words, whatever else it
    says.
    """
    if len(answer.content) > 10_000:
        return ""
    try:
        said = answer.json()
    except ValueError:
        return ""
    words = said.get("signatures") if isinstance(said, dict) else None
    return f", {words}" if isinstance(words, str) and _REFUSED.fullmatch(words) else ""


def look_for_function(plan: Plan) -> Probe:
    """Is webhook-traffic-router ACTIVE? By the Management API, else the `supabase` command, else
    its health.

    up is None where there is no way to look, or looking failed.
    """
    if plan.probes.management_project and os.environ.get(TOKEN):
        return _by_api(plan)
    if plan.probes.management_project and shutil.which("supabase"):
        return _by_command(plan)
    if plan.probes.router_health:
        return _ask(
            "function",
            ROUTER_FUNCTION,
            plan.probes.router_health,
            plan.probes.timeout.total_seconds(),
        )
    return _function(None, "no token, no `supabase` command, no health address", failures=0)


def _by_api(plan: Plan) -> Probe:
    import httpx2

    address = (
        f"{plan.probes.management_address}/v1/projects/{plan.probes.management_project}/functions"
    )
    headers = {"Authorization": f"Bearer {os.environ[TOKEN]}"}
    try:
        answer = _get(address, plan.probes.timeout.total_seconds(), headers)
        if answer.status_code != 200:
            refused = f" (has ${TOKEN} expired?)" if answer.status_code in (401, 403) else ""
            return _function(None, f"the Management API answers HTTP {answer.status_code}{refused}")
        return _listed(answer.json())
    except (httpx2.HTTPError, ValueError, OSError) as error:
        return _function(None, f"the Management API could not be asked ({type(error).__name__})")


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
        return _function(None, f"`supabase functions list` failed ({type(error).__name__})")


def _listed(functions: object) -> Probe:
    """The router's place in a function list; any other shape is not an answer."""
    if not isinstance(functions, list) or not all(isinstance(item, dict) for item in functions):
        return _function(None, "the function list has another shape")
    for item in functions:
        if ROUTER_FUNCTION in (item.get("slug"), item.get("name")):
            status = str(item.get("status", "unknown"))
            return _function(
                status == "ACTIVE", f"{status}, version {item.get('version', '?')}", failures=0
            )
    return _function(False, "not among the deployed functions", failures=0)


def _function(up: bool | None, detail: str, *, failures: int = 1) -> Probe:
    return _probe("function", ROUTER_FUNCTION, up, failures, detail)


def _probe(kind: str, name: str, up: bool | None, failures: int, detail: str) -> Probe:
    return Probe(
        kind=kind, name=name, up=up, failures=failures, at=datetime.now(UTC), detail=detail
    )
