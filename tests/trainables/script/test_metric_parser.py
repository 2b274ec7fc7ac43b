"""Metrics from lines: what regexes read, and what a program reports itself."""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.contract import TrainableError
from trainables.script.log_check import find_metrics
from trainables.script.metric_parser import Definition
from trainables.script.metric_reports import ReportReader, UnreadMetrics

LOSS = Definition("loss", r"Test set: Average loss: ([0-9\.]+)")
ACCURACY = Definition("accuracy", r"Accuracy: [0-9]+/[0-9]+ \(([0-9.]+)%\)")


def reports(
    lines: Sequence[str], *definitions: Definition, warnings: list[str] | None = None
) -> list[dict[str, Any]]:
    """All reports of a program that prints these lines and ends."""
    sentences: list[str] = [] if warnings is None else warnings
    reader = ReportReader(definitions, "loss", sentences.append)
    return [*(report for line in lines for report in reader.read(line)), *reader.close()]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("Test set: Average loss: 0.1994, Accuracy: 9410/10000 (94%)", 0.1994),
        ("Test set: Average loss: 7.1e-05, Accuracy: 10/10 (100%)", 7.1e-05),
        ("Test set: Average loss: 7E+2", 700.0),
        ("Test set: Average loss: 7.1epochs", 7.1),
        ("Test set: Average loss: 0.25.", 0.25),
        ("2026 [INFO] Test set: Average loss: 3", 3.0),
        ("Test set: Average loss: inf, Accuracy: 0/10 (0%)", math.inf),
        ("Test set: Average loss: -inf", -math.inf),
        ("\r 1% Test set: Average loss: 3\r 9% Test set: Average loss: 2\n", 2.0),
        ("\r 50%|##  | 5/10\r 60%|## | Test set: Average loss: 2\r 70%|##  |\r\n", 2.0),
        ("Test set: Average loss: 0.5\r\n", 0.5),
    ],
)
def test_a_regex_reads_the_whole_number(line: str, value: float) -> None:
    assert reports([line], LOSS) == [{"loss": value}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", 1234.0),
        ("-1,234,567.5", -1234567.5),
        ("93.25%", 93.25),
        (" 0.5, ", 0.5),
    ],
)
def test_a_number_may_have_its_thousands_in_groups_or_a_percent_sign(
    text: str, value: float
) -> None:
    assert reports([f"loss={text}"], Definition("loss", "loss=(.+)")) == [{"loss": value}]


@pytest.mark.parametrize("text", ["0,123", "1,23", "1,2345", "1,234,5", "%"])
def test_commas_that_group_no_thousands_make_no_number(text: str) -> None:
    with pytest.raises(TrainableError, match=f"captured '{text}', which is no number"):
        reports([f"loss={text}"], Definition("loss", "loss=(.+)"))


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan"])
def test_a_regex_for_digits_is_not_blind_to_what_is_no_number(text: str) -> None:
    (report,) = reports([f"Test set: Average loss: {text}, Accuracy: nan"], LOSS)
    assert math.isnan(report["loss"])


@pytest.mark.parametrize(
    "line",
    ["Train Epoch: 1 [64/128 (50%)]\tLoss: nan", "nan", "", "\x00\xff", "Average info: inf", "()"],
)
def test_other_lines_say_nothing(line: str) -> None:
    assert reports([line], LOSS) == []


@given(st.floats(min_value=0, allow_nan=False), st.sampled_from(["{!r}", "{:.4f}", "{:.3e}"]))
def test_a_number_is_read_as_it_was_printed(value: float, form: str) -> None:
    text = form.format(value)
    (report,) = reports([f"Test set: Average loss: {text}, Accuracy: 9/10 (90%)"], LOSS)
    assert report["loss"] == float(text)


@given(st.text(), st.floats(0, 1e6))
def test_what_stands_before_a_value_does_not_matter(noise: str, value: float) -> None:
    noise = noise.replace("\n", " ") if "nan" not in noise.lower() else ""
    line = f"{noise} Test set: Average loss: {value!r}"
    assert reports([line], LOSS)[0]["loss"] == value


@given(st.lists(st.floats(-1e300, 1e300), max_size=5), st.data())
def test_direct_reports_keep_every_digit(values: list[float], data: st.DataObject) -> None:
    noise = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
    lines = []
    for value in values:
        lines += [data.draw(noise), json.dumps({"tuneport": {"loss": value}}) + "\n"]
    assert reports(lines) == [{"loss": value} for value in values]


