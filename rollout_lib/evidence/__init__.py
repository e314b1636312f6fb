"""Evidence on counts that is valid at any number of looks. Pure; natural logs throughout.

A test supermartingale starts at 1 and cannot be expected to grow while the null holds, so by
Ville's inequality P(it ever reaches 1/alpha) <= alpha whatever the schedule of looks (Ville 1939).
Bets are mixtures over alternatives (Robbins 1970); the split test is the beta-binomial mixture of
Lindon & Malek 2022, "Anytime-valid inference for multinomial count data". Formulas and defaults:
docs/judgement.md. Everything is imported from here."""

from __future__ import annotations

from rollout_lib.evidence.bets import (
    ERROR_ALTERNATIVES,
    ERROR_WEIGHTS,
    LATENCY_ALTERNATIVES,
    LATENCY_WEIGHTS,
    log_certificate,
    log_evidence,
    log_evidence_restart,
    log_evidence_versus,
    log_split_evidence,
    log_split_evidence_restart,
    restart_paths,
    split_paths,
)
from rollout_lib.evidence.counts import CountError
from rollout_lib.evidence.intervals import (
    certified_bound,
    difference_interval,
    quantile_ranks,
    rate_interval,
    refractory,
    required_total,
    required_total_anytime,
    upper_bound,
)

__all__ = [
    "ERROR_ALTERNATIVES",
    "ERROR_WEIGHTS",
    "LATENCY_ALTERNATIVES",
    "LATENCY_WEIGHTS",
    "CountError",
    "certified_bound",
    "difference_interval",
    "log_certificate",
    "log_evidence",
    "log_evidence_restart",
    "log_evidence_versus",
    "log_split_evidence",
    "log_split_evidence_restart",
    "quantile_ranks",
    "rate_interval",
    "refractory",
    "required_total",
    "required_total_anytime",
    "restart_paths",
    "split_paths",
    "upper_bound",
]
