"""What ships into a Lambda function: the plan's format, and the worker that executes it.

Imports nothing else of this project. ``spec``, ``manifest``, ``limits``, ``keys``, ``schedule``, ``batches``,
``records`` and ``store`` are the contract that the other packages build on; they import no torch.
"""
