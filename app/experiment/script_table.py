"""What an experiment says of a user's script: its code, how it is read, and its inputs."""

import ast
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from app.experiment.objective import VALUES
from app.experiment.run_folder import CODE, JOURNAL
from trainables.contract import TrainableError
from trainables.errors.choices import is_one, unknown
from trainables.script.environment import STYLES, TORCHRUN, TYPES
from trainables.script.metric_parser import Definition, Tried, try_on
from trainables.script.process import lines_of

if TYPE_CHECKING:
    from app.experiment.schema import Experiment
    from trainables.script.trainable import Script

SECRET = re.compile(
    r"(^|_)(TOKENS?|KEYS?|SECRETS?|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE
)
"""In names of variables whose values no run keeps."""
REQUIREMENTS = "requirements.txt"
ENVIRONMENT = "pyvenv.cfg"
"""The file that a virtual environment has."""
FLAGS = {"entry_point": "--entry-point", "source_dir": "--source-dir", "inputs": "--input"}
"""The flags that say something of a script, by what they set."""
KEYS = ("entry_point", "source_dir", "value", "metrics", "arguments", "environment")
METRIC_KEYS = {"name", "regex"}
LISTED = 1000
"""Names beside a script that are looked at."""
LONGEST = 2**20
"""Bytes of a file beyond which it is no program."""
MEETS = re.compile(
    r"init_process_group|MASTER_ADDR|torchrun|torch\.distributed|lightning|accelerate|deepspeed"
    r"|horovod"
)
"""Words without which no program lets several hosts train together."""
BACKEND = re.compile(r"""["']--backend["']([^)]*)""")
WITH_DEFAULT = re.compile(r"""default\s*=\s*["']""")
CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OF_FURTHER_HOST = re.compile(r"algo-(?!1:)\d+: ")
"""Begins a line, in a trial's log, that counts for nothing."""
LOCAL = re.compile(r"file://(localhost)?(?=/)")
WITH_PASSWORD = re.compile(r"[^/]+://[^/@]*:[^/@]*@")


