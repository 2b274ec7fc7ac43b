"""The application: what to tune, how, and where the results are."""