def test_an_exponent_that_the_regex_leaves_out_is_told_once() -> None:
    warnings: list[str] = []
    reports(
        ["Test set: Average loss: 1e-05", "Test set: Average loss: 2e-05"], LOSS, warnings=warnings
    )
    assert warnings == [
        r"loss: the regex Test set: Average loss: ([0-9\.]+) leaves out the exponent of 1e-05,"
        " which was added here"
    ]


def test_metrics_of_one_line_are_one_report() -> None:
    line = "Test set: Average loss: {}, Accuracy: {}/100 ({}%)"
    lines = [line.format(0.5, 60, 60), line.format(0.25, 70, 70)]
    assert reports(lines, LOSS, ACCURACY) == [
        {"loss": 0.5, "accuracy": 60.0},
        {"loss": 0.25, "accuracy": 70.0},
    ]


def test_what_is_printed_after_the_objective_belongs_to_it() -> None:
    lines = [
        *("Test set: Average loss: 0.5", "Accuracy: 6/10 (60%)"),
        *("Test set: Average loss: 0.25", "Accuracy: 7/10 (70%)"),
        "Test set: Average loss: 0.125",
    ]
    assert reports(lines, LOSS, ACCURACY) == [
        {"loss": 0.5, "accuracy": 60.0},
        {"loss": 0.25, "accuracy": 70.0},
        {"loss": 0.125},
    ]


def test_a_metric_that_never_comes_holds_up_one_report() -> None:
    absent = Definition("absent", "absent=([0-9]+)")
    reader = ReportReader([LOSS, absent], "loss", list[str]().append)
    assert reader.read("Test set: Average loss: 3") == []
    assert reader.read("Test set: Average loss: 2") == [{"loss": 3.0}, {"loss": 2.0}]
    assert reader.read("Test set: Average loss: 1") == [{"loss": 1.0}]


def test_what_a_program_reports_itself_is_no_longer_read_by_a_regex() -> None:
    lines = [
        "Test set: Average loss: 0.2, Accuracy: 9/10 (90%)",
        '{"tuneport": {"loss": 0.19941237, "f1": 0.5}}\n',
        "Test set: Average loss: 0.2",
        '{"tuneport": {"loss": 0.1}}',
    ]
    assert reports(lines, LOSS) == [{"loss": 0.2}, {"loss": 0.19941237, "f1": 0.5}, {"loss": 0.1}]


def test_a_report_may_share_its_line_with_a_bar() -> None:
    report = '{"tuneport": {"loss": 0.5}}'
    assert reports([f"\r 33%|#   |{report}\n", f"\r 9%{report}\r 10%\n"]) == [{"loss": 0.5}] * 2
    assert reports([f"+ echo '{report}'\n"]) == []  # a shell says what it does


def test_a_report_without_the_objective_belongs_to_the_next() -> None:
    lines = ['{"tuneport": {"f1": 0.5}}', '{"tuneport": {"loss": NaN}}']
    (report,) = reports(lines)
    assert report["f1"] == 0.5
    assert math.isnan(report["loss"])


@pytest.mark.parametrize(
    "line", ['{"tuneport": {"loss"', '{"tuneport', '["tuneport", {"loss": 1}]']
)
def test_what_only_begins_like_a_report_is_none(line: str) -> None:
    assert reports([line]) == []


@pytest.mark.parametrize(
    "line",
    [
        '{"tuneport": 3}',
        '{"tuneport": {"loss": "low"}}',
        '{"tuneport": {"loss": true}}',
        '{"tuneport": {"loss": 1}, "epoch": 3}',
    ],
)
def test_a_report_of_another_form_is_named(line: str) -> None:
    form = re.escape('a report needs the form {"tuneport": {"name": number, …}}, got ' + line)
    with pytest.raises(TrainableError, match=f"^{form}$"):
        reports([line])


def test_text_that_is_captured_as_a_number_is_named() -> None:
    message = (
        r"^loss: the regex loss: \(\.\*\) captured 'low', which is no number, in the line 'los"
    )
    with pytest.raises(TrainableError, match=message):
        reports(["loss: low"], Definition("loss", "loss: (.*)"))


