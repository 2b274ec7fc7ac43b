"""Tables `[script]` and `[inputs]`: from files and flags, checked, and recorded."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.experiment import schema
from app.experiment.errors import ExperimentError
from app.experiment.loading import load
from tests.support import SCRIPTS
from tests.support.script_experiments import METRIC, PARABOLA, Write, script_source, script_table


def test_a_script_alone_has_the_notebooks_experiment() -> None:
    asked = load(None, {"entry_point": PARABOLA})
    assert (asked.name, asked.trainable, asked.num_samples) == ("parabola", "script", 9)
    assert (asked.metric, asked.mode, asked.kind.value) == ("average test loss", "min", "last")
    assert asked.space == {
        "lr": {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"},
        "batch-size": {"type": "categorical", "values": [32, 64, 128, 256, 512]},
    }
    assert (dict(asked.fixed), asked.epochs, asked.kind.last_epoch) == ({"epochs": 6}, 6, None)
    (metric,) = script_table(asked).metrics
    assert metric.regex == r"Test set: Average loss: ([0-9\.]+)"
    assert (str(script_table(asked).entry_point), script_table(asked).source_dir) == (
        PARABOLA,
        None,
    )
    builtin = load(None, {})
    assert {key: asked.space["lr"][key] for key in ("low", "high")} == {
        key: builtin.space["lr"][key] for key in ("low", "high")
    }


def test_the_flag_for_epochs_is_the_scripts() -> None:
    asked = load(None, {"entry_point": PARABOLA, "epochs": 2})
    assert (dict(asked.fixed), asked.epochs, asked.kind.expected_epochs) == ({"epochs": 2}, 2, 2)


def test_a_file_says_itself_whether_its_script_has_epochs(write: Write) -> None:
    assert dict(load(write(), {}).fixed) == {}
    assert load(write(), {}).kind.expected_epochs is None
    assert dict(load(write(top="epochs = 3\n"), {}).fixed) == {"epochs": 3}
    assert dict(load(write(), {"epochs": 4}).fixed) == {"epochs": 4}


def test_a_parameter_may_be_a_switch_a_list_or_json(write: Write) -> None:
    styles = "arguments = { amp = 'switch', layers = 'list', lr = 'json' }\n"
    file = write(styles + METRIC + "[fixed]\namp = true\nlayers = [1, 2]\n")
    kept = load(file, {}).as_json()
    assert kept["script"]["arguments"] == {"amp": "switch", "layers": "list", "lr": "json"}
    assert script_table(schema.from_table(json.loads(json.dumps(kept)))) == script_table(
        load(file, {})
    )


def test_what_is_kept_reads_back_the_same(write: Write, tmp_path: Path) -> None:
    for asked in (
        load(None, {"entry_point": PARABOLA}),
        load(write('source_dir = "."\n' + METRIC + '[inputs]\ntraining = "data"'), {}),
    ):
        kept = json.loads(json.dumps(asked.as_json()))
        assert schema.from_table(kept) == asked
        path = tmp_path / "experiment.json"
        path.write_text(json.dumps({**kept, "threads": 1, "data": {}}))
        assert load(path, {}) == asked


def test_a_seed_may_be_the_scripts_own(write: Write) -> None:
    file = write(METRIC + "[fixed]\nseed = 3\n")
    assert dict(load(file, {}).fixed) == {"seed": 3}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("entry = 3", r"script: unknown key 'entry'; did you mean 'entry_point'\?$"),
        ("x = 3", r"script: unknown key 'x'; choose from entry_point, source_dir, "),
        ("source_dir = 3", r"script\.source_dir: needs a string, got 3$"),
        ('value = "mean"', r"script\.value: unknown 'mean'; choose from last, best, first$"),
        ('metrics = ["loss"]', r"script\.metrics: needs \[\[script\.metrics\]\] tables"),
        ("[[script.metrics]]\nname = 'a'", r"each needs a name and a regex, got name$"),
        ("[[script.metrics]]\nname = 'a'\nregex = ''", r"regex: needs a string, got ''$"),
        ("[[script.metrics]]\nname = 'loss'\nregex = '('", r"'loss': \( is no regex: "),
        ("[[script.metrics]]\nname = 'loss'\nregex = 'a'", r"needs a \(group\) around the value"),
        ("[[script.metrics]]\nname = 'a'\nregex = '(a)'", r"metric: no .* is called 'loss'; .* a$"),
        (METRIC + METRIC, r"script\.metrics: two have the same name: loss, loss$"),
        ("arguments = 3", r"script\.arguments: needs a table of styles, got 3$"),
        ("arguments = { lr = 'x' }", r"arguments\.lr: unknown style 'x'; choose from value, swit"),
        ("arguments = { a = 'list' }", r"arguments: there is no parameter 'a'; there are lr$"),
        ("arguments = { lr = 'switch' }", r"arguments\.lr: a switch needs a bool, got 0\.0$"),
        ("arguments.n = 'list'\n[fixed]\nn = 1", r"arguments\.n: a list needs a list, got 1$"),
        ("environment = 3", r"script\.environment: needs a table of variables, got 3$"),
        ("environment = { A = 3 }", r"script\.environment\.A: needs a string, got 3$"),
        ("environment = { 'A=B' = 'c' }", r"script\.environment: 'A=B' can be no variable$"),
        ("[inputs]\n'a/b' = 'data'", r"inputs: 'a/b' must be letters, digits, dots and dashes$"),
        ("[inputs]\na = 3", r"inputs\.a: needs a string, got 3$"),
        ("[inputs]\na = 's3://me:secret@b'", r"inputs\.a: a run would keep the URI's password; gi"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(write: Write, script: str, message: str) -> None:
    with pytest.raises(ExperimentError, match=rf"^/.*/mine\.toml: .*{message}"):
        load(write(script), {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"entry_point": "absent.py"}, r"^script\.entry_point: no file at /.*/absent\.py$"),
        (
            {"entry_point": PARABOLA, "source_dir": "absent"},
            r"^script\.source_dir: no folder at /.*/absent$",
        ),
        (
            {"entry_point": PARABOLA, "source_dir": "app"},
            r"^script\.entry_point: .* is not below the source_dir /.*/app$",
        ),
        ({"entry_point": PARABOLA, "inputs": ["data"]}, r"^--input: needs NAME=PLACE, such as"),
        ({"entry_point": PARABOLA, "inputs": ["a=absent"]}, r"^inputs\.a: nothing at /.*absent$"),
        ({"inputs": ["a=app"]}, r"^--input: is for scripts; this tunes 'mnist'$"),
        ({"source_dir": "app"}, r"^--source-dir: is for scripts; this tunes 'mnist'$"),
    ],
)
def test_a_mistake_in_a_flag_is_one_sentence(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        load(None, flags)


def test_tables_for_scripts_are_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[inputs]\ntraining = 'data'")
    with pytest.raises(
        ExperimentError, match=r'inputs: is only for trainable = "script"; this tune'
    ):
        load(path, {})
    path.write_text("trainable = 'mnist'\n[script]\nvalue = 'mean'")
    message = (
        r"script: is only for trainable = \"script\"; this tunes 'mnist': leave one of them out$"
    )
    with pytest.raises(ExperimentError, match=message):
        load(path, {})
    with pytest.raises(ExperimentError, match=r"^--entry-point: is for scripts; this tunes 'mnis"):
        load(only(path, "trainable = 'mnist'"), {"entry_point": PARABOLA})


def only(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_script_table_says_that_a_script_is_tuned(tmp_path: Path) -> None:
    (tmp_path / "fit.py").touch()
    asked = load(only(tmp_path / "a.toml", "[script]\nentry_point = 'fit.py'"), {})
    alone = load(None, {"entry_point": str(tmp_path / "fit.py")})
    assert asked == alone.model_copy(update={"folder": tmp_path})
    assert (asked.name, asked.trainable, dict(asked.fixed)) == ("fit", "script", {"epochs": 6})


def test_what_is_said_of_a_script_takes_the_place_of_the_notebooks(tmp_path: Path) -> None:
    (tmp_path / "fit.py").touch()
    space = "[space]\nlr = { type = 'continuous', low = 0.0, high = 1.0 }\n"
    own = "num_samples = 2\n" + space + "[script]\nentry_point = 'fit.py'"
    asked = load(only(tmp_path / "a.toml", own), {})
    assert (dict(asked.fixed), list(asked.space), asked.num_samples) == ({}, ["lr"], 2)
    assert [each.name for each in script_table(asked).metrics] == ["average test loss"]
    own = "metric = 'f1'\nmode = 'max'\n[script]\nentry_point = 'fit.py'"
    asked = load(only(tmp_path / "b.toml", own), {})
    assert (asked.metric, asked.mode, script_table(asked).metrics) == ("f1", "max", ())
    assert list(asked.space) == ["lr", "batch-size"]


@pytest.mark.parametrize("trainable", ["", "trainable = 'script'\n"])
def test_a_flag_fills_what_a_file_leaves_open(tmp_path: Path, trainable: str) -> None:
    path = tmp_path / "mine.toml"
    top = "metric = 'loss'\nmode = 'max'\n[space]\nlr = { type = 'categorical', values = [1, 2] }\n"
    asked = load(only(path, trainable + top), {"entry_point": PARABOLA})
    assert (asked.name, asked.trainable, asked.mode) == ("parabola", "script", "max")
    assert str(script_table(asked).entry_point) == PARABOLA
    inner = f"[script]\nsource_dir = '{SCRIPTS.parent}'\nvalue = 'best'\n"
    asked = load(only(path, "name = 'x'\n" + trainable + top + inner), {"entry_point": PARABOLA})
    assert (asked.name, asked.kind.value, script_source(asked).name) == (
        "x",
        "best",
        "scripts/parabola.py",
    )
    with pytest.raises(ExperimentError, match=r"entry_point: is missing; name the script by --ent"):
        load(path, {})
