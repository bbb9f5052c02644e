"""Runs on the embedded AWS that meet faults: ``funcpipe chaos``. Workers, workflow and stack are the deployed ones."""
