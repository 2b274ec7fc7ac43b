"""Folder that comes first on the path of a script that trains on several hosts."""

from pathlib import Path

PATH = Path(__file__).parent
