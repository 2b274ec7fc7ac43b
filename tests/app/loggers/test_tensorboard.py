"""TensorBoard's files have a trial's curves, its hyperparameters and its best values."""

import struct
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from app.loggers import following
from app.run.journal import Journal
from tests.support.journals import end, epoch, record, start
from tests.support.loggers import experiment, with_trial


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


def test_a_trial_that_goes_on_or_goes_back_replaces_later_epochs(tmp_path: Path) -> None:
    """TensorBoard drops the epochs of a trial from the step of an event START on."""
    said: list[str] = []
    for number in (1, 2):
        journal = Journal(tmp_path, record())
        with following(journal, experiment("tensorboard"), said.append):
            start(journal, "001", leg=number, x=0.5)
            epoch(journal, "001", number, 0.25)
            epoch(journal, "001", number + 1, 0.5)
            journal.append("back", trial_id="001", epoch=number, reason="its checkpoint is gone")
            epoch(journal, "001", number + 1, 0.75)
            start(journal, f"00{number + 1}", x=0.25)
            end(journal, f"00{number + 1}", "failed", "ValueError: no")
        journal.close()
    assert not said
    steps = [
        (event.step, "START" if event.session_log.status == SessionLog.START else value.tag)
        for event in events(tmp_path / "tensorboard/001")
        for value in event.summary.value or [None]
        if event.step
    ]
    assert steps == [
        *[(1, "START"), (1, "loss"), (2, "loss"), (2, "START"), (2, "loss")],
        *[(2, "START"), (2, "loss"), (3, "loss"), (3, "START"), (3, "loss")],
    ]
