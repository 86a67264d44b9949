"""Figures that say how good a solve is: against ground truth, and without any."""
