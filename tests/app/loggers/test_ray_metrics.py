"""Ray's gauges of a run are set as its events come, and again while nothing comes."""

from collections import Counter
from pathlib import Path

import pytest

from app.loggers import following, ray_metrics
from app.loggers.ray_metrics import BEST, EPOCH, STATE, VALUE
from app.run.journal import Journal
from tests.support.journals import end, epoch, record, start
from tests.support.loggers import experiment
from tests.support.waiting import until

Sets = Counter[tuple[str, str, float]]


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> Sets:
    """How often each gauge was set, by its name, the last of its tags and the value."""
    counts: Sets = Counter()

    class Gauge:
        """Ray's, which needs no Ray."""

        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            self.name = name
            self.last = tag_keys[-1]

        def set_default_tags(self, tags: dict[str, str]) -> None: ...

        def set(self, value: float, tags: dict[str, str]) -> None:
            counts[self.name, tags[self.last], value] += 1

    monkeypatch.setattr(ray_metrics, "Gauge", Gauge)
    monkeypatch.setattr(ray_metrics, "REFRESH_S", 0.001)
    return counts


def test_ray_is_told_again_what_it_would_forget(tmp_path: Path, sets: Sets) -> None:
    journal = Journal(tmp_path, record())
    with following(journal, experiment(), print):
        start(journal, "001", x=0.5)
        epoch(journal, "001", 1, 0.25)
        keys = [(STATE, "running", 1.0), (BEST, "loss", 0.25), (VALUE, "loss", 0.25)]
        until(lambda: all(sets[key] > 2 for key in [*keys, (EPOCH, "001", 1)]))
        end(journal, "001", "completed")
        until(lambda: sets[STATE, "completed", 1.0] > 2)
        assert sets[STATE, "running", 0.0] == 1
        over = sets[EPOCH, "001", 1], sets[STATE, "running", 1.0]
        best = sets[BEST, "loss", 0.25]
        until(lambda: sets[BEST, "loss", 0.25] > best + 2)
        assert (sets[EPOCH, "001", 1], sets[STATE, "running", 1.0]) == over
    journal.close()


def test_trials_of_an_earlier_attempt_have_their_states(tmp_path: Path, sets: Sets) -> None:
    journal = Journal(tmp_path, record())
    start(journal, "001", x=0.5)
    end(journal, "001", "completed")
    with following(journal, experiment(), print):
        pass
    assert sets[STATE, "completed", 1.0]
    journal.close()
