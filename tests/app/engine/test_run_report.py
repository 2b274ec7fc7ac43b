"""The report that a run leaves, and the sentence where it cannot."""

from pathlib import Path

from app.engine.run_report import write_report
from app.report import REPORT
from app.run.journal import Journal
from tests.support.journals import VERSIONS, end, epoch, record, start


def test_a_run_leaves_a_report_and_fails_by_none(tmp_path: Path) -> None:
    journal, said = Journal(tmp_path, record()), list[str]()
    journal.append("run", versions=VERSIONS)
    write_report(journal, said.append)
    assert not (tmp_path / REPORT).exists()
    start(journal, "001", x=1)
    epoch(journal, "001", 1, 0.5)
    end(journal, "001", "completed")
    write_report(journal, said.append)
    assert "trial 001, epoch 1" in (tmp_path / REPORT).read_text()
    (tmp_path / REPORT).unlink()
    (tmp_path / REPORT).mkdir()
    assert said == []
    write_report(journal, said.append)
    assert said == [f"this run has no report: cannot write {tmp_path / REPORT}: Is a directory"]
    journal.close()
