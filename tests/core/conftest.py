"""A day of checkpoints without a database: made-up rows through the real judgement and the real fold."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from rollout_lib.figures import table_rows
from rollout_lib.judgement import judge_phase_end, judge_slot, look_from
from rollout_lib.messages import render
from rollout_lib.model import (
    LEGACY,
    UNIFIED,
    Cell,
    Change,
    Checkpoint,
    Entry,
    Health,
    Leak,
    Measurement,
    Place,
    RoutingConfig,
    State,
    Traffic,
    Window,
)
from rollout_lib.plan import Plan, load_plan
from rollout_lib.serial import from_json, to_json
from rollout_lib.standing import fold

STEP = timedelta(minutes=15)
PER_SLOT = {"jobs": 14, "marketplace": 9, "property": 6}  # unified rows a slot at 10 %


@dataclass
class Day:
    """Takes checks one after the other and keeps the ledger's entries and the bodies."""

    plan: Plan
    now: datetime = datetime(2025, 12, 3, 8, 0, tzinfo=UTC)
    percentage: Decimal = Decimal(0)
    entries: list[Entry] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def change(self, to: int) -> Checkpoint:
        before, self.percentage = self.percentage, Decimal(to)
        change = Change(before=(before, before > 0), asked=(Decimal(to), to > 0), after=(Decimal(to), to > 0),
                        applied=True, reason="as planned")  # fmt: skip
        return self._keep(operation="change", state=State.PASS, sentence=f"Routing is at {to} %.", change=change)

    def check(self, errors: int = 0, *, wait: timedelta = STEP, slow: bool = False) -> Checkpoint:
        self.now += wait
        measurement, standing = self._measured(errors, slow), fold(self.entries, self.plan)
        verdict = judge_slot(plan=self.plan, config=self._config(), standing=standing, measurement=measurement,
                             slot=self.now, now=self.now)  # fmt: skip
        look = look_from(measurement, self.now, True, self.plan)
        figures = {"rows": table_rows(measurement.window, self.plan.domains)}
        return self._keep(operation="monitor", state=verdict.state, sentence=verdict.sentence, verdict=verdict,
                          look=look, slot=self.now, figures=figures)  # fmt: skip

    def evaluate(self) -> Checkpoint:
        measurement, standing = self._measured(0, False), fold(self.entries, self.plan)
        nothing_new = Traffic(window=Window(start=self.now, end=self.now), cells=())
        measurement = replace(measurement, increment=nothing_new)
        verdict = judge_phase_end(plan=self.plan, config=self._config(), standing=standing, measurement=measurement,
                                  now=self.now)  # fmt: skip
        figures = {"phase": table_rows(measurement.window, self.plan.domains)}
        return self._keep(operation="evaluate", state=verdict.state, sentence=verdict.sentence, verdict=verdict,
                          figures=figures)  # fmt: skip

    def _config(self) -> RoutingConfig:
        return RoutingConfig(percentage=self.percentage, enabled=self.percentage > 0, domains=self.plan.domains,
                             created_at=self.now, updated_at=None, notes=None, rows=1)  # fmt: skip

    def _measured(self, errors: int, slow: bool) -> Measurement:
        share = float(self.percentage) / 10
        window = Window(start=self.now - STEP, end=self.now)
        cells = []
        for number, (domain, rows) in enumerate(PER_SLOT.items()):
            unified, bad = round(rows * share), errors if number == 0 else 0
            spread = {3500 if slow else 700 + 13 * index: 1 for index in range(unified)}
            spread = {3500: unified} if slow else spread
            late = unified if slow else 0
            cells.append(Cell(domain=domain, routed_to=UNIFIED, requests=unified, errors=bad, latencies=spread,
                              failing=bad, slow=late, slow_failing=late))  # fmt: skip
            legacy = round(rows * (10 - share))
            cells.append(Cell(domain=domain, routed_to=LEGACY, requests=legacy, errors=0, latencies={690: legacy},
                              failing=0, slow=0, slow_failing=0))  # fmt: skip
        traffic = Traffic(window=window, cells=tuple(cells))
        return Measurement(
            as_of=self.now, hour=traffic, window=traffic, increment=traffic, phase=traffic,
            leak=Leak(rows=0, domains=(), first_at=None, last_at=None), settled_unified=29, settled_legacy=261,
            last_unified_at=self.now, legacy_since_unified=0, newest_row_at=self.now,
            health=Health(rows=None, reason="simulated time"),
        )  # fmt: skip

    def _keep(self, **facts: Any) -> Checkpoint:
        standing = fold(self.entries, self.plan)
        seq = len(self.entries) + 1
        checkpoint = Checkpoint(
            run_id=f"run{seq}", operator="Rita", plan_digest=self.plan.digest, plan_path=self.plan.path, at=self.now,
            recorded_at=self.now, phase=standing.phase, config=self._config(), exit_code=0,
            place=Place(environment="rehearsal", host="embedded", database="rehearsal_x", rollout=self.plan.rollout,
                        time_zone=self.plan.time_zone),
            **({"verdict": None, "slot": None} | facts),
        )  # fmt: skip
        message = render(checkpoint, self.plan)
        body = json.loads(to_json(checkpoint)) | {"message": message}
        phase = standing.phase.began_at if standing.phase else None
        self.entries.append(
            Entry(seq=seq, kind="checkpoint", operation=checkpoint.operation, rollout=self.plan.rollout, at=self.now,
                  phase_began=phase, slot=checkpoint.slot, body=body)
        )  # fmt: skip
        self.bodies.append(body)
        return from_json(json.dumps(body))


@pytest.fixture
def day() -> Day:
    """An empty day before its first change, at 09:00 in the plan's zone."""
    return Day(plan=load_plan("parameters/week6.rehearsal.yaml"))
