"""Run a notebook by papermill, honestly: limits, end states, parameters checked first, archived
once.
"""

from rollout_lib.runner.run import RunResult, run_notebook

__all__ = ["RunResult", "run_notebook"]
