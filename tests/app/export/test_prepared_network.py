"""Networks as users bring them come out of an export as is right for each."""

from pathlib import Path

import pytest

from tests.support.networks import CASES, outcome


@pytest.mark.parametrize("name", CASES)
def test_each_network_comes_out_as_is_right_for_it(name: str, tmp_path: Path) -> None:
    outcome(CASES[name], tmp_path)
