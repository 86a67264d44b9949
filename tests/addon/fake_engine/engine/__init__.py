"""Stands in for the engine: behaves as the variable FAKE_ENGINE says."""
