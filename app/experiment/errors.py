"""Errors that a user sees, each in one sentence that says where."""


class ExperimentError(Exception):
    """An experiment asks for something that it cannot have."""


class SpaceError(Exception):
    """A parameter cannot be searched as described, or a configuration is outside the space."""
