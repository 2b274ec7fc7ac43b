"""Helpers, fixtures and trainables that tests share."""

from pathlib import Path

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]
"""The repository."""
SCRIPTS = SUPPORT / "scripts"
"""Training scripts as users bring them."""
