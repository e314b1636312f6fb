"""What the catalog says: are the runbook's objects there in their shape, once, where a query finds
them? Pure.

Shape means columns, types and signatures; bodies of functions may differ. Each finding is a named
check. Every name is the one that this connection's search path leads to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollout_lib.database.mends import (
    RUNBOOK,
    as_role,
    make_function,
    make_view,
    quoted,
    retype,
    set_aside,
)
from rollout_lib.model import Check, CheckKind, Outcome, State

CONFIG, LOGS, STATS = "webhook_routing_config", "webhook_routing_logs", "webhook_routing_stats"
_TEXT = ("text", "character varying")
_COUNT = ("bigint", "integer", "numeric")
_FIGURE = ("double precision", "numeric")
# Columns that the suite or the runbook's queries read, with the types that they can read, ours
# first.
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    CONFIG: {
        "percentage": ("numeric",),
        "enabled": ("boolean",),
        "domains": ("text[]", "character varying[]"),
        "created_at": ("timestamp with time zone",),
    },
    LOGS: {
        "created_at": ("timestamp with time zone",),
        "domain": _TEXT,
        "routed_to": _TEXT,
        "status": _TEXT,
        "webhook_name": _TEXT,
        "response_time_ms": ("integer", "bigint", "smallint"),
        "error_message": _TEXT,
        "message_id": _TEXT,
    },
    STATS: {
        "domain": _TEXT,
        "routed_to": _TEXT,
        "request_count": _COUNT,
        "error_count": _COUNT,
        **dict.fromkeys(
            ("avg_response_ms", "p50_ms", "p95_ms", "p99_ms", "error_rate_pct"), _FIGURE
        ),
    },
}
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "set_routing_enabled": ("boolean", "text"),
    "update_routing_percentage": ("numeric", "text"),
    "check_routing_health": (),
    "get_current_routing_config": (),
}
OLDER = {
    CONFIG: {"target_function", "traffic_percentage"},
    LOGS: {"latency_ms", "success", "routed_at"},
}
_CURRENT = {"percentage", "enabled", "domains"}  # what get_current_routing_config() tells


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table or view by one of the runbook's names, in the schema it is in. kind: pg_class's."""

    name: str
    schema: str
    kind: str
    owner: str = ""
    columns: Mapping[str, str]  # {name: type}
    keys: tuple[str, ...] = ()  # columns of the partition key
    tables: tuple[Mapping[str, Any], ...] = ()  # where its rows are: {name, kind, owner, indexed}
    views: tuple[Mapping[str, Any], ...] = ()  # that read it

    @property
    def full_name(self) -> str:
        """Its name with its schema."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function by one of the runbook's names."""

    name: str
    schema: str
    full_name: str
    types: tuple[str, ...]
    returns: str
    fields: tuple[str, ...] | None  # of the record it returns; None: not a record
    record_of: str | None  # the table whose record it is
    owner: str
    visible: bool  # on the search path
    callable: bool  # by us
    definer: bool
    has_path: bool
    public_may: bool

    @property
    def signature(self) -> str:
        """Its full name and the types of its arguments."""
        return f"{self.full_name}({', '.join(self.types)})"


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """What sql/inspection.sql answered, parsed once; row is the rest of it."""

    relations: Mapping[str, Relation]
    elsewhere: tuple[Relation, ...]
    functions: tuple[Function, ...]
    row: Any

    @property
    def home(self) -> str:
        """The schema in which a query finds the configuration, else another object; else public."""
        found = [self.relations[name].schema for name in COLUMNS if name in self.relations]
        found += [item.schema for item in self.functions if item.visible]
        return found[0] if found else "public"

    @property
    def in_use(self) -> bool:
        """Does a query find anything of the runbook's?"""
        return bool(self.relations or any(item.visible for item in self.functions))

    @property
    def owner(self) -> str:
        """Who owns what is there."""
        owners = [item.owner for item in self.relations.values()]
        owners += [item.owner for item in self.functions]
        return owners[0] if owners else self.row.role

    def called(self, name: str) -> Function | None:
        """Return the function that a call with the runbook's arguments reaches."""
        return next(
            (
                f
                for f in self.functions
                if f.visible and (f.name, f.types) == (name, FUNCTIONS[name])
            ),
            None,
        )


