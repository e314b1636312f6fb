"""Whether something of ours lets a raise happen: an address of the plan is asked, and anything but a
clear yes is no.

A yes is 200 with `{"allow": true}`; `reason` beside it is shown. POST sends the facts as JSON, signed
as GitHub and WhatsApp sign theirs: HMAC-SHA256 of the body with $ROLLOUT_GATE_SECRET, in
X-Hub-Signature-256. Never asked for a lowering."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rollout_lib.model import Gate
from rollout_lib.plan import GatePlan, Plan
from rollout_lib.probes import request
from rollout_lib.redaction import redact

SECRET = "ROLLOUT_GATE_SECRET"
_LONGEST_REASON = 200


def ask_gates(plan: Plan, facts: Mapping[str, Any]) -> tuple[Gate, ...]:
    """Ask each of the plan's gates, side by side; () where it has none. Never raises."""
    if not plan.gates:
        return ()
    with ThreadPoolExecutor(max_workers=len(plan.gates)) as pool:
        return tuple(pool.map(lambda gate: _ask(gate, facts), plan.gates))


def _ask(gate: GatePlan, facts: Mapping[str, Any]) -> Gate:
    name, seconds = f"asked: {gate.name}", gate.timeout.total_seconds()
    body = json.dumps(dict(facts), sort_keys=True).encode() if gate.method == "POST" else b""
    try:
        answer = request(gate.method, gate.url, seconds, _headers(body), body)
    except (ValueError, OSError) as error:
        return Gate(name=name, met=False, reason=f"no answer: {redact(str(error))}")
    if isinstance(answer, str):
        return Gate(name=name, met=False, reason=answer)
    status, text = answer
    said, why = _yes(text) if status == 200 else (False, "")
    words = "it says yes" if said else f"no clear yes (HTTP {status})"
    return Gate(name=name, met=said, reason=f"{words}{f': {why}' if why else ''}")


def _headers(body: bytes) -> dict[str, str]:
    headers = {"Content-Type": "application/json"} if body else {}
    secret = os.environ.get(SECRET, "")
    if body and secret:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Hub-Signature-256"] = f"sha256={digest}"
    return headers


def _yes(text: str) -> tuple[bool, str]:
    """Is it a clear yes, and what it says beside it."""
    try:
        found = json.loads(text)
    except ValueError:
        return False, ""
    if not isinstance(found, dict):
        return False, ""
    why = found.get("reason", "")
    shown = redact(why)[:_LONGEST_REASON] if isinstance(why, str) else ""
    return found.get("allow") is True, shown
