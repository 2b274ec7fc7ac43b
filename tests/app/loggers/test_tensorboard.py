"""TensorBoard's files have a trial's curves, its hyperparameters and its best values."""

import struct
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from tests.support.loggers import with_trial


def events(folder: Path) -> list[Any]:
    """The events in a folder's files, which frame each with its length and checksums."""
    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_a_trial_has_its_curve_its_hyperparameters_and_its_best_values(tmp_path: Path) -> None:
    assert with_trial(tmp_path, ("tensorboard",)) == []
    values = [
        (value.tag, event.step, value.simple_value)
        for event in events(tmp_path / "tensorboard/001")
        for value in event.summary.value
    ]
    assert ("loss", 1, 0.25) in values
    assert ("best/loss", 1, 0.25) in values
    assert not [step for tag, step, _ in values if tag == "loss" and step == 2]
    (started,) = [
        HParamsPluginData.FromString(value.metadata.plugin_data.content).session_start_info
        for event in events(tmp_path / "tensorboard/001")
        for value in event.summary.value
        if value.tag == "_hparams_/session_start_info"
    ]
    assert started.hparams["x"].number_value == 0.5
