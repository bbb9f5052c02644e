"""The workers' image without Docker: the Dockerfile's own steps in a folder, and one segment trained in what they made.

What it shows: the steps succeed in this order; what they install is enough to import the handler and to train; how
large it is. What it cannot show: the base image (Amazon Linux, its build of Python, its entry point), nor another
architecture than this machine's.
"""
