"""Search: which configuration to try next, when to stop a trial, and when to end a run.

The names and settings that an experiment may choose from are in `app.experiment`; how a run calls
Ray is in `app.engine`. A whole search without Ray is
`Proposals(space, "bayesian", seed=0, objective=Objective("loss", "min"))`, whose `suggest(index)`
returns a configuration and whose `tell(index, value)` takes its value.
"""
