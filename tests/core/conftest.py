"""A day of checkpoints without a database: made-up rows through the real judgement and the real
fold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings

from rollout_lib.judgement.counting import look_from
from rollout_lib.judgement.figures import merge, table_rows
from rollout_lib.judgement.findings import findings_of
from rollout_lib.judgement.phase_end import judge_phase_end
from rollout_lib.judgement.slot import judge_slot
from rollout_lib.judgement.state import EMPTY, fold, phase_index
from rollout_lib.model import (
    LEGACY,
    UNIFIED,
    Attestation,
    Cell,
    Change,
    Checkpoint,
    Entry,
    Health,
    Leak,
    Measurement,
    PhaseRun,
    Place,
    RoutingConfig,
    Standing,
    State,
    Traffic,
    Verdict,
    Window,
)
from rollout_lib.model.record import read_entry, to_json
from rollout_lib.notify import render
from rollout_lib.plan import Plan, load_plan

settings.register_profile("untimed", deadline=None)  # a slow machine is no failure
settings.load_profile("untimed")
STEP = timedelta(minutes=15)
PER_SLOT = {"jobs": 14, "marketplace": 9, "property": 6}  # unified rows a slot at 10 %


def untouched(plan: Plan) -> list[Cell]:
    """A slot of protected traffic: fifteen webhooks a domain, all of them served by their own
    function.
    """
    return [
        Cell(
            domain=name,
            routed_to=LEGACY,
            requests=15,
            errors=0,
            latencies={690: 15},
            failing=0,
            slow=0,
            slow_failing=0,
        )
        for name in plan.protected_domains
    ]


@dataclass
class Day:
    """Takes checks one after the other and keeps the ledger's entries and the bodies."""

    plan: Plan
    now: datetime = datetime(2025, 12, 3, 8, 0, tzinfo=UTC)
    percentage: Decimal = Decimal(0)
    entries: list[Entry] = field(default_factory=list)
    history: list[Checkpoint] = field(default_factory=list)

    def change(self, to: int) -> Checkpoint:
        before, self.percentage = self.percentage, Decimal(to)
        change = Change(
            before=(before, before > 0),
            asked=(Decimal(to), to > 0),
            after=(Decimal(to), to > 0),
            applied=True,
            reason="as planned",
        )
        return self._keep(
            operation="change", state=State.PASS, sentence=f"Routing is at {to} %.", change=change
        )

    def check(self, errors: int = 0, *, wait: timedelta = STEP, slow: bool = False) -> Checkpoint:
        self.now += wait
        measurement, standing = self._measured(errors, slow), fold(self.entries, self.plan)
        verdict = judge_slot(
            plan=self.plan,
            config=self._config(),
            standing=standing,
            measurement=measurement,
            slot=self.now,
            now=self.now,
        )
        look = look_from(measurement, self.now, True, self.plan)
        figures = {"rows": table_rows(measurement.window, self.plan.domains)}
        return self._keep(
            operation="monitor",
            state=verdict.state,
            sentence=verdict.sentence,
            verdict=verdict,
            look=look,
            slot=self.now,
            figures=figures,
        )

    def evaluate(self) -> Checkpoint:
        measurement, standing = self._measured(0, False), fold(self.entries, self.plan)
        nothing_new = Traffic(window=Window(start=self.now, end=self.now), cells=())
        measurement = replace(measurement, increment=nothing_new)
        verdict = judge_phase_end(
            plan=self.plan,
            config=self._config(),
            standing=standing,
            measurement=measurement,
            now=self.now,
        )
        figures = {"phase": table_rows(measurement.window, self.plan.domains)}
        return self._keep(
            operation="evaluate",
            state=verdict.state,
            sentence=verdict.sentence,
            verdict=verdict,
            figures=figures,
        )

    def _config(self) -> RoutingConfig:
        return RoutingConfig(
            percentage=self.percentage,
            enabled=self.percentage > 0,
            domains=self.plan.domains,
            created_at=self.now,
            updated_at=None,
            notes=None,
            rows=1,
        )

    def _measured(self, errors: int, slow: bool) -> Measurement:
        share = float(self.percentage) / 10
        window = Window(start=self.now - STEP, end=self.now)
        cells = []
        for number, (domain, rows) in enumerate(PER_SLOT.items()):
            unified, bad = round(rows * share), errors if number == 0 else 0
            spread = {3500 if slow else 700 + 13 * index: 1 for index in range(unified)}
            spread = {3500: unified} if slow else spread
            late = unified if slow else 0
            cells.append(
                Cell(
                    domain=domain,
                    routed_to=UNIFIED,
                    requests=unified,
                    errors=bad,
                    latencies=spread,
                    failing=bad,
                    slow=late,
                    slow_failing=late,
                )
            )
            legacy = round(rows * (10 - share))
            cells.append(
                Cell(
                    domain=domain,
                    routed_to=LEGACY,
                    requests=legacy,
                    errors=0,
                    latencies={690: legacy},
                    failing=0,
                    slow=0,
                    slow_failing=0,
                )
            )
        cells += untouched(self.plan)
        traffic = Traffic(window=window, cells=tuple(cells))
        return Measurement(
            as_of=self.now,
            hour=traffic,
            window=traffic,
            increment=traffic,
            phase=traffic,
            leak=Leak(rows=0, domains=(), first_at=None, last_at=None),
            settled_unified=29,
            settled_legacy=261,
            last_unified_at=self.now,
            legacy_since_unified=0,
            newest_row_at=self.now,
            health=Health(rows=None, reason="simulated time"),
        )

    def _keep(self, **facts: Any) -> Checkpoint:
        standing = fold(self.entries, self.plan)
        seq = len(self.entries) + 1
        checkpoint = Checkpoint(
            run_id=f"run{seq}",
            operator="Rita",
            plan_digest=self.plan.digest,
            plan_path=self.plan.path,
            at=self.now,
            recorded_at=self.now,
            phase=standing.phase,
            config=self._config(),
            exit_code=0,
            place=Place(
                environment="rehearsal",
                host="embedded",
                database="rehearsal_x",
                rollout=self.plan.rollout,
                time_zone=self.plan.time_zone,
            ),
            **({"verdict": None, "slot": None} | facts),
        )
        checkpoint = replace(checkpoint, message=render(checkpoint, self.plan))
        entry = read_entry(
            {
                "seq": seq,
                "kind": "checkpoint",
                "operation": checkpoint.operation,
                "rollout": self.plan.rollout,
                "at": self.now.isoformat(),
                "phase_began": standing.phase.began_at.isoformat() if standing.phase else None,
                "slot": checkpoint.slot.isoformat() if checkpoint.slot else None,
                "run_id": checkpoint.run_id,
                "hash": f"{seq:064x}",
                "body": to_json(checkpoint),
            }
        )
        assert isinstance(entry, Entry), entry
        self.entries.append(entry)
        self.history.append(entry.body)
        return entry.body


