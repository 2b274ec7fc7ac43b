"""Files of runs: replaced whole on this machine, or kept behind a URI and worked on in a copy.

The run's own process uses `run_storage`, the processes of trials `trial_storage`, whose artifacts
are uploaded from the node that made them. Which files a run has is in `app.run`, the tasks on nodes
that send what a lost process left are in `app.engine`, and how a URI is opened is in
`trainables.script.uri`. For a run wherever it is kept,
`run_storage(folder).download("result.json")` brings a file up to date.
"""
