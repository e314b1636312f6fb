"""The commands in which a named person states something: complaints, an acknowledgement, an
approval, a pause, a finding.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from rollout_lib.cli.options import AsOf, Json, Operator, Plan, Reason, app
from rollout_lib.errors import ParameterError


@app.command()
def attest(
    complaints: Annotated[
        str, typer.Option("--complaints", help="none, some (holds) or spike (switches off).")
    ],
    reason: Reason = "",
    plan: Plan = "",
    as_of: AsOf = "",
    operator: Operator = "",
    as_json: Json = False,
) -> int:
    """State on the ledger, by name, what customers say. Needed before each raise."""
    return _attest("complaints", complaints, reason, plan, as_of, operator, as_json)


@app.command()
def acknowledge(
    reason: Reason = "",
    restart: Annotated[
        bool, typer.Option("--restart", help="Start again after a rollback.")
    ] = False,
    override: Annotated[
        bool, typer.Option("--override", help="Legacy is over its own limits; start anyway.")
    ] = False,
    extend_hours: Annotated[
        int, typer.Option("--extend-hours", help="Hold the running phase longer.")
    ] = 0,
    unreadable: Annotated[
        str,
        typer.Option(
            "--unreadable", help="Set ledger entries aside that cannot be read: 12 or 12,15-18."
        ),
    ] = "",
    extend: Annotated[
        str,
        typer.Option("--extend", help="auto: hold it as long as the undecided evaluation needs."),
    ] = "",
    restored: Annotated[
        bool,
        typer.Option("--restored", help="The ledger is not the one last seen here; go on with it."),
    ] = False,
    evaluation: Annotated[
        int,
        typer.Option(
            "--evaluation", min=0, help="The ledger number of the one that you read; 0 is the last."
        ),
    ] = 0,
    plan: Plan = "",
    as_of: AsOf = "",
    operator: Operator = "",
    as_json: Json = False,
) -> int:
    """Take responsibility, by name and with a reason: an inconclusive phase, a restart, an
    extension, an entry that cannot be read.
    """
    asked = (restart, override, extend_hours != 0, bool(extend), bool(unreadable), restored)
    if sum(asked) > 1 or extend_hours < 0 or extend not in ("", "auto"):
        raise ParameterError(
            problems="one of --restart, --override, --unreadable, --restored, --extend-hours (at least 1),"
            " --extend auto"
        )
    subject, value = "acknowledgement", "inconclusive"
    if restart:
        subject, value = "restart", "after rollback"
    if override:
        subject, value = "override", "legacy limits"
    if extend_hours:
        subject, value = "extension", str(extend_hours * 3600)
    if restored:
        subject, value = "restored", ""
    if unreadable:
        subject, value = "unreadable", unreadable
    if extend:
        subject, value = "extension", extend
    return _attest(subject, value, reason, plan, as_of, operator, as_json, evaluation)


@app.command()
def approve(
    to: Annotated[str, typer.Option("--to", help="The percentage that may be raised to.")],
    reason: Reason = "",
    plan: Plan = "",
    as_of: AsOf = "",
    operator: Operator = "",
    as_json: Json = False,
) -> int:
    """Approve a raise by name, where the plan asks for `approvals`: of this phase, its evaluation
    and plan; it expires as an attestation does.
    """
    return _attest("approval", to.removesuffix("%").strip(), reason, plan, as_of, operator, as_json)


@app.command()
def pause(
    reason: Reason = "",
    plan: Plan = "",
    as_of: AsOf = "",
    operator: Operator = "",
    as_json: Json = False,
) -> int:
    """Hold the rollout, by name: nothing is raised until somebody resumes. Lowering goes on."""
    return _attest("pause", "", reason, plan, as_of, operator, as_json)


@app.command()
def resume(
    reason: Reason = "",
    plan: Plan = "",
    as_of: AsOf = "",
    operator: Operator = "",
    as_json: Json = False,
) -> int:
    """End a pause, by name."""
    return _attest("resume", "", reason, plan, as_of, operator, as_json)


@app.command()
def note(
    reason: Reason = "",
    plan: Plan = "",
    as_of: AsOf = "",
    operator: Operator = "",
    as_json: Json = False,
) -> int:
    """Write a finding on the ledger, by name; the report shows it, and nothing is changed by it."""
    return _attest("note", "", reason, plan, as_of, operator, as_json)


def _attest(
    subject: str,
    value: str,
    reason: str,
    plan: str,
    as_of: str,
    operator: str,
    as_json: bool,
    evaluation: int = 0,
) -> int:
    from rollout_lib.database.session import open_session
    from rollout_lib.display import header_line
    from rollout_lib.judgement.findings import words, written
    from rollout_lib.operations.attest import attest as state

    session = open_session(plan, as_of=as_of, operator=operator)
    done = state(session, subject=subject, value=value, reason=reason, evaluation=evaluation)
    place, rolled_back = session.place, done.rollback.checkpoint if done.rollback else None
    if as_json:
        print(
            json.dumps(
                {
                    "environment": place.environment,
                    "host": place.host,
                    "database": place.database,
                    "by": done.by,
                    "subject": done.subject,
                    "value": done.value,
                    "reason": done.reason,
                    "head": done.head,
                    "covers": written(done.covers),
                    "rolled_back": rolled_back and rolled_back.sentence,
                },
                ensure_ascii=False,
            )
        )
        return 0
    print(place)
    print(
        f"{done.by} stated {done.subject}: {done.value or done.reason}."
        f" ledger #{done.head[0]}:{done.head[1][:16]}"
    )
    if done.covers:
        print(f"It covers {words(done.covers)}, and no more.")
    if rolled_back:
        print(header_line(rolled_back.place, rolled_back.at, "routing off"))
        print(rolled_back.sentence)
    return 0
