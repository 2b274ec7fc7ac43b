"""`Session` by SageMaker's name: the place of a notebook's runs, data and endpoints."""

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from app.api import open_run
from app.run import store
from app.sagemaker import description, endpoint
from app.sagemaker.aws import ignore
from app.storage.run_storage import run_storage
from app.storage.working_copy import location

UPLOADS = ".uploads"
"""Folder beside the runs for the data that `upload_data` copies."""
BUCKET = "local"


class Session:
    """Place of runs and their Ray cluster; no account, region or bucket."""

    boto_region_name = "local"

    def __init__(
        self,
        boto_session: Any = None,
        *,
        runs: str | Path = "runs",
        address: str | None = None,
        **aws: Any,
    ) -> None:
        """Choose where runs are kept and trained.

        Args:
            boto_session: ignored, as `aws`.
            runs: folder or URI that keeps the runs.
            address: Ray cluster to train on; None starts Ray on this machine.
            aws: arguments of AWS alone.

        Raises StoreError or StorageError if no runs can be kept there.
        """
        ignore({"boto_session": boto_session, **aws})
        self.place = location(store.open_runs(str(runs)))
        self.address = address

    @property
    def runs(self) -> Path:
        """Folder with the runs; of runs behind a URI, the local copy, brought up to date."""
        return store.open_runs(self.place)

    def default_bucket(self) -> str:
        """Bucket name to hand to `upload_data`."""
        return BUCKET

    def upload_data(
        self,
        path: str | Path,
        bucket: str | None = None,
        key_prefix: str = "data",
        callback: Any = None,
        extra_args: Mapping[str, Any] | None = None,
    ) -> str:
        """Copy a file or folder beside the runs; return the copy's URI, an input for a channel.

        Raises StoreError or StorageError if it cannot be copied.
        """
        ignore({"callback": callback, "extra_args": extra_args})
        source, name = Path(path).expanduser(), f"{bucket or BUCKET}/{key_prefix}".strip("/")
        if ".." in PurePath(name).parts:
            raise store.StoreError(f"upload_data: {name!r} leads out of {UPLOADS} beside the runs")
        if not source.exists():
            raise store.StoreError(f"upload_data: cannot copy {source}: it is not there")
        uploads = run_storage(self.runs / UPLOADS)
        try:
            uploads.add(source, name)
        except OSError as error:
            raise store.StoreError(f"upload_data: cannot copy {source}: {error}") from error
        return uploads.uri(name)

    def describe_tuning_job(self, job_name: str) -> dict[str, Any]:
        """SageMaker's `describe` of a search; raises StoreError if there is none of that name."""
        return description.find(self.runs, job_name).describe(job_name)

    def stop_tuning_job(self, name: str) -> None:
        """End a search; raises StoreError if it is not running."""
        open_run(name, runs=self.place).stop(wait=False)

    def delete_endpoint(self, endpoint_name: str) -> None:
        """Stop an endpoint that this process started."""
        endpoint.stop(endpoint_name)


def get_execution_role(sagemaker_session: Session | None = None) -> str:
    """Give a role for estimators; nothing here checks it."""
    return description.ROLE