def catalog_of(row: Any) -> Catalog:
    """Return the catalog that one row of sql/inspection.sql describes."""
    return Catalog(
        relations={item["name"]: _relation(item) for item in row.relations or ()},
        elsewhere=tuple(Relation(**item, columns={}) for item in row.elsewhere or ()),
        functions=tuple(_function(item) for item in row.functions or () if item["kind"] == "f"),
        row=row,
    )


def _relation(item: Mapping[str, Any]) -> Relation:
    many = {key: tuple(item[key] or ()) for key in ("keys", "tables", "views")}
    return Relation(**{**item, **many, "columns": item["columns"] or {}})


def _function(item: Mapping[str, Any]) -> Function:
    rest = {key: item[key] for key in item if key not in ("arguments", "kind")}
    fields = None if item["fields"] is None else tuple(item["fields"])
    return Function(**{**rest, "types": tuple(item["types"] or ()), "fields": fields})


def shape_checks(catalog: Catalog) -> Iterator[Check]:
    """Columns, types and signatures of the runbook's objects; older shapes are named as such."""
    for table, wanted in COLUMNS.items():
        yield replace(_table(catalog, table, wanted), kind=CheckKind.SHAPE, subject=table)
    yield replace(_functions(catalog), kind=CheckKind.FUNCTIONS)
    yield _records(catalog)
    yield _once(catalog)


def is_missing(catalog: Catalog, check: Check) -> bool:
    """Whether a failed shape check is of a table, or of functions, that no schema holds in use."""
    if check.kind is CheckKind.FUNCTIONS:
        return not any(item.visible for item in catalog.functions)
    return (
        check.kind is CheckKind.SHAPE
        and check.subject not in catalog.relations
        and _off_the_path(catalog, [check.subject]) is None
    )


def _functions(catalog: Catalog) -> Check:
    limit = "the runbook's four"
    names = {item.name for item in catalog.functions if item.visible}
    absent = [name for name in FUNCTIONS if catalog.called(name) is None]
    if not absent:
        return passes("functions", f"{len(FUNCTIONS)} found", limit)
    wrong = "; ".join(
        f"{name}({', '.join(FUNCTIONS[name])}) is"
        f" {'of another signature' if name in names else 'missing'}"
        for name in absent
    )
    return fails("functions", wrong if names else "missing", limit, wrong, _make(catalog, absent))


def _make(catalog: Catalog, names: Sequence[str], *, instead: bool = False) -> str:
    """The runbook's functions made where the rest of it is. All of it is missing: the migration."""
    if away := _off_the_path(catalog, names):
        return away
    if not catalog.in_use:
        return "rollout migrate --apply"
    service = catalog.row.service
    made = [
        make_function(name, FUNCTIONS[name], catalog.home, service=service, instead=instead)
        for name in names
    ]
    return as_role("\n".join(made), catalog.owner)


def _records(catalog: Catalog) -> Check:
    """A function of the right signature may return another system's record, and still be called."""
    name, limit = "records of functions", "as the runbook's"
    config = catalog.relations.get(CONFIG)
    wrong = {}
    for called in filter(None, map(catalog.called, FUNCTIONS)):
        others = called.record_of and (not config or called.record_of != config.full_name)
        lacks = (
            sorted(_CURRENT - set(called.fields))
            if called.name == "get_current_routing_config" and called.fields is not None
            else []
        )
        if others and called.record_of and called.record_of.rpartition(".")[2].startswith(CONFIG):
            wrong[called.name] = f"{called.name}() returns a record of {called.record_of}"
        elif lacks:
            wrong[called.name] = f"{called.name}() returns no {', '.join(lacks)}"
    if not wrong:
        return passes(name, limit, limit)
    seen = "; ".join(wrong.values())
    return fails(name, seen, limit, seen, _make(catalog, list(wrong), instead=True))


