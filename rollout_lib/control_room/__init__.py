"""The control room: what a person has open while a rollout runs. For people only, never in a
scheduled run.
"""

from rollout_lib.control_room.room import Room, control_room

__all__ = ["Room", "control_room"]
