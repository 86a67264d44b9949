"""Python imports this at its start where this folder is on its path: brings faults into the pose worker's process."""

from tests.faults.inject import from_environment

from_environment()
