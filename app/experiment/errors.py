"""The error of this package that a user sees."""


class ExperimentError(Exception):
    """An experiment asks for something that it cannot have, in one sentence that says where."""
