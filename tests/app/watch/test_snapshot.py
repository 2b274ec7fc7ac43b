"""A run's page is made again when its files change, and when its process is gone."""

import json
from contextlib import closing
from pathlib import Path

from app.run import store
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.watch.snapshot import describe_now, environment, take, version
from tests.support.searches import write_search


def test_a_run_whose_process_was_killed_is_shown_as_interrupted_and_how_to_go_on(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "one"
    write_search(folder, 12, until_s=70)
    journal = Journal(folder, store.empty_record(folder), must_exist=True)
    going_on = take(folder, environment())
    assert going_on.version == version(folder)
    assert '<span class="status running">' in going_on.heading
    journal.close()  # as it is when its process has ended in whatever way
    assert version(folder) != going_on.version
    interrupted = take(folder, environment())
    assert '<span class="status interrupted">' in interrupted.heading
    command = f"python -m app.tune --resume one --runs {tmp_path}"
    assert command in describe_now(interrupted, environment())
    assert command not in describe_now(going_on, environment())


def test_rays_dashboard_is_linked_while_a_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 12, until_s=70)
    table = json.loads((folder / EXPERIMENT).read_text())
    table["dashboard"] = {"address": "127.0.0.1:8265", "token": "/my files/token"}
    (folder / EXPERIMENT).write_text(json.dumps(table))
    with closing(Journal(folder, store.empty_record(folder), must_exist=True)):
        going_on = describe_now(take(folder, environment()), environment())
    assert '<a href="http://127.0.0.1:8265">' in going_on
    assert "cat &#39;/my files/token&#39;" in going_on
    assert "8265" not in describe_now(take(folder, environment()), environment())