@dataclass(frozen=True)
class ScriptTable:
    """`[script]` and `[inputs]`, checked."""

    entry_point: Path
    source_dir: Path | None
    """The folder that goes with the script; None where the script is all there is."""
    value: str
    """Which reported value counts: the last, the best or the first."""
    metrics: tuple[Definition, ...]
    inputs: Mapping[str, str]
    """Folders or files of data, or their URIs, by channel."""

    arguments: Mapping[str, str] = field(default_factory=dict)
    """How parameters are given as arguments, by name, where not as values."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Variables that the script has on every node; None for one of whoever starts the run."""

    @property
    def kept_environment(self) -> dict[str, str | None]:
        """The variables as a run keeps them: of what may be a secret, the name alone."""
        variables = self.environment.items()
        return {name: None if SECRET.search(name) else value for name, value in variables}

    def variables(self) -> dict[str, str]:
        """The variables' values; raises TrainableError where one is here in no environment."""
        for name, value in self.environment.items():
            if value is None and name not in os.environ:
                raise TrainableError(
                    f"script.environment.{name}: may be a secret, which no run keeps; set {name}"
                    " in the environment of this command"
                )
        return known(self.environment)

    def as_json(self) -> dict[str, Any]:
        """Both tables, as `experiment.json` keeps them."""
        source_dir = None if self.source_dir is None else str(self.source_dir)
        metrics = [{"name": each.name, "regex": each.regex} for each in self.metrics]
        script = {"entry_point": str(self.entry_point), "source_dir": source_dir}
        return {
            "script": {
                **script,
                "value": self.value,
                "metrics": metrics,
                "arguments": dict(self.arguments),
                "environment": self.kept_environment,
            },
            "inputs": dict(self.inputs),
        }

    @property
    def source(self) -> Path:
        """The folder from which the script is named."""
        return self.entry_point.parent if self.source_dir is None else self.source_dir

    @property
    def name(self) -> str:
        """The script, seen from its source."""
        return self.entry_point.relative_to(self.source).as_posix()

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """What is copied, seen from the source; folders among them are linked to."""
        if self.source_dir is None:
            return (Path(self.name),)
        return tuple(sorted(self._below(self.source_dir)))

    @property
    def digest(self) -> str:
        """Of all the code; raises TrainableError where it cannot be read."""
        content = hashlib.sha256()
        try:
            for name in self.files:
                path = self.source / name
                size = 0 if path.is_dir() else path.stat().st_size
                content.update(f"{name.as_posix()}\0{size}\0".encode())
                if not path.is_dir():
                    content.update(path.read_bytes())
        except OSError as error:
            raise TrainableError(
                f"script: cannot read {error.filename}: {error.strerror}"
            ) from error
        return content.hexdigest()

    def copy_to(self, folder: Path) -> None:
        """Copy the code; what is input to the script, or a link elsewhere, is linked to."""
        folder.mkdir()
        for name in self.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (self.source / name).is_dir():
                (folder / name).symlink_to((self.source / name).resolve(), target_is_directory=True)
            else:
                shutil.copy2(self.source / name, folder / name)

    def check_files(self) -> None:
        """Raise TrainableError for what is not there."""
        self.variables()
        if self.source_dir is not None and not self.source_dir.is_dir():
            raise TrainableError(f"script.source_dir: no folder at {self.source_dir}")
        if not (self.entry_point.is_file() or (self.source_dir and self.entry_point.is_dir())):
            raise TrainableError(f"script.entry_point: no file at {self.entry_point}")
        if not self.entry_point.is_relative_to(self.source):
            raise TrainableError(
                f"script.entry_point: {self.entry_point} is not below the source_dir {self.source}"
            )
        for name, place in self.inputs.items():
            if "://" not in place and not Path(place).exists():
                raise TrainableError(f"inputs.{name}: nothing at {place}")

    @cached_property
    def beside(self) -> frozenset[str]:
        """Names of what is in the script's folder and does not go with it."""
        if self.source_dir is not None:
            return frozenset()
        with suppress(OSError):
            found = islice(self.entry_point.parent.iterdir(), LISTED)
            return frozenset(each.name for each in found) - {self.entry_point.name}
        return frozenset()

    def left_behind(self) -> list[str]:
        """The modules that the script imports, and that are beside it and nowhere else."""
        imported = _imported(self.entry_point)
        beside = [name for name in imported if {name, f"{name}.py"} & self.beside]
        return [name for name in beside if not _is_elsewhere(name, self.entry_point.parent)]

    def remarks(self, parameters: Collection[str], workers: int) -> Iterator[str]:
        """What whoever starts a run should know of its script, with these names and so many hosts.

        A script is read for this and not run.
        """
        if left_behind := self.left_behind():
            yield (
                f"{self.name} imports {', '.join(left_behind)}, which is beside it and does not go"
                f" with it: add --source-dir {self.source}"
            )
        if workers > 1 and TORCHRUN not in parameters:
            yield from self._alone(parameters, workers)
        if Path(REQUIREMENTS) in self.files:
            yield (
                f"{self.source / REQUIREMENTS} is not installed by this: the script runs with what"
                " is installed here"
            )

    def _alone(self, parameters: Collection[str], workers: int) -> Iterator[str]:
        """Say what would let a trial's hosts find each other, where nothing in the script does."""
        each = f"each of its {workers} hosts trains by itself"
        code = [_text(self.source / name) for name in self.files]
        if not any(map(MEETS.search, code)):
            yield f"{self.name} begins no process group, so {each}; {TORCHRUN} = true starts it so"
        backend = BACKEND.search(_text(self.entry_point))
        if backend is None or WITH_DEFAULT.search(backend[1]) or "backend" in parameters:
            return
        yield f"{self.name} takes a --backend and is given none: without it {each}"

    def _below(self, source: Path) -> Iterator[Path]:
        data = {Path(path) for path in self.inputs.values()}
        for folder, folders, files in os.walk(source):
            here = Path(folder)
            kept = [name for name in folders if _is_code(here / name)]
            linked = {each for each in kept if here / each in data or (here / each).is_symlink()}
            folders[:] = [name for name in kept if name not in linked]
            plain = [name for name in files if name[0] != "." and (here / name).is_file()]
            yield from ((here / name).relative_to(source) for name in (*plain, *linked))


