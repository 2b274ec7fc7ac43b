"""Every message that users can see is in tests/messages.txt, so that a review sees it change."""

import difflib

from tests.support import ROOT
from tests.support.messages import snapshot

RENEW = "python -m tests.support.messages > tests/messages.txt"


def test_messages_are_those_of_the_snapshot() -> None:
    kept = (ROOT / "tests/messages.txt").read_text(encoding="utf-8").splitlines()
    changes = difflib.unified_diff(kept, snapshot().splitlines(), "kept", "now", lineterm="", n=0)
    assert "\n".join(changes) == "", f"read the changes, and renew the snapshot: {RENEW}"
