"""The process that runs a model's handlers: `serve.handlers.worker`, in a folder of its own."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from serve.child_process import ChildProcess
from serve.models.archive import CODE, model_dir
from serve.models.manifest import ArtifactError, Manifest

LOAD_SECONDS = 240.0
"""How long a model may take to load; SageMaker has the same limit."""
STDERR = 2


def start_process(folder: Path, manifest: Manifest, scratch: Path) -> ChildProcess:
    """Start the process that loads the handlers of a model's folder.

    It works in `scratch`, with links to the script's files: one that wrote into the model's folder
    would change the files that the manifest lists.
    """
    for path in (folder / CODE).iterdir() if (folder / CODE).is_dir() else ():
        (scratch / path.name).symlink_to(path)
    return ChildProcess(
        "serve.handlers.worker",
        os.getpid(),
        environment=_environment(folder, manifest),
        cwd=scratch,
        stdout=STDERR,
    )


def wait_until_loaded(process: ChildProcess) -> None:
    """Wait until the process has loaded its model; raises ArtifactError, and kills it, if not."""
    try:
        failure = process.channel.receive(LOAD_SECONDS).values["failure"]
    except TimeoutError:
        failure = f"the model was not loaded within {LOAD_SECONDS:g} seconds"
    except (EOFError, OSError):
        failure = f"the model's process {process.wait()} while it loaded the model"
    if failure is not None:
        process.kill()
        process.wait()
        raise ArtifactError(failure)


def _environment(folder: Path, manifest: Manifest) -> Mapping[str, str]:
    """The variables that handlers read, and no GPU whatever the model was trained on."""
    # `pip` and `python` are those of the environment that serves, whatever the user has first.
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return {
        "PATH": os.pathsep.join(programs),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HIP_VISIBLE_DEVICES": "",
        "SAGEMAKER_PROGRAM": manifest.entry_point or "",
        "SAGEMAKER_SUBMIT_DIRECTORY": str(folder / CODE),
        "TUNEPORT_MODEL_NAME": manifest.name,
        "SM_MODEL_DIR": str(model_dir(folder, manifest)),
        "SM_MODULE_DIR": str(folder / CODE),
        "SM_NUM_GPUS": "0",
        "SM_NUM_CPUS": str(os.cpu_count()),
        "SM_HOSTS": '["algo-1"]',
        "SM_CURRENT_HOST": "algo-1",
    }
