"""Networks such as users write are exported, or refused with a reason."""

from pathlib import Path

import pytest

from tests.support.networks import CASES, outcome


@pytest.mark.parametrize("name", CASES)
def test_a_network_is_exported_or_refused_as_expected(name: str, tmp_path: Path) -> None:
    outcome(CASES[name], tmp_path)
