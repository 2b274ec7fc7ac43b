"""What an experiment says of a script: from flags and files, checked, copied and kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import tune
from app.experiment import loading, schema, script_remarks
from app.experiment.errors import ExperimentError
from app.experiment.loading import load
from app.experiment.schema import Experiment
from app.experiment.script_source import ScriptSource
from app.experiment.script_table import ScriptTable
from app.export import script_model
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.run.record import Record
from app.run.status import TrialStatus
from app.run.trial import Epoch, Trial
from app.storage.files import replace_file
from serve.handlers import stubs
from serve.models.archive import read_handlers
from tests.support import SCRIPTS
from trainables.contract import TrainableError
from trainables.mnist import MnistTrainable

PARABOLA = str(SCRIPTS / "parabola.py")
TOML = """
name = "mine"
trainable = "script"
metric = "loss"
mode = "min"
[space]
lr = {{ type = "continuous", low = 0.0, high = 1.0 }}
[script]
entry_point = "train.py"
{script}
"""
METRIC = """
[[script.metrics]]
name = "loss"
regex = "loss=([0-9.]+)"
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an experiment file beside a script and its data."""

    def file(script: str = METRIC, top: str = "") -> Path:
        (tmp_path / "train.py").touch()
        (tmp_path / "data").mkdir(exist_ok=True)
        path = tmp_path / "mine.toml"
        path.write_text(top + TOML.format(script=script))
        return path

    return file


def table(asked: Experiment) -> ScriptTable:
    assert asked.script is not None
    return asked.script


def files(asked: Experiment) -> ScriptSource:
    assert asked.script_source is not None
    return asked.script_source


def test_a_script_alone_has_the_notebooks_experiment() -> None:
    asked = load(None, {"entry_point": PARABOLA})
    assert (asked.name, asked.trainable, asked.num_samples) == ("parabola", "script", 9)
    assert (asked.metric, asked.mode, asked.value) == ("average test loss", "min", "last")
    assert asked.space == {
        "lr": {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"},
        "batch-size": {"type": "categorical", "values": [32, 64, 128, 256, 512]},
    }
    assert (dict(asked.fixed), asked.epochs, asked.last_epoch) == ({"epochs": 6}, 6, None)
    (metric,) = table(asked).metrics
    assert metric.regex == r"Test set: Average loss: ([0-9\.]+)"
    assert (str(table(asked).entry_point), table(asked).source_dir) == (PARABOLA, None)
    builtin = load(None, {})
    assert {key: asked.space["lr"][key] for key in ("low", "high")} == {
        key: builtin.space["lr"][key] for key in ("low", "high")
    }


def test_the_flag_for_epochs_is_the_scripts() -> None:
    asked = load(None, {"entry_point": PARABOLA, "epochs": 2})
    assert (dict(asked.fixed), asked.epochs, asked.expected_epochs) == ({"epochs": 2}, 2, 2)


def test_a_file_says_itself_whether_its_script_has_epochs(write: Write) -> None:
    assert dict(load(write(), {}).fixed) == {}
    assert load(write(), {}).expected_epochs is None
    assert dict(load(write(top="epochs = 3\n"), {}).fixed) == {"epochs": 3}
    assert dict(load(write(), {"epochs": 4}).fixed) == {"epochs": 4}


@pytest.mark.parametrize(
    ("entry_point", "source_dir", "name"),
    [
        ("src/train.py", None, "train.py"),
        ("train.py", "src", "train.py"),
        ("src/train.py", "src", "train.py"),
        ("src/train.py", ".", "src/train.py"),
    ],
)
def test_a_script_is_named_from_its_source_or_from_here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    entry_point: str,
    source_dir: str | None,
    name: str,
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/train.py").touch()
    monkeypatch.chdir(tmp_path)
    flags = {"entry_point": entry_point, "source_dir": source_dir}
    script = files(load(None, {key: value for key, value in flags.items() if value}))
    assert script.entry_point == tmp_path / "src/train.py"
    assert script.name == name


def test_paths_count_from_the_file_and_flags_go_over_it(write: Write, tmp_path: Path) -> None:
    file = write('source_dir = "."\nvalue = "first"\n' + METRIC + '[inputs]\ntraining = "data"')
    asked = load(file, {})
    assert (files(asked).folder, asked.value) == (tmp_path, "first")
    assert asked.inputs == {"training": str(tmp_path / "data")}
    again = load(file, {"entry_point": PARABOLA, "inputs": [f"more=file://{tmp_path}"]})
    other = files(again)
    assert (str(other.entry_point), other.source_dir) == (PARABOLA, None)
    assert other.inputs == {"training": str(tmp_path / "data"), "more": str(tmp_path)}
    assert table(again).metrics == table(asked).metrics


def test_a_parameter_may_be_a_switch_a_list_or_json(write: Write) -> None:
    styles = "arguments = { amp = 'switch', layers = 'list', lr = 'json' }\n"
    file = write(styles + METRIC + "[fixed]\namp = true\nlayers = [1, 2]\n")
    kept = load(file, {}).as_json()
    assert kept["script"]["arguments"] == {"amp": "switch", "layers": "list", "lr": "json"}
    assert table(schema.from_table(json.loads(json.dumps(kept)))) == table(load(file, {}))


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


def test_a_scripts_variables_are_kept_but_for_secrets(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "environment = { WORD = 'hello', HF_TOKEN = 'mine', TOKENIZERS_PARALLELISM = 'no' }\n"
    asked = load(write(given + METRIC), {})
    plain = {"WORD": "hello", "TOKENIZERS_PARALLELISM": "no"}
    assert table(asked).variables() == {**plain, "HF_TOKEN": "mine"}
    kept = json.loads(json.dumps(asked.as_json()))
    assert kept["script"]["environment"] == {**plain, "HF_TOKEN": None}
    again = schema.from_table(kept)
    assert again.as_json() == asked.as_json()
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(TrainableError, match=r"^script\.environment\.HF_TOKEN: may be a secr"):
        table(again).variables()
    monkeypatch.setenv("HF_TOKEN", "mine")
    shared = again.kind.shared(MnistTrainable, tmp_path, stubs.path)
    assert shared["script"].variables == {**plain, "HF_TOKEN": "mine"}


def test_paths_in_a_record_count_from_the_folder_that_it_names(
    write: Write, tmp_path: Path
) -> None:
    table_of = load(write(), {}).as_json()
    script = {**table_of["script"], "entry_point": "train.py"}
    (tmp_path / "elsewhere").mkdir()
    record = tmp_path / "elsewhere/experiment.json"
    record.write_text(json.dumps({**table_of, "script": script, "inputs": {"a": "data"}}))
    script_of = files(load(record, {}))
    assert script_of.entry_point == tmp_path / "train.py"
    assert script_of.inputs == {"a": str(tmp_path / "data")}


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
    path.write_text("trainable = 'mnist'\n[script]\nentry_point = 'train.py'")
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
    assert [each.name for each in table(asked).metrics] == ["average test loss"]
    own = "metric = 'f1'\nmode = 'max'\n[script]\nentry_point = 'fit.py'"
    asked = load(only(tmp_path / "b.toml", own), {})
    assert (asked.metric, asked.mode, table(asked).metrics) == ("f1", "max", ())
    assert list(asked.space) == ["lr", "batch-size"]


@pytest.mark.parametrize("trainable", ["", "trainable = 'script'\n"])
def test_a_flag_fills_what_a_file_leaves_open(tmp_path: Path, trainable: str) -> None:
    path = tmp_path / "mine.toml"
    top = "metric = 'loss'\nmode = 'max'\n[space]\nlr = { type = 'categorical', values = [1, 2] }\n"
    asked = load(only(path, trainable + top), {"entry_point": PARABOLA})
    assert (asked.name, asked.trainable, asked.mode) == ("parabola", "script", "max")
    assert str(table(asked).entry_point) == PARABOLA
    inner = f"[script]\nsource_dir = '{SCRIPTS.parent}'\nvalue = 'best'\n"
    asked = load(only(path, "name = 'x'\n" + trainable + top + inner), {"entry_point": PARABOLA})
    assert (asked.name, asked.value, files(asked).name) == ("x", "best", "scripts/parabola.py")
    with pytest.raises(ExperimentError, match=r"entry_point: is missing; name the script by --ent"):
        load(path, {})


def source(folder: Path) -> ScriptSource:
    """A script among what belongs to it and what does not."""
    for name in ("src/train.py", "src/lib/part.py", "src/data/big.bin", "elsewhere/x.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    left_out = (
        ".git/HEAD",
        ".hidden",
        "__pycache__/x.pyc",
        "runs/a/journal.jsonl",
        "venv/pyvenv.cfg",
    )
    for name in left_out:
        (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "src" / name).write_text(name)
    (folder / "src/link").symlink_to(folder / "elsewhere")
    (folder / "src/nowhere").symlink_to(folder / "absent")
    inputs = {"training": str(folder / "src/data")}
    return ScriptSource(folder / "src/train.py", folder / "src", inputs)


def test_the_code_is_copied_and_the_data_is_not(tmp_path: Path) -> None:
    source(tmp_path).copy_to(tmp_path / "code")
    copied = {path.relative_to(tmp_path / "code").as_posix() for path in tmp_path.glob("code/**/*")}
    assert copied == {"train.py", "lib", "lib/part.py", "data", "link"}
    assert (tmp_path / "code/data").resolve() == tmp_path / "src/data"
    assert (tmp_path / "code/link/x.txt").read_text() == "elsewhere/x.txt"
    assert not (tmp_path / "code/train.py").samefile(tmp_path / "src/train.py")


def test_a_script_without_a_source_dir_is_all_there_is(tmp_path: Path) -> None:
    source(tmp_path)
    alone = ScriptSource(tmp_path / "src/train.py")
    alone.copy_to(tmp_path / "code")
    assert [path.name for path in (tmp_path / "code").iterdir()] == ["train.py"]


def test_the_digest_is_of_the_code_alone(tmp_path: Path) -> None:
    script = source(tmp_path)
    before = script.digest
    (tmp_path / "src/data/big.bin").write_text("other data")
    (tmp_path / "src/.hidden").write_text("other")
    assert replace(script).digest == before
    (tmp_path / "src/lib/part.py").write_text("other code")
    changed = replace(script).digest
    assert changed != before
    (tmp_path / "src/lib/more.py").touch()
    assert replace(script).digest not in (before, changed)


def test_code_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=r"^script: cannot read /.*/x\.py: No such file or"):
        ScriptSource(tmp_path / "x.py").digest  # noqa: B018


def test_requirements_are_not_installed_but_told(tmp_path: Path) -> None:
    script = source(tmp_path)
    assert list(script_remarks.remarks(script, (), 1)) == []
    (tmp_path / "src/requirements.txt").write_text("torch")
    (remark,) = script_remarks.remarks(replace(script, inputs={}), (), 1)
    assert remark.startswith(f"{tmp_path}/src/requirements.txt is not installed by this")


def remarks(folder: Path, text: str, *parameters: str, workers: int = 1) -> list[str]:
    """What is said of a script of that text, which is all there is."""
    (folder / "train.py").write_text(text)
    script = ScriptSource(folder / "train.py")
    return list(script_remarks.remarks(script, parameters, workers))


def test_what_a_script_imports_and_leaves_behind_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("my_layers.py", "json.py"):
        (tmp_path / name).touch()
    (tmp_path / "my_data").mkdir()
    text = "import json, sys\nimport my_data.points\ndef f():\n    from my_layers import Net\n"
    (remark,) = remarks(tmp_path, text)
    assert remark == (
        "train.py imports my_data, my_layers, which is beside it and does not go with it:"
        f" add --source-dir {tmp_path}"
    )
    monkeypatch.syspath_prepend(tmp_path)  # as for whoever types the command there
    assert remarks(tmp_path, text) == [remark]
    assert remarks(tmp_path, "from . import my_layers\nimport json") == []
    assert remarks(tmp_path, "import (") == []
    with_folder = ScriptSource(tmp_path / "train.py", tmp_path)
    assert script_remarks.modules_left_beside(with_folder) == []
    assert with_folder.left_beside == frozenset()


BACKEND = "import torch.distributed as dist\nparser.add_argument('--backend', default={default})"


@pytest.mark.parametrize(
    ("text", "parameters", "words"),
    [
        ("loss = 1", (), "begins no process group, so each of its 2 hosts trains by itself; sage"),
        ("loss = 1", ("sagemaker_torch_distributed_enabled",), ""),
        ("dist.init_process_group('gloo')", (), ""),
        (BACKEND.format(default="None"), (), "takes a --backend and is given none: without it ea"),
        (BACKEND.format(default="None"), ("backend",), ""),
        (BACKEND.format(default="'gloo'"), (), ""),
    ],
)
def test_hosts_that_would_train_alone_are_told(
    tmp_path: Path, text: str, parameters: tuple[str, ...], words: str
) -> None:
    told = remarks(tmp_path, text, *parameters, workers=2)
    assert bool(told) == bool(words)
    assert all(words in remark for remark in told)
    assert remarks(tmp_path, text, *parameters) == []


def test_what_a_script_left_is_found(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=r"^the script of trial 002 saved nothing in SM_MODEL"):
        script_model.model_files(tmp_path, "002")
    model = tmp_path / "trials/002/model"
    model.mkdir(parents=True)
    (model / "model.pth").touch()
    assert script_model.model_files(tmp_path, "002") == model


def test_a_model_folder_has_what_the_script_saved_and_its_code_without_links_to_data(
    tmp_path: Path, write: Write
) -> None:
    trial = Trial("002", {"lr": 0.01}, TrialStatus.COMPLETED, [Epoch(3, {"loss": 0.5})])
    (tmp_path / "trials/002/model").mkdir(parents=True)
    (tmp_path / "trials/002/model/model.pth").write_bytes(b"weights")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/points").touch()
    (tmp_path / "code/__pycache__").mkdir(parents=True)
    for name in ("train.py", "layers.py", "__pycache__/train.pyc"):
        (tmp_path / "code" / name).write_text(f"# {name}")
    (tmp_path / "code/data").symlink_to(tmp_path / "data")
    script_model.export_script(tmp_path, loading.load(write(), {}), trial, tmp_path / "model")
    manifest = read_handlers(tmp_path / "model")
    assert set(manifest.sha256) == {"model.pth", "code/train.py", "code/layers.py"}
    assert (manifest.entry_point, manifest.trial_id, manifest.epoch) == ("train.py", "002", 3)
    assert (manifest.config, manifest.metrics) == ({"lr": 0.01, "seed": 0}, {"loss": 0.5})


def test_a_scripts_model_tells_the_seed_that_the_script_was_given(
    tmp_path: Path, write: Write
) -> None:
    (tmp_path / "trials/002/model").mkdir(parents=True)
    (tmp_path / "trials/002/model/model.pth").write_bytes(b"weights")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").touch()
    asked = loading.load(write(top="repeats = 2\nfixed.seed = 7\n"), {})
    trial = Trial("002", {"lr": 0.01}, TrialStatus.COMPLETED, [Epoch(3, {"loss": 0.5})])
    script_model.export_script(tmp_path, asked, trial, tmp_path / "model")
    assert read_handlers(tmp_path / "model").config == {"lr": 0.01, "seed": 8}


def test_a_scripts_model_is_of_its_last_epoch_whichever_of_its_values_counts(
    tmp_path: Path, write: Write
) -> None:
    history = [Epoch(epoch, {"loss": abs(epoch - 2) / 8}) for epoch in range(1, 7)]
    trial = Trial("002", {"lr": 0.01}, TrialStatus.COMPLETED, history, best_epoch=history[1])
    (tmp_path / "trials/002/model").mkdir(parents=True)
    (tmp_path / "trials/002/model/model.pth").write_bytes(b"weights")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").touch()
    model = tmp_path / "model"
    assert script_model.export_script(tmp_path, loading.load(write(), {}), trial, model) == 6
    manifest = read_handlers(model)
    assert (manifest.epoch, manifest.metrics) == (6, {"loss": 0.5})


HANDLES = "def model_fn(model_dir): ..."


@pytest.mark.parametrize(
    ("script", "files", "entry_point"),
    [
        ("train.py", {"train.py": HANDLES, "inference.py": HANDLES}, "train.py"),
        ("train.py", {"train.py": "lr = 1", "inference.py": HANDLES}, "inference.py"),
        ("train.py", {"train.py": "lr = 1", "inference.pyc": HANDLES}, "train.py"),
        ("train.py", {"train.py": "from a import transform_fn", "inference.py": ""}, "train.py"),
        ("train.py", {"train.py": "from a import *", "inference.py": ""}, "train.py"),
        ("train.py", {"train.py": "predict_fn = print", "inference.py": ""}, "train.py"),
        ("train.py", {"train.py": "def (", "inference.py": ""}, "train.py"),
        ("src/train.py", {"src/train.py": "", "src/inference.py": ""}, "src/inference.py"),
        ("src/train.py", {"src/train.py": "", "inference.py": ""}, "inference.py"),
        ("train.sh", {"train.sh": "", "inference.py": HANDLES}, "inference.py"),
        ("train.sh", {"train.sh": "", "train.py": HANDLES}, None),
        ("train.py", {"train.py": "", "../trials/002/model/code/inference.py": ""}, "inference.py"),
    ],
)
def test_handlers_are_the_scripts_or_in_the_file_where_sagemaker_looks_for_them(
    tmp_path: Path, write: Write, script: str, files: dict[str, str], entry_point: str | None
) -> None:
    (tmp_path / "trials/002/model").mkdir(parents=True)
    (tmp_path / "trials/002/model/model.pth").touch()
    for name, text in files.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    asked = load(write(), {})
    paths = {"entry_point": tmp_path / script, "source_dir": tmp_path}
    asked = asked.model_copy(update={"script": table(asked).model_copy(update=paths)})
    trial = Trial("002", {"lr": 0.01}, TrialStatus.COMPLETED, best_epoch=Epoch(3, {"loss": 0.5}))
    script_model.export_script(tmp_path, asked, trial, tmp_path / "model")
    assert read_handlers(tmp_path / "model").entry_point == entry_point


def test_a_log_is_tried_before_anything_runs(
    tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_text("loss=0.5\nnothing\nloss=7e-05\n")
    tune.main([str(write()), "--check-log", str(log)])
    assert capsys.readouterr().out == "loss: 2 values: 0.5, 7e-05\n"
    log.write_text("Loss 3\n")
    with pytest.raises(SystemExit, match=r"^error: --check-log: nothing in /.* is a value of '"):
        tune.main([str(write()), "--check-log", str(log)])
    assert capsys.readouterr().out == "loss: nothing matches loss=([0-9.]+)\n"
    for arguments, message in (
        ([str(write()), "--check-log", "absent"], "cannot read absent: No such file or directory"),
        (["--check-log", str(log)], "is for scripts; this tunes 'mnist'"),
    ):
        with pytest.raises(SystemExit, match=f"^error: --check-log: {message}$"):
            tune.main(arguments)
    assert not (tmp_path / "runs").exists()


def test_bars_in_a_log_are_read_as_a_run_reads_them(
    tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_bytes(
        b'\r10% loss=0.9\r90% loss=0.5\nloss=0.25\r\nalgo-2: loss=9\n{"tuneport": {"f1": 1}}'
    )
    tune.main([str(write()), "--check-log", str(log)])
    assert capsys.readouterr().out == "loss: 2 values: 0.5, 0.25\nf1: 1 value: 1\n"


@pytest.mark.parametrize("flag", ["--entry-point", "--source-dir", "--input"])
def test_a_resumed_run_keeps_its_script(flag: str) -> None:
    with pytest.raises(SystemExit, match=f"^error: {flag}: a resumed run keeps its script; leave"):
        tune.main(["--resume", "x", flag, "y"])


def test_a_resumed_run_asks_for_a_secret_before_anything_starts(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    asked = load(write("environment = { HF_TOKEN = 'mine' }\n" + METRIC), {})
    folder = tmp_path / "runs/r"
    folder.mkdir(parents=True)
    replace_file(folder / EXPERIMENT, json.dumps(asked.as_json()))
    journal = Journal(folder, Record("r", "loss", "min", seed=0))
    journal.append("run", versions={})
    journal.close()
    told = (
        r"^error: script\.environment\.HF_TOKEN: may be a secret, which no run keeps; set HF_TOKEN"
    )
    with pytest.raises(SystemExit, match=told):
        tune.main(["--resume", "r", "--runs", str(tmp_path / "runs")])
