"""Pages that cannot be shown: a title, a sentence, and what would do, by why."""

from dataclasses import dataclass

LATER = "This page looks again every three seconds."


@dataclass(frozen=True)
class Refusal:
    """Words for a page that cannot be shown."""

    status: int
    title: str
    advice: str = ""
    looks_again: bool = False
    """Whether the page is loaded again by itself, as that may help."""


NO_RUN = Refusal(404, "No such run", f"A run that is about to begin will show. {LATER}", True)
NO_TRIAL = Refusal(404, "No such trial", "The page of the run lists its trials.")
NO_PAGE = Refusal(404, "No such page", "All runs are listed on the first page.")
NOT_ALLOWED = Refusal(405, "Not allowed", "These pages show runs, and change nothing.")
TOO_FEW = Refusal(400, "Nothing to compare", "Choose them on the page of all runs.")
UNREADABLE = Refusal(500, "This run cannot be read", f"A file may be half-written. {LATER}", True)
UNREACHABLE = Refusal(503, "The runs cannot be reached", LATER, True)
BROKEN = Refusal(500, "This page cannot be shown", "The run and its search are not touched by it.")


class RefusedError(Exception):
    """A page that cannot be shown, with the sentence that says what came."""

    def __init__(self, refusal: Refusal, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = refusal
