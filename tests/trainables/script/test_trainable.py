"""The script trainable, without Ray: programs of different habits, a step at a time."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.engine.trial_actor import Terms, trial_actor
from app.experiment.result_keys import CONTROL, ENDED, FAILURE, REPORT
from serve.handlers import stubs
from tests.support import SCRIPTS
from trainables.contract import ProgramFailed, ProgramKilled
from trainables.script.channels import Channel
from trainables.script.metric_parser import Definition
from trainables.script.trainable import Script, ScriptTrainable

LOSS = Definition("loss", r"loss[=:] ?([0-9\.]+)")

Build = Callable[..., Any]


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Build]:
    """Build an actor for one of the scripts beside these tests."""
    made: list[Any] = []

    def build(entry_point: str, *others: Definition, retried: bool = False, **config: Any) -> Any:
        source = SCRIPTS / entry_point
        code = tmp_path / "run/code"
        shutil.rmtree(code, ignore_errors=True)
        code.mkdir(parents=True)
        for path in source.parent.iterdir() if "/" in entry_point else (source,):
            if path.is_file():
                shutil.copy(path, code)
        definitions = (LOSS, *others)
        inputs = (Channel("training", str(tmp_path)),)
        names = tuple(config)
        script = Script(source.name, code, "", names, "loss", definitions, inputs, stubs=stubs.path)

        class Bound(ScriptTrainable):
            def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
                super().setup(config, script)

        terms = Terms("loss", tmp_path / "run", retried=retried)
        made.append(trial_actor(Bound, terms)(with_control("001", **config)))
        return made[-1]

    yield build
    for actor in made:
        actor.stop()
        if actor.trainable.previous is not None:
            actor.trainable.previous.wait()


def with_control(trial_id: str, **config: Any) -> dict[str, Any]:
    control = {"trial_id": trial_id, "checkpoints": [], "attempt": 1}
    return {**config, "seed": 0, CONTROL: control}


def reports(trial: Any) -> list[dict[str, Any]]:
    """All that a trial reports until it is over."""
    found = []
    while not (result := trial.train())["done"]:
        found.append(result[REPORT])
    assert ENDED in result, result.get(FAILURE)
    return found


def failure(trial: Any) -> str:
    """Reason for which the trial fails at its next step."""
    result = trial.train()
    assert result["done"]
    return str(result[FAILURE])


def test_a_step_is_a_reported_value_and_the_trial_ends_with_its_script(
    trial: Build, tmp_path: Path
) -> None:
    whole = Definition("accuracy", r"Accuracy: .*\(([0-9]+)%\)")
    made = trial("parabola.py", whole, **{"lr": 0.02, "batch-size": 32, "epochs": 3})
    assert reports(made) == [
        {"loss": 0.5, "accuracy": 99},
        {"loss": 0.25, "accuracy": 98},
        {"loss": 0.125, "accuracy": 97},
    ]
    assert made._iteration == 4  # the end is a result as well, which is counted for none
    saved = tmp_path / "run/trials/001/model/state.json"
    assert json.loads(saved.read_text()) == {"lr": 0.02, "batch_size": 32}


def test_the_end_repeats_the_last_value_at_its_epoch(trial: Build) -> None:
    made = trial("parabola.py", lr=0.02, epochs=1)
    assert made.train()["loss"] == 0.5
    ended = made.train()
    assert (ended["done"], ended["loss"], ended["training_iteration"]) == (True, 0.5, 1)


def test_switches_lists_and_dictionaries_arrive_as_the_toolkit_writes_them(
    trial: Build, tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("from the channel")
    accuracy = Definition("accuracy", "accuracy=([0-9.]+)")
    values = {"augment": True, "layers": [8, 4], "options": {"b": 1, "a": "x"}, "d": 0.25}
    assert reports(trial("habits.py", accuracy, **values)) == [{"loss": 0.5, "accuracy": 0.75}]
    options, channel, arguments = json.loads(
        (tmp_path / "run/trials/001/model/seen.json").read_text()
    )
    assert (options, channel) == ("a=x,b=1", "from the channel")
    assert arguments == [
        *("--augment", "True", "-d", "0.25", "--layers", "[8, 4]", "--options", "a=x,b=1")
    ]


def test_an_exponent_is_read_and_said_in_the_log(
    trial: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    assert [report["loss"] for report in reports(trial("exponent.py", lr=0.01))] == [0.01, 1e-05]
    assert "leaves out the exponent of 1e-05" in capfd.readouterr().err


def test_a_loss_that_is_no_number_fails_the_trial_and_ends_its_script(trial: Build) -> None:
    made = trial("exponent.py", lr=0.5)
    assert made.train()["loss"] == 0.5
    assert failure(made) == "loss became nan in epoch 2"
    assert made.trainable.hosts is None


def test_a_shell_script_is_run_by_the_shell(trial: Build, tmp_path: Path) -> None:
    made = trial("shell/train.sh", lr=0.25, odd="a 'b' $HOME")
    assert reports(made) == [{"loss": 0.25}]
    assert (tmp_path / "run/trials/001/model/words").read_text() == "--odd a 'b' $HOME\n"


def test_a_package_is_run_by_its_name(trial: Build) -> None:
    assert reports(trial("package/train.py", lr=0.25)) == [{"loss": 0.5}]


def test_a_killed_script_is_to_be_started_again_and_goes_on(trial: Build) -> None:
    made = trial("goes_on.py", lr=1.0, epochs=4)
    assert [made.train()["loss"] for _ in range(2)] == [1.0, 0.5]
    saved = made.save()
    killed = r"^goes_on\.py was ended by SIGKILL \(signal 9\), perhaps for want of memory$"
    with pytest.raises(ProgramKilled, match=killed):
        made.train()
    again = trial("goes_on.py", lr=1.0, epochs=4)
    again.restore(saved)
    results = [again.train() for _ in range(3)]
    assert [result["training_iteration"] for result in results] == [3, 4, 4]
    assert [round(result["loss"], 3) for result in results] == [0.333, 0.25, 0.25]


def test_a_script_that_kept_nothing_counts_from_one_again(trial: Build) -> None:
    made = trial("parabola.py", lr=0.02, epochs=3)
    made.train()
    made.train()
    saved = made.save()
    made.stop()
    again = trial("parabola.py", lr=0.02, epochs=3)
    again.restore(saved)
    first = again.train()
    assert (first["training_iteration"], first["loss"]) == (1, 0.5)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("file", "fails.py ended with status 3: the data is of last year"),
        ("raise", "fails.py ended with status 1: RuntimeError: no such (fails.py, line 27)"),
        ("crash", "fails.py was ended by a segmentation fault (signal 11): calls what crashes"),
        (
            "silent",
            "fails.py ended with status 0 and never reported loss: nothing matched"
            r' loss[=:] ?([0-9\.]+) and no line was {"tuneport": {"loss": …}}',
        ),
    ],
)
def test_a_failure_is_told_with_the_scripts_own_words(
    trial: Build, how: str, sentence: str
) -> None:
    made = trial("fails.py", how=how)
    assert failure(made) == sentence
    assert made.reset(with_control("002", how=how))
    assert failure(made) == sentence


def test_folders_that_a_script_names_by_sagemakers_place_are_the_trials_own(
    trial: Build, tmp_path: Path
) -> None:
    made = trial("hard_coded.py", lr=0.5)
    place = tmp_path / "run/trials/001"
    result = made.train()
    if result["done"]:
        assert "/opt/ml is not this trial's own" in result[FAILURE] or "/opt/ml" in result[FAILURE]
        pytest.skip("no namespaces here")
    assert result[REPORT] == {"loss": 0.5}
    assert made.train()["done"]
    before, names = json.loads((place / "model/model.json").read_text())
    assert before == ""
    assert {"code", "input", "model", "output", "checkpoints"} <= set(names)
    lacks = trial("hard_coded.py", lr=0.5, lacks=True)
    assert failure(lacks) == (
        "hard_coded.py ended with status 1: FileNotFoundError: [Errno 2] No such file or directory:"
        " '/opt/ml/input/data/validation/part-0' (hard_coded.py, line 20);"
        " no --input is called validation; there is training;"
        f" /opt/ml is {place} here, and SM_ variables name the folders in it"
    )
    assert (place / "checkpoints/state").read_text() == "0.5 0.5 "


def test_arguments_that_a_script_refuses_are_named(trial: Build) -> None:
    assert failure(trial("fails.py", absent=1)) == (
        "fails.py ended with status 2: fails.py: error: unrecognized arguments: --absent 1;"
        " the experiment gives it --absent: leave out of [space] and [fixed] what it does not take"
    )


@pytest.mark.parametrize(
    ("how", "words", "hint"),
    [
        (
            {"switch": True},
            "unrecognized arguments: True",
            "a flag that takes no value is a switch by",
        ),
        (
            {"how": "import"},
            "No module named 'absent'",
            "a script has the modules of its source_dir and",
        ),
    ],
)
def test_known_last_words_come_with_what_helps(
    trial: Build, how: dict[str, Any], words: str, hint: str
) -> None:
    words_of_failure = failure(trial("fails.py", **how))
    assert words in words_of_failure
    assert f"; {hint}" in words_of_failure


def test_a_failed_script_is_started_again_where_retries_are_asked_for(trial: Build) -> None:
    with pytest.raises(ProgramFailed, match=r"^fails\.py ended with status 3: the data is of"):
        trial("fails.py", how="file", retried=True).train()


def test_the_next_trial_of_a_process_waits_for_the_end_of_the_one_before(
    trial: Build, tmp_path: Path
) -> None:
    code = tmp_path / "held.py"
    code.write_text(HELD)
    made = trial("parabola.py", lr=0.02)
    shutil.copy(code, tmp_path / "run/code/parabola.py")
    pid = made.train()["loss"]
    assert made.reset(with_control("002", lr=0.5))
    assert made.train()["loss"] != pid
    assert (tmp_path / "run/trials/001/output/data/ended").exists()
    made.stop()


HELD = """
import os, signal, sys
def end(*_):
    open(os.environ["SM_OUTPUT_DATA_DIR"] + "/ended", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print(f"loss={os.getpid()}")
signal.pause()
"""


def test_a_stopped_trial_leaves_no_script(trial: Build, tmp_path: Path) -> None:
    made = trial("parabola.py", lr=0.02)
    (tmp_path / "run/code/parabola.py").write_text(HELD)
    pid = int(made.train()["loss"])
    hosts = made.trainable.hosts
    made.stop()
    assert hosts.exit().status == 0
    assert not Path(f"/proc/{pid}/exe").exists()


def test_a_report_that_is_not_finite_is_none_but_for_the_objective(trial: Build) -> None:
    whole = Definition("accuracy", r"Accuracy: ([0-9]+)")
    made = trial("parabola.py", whole, lr=math.inf, epochs=1)
    assert failure(made) == "loss became inf in epoch 1"
