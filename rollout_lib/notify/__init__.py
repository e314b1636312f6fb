"""The runbook's messages: rendered from a checkpoint with real figures, told by onset, sent by
Apprise.
"""

from rollout_lib.notify.render import render

__all__ = ["render"]