def _imported(file: Path) -> list[str]:
    """The top modules that a program imports by their names, as far as it can be read."""
    try:
        tree = ast.parse(_text(file))
    except (SyntaxError, ValueError):
        return []
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _is_elsewhere(module: str, folder: Path) -> bool:
    """Whether Python finds a module otherwise than in a folder, which may be where we are."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    places = () if spec is None else (spec.origin, *(spec.submodule_search_locations or ()))
    here = (folder / f"{module}.py", folder / module, folder / module / "__init__.py")
    return any(place is not None and Path(place).resolve() not in here for place in places)


def _text(file: Path) -> str:
    """A program's text; empty where the file is no program or cannot be read."""
    try:
        if file.suffix not in (".py", ".sh") or file.stat().st_size > LONGEST:
            return ""
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_code(folder: Path) -> bool:
    """Not what is hidden, made by Python, a virtual environment, or a run of ours."""
    if folder.name[0] == "." or folder.name == "__pycache__":
        return False
    return not any((folder / name).exists() for name in (JOURNAL, ENVIRONMENT))


def parse(script: Mapping[str, Any], inputs: Mapping[str, Any], metric: str) -> ScriptTable:
    """The tables, checked but for what is on the disk; raises TrainableError for what is wrong."""
    for key in script:
        if key not in KEYS:
            raise TrainableError(f"script: {unknown(key, KEYS, 'key')}")
    if "entry_point" not in script:
        raise TrainableError("script.entry_point: is missing; name the script by --entry-point")
    _check_text("script.entry_point", script["entry_point"])
    if script.get("source_dir") is not None:
        _check_text("script.source_dir", script["source_dir"])
    value = script.get("value", "last")
    if not is_one(value, VALUES):
        raise TrainableError(f"script.value: {unknown(value, VALUES)}")
    for name, path in inputs.items():
        if not CHANNEL.fullmatch(name):
            raise TrainableError(f"inputs: {name!r} must be letters, digits, dots and dashes")
        _check_text(f"inputs.{name}", path)
        if WITH_PASSWORD.match(path):
            raise TrainableError(
                f"inputs.{name}: a run would keep the URI's password; give it by the environment"
            )
    source_dir = script.get("source_dir")
    return ScriptTable(
        Path(script["entry_point"]),
        None if source_dir is None else Path(source_dir),
        value,
        _definitions(script.get("metrics", []), metric),
        dict(inputs),
        _styles(script.get("arguments", {})),
        _environment(script.get("environment", {})),
    )


def known(environment: Mapping[str, str | None]) -> dict[str, str]:
    """The values of variables; of those that are not kept, where this process has them."""
    found = {name: os.environ.get(name) if v is None else v for name, v in environment.items()}
    return {name: value for name, value in found.items() if value is not None}


def _environment(variables: Any) -> dict[str, str | None]:
    if not isinstance(variables, Mapping):
        raise TrainableError(f"script.environment: needs a table of variables, got {variables!r}")
    for name, value in variables.items():
        if not name or "=" in name or "\0" in f"{name}{value}":
            raise TrainableError(f"script.environment: {name!r} can be no variable")
        if value is not None and not isinstance(value, str):
            raise TrainableError(f"script.environment.{name}: needs a string, got {value!r}")
    return dict(variables)


def _styles(arguments: Any) -> dict[str, str]:
    if not isinstance(arguments, Mapping):
        raise TrainableError(f"script.arguments: needs a table of styles, got {arguments!r}")
    for name, style in arguments.items():
        if not is_one(style, STYLES):
            raise TrainableError(f"script.arguments.{name}: {unknown(style, STYLES, 'style')}")
    return dict(arguments)


def check_styles(table: ScriptTable, values: Mapping[str, Sequence[Any]]) -> None:
    """Raise TrainableError where a style is for no parameter, or for values of another type.

    `values` has those of every parameter that can be listed, and nothing of others.
    """
    for name, style in table.arguments.items():
        if name not in values:
            raise TrainableError(
                f"script.arguments: there is no parameter {name!r}; there are {', '.join(values)}"
            )
        kind = TYPES.get(style, object)
        for value in values[name]:
            if not isinstance(value, kind):
                raise TrainableError(
                    f"script.arguments.{name}: a {style} needs a {kind.__name__}, got {value!r}"
                )


