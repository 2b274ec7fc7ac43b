"""A page of runs that go on and of those that have ended, in a browser on this machine.

It reads what is on disk or in a bucket and changes nothing. Figures and facts are those of
`app.report`; here are the server, the routes, and what tells a browser that a run has changed::

    serve(store.open_runs("runs"), listen(8081), print)
"""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""Files for a browser."""
TEMPLATES = Path(__file__).parent / "templates"
