"""Where a notebook's runs and data are, and what of AWS is taken and ignored."""

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app import store

UPLOADS = ".uploads"
"""The folder beside the runs that keeps what `upload_data` copied."""
BUCKET = "local"

_said: set[str] = set()


class Session:
    """The place for runs; of AWS there is no account, no region and no bucket."""

    def __init__(self, boto_session: Any = None, *, runs: str | Path = "runs", **aws: Any) -> None:
        """Keep runs in that folder; whatever else SageMaker's own takes is ignored."""
        ignore({"boto_session": boto_session, **aws})
        self.runs = store.place(str(runs))

    def default_bucket(self) -> str:
        """A name to hand to `upload_data`."""
        return BUCKET

    def upload_data(
        self,
        path: str | Path,
        bucket: str | None = None,
        key_prefix: str = "data",
        extra_args: Mapping[str, Any] | None = None,
    ) -> str:
        """Copy a file or folder beside the runs, and give the folder's URI, a channel's input.

        Raises StoreError where it cannot be copied.
        """
        ignore({"extra_args": extra_args})
        source = Path(path).expanduser()
        folder = self.runs / UPLOADS / (bucket or BUCKET) / key_prefix
        if not folder.resolve().is_relative_to((self.runs / UPLOADS).resolve()):
            raise store.StoreError(
                f"upload_data: {key_prefix!r} leads out of {self.runs / UPLOADS}"
            )
        try:
            if source.is_dir():
                shutil.copytree(source, folder, dirs_exist_ok=True)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder)
        except OSError as error:
            raise store.StoreError(f"upload_data: cannot copy {source}: {error}") from error
        return folder.as_uri()


def get_execution_role(sagemaker_session: Session | None = None) -> str:
    """What an estimator takes as its role; nobody here asks for one."""
    return "arn:aws:iam::000000000000:role/local"


def ignore(arguments: Mapping[str, Any]) -> None:
    """Say once of each argument that was given that it means nothing outside of AWS."""
    given = [name for name, value in arguments.items() if value is not None and name not in _said]
    if given:
        _said.update(given)
        warnings.warn(
            f"{', '.join(given)}: of AWS alone; taken and ignored", UserWarning, stacklevel=3
        )
