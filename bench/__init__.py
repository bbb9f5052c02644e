"""Measurements of the runtime, one command per figure; see README.md. Imports ``runtime`` and ``launch`` only."""
