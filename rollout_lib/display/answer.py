"""What a checkpoint comes to for a person: badge, sentence, what is true of the routing, what to do.

What was done is said as done: a rollback that happened is ROLLED BACK and no order. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from rollout_lib.display.words import BADGES, HATCHED
from rollout_lib.model import Act, Change, CheckKind, Checkpoint, Outcome, State, Verdict
from rollout_lib.redaction import redact

_ROLLED_BACK = ("■", "ROLLED BACK", BADGES[State.ROLL_BACK][2])
_STEPPED_BACK = ("↓", "STEPPED BACK", BADGES[State.STEP_BACK][2])
_CHANGED = ("✓", "CHANGED", BADGES[State.PASS][2])
_DRY_RUN = ("○", "DRY RUN", BADGES[State.OFF][2])
_REFUSED = ("✗", "REFUSED", "#37404B")
_TOO_EARLY = ("○", "TOO EARLY", BADGES[State.QUIET][2])


@dataclass(frozen=True, kw_only=True)
class Badge:
    """A sign, a word and a ground colour with at least 4.5 : 1 under white."""

    sign: str
    word: str
    colour: str
    hatched: bool = False
    outlined: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a page begins with.

    routing: what is true of the routing now, as far as this run read it. step: what to do next, in
    words; command: the same as one line that can be pasted, "" where there is none.
    """

    badge: Badge
    sentence: str
    routing: str
    step: str
    command: str

    @property
    def title(self) -> str:
        """The page's title in a browser: the answer, and not a file's name."""
        return f"{self.badge.word} · {self.routing}"


def state_badge(state: State) -> Badge:
    """The badge of a verdict's state."""
    sign, word, colour = BADGES[state]
    return Badge(sign=sign, word=word, colour=colour, hatched=state in HATCHED)


def badge_of(checkpoint: Checkpoint) -> Badge:
    """The badge of a run: of what was done where something was, else of its state."""
    change, kind = checkpoint.change, checkpoint.kind
    if checkpoint.operation == "change" and change is not None:
        found = _CHANGED if change.applied else _DRY_RUN if kind == "dry-run" else None
        if found is None and checkpoint.exit_code == 60:
            found = _REFUSED
        if found is not None:
            return Badge(sign=found[0], word=found[1], colour=found[2], outlined=found is _REFUSED)
    if change is not None and change.applied and _lowered(change):
        found = _STEPPED_BACK if change.after[1] and change.after[0] > 0 else _ROLLED_BACK
        return Badge(sign=found[0], word=found[1], colour=found[2])
    if checkpoint.operation == "report" and _is_off_already(checkpoint):
        return Badge(sign=_ROLLED_BACK[0], word=_ROLLED_BACK[1], colour=_ROLLED_BACK[2])
    if checkpoint.verdict is not None and is_too_early(checkpoint.verdict):
        return Badge(sign=_TOO_EARLY[0], word=_TOO_EARLY[1], colour=_TOO_EARLY[2])
    return state_badge(checkpoint.state)


def answer_of(checkpoint: Checkpoint) -> Answer:
    """The answer of a checkpoint, every text of it without secrets."""
    words, command = _next(checkpoint)
    return Answer(
        badge=badge_of(checkpoint),
        sentence=redact(_sentence(checkpoint)),
        routing=routing_words(checkpoint),
        step=words,
        command=command,
    )


def _sentence(checkpoint: Checkpoint) -> str:
    """The run's own sentence; of a refusal only the count, for the gates are listed below it."""
    change = checkpoint.change
    unmet = sum(not gate.met for gate in change.gates) if change is not None else 0
    if (
        change is None
        or checkpoint.operation != "change"
        or checkpoint.exit_code != 60
        or not unmet
    ):
        return checkpoint.sentence
    verb = "is" if unmet == 1 else "are"
    return f"Refused, nothing was changed: {unmet} of {len(change.gates)} gates {verb} not met."


def _is_off_already(checkpoint: Checkpoint) -> bool:
    """Did this run, which lowered nothing itself, read the routing off after a rollback?"""
    config = checkpoint.config
    return (
        checkpoint.state is State.ROLL_BACK
        and checkpoint.change is None
        and config is not None
        and not (config.enabled and config.percentage > 0)
    )


