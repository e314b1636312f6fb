"""What a stranger can do between two operations of the suite: each a statement or a file.

Grouped by whom it touches: the configuration and its functions (anybody with psql), the log (the
router, or who cleans it up), the ledger (an operator's role, a restore), files below outputs/.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path

# Anybody with psql: the newest row, or another one.
CONFIGURATION: Mapping[str, str] = {
    "raises to 60": "UPDATE webhook_routing_config SET percentage = 60, enabled = true",
    "raises to 25": "UPDATE webhook_routing_config SET percentage = 25, enabled = true",
    "goes off the plan": "UPDATE webhook_routing_config SET percentage = 7 WHERE enabled",
    "enables": "UPDATE webhook_routing_config SET enabled = true",
    "disables": "UPDATE webhook_routing_config SET enabled = false",
    "lowers": "UPDATE webhook_routing_config SET percentage = LEAST(percentage, 5)",
    "a second row": (
        "INSERT INTO webhook_routing_config (percentage, enabled, domains, created_at, updated_at)"
        " SELECT 50, true, domains, clock_timestamp(), clock_timestamp()"
        " FROM webhook_routing_config LIMIT 1"
    ),
    "a row of tomorrow": (
        "INSERT INTO webhook_routing_config (percentage, enabled, domains, created_at, updated_at)"
        " SELECT 35, true, domains, clock_timestamp() + interval '1 day', clock_timestamp()"
        " FROM webhook_routing_config LIMIT 1"
    ),
    "a protected domain": (
        "UPDATE webhook_routing_config SET domains = domains || ARRAY['mobility']"
    ),
    "no domain": "UPDATE webhook_routing_config SET domains = ARRAY[]::text[]",
    "a note with a secret": "UPDATE webhook_routing_config SET notes = 'sb_secret_abcdef0123456789'",
    "not a number": "UPDATE webhook_routing_config SET percentage = 'NaN'",
    "no row": "DELETE FROM webhook_routing_config",
}

# The runbook's functions, and what fires beside them.
FUNCTIONS: Mapping[str, str] = {
    "enables whatever is asked": """
        CREATE OR REPLACE FUNCTION set_routing_enabled(p_enabled boolean, p_notes text)
        RETURNS SETOF webhook_routing_config LANGUAGE sql AS
        $$ UPDATE webhook_routing_config SET enabled = true RETURNING * $$""",
    "keeps one percent": """
        CREATE FUNCTION pg_temp_keep() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.percentage := GREATEST(NEW.percentage, 1); RETURN NEW; END $$;
        CREATE TRIGGER keeps_one BEFORE UPDATE ON webhook_routing_config
        FOR EACH ROW EXECUTE FUNCTION pg_temp_keep()""",
    "enables at commit": """
        CREATE FUNCTION again_on() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN UPDATE webhook_routing_config SET enabled = true, percentage = 10
                  WHERE NOT enabled; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER enables_at_commit AFTER UPDATE ON webhook_routing_config
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NOT NEW.enabled)
        EXECUTE FUNCTION again_on()""",
}
FUNCTIONS_BACK = """
    DROP TRIGGER IF EXISTS keeps_one ON webhook_routing_config;
    DROP TRIGGER IF EXISTS enables_at_commit ON webhook_routing_config;
    DROP FUNCTION IF EXISTS pg_temp_keep(); DROP FUNCTION IF EXISTS again_on()
"""

# The log: what was written since the moment that is given as {since}.
LOG: Mapping[str, str] = {
    "blank ids": "UPDATE webhook_routing_logs SET message_id = ' ' WHERE created_at >= '{since}'",
    "one id": "UPDATE webhook_routing_logs SET message_id = 'id' WHERE created_at >= '{since}'",
    "no ids": "UPDATE webhook_routing_logs SET message_id = NULL WHERE created_at >= '{since}'",
    "spelled": (
        "UPDATE webhook_routing_logs SET routed_to = 'Unified'"
        " WHERE created_at >= '{since}' AND routed_to = 'unified'"
    ),
    "late": (
        "UPDATE webhook_routing_logs SET created_at = created_at - interval '20 minutes'"
        " WHERE created_at >= '{since}'"
    ),
    "no latency": (
        "UPDATE webhook_routing_logs SET response_time_ms = NULL WHERE created_at >= '{since}'"
    ),
    "cleaned up": "DELETE FROM webhook_routing_logs WHERE created_at >= '{since}'",
    "another status": (
        "UPDATE webhook_routing_logs SET status = 'failed'"
        " WHERE created_at >= '{since}' AND status = 'error'"
    ),
    "domains in capitals": (
        "UPDATE webhook_routing_logs SET domain = upper(domain) WHERE created_at >= '{since}'"
    ),
}

# Bodies that no reader of ours can parse, each appended by the ledger's own function.
UNREADABLE: Mapping[str, tuple[str, str, str]] = {
    "half a statement": ("attestation", "complaints", '{"subject": "complaints"}'),
    "a newer state": ("extra", "monitor", '{"state": "SUSPECT", "operation": "monitor"}'),
    "an empty body": ("checkpoint", "evaluate", "{}"),
    "numbers for words": ("checkpoint", "change", '{"operation": 7, "change": [1]}'),
    "nothing of a run": ("archived", "monitor", '{"files": 3}'),
}


def forged(kind: str, operation: str, rollout: str, at: str, began: str | None, **body: object):
    """An entry as the spool would keep it, made up by somebody who can write below outputs/."""
    run_id = uuid.uuid4().hex
    return {
        "kind": kind,
        "operation": operation,
        "rollout": rollout,
        "at": at,
        "phase_began": began,
        "slot": None,
        "run_id": run_id,
        "body": json.dumps({"run_id": run_id, "operation": operation, **body}),
    }


def plant(outputs: Path, entry: Mapping[str, object]) -> None:
    """Put a forged entry where entries wait for the ledger."""
    folder = outputs / "spool"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{uuid.uuid4().hex}.json").write_text(json.dumps(entry))
