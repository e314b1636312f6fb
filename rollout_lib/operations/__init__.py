"""The imperative shell: each operation reads facts, calls a pure decider, carries out its value,
records.
"""

from rollout_lib.operations.attest import attest
from rollout_lib.operations.change import change_percentage
from rollout_lib.operations.evaluate import evaluate_phase
from rollout_lib.operations.monitor import monitor
from rollout_lib.operations.preflight import preflight
from rollout_lib.operations.record import Recorded, conclude
from rollout_lib.operations.report import report
from rollout_lib.operations.rollback import roll_back
from rollout_lib.operations.tripwire import Round, glance, trip

__all__ = [
    "Recorded",
    "Round",
    "attest",
    "change_percentage",
    "conclude",
    "evaluate_phase",
    "glance",
    "monitor",
    "preflight",
    "report",
    "roll_back",
    "trip",
]
