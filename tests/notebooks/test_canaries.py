"""What must never be shown: put where it can come from, then looked for in everything that the
suite leaves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
# In the log: message bodies as upstreams echo them; their markup is shown, escaped, and never runs
# (see the end).
# In the notes: what somebody typed into psql.
NUMBER, NAMED, MAIL, WAMID = (
    "4915199887766",
    "canary-password-7f3",
    "canary.person@example.org",
    "HBgNNDkxNTE5OTg4Nzc2Ng",
)
CANARIES = (
    NUMBER,
    "0151 998 877",
    NAMED,
    MAIL,
    WAMID,
    "canary-token-5511",
    "canary-of-the-address",
    "canary-of-a-recipient",
)
MESSAGE = f"""user +49 (0)151 998 877 66 / {NUMBER} <{MAIL}> wamid.{WAMID}= token=canary-token-5511 password={NAMED}
    <script>canary()</script>"""
REASON = f"customer +49 151 998 877 66 ({MAIL}) called, password: {NAMED}"


@pytest.fixture
def site(database, plan, tmp_path, monkeypatch):
    """A database full of canaries, whose own address holds one; `run` is the command, its words are
    kept.
    """
    with psycopg.connect(database.address, autocommit=True) as connection:
        connection.execute(
            "SELECT set_routing_enabled(true, %s), update_routing_percentage(10, %s)",
            (REASON, REASON),
        )
        connection.execute(
            """INSERT INTO webhook_routing_logs
                   (created_at, domain, routed_to, webhook_name, status, response_time_ms, error_message, message_id,
                    from_number)
               SELECT now() - interval '1 minute' * n, (ARRAY['jobs', 'marketplace', 'property'])[1 + n %% 3],
                      (ARRAY['unified', 'legacy'])[1 + n %% 2], 'wa-webhook-jobs', 'error', 900, %s,
                      'wamid.' || %s || n, %s
                 FROM generate_series(3, 50) n""",
            (MESSAGE, WAMID, NUMBER),
        )
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    address = psycopg.conninfo.make_conninfo(database.address, password="canary-of-the-address")
    said: list[str] = []
    told = (  # a closed port, and nonsense
        "json://:canary-of-a-recipient@127.0.0.1:1/hook canary-of-a-recipient"
    )

    def run(*arguments: str, **variables: str) -> int:
        environment = {
            **os.environ,
            plan.database.variable: address,
            "ROLLOUT_OUTPUTS": str(outputs),
            "ROLLOUT_OPERATOR": "Rita",
            "COLUMNS": "200",
            "ROLLOUT_NOTIFY": told,
            "ROLLOUT_METRICS": str(outputs),
            **variables,
        }
        done = subprocess.run(
            [Path(sys.executable).parent / "rollout", *arguments],
            env=environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said.append(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr
        return done.returncode

    run.database, run.outputs, run.said = database, outputs, said
    return run


def found_in(text: str) -> list[str]:
    """The canaries in a text."""
    return [canary for canary in CANARIES if canary in text]


def test_no_canary_reaches_a_record_a_page_the_ledger_a_message_or_the_terminal(site):
    """Monitor (which rolls back), report, errors, status, attest, a refused change, the emergency,
    and failures.
    """
    assert site("monitor", "--slot", "now") in (30, 40)
    assert site("errors") == site("errors", "--json") == site("status") == 0
    assert site("attest", "--complaints", "some", "--reason", REASON) == 0
    assert site("report") in (0, 20, 40)
    assert site("rollback", "--emergency", "--reason", REASON) == 0
    unreachable = f"postgresql://rita:{NAMED}@127.0.0.1:1/rehearsal_x"
    assert site("status", ROLLOUT_REHEARSAL_URL=unreachable) == 50
    assert (
        site("rollback", "--emergency", "--reason", REASON, ROLLOUT_REHEARSAL_URL=unreachable) == 50
    )
    assert site("status", ROLLOUT_REHEARSAL_URL=f"postgresql//rita:{NAMED}@h/d") == 2
    with psycopg.connect(site.database.address) as connection:
        bodies = [
            row[0] for row in connection.execute("SELECT body FROM rollout.ledger ORDER BY seq")
        ]
    files = [path for path in site.outputs.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".ipynb", ".html", ".json"}
    assert len(bodies) >= 5
    leaks = {f"ledger entry {number}": found_in(body) for number, body in enumerate(bodies, 1)}
    leaks |= {
        str(path.relative_to(site.outputs)): found_in(path.read_text(errors="replace"))
        for path in files
    }
    leaks |= {
        f"output of command {number}": found_in(text) for number, text in enumerate(site.said, 1)
    }
    assert {where: what for where, what in leaks.items() if what} == {}
    pages = [path.read_text() for path in files if path.suffix == ".html"]
    assert not any("<script" in page for page in pages), (
        "markup of an error message is shown, never run"
    )
    assert any("&lt;script&gt;canary" in page for page in pages)
    assert any("0 of 2 recipients reached" in text for text in site.said), "messages were tried"
    assert any(path.suffix == ".prom" for path in files), "metrics were written"
    assert any("[number]" in text for text in site.said), "the errors themselves were shown"
