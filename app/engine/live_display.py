"""Live display of a run's table in a terminal or a notebook, by `rich`."""

from typing import TYPE_CHECKING, TextIO

from rich.console import Console, ConsoleDimensions, ConsoleRenderable
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType

from app.engine.live_table import RunTable
from app.engine.time_left import TimeLeft

if TYPE_CHECKING:
    from app.engine.plan import RunState

REFRESHES_PER_S = 2


class _Live(Live):
    """Draws on a clean screen after a change of size: the terminal has broken the lines anew."""

    _drawn_on: ConsoleDimensions | None = None

    def start(self, refresh: bool = False) -> None:
        """Start, with the cursor in sight: a process that is killed could not bring it back."""
        super().start(refresh)
        self.console.show_cursor(True)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        before, self._drawn_on = self._drawn_on, self.console.size
        processed = super().process_renderables(renderables)
        if before in (None, self._drawn_on) or not self.console.is_interactive:
            return processed
        return [Control(ControlType.HOME, ControlType.CLEAR), *processed[1:]]


def live_table(stream: TextIO, plan: "RunState", time_left: TimeLeft) -> Live:
    """Return the display of a run, which `start` shows and `stop` leaves as it is then."""
    console = Console(file=stream, highlight=False)
    return _Live(RunTable(plan, time_left), console=console, refresh_per_second=REFRESHES_PER_S)
