"""Models with handlers, made of a script's text: what the tests of handlers share."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from serve.models.archive import write_handlers
from serve.models.manifest import Manifest

ECHO = """
def model_fn(model_dir):
    return "model"

def transform_fn(model, body, content_type, accept):
    return body, "text/plain"
"""


def write_model(
    folder: Path,
    script: str = ECHO,
    *,
    files: Mapping[str, bytes] | None = None,
    entry_point: str = "train.py",
) -> Path:
    """The folder of a model whose script is that text, made there."""
    saved = folder.parent / f"{folder.name}-saved"
    for name, content in (files or {}).items():
        (saved / name).parent.mkdir(parents=True, exist_ok=True)
        (saved / name).write_bytes(content)
    saved.mkdir(exist_ok=True)
    manifest = Manifest("mine", entry_point=entry_point, run="a-run", trial_id="t1", epoch=3)
    write_handlers(folder, manifest, saved, {entry_point: dedent(script).encode()})
    return folder
