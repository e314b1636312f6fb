"""Facts in, a Verdict out: the runbook's thresholds beside what the data can support. Pure."""

from rollout_lib.judgement.baseline import judge_baseline, power_line
from rollout_lib.judgement.phase_end import judge_phase_end
from rollout_lib.judgement.slot import judge_slot
from rollout_lib.judgement.streams import look_from

__all__ = ["judge_baseline", "judge_phase_end", "judge_slot", "look_from", "power_line"]
