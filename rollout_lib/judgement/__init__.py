"""Facts in, a Verdict out: the runbook's thresholds beside what the data can support. Pure."""
