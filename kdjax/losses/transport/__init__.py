"""Optimal transport between two batches: exact and entropic."""
