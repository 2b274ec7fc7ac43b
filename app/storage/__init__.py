"""Files of runs: replaced whole on this machine, or kept behind a URI and worked on in a copy.

Which files a run has is in `app.run`, and how a URI is opened in `trainables.script.uri`. For a run
wherever it is kept, `run_storage(folder).download("result.json")` brings a file up to date.
"""
