"""Pictures of a run, read from its outcome, its journal and the files that export wrote.

Searching, exporting and serving are elsewhere, and nothing here changes a run but its report::

    figures = run_figures(run.result, space, chronology.read(run.folder))

gives figures that plotly.js draws, as JSON.
"""

from pathlib import Path

REPORT = "report.html"
"""The report in a run's folder."""
STATIC = Path(__file__).parent / "static"
"""Files for a browser: plotly.js, and what draws figures by it."""
TEMPLATES = Path(__file__).parent / "templates"
"""The page of a report, to be filled in."""
