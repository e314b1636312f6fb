"""Facts in, a Verdict out: the runbook's thresholds beside what the data can support. Pure."""

from __future__ import annotations

# Which rules a checkpoint was judged by, stamped on each; a record without it was judged by the
# first. What changed, and what an older record means: docs/decisions/rules-have-a-number.md.
RULES = 2
