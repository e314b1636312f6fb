"""`python -m rollout_lib` is the command `rollout`."""

from rollout_lib.cli import main

main()
