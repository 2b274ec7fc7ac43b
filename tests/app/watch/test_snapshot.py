"""A run's page is made again when its files change, and when its process is gone."""

from pathlib import Path

from app.run import store
from app.run.journal import Journal
from app.watch.snapshot import environment, take, version
from tests.support.searches import write_search


def test_a_run_whose_process_was_killed_is_shown_as_interrupted(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 12, until_s=70)
    journal = Journal(folder, store.empty_record(folder), must_exist=True)
    going_on = take(folder, environment())
    assert going_on.version == version(folder)
    assert '<span class="status running">' in going_on.heading
    journal.close()  # as it is when its process has ended in whatever way
    assert version(folder) != going_on.version
    assert '<span class="status interrupted">' in take(folder, environment()).heading
