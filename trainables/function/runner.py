"""Run a training function in a thread, from one report to the next."""

import re
import threading
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from trainables.contract import Config, TrainableError
from trainables.function.session import RAY, TRAIN, Report, Session, TrainCalls

Function = Callable[[Config], Any]

WRONG_CALL = re.compile(
    r"^report\(\) (got an unexpected keyword argument '(?P<name>\w+)'|.*positional)"
)
"""Python's words for a call of `report` with other arguments than it takes."""
END_S = 2.0
"""Seconds that a function may take to leave its last report before its process is given up."""


class Runner:
    """A function in a thread, which runs while its next report is waited for."""

    def __init__(self, function: Function, config: Config, session: Session) -> None:
        self._function = function
        self._config = config
        self._session = session
        self._thread = threading.Thread(target=self._run, name="function", daemon=True)
        RAY._session = session
        TRAIN.set_train_fn_utils(TrainCalls(session))
        self._thread.start()

    def next(self) -> Report | None:
        """Wait for the next report; None where the function has returned; raises what it raised."""
        result = self._session.take()
        if isinstance(result, SystemExit):
            raise TrainableError(f"the function called sys.exit({result.code!r})") from result
        if isinstance(result, TypeError) and (sentence := _explain_wrong_call(result)):
            raise TrainableError(sentence) from result
        if isinstance(result, BaseException):
            raise result
        return result

    def end(self) -> bool:
        """End the function where it waits in a report; return whether it has ended."""
        self._session.end()
        self._thread.join(END_S)
        if not self._thread.is_alive() and RAY._session is self._session:
            RAY._session = None
            TRAIN.set_train_fn_utils(None)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._session.wait()
            self._call()
        except BaseException as error:
            self._session.put(error)
        else:
            self._session.put(None)

    def _call(self) -> None:
        """Call the function; metrics that it yields or returns are reports as well."""
        result = self._function(self._config)
        if isinstance(result, types.GeneratorType):
            for metrics in result:
                self._session.report(metrics)
        elif result is not None:
            self._session.report(result)


def _explain_wrong_call(error: TypeError) -> str | None:
    """Return how to call `report`, where an exception is of a wrong call of it."""
    call = WRONG_CALL.match(str(error))
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    if call is None or not raised_in.is_relative_to(Path(ray.__file__).parent):
        return None
    name = call["name"] or "loss"
    return f'tune.report() takes a dictionary of metrics: tune.report({{"{name}": …}})' + (
        "" if call["name"] else ", and a checkpoint by its name: checkpoint=…"
    )