def _once(catalog: Catalog) -> Check:
    """Two sets by the same names: a change may reach one, the router read the other."""
    name, limit = "one set of objects", "each name once"
    functions = [item for item in catalog.functions if item.schema != catalog.home]
    found: list[Relation | Function] = [*catalog.elsewhere, *functions]
    if not catalog.in_use or not found:
        return passes(name, f"in {catalog.home}" if catalog.in_use else "none yet", limit)
    also = ", ".join(f"{item.schema}.{item.name}" for item in found)
    ours = ", ".join(sorted({item.schema for item in catalog.relations.values()}))
    reason = (
        f"this connection acts on {ours or catalog.home} (search path:"
        f" {', '.join(catalog.row.path or ['empty'])}); the router may read the other"
    )
    mend = as_role(
        set_aside(catalog.elsewhere, functions, "_unused"),
        catalog.owner,
        "after asking which the router reads",
    )
    harmless = {item.name for item in found} <= {STATS, LOGS}
    make = warns if harmless else fails
    return make(name, f"also {also}", limit, reason, mend)


def _off_the_path(catalog: Catalog, names: Sequence[str]) -> str | None:
    """The mend where objects exist, and this connection's search path does not lead to them."""
    hidden: list[Relation | Function] = [*catalog.elsewhere, *catalog.functions]
    hidden = [item for item in hidden if item.name in names]
    hidden = [item for item in hidden if not getattr(item, "visible", False)]
    if not hidden or (catalog.in_use and any(n in catalog.relations for n in names)):
        return None
    path = list(dict.fromkeys([hidden[0].schema, *(catalog.row.path or []), "public"]))
    listed = ", ".join(quoted(schema) for schema in path)
    return as_role(
        f"ALTER ROLE {quoted(catalog.row.role)} IN DATABASE {quoted(catalog.row.database)} SET"
        f" search_path = {listed};",
        None,
        f"the objects are in {hidden[0].schema}; then connect again",
    )


def _table(catalog: Catalog, table: str, wanted: dict[str, tuple[str, ...]]) -> Check:
    name, limit = f"shape of {table}", "the runbook's columns"
    relation = catalog.relations.get(table)
    if relation is None:
        return _missing(catalog, table, name)
    columns = relation.columns
    older = _older_columns(relation, table)
    absent = [column for column in wanted if column not in columns]
    other = [
        column for column in wanted if column in columns and columns[column] not in wanted[column]
    ]
    wrong = [f"{column} is missing" for column in absent]
    wrong += [f"{column} is {columns[column]}, not {wanted[column][0]}" for column in other]
    if older:
        wrong.append(f"it has columns of an older system: {', '.join(older)}")
    beside = sorted(OLDER.get(table, set()) & set(columns))
    if not older and beside and set(beside) == OLDER[table]:
        wrong.append(f"it has all columns of an older system: {', '.join(beside)}")
        by_hand = (
            f"by hand, as {relation.owner}: find out which of the two sets of columns the router"
            " reads and writes, and drop the other; nothing here knows"
        )
        return fails(name, "; ".join(wrong), limit, "; ".join(wrong), by_hand)
    if not wrong and beside:
        seen = f"{len(columns)} columns, and of an older system {', '.join(beside)}"
        return warns(name, seen, limit, f"{seen}: does anything still read or write them?")
    if not wrong:
        return passes(name, f"{len(columns)} columns", limit)
    said = "; ".join(wrong)
    if older:
        return fails(name, said, limit, said, _older(catalog, table))
    if table == STATS:
        aside = set_aside([relation], [], "_old")
        made = make_view(STATS, relation.schema, service=catalog.row.service)
        mend = as_role(f"{aside} {made}", relation.owner, "after asking who reads it")
        return fails(name, said, limit, said, mend)
    return fails(name, said, limit, said, _reshaped(catalog, relation, absent, other, wanted))


