"""Names of a run's folder and files that an experiment must know."""

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of experiments and runs: a run's folder is called by the run's name."""
DASHBOARD = "dashboard"
"""Key of the address of Ray's dashboard, and of the file with the token that it asks for."""
OF_THE_RUN = ("threads", "data", DASHBOARD)
"""Keys of a run's `experiment.json` that tell of its machine and its data."""
JOURNAL = "journal.jsonl"
"""The file that makes a folder a run's."""
CODE = "code"
"""The folder with the script as it was when the run began."""