def _definitions(tables: Any, metric: str) -> tuple[Definition, ...]:
    if not isinstance(tables, list) or not all(isinstance(each, Mapping) for each in tables):
        raise TrainableError("script.metrics: needs [[script.metrics]] tables of name and regex")
    for table in tables:
        if table.keys() != METRIC_KEYS:
            got = ", ".join(table) or "nothing"
            raise TrainableError(f"script.metrics: each needs a name and a regex, got {got}")
        for key in METRIC_KEYS:
            _check_text(f"script.metrics: {key}", table[key])
    definitions = tuple(Definition(table["name"], table["regex"]) for table in tables)
    names = [each.name for each in definitions]
    if len(set(names)) < len(names):
        raise TrainableError(f"script.metrics: two have the same name: {', '.join(names)}")
    if names and metric not in names:
        raise TrainableError(
            f"metric: no [[script.metrics]] is called {metric!r}; there are {', '.join(names)}"
        )
    return definitions


def _check_text(where: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise TrainableError(f"{where}: needs a string, got {value!r}")


def located(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """An experiment's table with the paths of its script and inputs seen from a folder."""
    found = dict(table)
    if isinstance(table.get("script"), Mapping):
        found["script"] = _located_script(table["script"], folder)
    if isinstance(table.get("inputs"), Mapping):
        found["inputs"] = {name: _path(path, folder) for name, path in table["inputs"].items()}
    return found


def with_flags(table: Mapping[str, Any], flags: Mapping[str, Any], here: Path) -> dict[str, Any]:
    """An experiment's table with what flags say of its script, typed in the folder `here`."""
    typed = {key: flags[key] for key in ("entry_point", "source_dir") if key in flags}
    if "entry_point" in typed and "entry_point" in table.get("script", {}):
        typed = {"source_dir": None, **typed}  # the file's is another script's
    inputs = dict(_channel(text) for text in flags.get("inputs", ()))
    by_flags = located({"script": {**table.get("script", {}), **typed}, "inputs": inputs}, here)
    return {
        **table,
        "script": by_flags["script"],
        "inputs": {**table.get("inputs", {}), **by_flags["inputs"]},
    }


def with_entry_point(table: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's table in which a flag names the script where the table leaves that open."""
    own = table.get("script", {})
    if "entry_point" not in flags or not isinstance(own, Mapping):
        return dict(table)
    return {**table, "script": {"entry_point": flags["entry_point"], **own}}


def _channel(text: str) -> tuple[str, str]:
    name, sign, path = text.partition("=")
    if not sign:
        raise TrainableError(f"--input: needs NAME=PLACE, such as training=data, got {text!r}")
    return name, path


def _located_script(script: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    found = dict(script)
    base = folder
    if isinstance(script.get("source_dir"), str):
        base = (folder / script["source_dir"]).resolve()
        found["source_dir"] = str(base)
    if isinstance(script.get("entry_point"), str):
        # SageMaker names a script from its source_dir; who types a command, from where he is.
        name = script["entry_point"]
        place = base if (base / name).exists() or not (folder / name).exists() else folder
        found["entry_point"] = str((place / name).resolve())
    return found


def _path(path: Any, folder: Path) -> Any:
    """A local path, as an absolute one; a URI and what is neither are left as they are."""
    if not isinstance(path, str) or not path:
        return path
    if local := LOCAL.match(path):
        return str(Path(unquote(path[local.end() :])))
    return path if "://" in path else str((folder / path).resolve())


def shared(experiment: "Experiment", folder: Path, stubs: Callable[[], Path]) -> "Script":
    """What all trials of the run in this folder have in common.

    Raises TrainableError where a channel's URI has nothing to be read.
    """
    from trainables.script.channels import channel
    from trainables.script.trainable import Script

    table = experiment.script
    assert table is not None  # only scripts are asked for it
    return Script(
        entry_point=table.name,
        code=folder / CODE,
        digest=table.digest,
        parameters=(*experiment.fixed, *experiment.space),
        objective=experiment.metric,
        definitions=table.metrics,
        inputs=tuple(channel(name, place) for name, place in sorted(table.inputs.items())),
        workers=experiment.workers_per_trial,
        styles=table.arguments,
        folder=str(table.source),
        beside=table.beside,
        given=table.variables(),
        stubs=stubs,
    )


def check_log(
    table: ScriptTable, objective: str, log: Path, say: Callable[[str], None]
) -> list[Tried]:
    """What a run would read in a log, by metric; raises TrainableError where it cannot be read.

    `say` is told, as a trial's log is, what a person should know of how it was read.
    """
    try:
        lines = (line for line in lines_of(log) if not OF_FURTHER_HOST.match(line))
        return try_on(table.metrics, objective, lines, say)
    except OSError as error:
        raise TrainableError(f"--check-log: cannot read {log}: {error.strerror}") from error
