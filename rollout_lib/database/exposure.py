"""What the public keys may do: PostgREST offers everything in an exposed schema to anon and
authenticated.

Rights are read from the catalog, columns, partitions and views included; where a policy decides,
the role is tried."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rollout_lib.database.catalog import Catalog, fails, passes, warns
from rollout_lib.database.mends import as_role
from rollout_lib.model import Check

_KEYS = "anon, authenticated"
Guarded = Mapping[str, Any]  # an item of `exposed` whose guard is a policy


def guarded(catalog: Catalog) -> list[Guarded]:
    """Return the rights that hang on a policy which is no plain yes."""
    return [item for item in catalog.row.exposed or () if item["guard"]]


def asked_of(items: Sequence[Guarded]) -> str:
    """Return what sql/tries/roles.sql is asked, as JSON."""
    keys = ("role", "may", "relation", "guard")
    return json.dumps([{key: item[key] for key in keys} for item in items])


def exposure_checks(catalog: Catalog, tried: str | None = None) -> Iterator[Check]:
    """Functions, their search_path, and tables that the public keys reach.

    tried: the answer of sql/tries/roles.sql; None where it was not asked."""
    yield _functions(catalog)
    yield _paths(catalog)
    yield _tables(catalog, json.loads(tried) if tried else [])


def _functions(catalog: Catalog) -> Check:
    """With EXECUTE for everyone the public key sets the percentage."""
    name, limit = "functions not public", "no EXECUTE for everyone"
    service = catalog.row.service
    open_to_all = [item for item in catalog.functions if item.public_may]
    reached = list(catalog.row.reached or ())
    if not open_to_all and not reached:
        return passes(name, "revoked", limit)
    signatures = [item.signature for item in open_to_all] + reached
    names = ", ".join([item.name for item in open_to_all] + reached)
    # The router itself may live on everyone's right: it gets its own first.
    keep = [f"GRANT EXECUTE ON ROUTINE {item} TO service_role;" for item in signatures if service]
    public = f"PUBLIC, {_KEYS}" if service else "PUBLIC"
    revoke = [f"REVOKE EXECUTE ON ROUTINE {item} FROM {public};" for item in signatures]
    revoke += catalog.row.memberships or ()  # what a key has through a group
    return fails(
        name,
        names,
        limit,
        f"anyone with the public key may call {names}",
        as_role(" ".join(keep + revoke), catalog.owner),
    )


def _paths(catalog: Catalog) -> Check:
    name = "search_path of functions"
    pathless = [item for item in catalog.functions if item.definer and not item.has_path]
    if not pathless:
        return passes(name, "set", "set")
    mend = [
        f"ALTER FUNCTION {item.signature} SET search_path = {catalog.home}, pg_temp;"
        for item in pathless
    ]
    return fails(
        name,
        ", ".join(item.name for item in pathless),
        "set",
        "SECURITY DEFINER without a search_path can be made to run foreign code",
        as_role(" ".join(mend), catalog.owner),
    )


def _tables(catalog: Catalog, tried: Sequence[Mapping[str, str]]) -> Check:
    name, limit = "logs not public", "nothing for anon, authenticated"
    answers = {(item["role"], item["may"], item["relation"]): item["answer"] for item in tried}
    opened: list[Mapping[str, Any]] = []
    unsure: list[Mapping[str, Any]] = []
    closed: list[Mapping[str, Any]] = []
    for item in catalog.row.exposed or ():
        key = (item["role"], item["may"], item["relation"])
        answer = answers.get(key, "unknown") if item["guard"] else "open"
        {"open": opened, "closed": closed}.get(answer, unsure).append(item)
    if opened:
        seen = "; ".join(map(_said, opened))
        return fails(name, seen, limit, seen, _revoked(catalog, opened))
    if unsure:
        seen = "; ".join(f"{_said(item)} by a policy: {item['guard']}" for item in unsure)
        reason = f"{seen}. It was not tried as that role: read the policy"
        return warns(name, seen, limit, reason, _revoked(catalog, unsure))
    if closed:
        guards = "; ".join(sorted({item["guard"] for item in closed}))
        reason = f"granted, and closed by policy: tried as the role, {guards} lets nothing through"
        return passes(name, "closed by policy", limit, reason)
    return passes(name, "closed", limit)


def _said(item: Mapping[str, Any]) -> str:
    """One right in words; what is in public goes by its bare name."""
    return f"{item['role']} may {item['may']} {item['relation'].removeprefix('public.')}"


def _revoked(catalog: Catalog, items: Sequence[Mapping[str, Any]]) -> str:
    """Take it from the public keys; what everyone had, the service gets of its own first."""
    relations = sorted({item["relation"] for item in items})
    everyone = any(item["everyone"] for item in items)
    keep = [
        f"GRANT {', '.join(sorted({i['may'].upper() for i in items if i['relation'] == name}))}"
        f" ON {name} TO service_role;"
        for name in relations
        if everyone and catalog.row.service
    ]
    public = f"PUBLIC, {_KEYS}" if everyone else _KEYS
    revoke = f"REVOKE ALL ON {', '.join(relations)} FROM {public};"
    return as_role(" ".join([*keep, revoke, *(catalog.row.memberships or ())]), catalog.owner)
