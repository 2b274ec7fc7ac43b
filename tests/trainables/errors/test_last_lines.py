"""Reasons of failures, read from what a program printed."""

from textwrap import dedent

import pytest

from trainables.errors.last_lines import LONGEST, LastWords, without_launcher

HEAD = ["Traceback (most recent call last):", '  File "train.py", line 3, in <module>', "    fit()"]
AT = " (train.py, line 3)"
TORCHRUN = """
    E1130 13:14:07.957000 17063 torch/distributed/elastic/api.py:1002] failed (exitcode: {code})
    Traceback (most recent call last):
      File "<frozen runpy>", line 198, in _run_module_as_main
      File "/v/lib/python3.11/site-packages/torch/distributed/run.py", line 1142, in <module>
        main()
      File "/v/lib/python3.11/site-packages/torch/distributed/launcher/api.py", line 386, in agent
        raise ChildFailedError(
    torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
    ============================================================
    train.py FAILED
    ------------------------------------------------------------
    Failures:
    [1]:
      exitcode  : -15 (pid: 17233)  (SIGTERM)
    Root Cause (first observed failure):
    [0]:
      rank      : 0 (local_rank: 0)
      exitcode  : {code} (pid: 17234)
      error_file: <N/A>
    ============================================================
"""


def reason(lines: list[str]) -> str:
    last = LastWords()
    for line in lines:
        last.read(f"{line}\n")
    return str(last)


def by_torchrun(*lines: str, code: int = 1) -> str:
    """The reason of a script that prints these lines and fails under `torchrun`."""
    return reason([*lines, *dedent(TORCHRUN.format(code=code)).splitlines()])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["one", "two", "", " "], "two"),
        ([*HEAD, "ValueError: no data"], f"ValueError: no data{AT}"),
        ([*HEAD, "ValueError: no data", "at all", "  x"], f"ValueError: no data{AT}"),
        ([*HEAD, "ValueError: in state:", "  no fc", "x"], f"ValueError: in state: no fc{AT}"),
        ([*HEAD, "ValueError:", "  no data"], f"ValueError: no data{AT}"),
        ([*HEAD, "KeyError: 'a'", "", *HEAD, "OSError: b"], f"OSError: b{AT}"),
        ([f"[rank0]: {line}" for line in (*HEAD, "KeyError: 'a'")], f"KeyError: 'a'{AT}"),
        (
            ["RuntimeError: in a worker", f"Original {HEAD[0]}", *HEAD[1:], "OSError: b"],
            f"OSError: b{AT}",
        ),
        ([*HEAD, "OSError: b", *["on it goes"] * 50, "no data"], "no data"),
        (["\r 10%\r 20%", "\r 30%\r 40%no data"], " 40%no data".strip()),
        (["x" * LONGEST + "y"], "x" * LONGEST + "…"),
        (
            ['  File "/a/fit.py", line 2', "    (", "SyntaxError: x"],
            "SyntaxError: x (fit.py, line 2)",
        ),
    ],
)
def test_last_words_are_the_exception_or_the_last_line(lines: list[str], words: str) -> None:
    assert reason(lines) == words


def test_an_exception_is_placed_in_the_users_own_code() -> None:
    frames = [
        '  File "/home/me/code/models/net.py", line 7, in forward',
        '  File "/v/lib/python3.11/site-packages/torch/nn/module.py", line 99, in call',
        '  File "/usr/lib/python3.11/json/decoder.py", line 5, in decode',
    ]
    assert reason([HEAD[0], *frames, "OSError: b"]) == "OSError: b (net.py, line 7, in forward)"
    assert reason([HEAD[0], *frames[1:], "OSError: b"]) == "OSError: b"


def test_tracebacks_of_several_processes_may_be_in_each_other() -> None:
    ours, theirs = ([f"[rank{rank}]: {line}" for line in HEAD] for rank in (0, 1))
    mixed = [line for pair in zip(ours, theirs, strict=True) for line in pair]
    assert reason([*mixed, "[rank1]: KeyError: 'a'", "[rank0]: OSError: b"]) == f"OSError: b{AT}"


def test_a_workers_exception_is_told_and_not_its_launchers() -> None:
    assert by_torchrun(*HEAD, "ValueError: no data", "at all") == f"ValueError: no data{AT}"


def test_a_process_that_lost_another_is_not_to_blame() -> None:
    lost = "RuntimeError: [/x/gloo/transport/tcp/pair.cc:561] Connection closed by peer"
    first = [f"[rank1]: {line}" for line in (*HEAD, "KeyError: 'mine'")]
    second = [f"[rank0]: {line}" for line in (*HEAD, lost)]
    assert by_torchrun(*first, *second) == f"KeyError: 'mine'{AT}"
    assert by_torchrun(*second) == f"{lost}{AT}"


def test_a_launchers_report_is_left_out_of_a_log() -> None:
    own = [*HEAD, "ValueError: no data"]
    report = dedent(TORCHRUN.format(code=1)).strip().splitlines()
    assert without_launcher([*own, *report]) == own
    assert without_launcher(own) == own
    assert without_launcher(report) == report  # which is all there is
    assert without_launcher([report[-1], "end"]) == [report[-1], "end"]


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        (["usage: x", "x.py: error: no --epochs"], 2, "x.py: error: no --epochs"),
        (
            ["epoch 1"],
            -11,
            "a process of it was ended by a segmentation fault (signal 11): epoch 1",
        ),
        ([], 3, "a process of it ended with status 3"),
        ([], -6, "a process of it was ended by an abort (signal 6)"),
    ],
)
def test_a_worker_that_raised_nothing_is_told_by_its_last_line_or_its_end(
    lines: list[str], code: int, words: str
) -> None:
    assert by_torchrun(*lines, code=code) == words
