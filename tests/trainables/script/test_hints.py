"""Hints for a script that failed, by its last words."""

from pathlib import Path

import pytest

from trainables.script.channels import Channel
from trainables.script.hints import hints
from trainables.script.trainable import Script
from trainables.script.tree import Tree

GIVEN = "the experiment gives it -d, --epochs"
BESIDE = "is beside the script and did not go with it: add --source-dir /src"
COPY = "a script runs in a copy of its code; give it data by --input NAME=PLACE"


def hinted(message: str, folder: Path, *channels: str, text: str = "") -> list[str]:
    """The hints for a script of that text, which has these channels."""
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code/train.py").write_text(text)
    inputs = tuple(Channel(name, "/data") for name in channels)
    names = ("d", "epochs", "sagemaker_job_name")
    beside = frozenset({"layers.py", "points", "labels.json"})
    script = Script("train.py", folder, "", names, "loss", (), inputs, folder="/src", beside=beside)
    return list(hints(message, script, Tree(folder)))


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("ValueError: no data", None),
        ("No module named 'layers'", f"layers {BESIDE}"),
        ("No module named 'points.read'", f"points {BESIDE}"),
        ("No such file or directory: 'labels.json'", f"labels.json {BESIDE}"),
        ("No such file or directory: 'points/1.csv'", f"points {BESIDE}"),
        ("No such file or directory: 'other/1.csv'", COPY),
        ("No such file or directory: '/other/1.csv'", None),
        (
            "train.py: error: unrecognized arguments: --epochs 6",
            f"{GIVEN}: leave out of [space] and [fixed] what it does not take;"
            " the key epochs is given as --epochs",
        ),
        (
            "Error: No such option: --epochs",
            f"{GIVEN}: leave out of [space] and [fixed] what it does not take;"
            " the key epochs is given as --epochs",
        ),
        (
            "error: unrecognized arguments: --amp True",
            "a flag that takes no value is a switch by [script.arguments]",
        ),
        (
            "error: the following arguments are required: --lr",
            f"{GIVEN}: give it more in [fixed]",
        ),
        ("KeyError: 'SM_HP_LR'", f"no parameter is called lr; {GIVEN}"),
    ],
)
def test_known_last_words_have_a_hint(message: str, hint: str | None, tmp_path: Path) -> None:
    assert hinted(message, tmp_path) == ([] if hint is None else [hint])


def test_an_absent_module_that_is_nowhere_is_to_be_installed(tmp_path: Path) -> None:
    (hint,) = hinted("ModuleNotFoundError: No module named 'absent'", tmp_path)
    assert hint.startswith("a script has the modules of its source_dir and those installed here")


@pytest.mark.parametrize(
    ("message", "channels", "hint"),
    [
        ("KeyError: 'SM_CHANNEL_TRAINING'", ("train",), "called training; there is train"),
        ("KeyError: 'SM_CHANNEL_EVAL-SET'", ("a", "b"), "called eval-set; there is a, b"),
        (
            "KeyError: 'SM_CHANNEL_TRAIN'",
            (),
            "called train; there is none: add --input train=PLACE",
        ),
        (
            "No such file or directory: '/r/input/data/training/x.csv'",
            ("train",),
            "called training; there is train",
        ),
    ],
)
def test_a_channel_that_was_not_given_is_named(
    message: str, channels: tuple[str, ...], hint: str, tmp_path: Path
) -> None:
    assert hinted(message, tmp_path, *channels) == [f"no --input is {hint}"]


def test_a_channel_that_a_script_takes_for_optional_is_found_in_its_text(tmp_path: Path) -> None:
    text = "os.environ.get('SM_CHANNEL_TRAIN'), os.environ.get('SM_CHANNEL_TEST')"
    message = "TypeError: expected str, bytes or os.PathLike object, not NoneType"
    assert hinted(message, tmp_path, "test", text=text) == [
        "no --input is called train; there is test"
    ]
    assert hinted(message, tmp_path, "test", "train", text=text) == []
    assert hinted("ValueError: no data", tmp_path, text=text) == []


def test_what_was_given_has_no_hint(tmp_path: Path) -> None:
    assert hinted("cannot read /r/input/data/training/x.csv", tmp_path, "training") == []
