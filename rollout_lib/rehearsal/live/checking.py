"""Send the contract to a router that is deployed beside a staging database, and compare.

The configuration of that database is set for each step and put back at the end. Production is
refused before anything is asked of it."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
from sqlalchemy import text

from rollout_lib.database.connection import Database, connect
from rollout_lib.database.ledger import read_facts
from rollout_lib.errors import CouldNotMeasure, UsageError
from rollout_lib.judgement.state import fold
from rollout_lib.model import UNIFIED
from rollout_lib.plan import Plan
from rollout_lib.rehearsal.live.configuration import VALID_S
from rollout_lib.rehearsal.live.contract import (
    Asked,
    Contract,
    Difference,
    Step,
    Wording,
    differing_row,
    domain_of,
)
from rollout_lib.rehearsal.live.staging import TakenConfiguration, taken_configuration
from rollout_lib.rehearsal.live.webhook import signature

_Expected = tuple[str, tuple[str, str] | None]  # request, and its row: domain and destination
_Rows = Mapping[str, Sequence[tuple[str, str]]]  # the rows of each id: domain and destination

SECRET, VERIFY = "ROLLOUT_REHEARSAL_APP_SECRET", "ROLLOUT_REHEARSAL_VERIFY_TOKEN"
SETTLE_S = VALID_S + 0.5  # a router decides by a change within its cache's second
ROWS_S, ANSWER_S = 15.0, 30.0
_WATCHED = "SELECT rollout FROM rollout.lease WHERE until >= clock_timestamp() ORDER BY rollout"
TRIES = 3  # where legacy had what unified should have: a router that stalled does that
AT_ONCE = 12
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found. put_back: "" where the configuration is as it was, else what it is now."""

    place: str
    url: str
    requests: int
    differences: tuple[Difference, ...]
    put_back: str

    @property
    def ok(self) -> bool:
        return not self.differences and not self.put_back