def is_too_early(verdict: Verdict) -> bool:
    """Has a phase begun so lately that no stream has a figure yet? Only where nothing is wrong, and
    the log can be seen.
    """
    quiet = (State.QUIET, State.COULD_NOT_LOOK, State.CLEAN_UNPROVEN)
    return (
        bool(verdict.streams)
        and verdict.state in quiet
        and verdict.latched is None
        and all(stream.total == 0 for stream in verdict.streams)
        and not any(check.outcome is Outcome.FAIL for check in verdict.checks)
        and not any(
            check.kind is CheckKind.DATA and check.state is State.COULD_NOT_LOOK
            for check in verdict.checks
        )
    )


def routing_words(checkpoint: Checkpoint) -> str:
    """`Routing is off since 10:15, read back`; what a run read or made of it, with its time."""
    zone = ZoneInfo(checkpoint.place.time_zone)
    change, config = checkpoint.change, checkpoint.config
    if change is not None and change.applied:
        return f"{_routing(*change.after)} since {_clock(checkpoint.at, zone)}, read back"
    if config is None:
        return "Routing could not be read"
    read = f"{_routing(config.percentage, config.enabled)}, read at {_clock(checkpoint.at, zone)}"
    failed = change is not None and not change.applied and checkpoint.operation != "change"
    return f"{read}; asked to lower it and not done" if failed else read


def _routing(percentage: object, enabled: bool) -> str:
    return f"Routing is at {percentage:g} %" if enabled and percentage else "Routing is off"


def _clock(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%H:%M}"


def _lowered(change: Change) -> bool:
    before = change.before[0] if change.before[1] else 0
    after = change.after[0] if change.after[1] else 0
    return after <= before and change.asked[0] <= change.before[0]


_STEPS = {
    State.CERTIFIED: "Nothing has to be done.",
    State.CLEAN: "Nothing has to be done.",
    State.CLEAN_UNPROVEN: "Nothing has to be done.",
    State.QUIET: "Nothing has to be done: there is too little traffic to judge.",
    State.OFF: "Nothing has to be done: nothing goes to unified.",
    State.PASS: "Say that no customer complained; then the next phase may begin.",
    State.WATCH: "Look at what failed. The percentage stays.",
    State.INCONCLUSIVE: "Accept it by name, or hold the phase longer.",
    State.HOLD: "Do not raise. Look at what failed.",
    State.COULD_NOT_LOOK: "A person looks: nothing was measured, and that is no pass.",
    State.NO_DATA: "A person looks: does the router route, does unified answer, is it logged?",
    State.STEP_BACK: "Go one phase down.",
    State.ROLL_BACK: "Switch routing off now.",
}


def _next(checkpoint: Checkpoint) -> tuple[str, str]:
    """What to do next, in words, and the command for it."""
    change, verdict = checkpoint.change, checkpoint.verdict
    where = f"--plan {checkpoint.plan_path}" if checkpoint.plan_path else ""
    if checkpoint.operation == "change" and change is not None:
        if change.applied:
            return "Watch it: a check every quarter of an hour.", f"rollout watch {where}"
        if checkpoint.exit_code == 60:
            return "Meet the gates that are not met, then ask again.", ""
        return "Nothing was changed: with --apply it would be.", ""
    if change is not None and change.applied and _lowered(change):
        return "Find the cause.", f"rollout errors {where}".strip()
    if verdict is not None and is_too_early(verdict):
        return "Wait for the first figures.", ""
    command = verdict.next_step.split("    #")[0] if verdict is not None else ""
    if _is_off_already(checkpoint):
        return "Find the cause.", f"rollout errors {where}".strip()
    if verdict is not None and verdict.act is Act.NONE and checkpoint.state is State.ROLL_BACK:
        return "Find the cause.", f"rollout errors {where}".strip()
    words = _STEPS[checkpoint.state]
    if verdict is not None and checkpoint.state in (State.WATCH, State.HOLD):
        words = words.replace("Look at what failed", _to_look_at(verdict))
    return words, command.split(" To stop:")[0].strip()


def _to_look_at(verdict: Verdict) -> str:
    """Where to look, by what was found: no failure is spoken of where none is the finding."""
    unwell = (Outcome.WARN, Outcome.FAIL)
    kinds = {check.kind for check in verdict.checks if check.outcome in unwell}
    if kinds and kinds <= {CheckKind.SPLIT, CheckKind.PHASE_SPLIT}:
        return "Look at the share again at the next check"
    if kinds and kinds <= {CheckKind.LATENCY, CheckKind.PHASE_LATENCY}:
        return "Look at what is slow"
    if CheckKind.ERRORS in kinds:
        return "Look at what failed"
    return "Look at what is found below"
