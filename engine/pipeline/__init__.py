"""From footage to solve folder: the stages as a table (`stages`), and what runs them (`run`)."""

from engine.pipeline.run import plan, solve

__all__ = ["plan", "solve"]
