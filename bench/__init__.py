"""Measurements of the runtime, one command per figure; see README.md. ``localaws`` is a place for objects here."""
