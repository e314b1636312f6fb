"""What everybody else receives: texts as the runbook has them, with real figures."""

from rollout_lib.messages.render import render

__all__ = ["render"]
