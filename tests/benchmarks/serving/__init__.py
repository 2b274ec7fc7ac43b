"""Serving one small network: ours, a bare application, and other servers, side by side.

`python -m tests.benchmarks.serving [--arms NAME…] [--seconds S] [--rounds N] [--peers PYTHON]`
"""