def refuse_wrong(plan: Plan, url: str) -> None:
    """Raise UsageError for a plan of production, or an address that is none."""
    if plan.environment == "production":
        raise UsageError(
            reason=f"The plan {plan.path} says production: the check sends webhooks and sets the"
            " configuration. Give a plan of staging."
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise UsageError(reason="--url is not an http(s) address without a password.")


def refuse_beside_a_rollout(database: Database, plan: Plan) -> None:
    """Raise UsageError where a rollout runs in the database: its watcher would act on what the
    check sets, and its evidence would count what the check sends.
    """
    with database.transaction(readonly=True) as connection:
        if connection.exec_driver_sql("SELECT to_regclass('rollout.ledger')").scalar() is None:
            return
        watched = connection.execute(text(_WATCHED)).scalars().all()
        phase = fold(read_facts(connection, plan).entries, plan).phase
    runs = f"{plan.rollout} is at {phase.percentage:g} %" if phase else ""
    if runs or watched:
        raise UsageError(
            reason=f"A rollout runs in {database.place.database}: "
            + "; ".join(filter(None, (runs, *(f"{name} is watched" for name in watched))))
            + ". Nothing was sent. Ask a router whose database has none, or end it first: rollout"
            " rollback --off --reason '…' --apply, and stop its watcher."
        )


def given(variable: str) -> str:
    """A secret from the environment. Raises UsageError where it is not set."""
    found = os.environ.get(variable, "")
    if not found:
        raise UsageError(reason=f"${variable} is not set; the router under test has the same one.")
    return found


def check_router(
    plan: Plan, url: str, contract: Contract, progress: Progress = lambda what, done, total: None
) -> Report:
    """Send every request of the contract and compare what came.

    Raises UsageError (nothing ran) for production, a wrong address, a missing secret or a rollout
    that runs there, and CouldNotMeasure where the router does not answer or its rows are not in the plan's database."""
    refuse_wrong(plan, url)
    secret, token = given(SECRET), given(VERIFY)
    database = connect(plan)
    refuse_beside_a_rollout(database, plan)
    with (
        httpx2.Client(timeout=ANSWER_S, follow_redirects=False) as client,
        taken_configuration(database) as configuration,
    ):
        check = _Check(client, url, secret, token, database, contract)
        found: list[Difference] = []
        for number, step in enumerate(contract.steps):
            progress(step.says, number, len(contract.steps))
            configuration.set(step.configuration)
            time.sleep(SETTLE_S)  # the contract itself: by then every router has read it
            found += check.step(step, configuration)
        found += check.at_the_end()
    return Report(
        place=str(database.place),
        url=url,
        requests=check.sent,
        differences=tuple(dict.fromkeys(found)),
        put_back=configuration.trouble,
    )


class _Check:
    """One run: what was sent, by name, and which rows must come of it."""

    def __init__(
        self,
        client: httpx2.Client,
        url: str,
        secret: str,
        token: str,
        database: Database,
        contract: Contract,
    ) -> None:
        self._client, self._url, self._token = client, url, token
        self._secret, self._database = secret.encode(), database
        self._run = secrets.randbits(32)
        self._wording = Wording(contract, self._run)
        self.sent = 0
        self._bodies: dict[str, tuple[bytes, list[tuple[str, str]]]] = {}  # name: body, (id, who)
        self._rows: dict[str, _Expected] = {}  # id: (name, expected row)
        self._sides: dict[str, dict[int, str]] = {}  # of many: customer's number -> side

    def step(self, step: Step, configuration: TakenConfiguration) -> list[Difference]:
        """All of a step, again where legacy alone had what unified should have."""
        if configuration.refused:
            return []  # no router can meet it in this database
        found: list[Difference] = []
        for attempt in range(TRIES):
            expected: dict[str, _Expected] = {}
            found = [
                difference
                for asked in step.requests
                for difference in self._asked(asked, attempt, expected)
            ]
            rows = self._wait_for(expected)
            found += self._compared(step, expected, rows)
            if not any(difference.excusable for difference in found):
                self._rows |= expected
                break
        return found

    def at_the_end(self) -> list[Difference]:
        """Every message again: no second row has come meanwhile."""
        rows = self._read(self._rows)
        return _differing(self._rows, rows)

    def _asked(
        self, asked: Asked, attempt: int, expected: dict[str, tuple[str, tuple[str, str] | None]]
    ) -> list[Difference]:
        if asked.handshake is not None:
            return self._shaken(asked)
        if asked.many is not None:
            return self._many(asked, attempt, expected)
        if asked.messages is not None:
            return self._messages(asked, attempt, expected)
        if asked.status_of is not None:
            identity, who = self._bodies[asked.status_of][1][0]
            return self._answered(asked, self._post(self._wording.status(identity, who)))
        if asked.again is not None:
            return self._answered(asked, self._post(self._bodies[asked.again][0]))
        return self._answered(asked, self._post((asked.body or "").encode()))

    def _messages(
        self, asked: Asked, attempt: int, expected: dict[str, tuple[str, tuple[str, str] | None]]
    ) -> list[Difference]:
        items = [
            (self._wording.identity(asked.name, number, attempt), who, key)
            for number, (who, key) in enumerate(asked.messages or ())
        ]
        for number, (identity, _, key) in enumerate(items):
            row = (domain_of(key), asked.routed_to[number]) if asked.routed_to else None
            expected[identity] = (asked.name, row)
        body = self._wording.post(items)
        self._bodies[asked.name] = body, [(identity, who) for identity, who, _ in items]
        return self._answered(asked, self._post(body, asked.signature))

    def _many(
        self, asked: Asked, attempt: int, expected: dict[str, tuple[str, tuple[str, str] | None]]
    ) -> list[Difference]:
        """Sides are looked at together, once their rows are there."""
        items = [
            (self._wording.identity(asked.name, number, attempt), f"many {number}", asked.what)
            for number in range(asked.many or 0)
        ]
        for identity, _, key in items:
            expected[identity] = (asked.name, (domain_of(key), ""))
        for _, who, _ in items:
            self._wording.customer(who)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda item: self._post(self._wording.post([item])), items))
        return [found for answer in answers for found in self._answered(asked, answer)][:1]

    def _shaken(self, asked: Asked) -> list[Difference]:
        assert asked.handshake is not None
        challenge = str(secrets.randbits(31))
        token = self._token if asked.handshake.token == "right" else "not-" + self._token[::-1]
        query = {
            "hub.mode": asked.handshake.mode,
            "hub.verify_token": token,
            "hub.challenge": challenge,
        }
        answer = self._request("GET", params=query)
        found = self._answered(asked, answer)
        if not found and asked.answer == 200:
            kind = answer.headers.get("content-type", "")
            if answer.text != challenge or not kind.startswith("text/plain"):
                shown = "another text" if answer.text != challenge else kind
                found = [
                    Difference(
                        request=asked.name,
                        what="body",
                        expected="the challenge as text/plain",
                        found=shown,
                    )
                ]
        return found

    def _post(self, body: bytes, signed: str = "right") -> httpx2.Response:
        headers = {"content-type": "application/json"}
        if signed != "missing":
            secret = self._secret if signed == "right" else b"not " + self._secret
            headers["x-hub-signature-256"] = signature(secret, body)
        return self._request("POST", content=body, headers=headers)

    def _request(self, method: str, **what: Any) -> httpx2.Response:
        self.sent += 1
        try:
            return self._client.request(method, self._url, **what)
        except httpx2.HTTPError as error:
            raise CouldNotMeasure(
                reason=f"the router did not answer ({type(error).__name__}); {self.sent} were sent."
            ) from None

    @staticmethod
    def _answered(asked: Asked, answer: httpx2.Response) -> list[Difference]:
        if answer.status_code == asked.answer:
            return []
        return [
            Difference(
                request=asked.name,
                what="the answer",
                expected=str(asked.answer),
                found=str(answer.status_code),
            )
        ]

    def _wait_for(self, expected: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
        """The rows of these messages, once each that must come is there; at most ROWS_S."""
        wanted = sum(row is not None for _, row in expected.values())
        end = time.monotonic() + ROWS_S
        while True:
            rows = self._read(expected)
            if len([1 for identity in expected if rows.get(identity)]) >= wanted:
                return rows
            if time.monotonic() > end:
                if not rows and wanted and not self._rows:
                    raise CouldNotMeasure(
                        reason="no row of the check is in the plan's database: this router writes"
                        " elsewhere, or not at all."
                    )
                return rows
            time.sleep(0.1)

    def _read(self, identities: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        statement = text(
            "SELECT message_id, domain, routed_to FROM public.webhook_routing_logs"
            " WHERE message_id LIKE :run AND created_at > now() - interval '1 hour' ORDER BY id"
        )
        found: dict[str, list[tuple[str, str]]] = {}
        with self._database.transaction(readonly=True) as connection:
            run = {"run": f"rollout-check-{self._run:08x}-%"}
            for message_id, domain, routed_to in connection.execute(statement, run):
                found.setdefault(message_id, []).append((domain, routed_to))
        return found

    def _compared(
        self,
        step: Step,
        expected: dict[str, tuple[str, tuple[str, str] | None]],
        rows: dict[str, list[tuple[str, str]]],
    ) -> list[Difference]:
        found = _differing(expected, rows)
        for asked in step.requests:
            if asked.many is not None:
                found += self._shares(asked, expected, rows)
            if asked.status_of is not None and asked.status_routed_to is not None:
                found += self._status_rows(asked, rows)
        return found

    def _shares(
        self, asked: Asked, expected: Mapping[str, _Expected], rows: _Rows
    ) -> list[Difference]:
        own = [identity for identity, (name, _) in expected.items() if name == asked.name]
        sides = {
            number: rows[identity][0][1]
            for number, identity in enumerate(own)
            if rows.get(identity)
        }
        self._sides[asked.name] = sides
        unified = {number for number, side in sides.items() if side == UNIFIED}
        least, most = asked.unified or (0, 0)
        found = []
        if not least <= len(unified) <= most:
            found.append(
                Difference(
                    request=asked.name,
                    what="the number at unified",
                    expected=f"{least} to {most} of {asked.many}",
                    found=str(len(unified)),
                    excusable=len(unified) < least,
                )
            )
        for other, both in ((asked.only_adds_to, False), (asked.same_as, True)):
            if other is None:
                continue
            before = {n for n, side in self._sides[other].items() if side == UNIFIED}
            moved = before ^ unified if both else before - unified
            if moved:
                found.append(
                    Difference(
                        request=asked.name,
                        what=f"the customers who changed sides since {other}",
                        expected="0",
                        found=str(len(moved)),
                        excusable=True,
                    )
                )
        return found

    def _status_rows(self, asked: Asked, rows: _Rows) -> list[Difference]:
        """A status has no row of its message; where it has one of its own, it follows."""
        assert asked.status_of is not None
        prefix = self._bodies[asked.status_of][1][0][0] + "#"
        sides = {side for key, found in rows.items() if key.startswith(prefix) for _, side in found}
        if sides <= {asked.status_routed_to}:
            return []
        return [
            Difference(
                request=asked.name,
                what="the status' row",
                expected=str(asked.status_routed_to),
                found=", ".join(sorted(sides)),
                excusable=asked.status_routed_to == UNIFIED,
            )
        ]


def _differing(
    expected: dict[str, tuple[str, tuple[str, str] | None]],
    rows: dict[str, list[tuple[str, str]]],
) -> list[Difference]:
    """Rows that are not as they must be; of many, the side is looked at elsewhere."""
    found = []
    for identity, (name, row) in expected.items():
        have = rows.get(identity, [])
        if row is not None and row[1] == "" and len(have) == 1:
            row = (row[0], have[0][1])
        if difference := differing_row(name, identity, row, have):
            found.append(difference)
    return found
