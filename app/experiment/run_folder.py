"""Names in a run's folder that an experiment must know, as it copies a script's code there."""

JOURNAL = "journal.jsonl"
"""The file that makes a folder a run's."""
CODE = "code"
"""The folder with the script as it was when the run began."""