def test_text_is_left_out_where_it_is_not_the_objective() -> None:
    warnings: list[str] = []
    lines = ["speed: fast, loss: 1", "speed: faster, loss: 2", "speed: 9, loss: 3"]
    found = reports(
        lines,
        Definition("loss", r"loss: (\S+)"),
        Definition("speed", r"speed: (\w+)"),
        warnings=warnings,
    )
    assert found == [{"loss": 1}, {"loss": 2}, {"loss": 3, "speed": 9}]
    (sentence,) = warnings
    assert sentence.startswith(
        "speed: the regex speed: (\\w+) captured 'fast', which is no number,"
    )
    assert sentence.endswith("; such values are left out")


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("loss: (", r"^script\.metrics: 'loss': loss: \( is no regex: missing \)"),
        ("loss: .*", r"needs a \(group\) around the value, loss: \.\* has none$"),
    ],
)
def test_a_regex_is_checked_when_it_is_given(regex: str, message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        Definition("loss", regex)


@pytest.mark.parametrize(
    ("regex", "line", "value"),
    [
        # As the notebooks of Hugging Face write theirs.
        (r"'eval_loss': ([0-9]+(.|e\-)[0-9]+),?", "{'eval_loss': 0.625, 'epoch': 1.0}", 0.625),
        (r"'eval_loss': ([0-9]+(.|e\-)[0-9]+),?", "{'eval_loss': 2.5e-05, 'epoch': 1}", 2.5e-05),
        (r"'eval_loss': ([0-9]+(.|e\-)[0-9]+),?", "{'eval_loss': nan, 'epoch': 1.0}", math.nan),
        (r"loss=(([0-9]+)\.([0-9]+))", "loss=1.25", 1.25),
        (r"val=([0-9.]+)|loss=([0-9.]+)", "loss=0.5", 0.5),
        (r"val=([0-9.]+)|loss=([0-9.]+)", "val=0.25", 0.25),
    ],
)
def test_the_first_of_several_groups_that_took_part_is_the_value(
    regex: str, line: str, value: float
) -> None:
    (report,) = reports([line], Definition("loss", regex))
    assert report["loss"] == pytest.approx(value, nan_ok=True)


def test_a_regex_whose_groups_took_no_part_finds_nothing() -> None:
    assert reports(["loss and no number"], Definition("loss", "loss(=([0-9.]+))?")) == []


def test_a_first_group_that_is_no_number_is_named() -> None:
    with pytest.raises(TrainableError, match=r"'s first \(group\) captured 'val ', which is n"):
        reports(["val loss=1"], Definition("loss", "(.*)loss=([0-9]+)"))


def test_what_only_others_print_is_noted() -> None:
    unread = UnreadMetrics([LOSS, ACCURACY])
    for host, line in (
        ("algo-2", "Test set: Average loss: low"),
        ("algo-3", "Test set: Average loss: 1"),
        ("algo-2", "Test set: Average loss: 2"),
        ("algo-2", '{"tuneport": 3}'),
        ("algo-2", '{"tuneport": {"f1": 0.5}}'),
    ):
        unread.read(host, line)
    assert unread.hosts == {"loss": "algo-3", "f1": "algo-2"}
    reader = ReportReader([LOSS, ACCURACY], "loss", silent)
    reader.read("Accuracy: 6/10 (60%)")
    reader.read('{"tuneport": {"f1": 0.5}}')
    assert reader.seen == {"accuracy", "f1"}


def silent(sentence: str) -> None:
    raise AssertionError(sentence)


def test_a_log_shows_what_each_regex_would_find() -> None:
    lines = ["Test set: Average loss: 7.1e-05", "Test set: Average loss: nan", "Accuracy: 1"]
    warnings: list[str] = []
    assert [
        str(tried) for tried in find_metrics([LOSS, ACCURACY], "loss", lines, warnings.append)
    ] == [
        "loss: 2 values: 7.1e-05, nan; 1 of them not finite",
        rf"accuracy: nothing matches {ACCURACY.regex}",
    ]
    assert "leaves out the exponent of 7.1e-05" in warnings[0]


def test_a_long_log_is_cut_short() -> None:
    lines = ["Test set: Average loss: 1"] * 9 + ['{"tuneport": {"loss": 2}}'] * 3
    (tried,) = find_metrics([LOSS], "loss", lines, silent)
    assert str(tried) == "loss: 12 values: 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, …"


def test_a_log_is_read_as_its_program_was() -> None:
    lines = [
        "\r 1% Test set: Average loss: 3\r 9% Test set: Average loss: 2\n",
        '{"tuneport": {"loss": 1, "f1": 0.5}}\n',
        "Test set: Average loss: 1.25, Accuracy: all/10 (99%)\n",
        "speed: fast\n",
    ]
    warnings: list[str] = []
    definitions = [LOSS, Definition("speed", "speed: (.*)")]
    tried = find_metrics(definitions, "loss", lines, warnings.append)
    assert [(metric.name, metric.values) for metric in tried] == [
        ("loss", (2.0, 1.0)),
        ("speed", ()),
        ("f1", (0.5,)),
    ]
    assert [report["loss"] for report in reports(lines, *definitions)] == [2.0, 1.0]
    assert warnings == [
        "speed: the regex speed: (.*) captured 'fast', which is no number, in the line"
        " 'speed: fast'; such values are left out"
    ]