@pytest.fixture
def day() -> Day:
    """An empty day before its first change, at 09:00 in the plan's zone."""
    return Day(plan=load_plan("parameters/week6.rehearsal.yaml"))


@dataclass
class Phase:
    """A phase of made-up increments, judged slot by slot by the real judgement;
    no ledger, no rows.
    """

    plan: Plan
    percentage: Decimal = Decimal(10)
    began: datetime = datetime(2025, 12, 3, 8, 0, tzinfo=UTC)
    standing: Standing = EMPTY
    increments: list[Traffic] = field(default_factory=list)
    enabled: bool = True
    more: dict[str, Any] = field(default_factory=dict)  # fields of every Measurement from here on

    def __post_init__(self) -> None:
        run = PhaseRun(
            index=phase_index(self.plan, self.percentage),
            percentage=self.percentage,
            began_at=self.began,
        )
        self.standing = replace(
            EMPTY,
            phase=run,
            last_change=(self.began, self.percentage, True),
            plan_digest=self.plan.digest,
        )

    @property
    def now(self) -> datetime:
        return self.increments[-1].window.end if self.increments else self.began

    def check(self, **counts: Any) -> Verdict:
        """A scheduled check at the next slot: judged, and its look kept (its act latched)."""
        measurement = self.measure(**counts)
        slot = self.now
        verdict = judge_slot(
            plan=self.plan,
            config=self.config(),
            standing=self.standing,
            measurement=measurement,
            slot=slot,
            now=slot,
        )
        look = look_from(measurement, slot, True, self.plan)
        latched = self.standing.latched
        if verdict.state in (State.STEP_BACK, State.ROLL_BACK) and latched is not State.ROLL_BACK:
            latched = verdict.state
        self.standing = replace(
            self.standing,
            looks=(*self.standing.looks, look),
            latched=latched,
            slots_done=(*self.standing.slots_done, slot),
        )
        return verdict

    def extra(self, **counts: Any) -> Verdict:
        """A person's check inside the open slot: nothing is kept."""
        measurement = self.measure(**counts)
        verdict = judge_slot(
            plan=self.plan,
            config=self.config(),
            standing=self.standing,
            measurement=measurement,
            slot=None,
            now=self.now,
        )
        self.increments.pop()
        return verdict

    def end(self, *, acknowledged: Verdict | None = None, **counts: Any) -> Verdict:
        """The evaluation now; acknowledged: an evaluation before, whose findings Rita put her name
        to.
        """
        if acknowledged is not None:
            found = findings_of(acknowledged.checks)
            stated = Attestation(
                subject="acknowledgement",
                value="inconclusive",
                by="Rita",
                reason="seen by support",
                at=self.now,
                plan_digest=self.plan.digest,
                phase_began=self.began,
                seq=9,
                findings=found,
            )
            self.standing = replace(
                self.standing,
                attestations=(stated,),
                findings=found,
                evaluation=(self.now, State.INCONCLUSIVE),
            )
        empty = Traffic(window=Window(start=self.now, end=self.now), cells=())
        measurement = replace(
            self._measurement(empty), **{"phase": self._over(self.increments)} | counts
        )
        return judge_phase_end(
            plan=self.plan,
            config=self.config(),
            standing=self.standing,
            measurement=measurement,
            now=self.now,
        )

    def config(self) -> RoutingConfig:
        return RoutingConfig(
            percentage=self.percentage,
            enabled=self.enabled,
            domains=self.plan.domains,
            created_at=self.began,
            updated_at=None,
            notes=None,
            rows=1,
        )

    def measure(
        self,
        *,
        errors: int = 0,
        failing: int | None = None,
        total: int = 30,
        slow: int = 0,
        slow_ms: int = 2500,
        legacy: int | None = None,
        legacy_errors: int = 0,
        router: int = 0,
        domain: str = "jobs",
    ) -> Measurement:
        """Append an increment: `errors` rows and `slow` requests in one domain, `total` over the
        three, and of legacy, where not given, as many as the configured share leaves."""
        legacy = round(total * (100 / float(self.percentage) - 1)) if legacy is None else legacy
        window = Window(start=self.now, end=self.now + STEP)
        rest = [name for name in self.plan.domains if name != domain]
        spread = dict.fromkeys(rest, total // 6) | {domain: total - 2 * (total // 6)}
        late = {domain: slow}
        cells = [
            Cell(
                domain=name,
                routed_to=UNIFIED,
                requests=rows,
                errors=errors if name == domain else 0,
                latencies={700: rows - late.get(name, 0), slow_ms: late.get(name, 0)},
                failing=(errors if failing is None else failing) if name == domain else 0,
                slow=late.get(name, 0),
                slow_failing=late.get(name, 0),
            )
            for name, rows in spread.items()
        ]
        cells.append(
            Cell(
                domain=domain,
                routed_to=LEGACY,
                requests=legacy,
                errors=legacy_errors,
                latencies={690: legacy},
                failing=legacy_errors,
                slow_failing=0,
            )
        )
        if router:
            cells.append(
                Cell(
                    domain="unknown",
                    routed_to="error",
                    requests=router,
                    errors=router,
                    latencies={},
                    failing=router,
                    slow_failing=0,
                )
            )
        cells += untouched(self.plan)
        increment = Traffic(window=window, cells=tuple(cell for cell in cells if cell.requests))
        self.increments.append(increment)
        return self._measurement(increment)

    def _measurement(self, increment: Traffic) -> Measurement:
        hour = self._over(self.increments[-4:])
        eligible = [cell for cell in increment.cells if cell.domain in self.plan.domains]
        unified, legacy = (
            sum(cell.requests for cell in eligible if cell.routed_to == to)
            for to in (UNIFIED, LEGACY)
        )
        facts = {
            "as_of": self.now,
            "hour": hour,
            "window": hour,
            "increment": increment,
            "phase": None,
            "leak": Leak(rows=0, domains=(), first_at=None, last_at=None),
            "settled_unified": unified,
            "settled_legacy": legacy,
            "last_unified_at": self.now,
            "legacy_since_unified": 0,
            "newest_row_at": self.now,
            "health": Health(rows=None, reason="simulated time"),
        }
        return Measurement(**facts | self.more)

    def _over(self, parts: list[Traffic]) -> Traffic:
        """Several increments as one window, cells added up by domain and destination."""
        names = sorted({(cell.domain, cell.routed_to) for part in parts for cell in part.cells})
        cells = (
            merge(
                [
                    cell
                    for part in parts
                    for cell in part.cells
                    if (cell.domain, cell.routed_to) == name
                ],
                *name,
            )
            for name in names
        )
        window = Window(start=parts[0].window.start if parts else self.began, end=self.now)
        return Traffic(window=window, cells=tuple(cells))


@pytest.fixture(scope="session")
def phase():
    """Call it for a phase of its own: phase(), phase(mode="strict"),
    phase(percentage=Decimal(25)).
    """
    plan = load_plan("parameters/week6.rehearsal.yaml")

    def begin(mode: str = "evidence", **facts: Any) -> Phase:
        return Phase(plan=plan.model_copy(update={"mode": mode}), **facts)

    return begin
