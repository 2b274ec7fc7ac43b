"""A journal that is open during a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.run.journal import Journal
from tests.support.journals import record


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path, record())
    yield opened
    opened.close()
