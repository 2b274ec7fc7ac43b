"""Folder for the checkpoints that a function reports, as storage for Ray's session."""

from pathlib import Path

from ray.train._internal.storage import StorageContext


class CheckpointFolder(StorageContext):
    """Storage of one trial in a folder of its own, from which Tune saves checkpoints as a class's.

    Ray's session copies into it what a function reports, whose own folder may be gone by then.
    """

    def __init__(self, folder: Path, experiment_name: str) -> None:
        super().__init__(folder, experiment_name, trial_dir_name="trial")
        self._current_folder = str(Path.cwd())

    @property
    def trial_working_directory(self) -> str:
        """The folder in which the trial's process works already: a session changes to this one."""
        return self._current_folder

    @property
    def trial_driver_staging_path(self) -> str:
        """The same folder, as `ray.tune.get_context().get_trial_dir()` gives it."""
        return self._current_folder