def _missing(catalog: Catalog, table: str, name: str) -> Check:
    """Not on the path, not there at all, or gone while the rest is in use."""
    limit = "exists"
    if away := _off_the_path(catalog, [table]):
        schemas = ", ".join(item.schema for item in catalog.elsewhere if item.name == table)
        seen = f"in {schemas}, which this connection's search path does not lead to"
        return fails(name, seen, limit, seen, away)
    if not catalog.in_use:
        return fails(name, "missing", limit, "it does not exist", "rollout migrate --apply")
    if table == STATS and LOGS in catalog.relations:
        made = make_view(STATS, catalog.home, service=catalog.row.service)
        owner = catalog.relations[LOGS].owner
        return fails(name, "missing", limit, "it does not exist", as_role(made, owner))
    by_hand = (
        f"by hand, as {catalog.owner}: create {table} in {catalog.home}, with its indexes, grants"
        f" and policies, from {RUNBOOK.name}; rollout migrate leaves what is in use alone"
    )
    return fails(name, "missing", limit, "it does not exist, the rest does", by_hand)


def _older_columns(relation: Relation, table: str) -> list[str]:
    """The columns of an older system that stand where ours should; none in a table that has most
    of ours: it runs, and what somebody added to it harms nobody."""
    wanted = COLUMNS[table]
    absent = [column for column in wanted if column not in relation.columns]
    if 2 * len(absent) < len(wanted):
        return []
    return sorted(OLDER.get(table, set()) & set(relation.columns))


def _older(catalog: Catalog, table: str) -> str:
    """Set the whole older set aside at once: what is left of it would keep the migration away."""
    aged = [
        name
        for name in OLDER
        if name in catalog.relations and _older_columns(catalog.relations[name], name)
    ]
    if aged[0] != table:
        return f"the statement of `shape of {aged[0]}` sets this aside, too"
    visible = [item for item in catalog.functions if item.visible]
    aside = set_aside(catalog.relations.values(), visible, "_old")
    return as_role(aside, catalog.owner, "after asking whose it is; then: rollout migrate --apply")


def _reshaped(
    catalog: Catalog,
    relation: Relation,
    absent: Sequence[str],
    other: Sequence[str],
    wanted: Mapping[str, tuple[str, ...]],
) -> str:
    """Columns added and given the runbook's types, or who must do that by hand."""
    if relation.kind not in ("r", "p"):
        below = ", ".join(item["name"] for item in relation.tables) or "what it reads"
        return (
            f"by hand, as {relation.owner}: change {below}, then make {relation.full_name} again"
            " with these columns: it is no table of this database"
        )
    parts = [f"ADD COLUMN {column} {wanted[column][0]}" for column in absent]
    added = [f"ALTER TABLE {relation.full_name} {', '.join(parts)};"] if parts else []
    if not other:
        return as_role(added[0], relation.owner)
    types = {column: wanted[column][0] for column in other}
    changed = retype(relation, types, service=catalog.row.service)
    if changed is None:
        return (
            f"by hand, as {relation.owner}: make a table with these types beside"
            f" {relation.full_name} and copy the rows: {', '.join(other)} cannot be changed in place"
            " (a partition key, or a materialized view reads it)"
        )
    naive = any("without time zone" in relation.columns[column] for column in other)
    note = "first ask in which zone it was written: UTC is assumed here" if naive else ""
    return as_role(" ".join([*added, changed]), relation.owner, note)


def passes(name: str, observed: str, limit: str, reason: str = "") -> Check:
    """A check that passes; what was observed is its reason where none is given."""
    return Check(
        name=name, outcome=Outcome.PASS, observed=observed, limit=limit, reason=reason or observed
    )


def warns(name: str, observed: str, limit: str, reason: str, mend: str | None = None) -> Check:
    """A check that a person should read; it holds nothing up."""
    return Check(
        name=name, outcome=Outcome.WARN, observed=observed, limit=limit, reason=reason, mend=mend
    )


def fails(name: str, observed: str, limit: str, reason: str, mend: str | None = None) -> Check:
    """A check that fails: nothing is raised until it is mended."""
    return Check(
        name=name,
        outcome=Outcome.FAIL,
        observed=observed,
        limit=limit,
        reason=reason,
        mend=mend,
        state=State.HOLD,
    )


def unseen(name: str, observed: str, limit: str, reason: str, mend: str | None = None) -> Check:
    """A check that could not look where looking is needed: never a pass."""
    return Check(
        name=name,
        outcome=Outcome.COULD_NOT_LOOK,
        observed=observed,
        limit=limit,
        reason=reason,
        mend=mend,
        state=State.COULD_NOT_LOOK,
    )
