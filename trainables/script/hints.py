"""Hints for a script that failed, by its last words.

Covered: missing channels, arguments and modules, relative paths, folders below `/opt/ml`. Not
covered: a script's own mistakes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from trainables.script.arguments import flag, is_for_toolkit
from trainables.script.opt_ml import OPT_ML
from trainables.script.tree import Tree

if TYPE_CHECKING:
    from trainables.script.trainable import Script

Hint = Callable[["Script", Tree, "re.Match[str]"], str | None]
CHANNEL = re.compile(r"SM_CHANNEL_([A-Z0-9_-]+)|input/data/([A-Za-z0-9_-]+)")
WITHOUT_CHANNEL = re.compile(r"NoneType|not None|arguments are required")
"""Last words of scripts that got None for a channel, by an argument that has no default."""


def hints(message: str, script: "Script", tree: Tree) -> Iterator[str]:
    """Yield hints for a script's last words, as sentences without a full stop."""
    missing = _missing_channels(message, script, tree)
    if missing:
        yield _add_channels(missing, script)
    for words, hint in HINTS:
        match = re.search(words, message)
        sentence = hint(script, tree, match) if match else None
        if sentence:
            yield sentence


def _missing_channels(message: str, script: "Script", tree: Tree) -> Sequence[str]:
    """Return the channels that a script names and that it has not."""
    named = CHANNEL.findall(message)
    if not named and WITHOUT_CHANNEL.search(message):
        entry = tree.code / script.entry_point
        text = entry.read_text(encoding="utf-8", errors="replace") if entry.is_file() else ""
        named = [(variable, "") for variable, _ in CHANNEL.findall(text) if variable]
    given = {channel.name.lower() for channel in script.inputs}
    wanted = dict.fromkeys((variable or folder).lower() for variable, folder in named)
    return [name for name in wanted if name not in given]


def _add_channels(missing: Sequence[str], script: "Script") -> str:
    given = ", ".join(channel.name for channel in script.inputs)
    add = " ".join(f"--input {name}=PLACE" for name in missing)
    there = f"there is {given}" if given else f"there is none: add {add}"
    return f"no --input is called {' or '.join(missing)}; {there}"


def _opt_ml(script: "Script", tree: Tree, match: "re.Match[str]") -> str:
    return f"{OPT_ML} is {tree.base} here, and SM_ variables name the folders in it"


def _module(script: "Script", tree: Tree, match: "re.Match[str]") -> str:
    name = match[1].partition(".")[0]
    if {name, f"{name}.py"} & script.beside:
        return _left_behind(name, script)
    return (
        "a script has the modules of its source_dir and those installed here; what its"
        " requirements.txt names is not installed for it"
    )


def _left_behind(name: str, script: "Script") -> str:
    return f"{name} is beside the script and did not go with it: add --source-dir {script.folder}"


def _unknown(script: "Script", tree: Tree, match: "re.Match[str]") -> str:
    if re.search(r"arguments:.* (True|False)\b", match[0]):
        return "a flag that takes no value is a switch by [script.arguments]"
    also = "; the key epochs is given as --epochs" if "epochs" in script.parameters else ""
    return f"{_given(script)}: leave out of [space] and [fixed] what it does not take{also}"


def _required(script: "Script", tree: Tree, match: "re.Match[str]") -> str:
    return f"{_given(script)}: give it more in [fixed]"


def _given(script: "Script") -> str:
    names = sorted(name for name in script.parameters if not is_for_toolkit(name))
    flags = ", ".join(map(flag, names))
    return f"the experiment gives it {flags or 'no arguments'}"


def _parameter(script: "Script", tree: Tree, match: "re.Match[str]") -> str:
    return f"no parameter is called {match[1].lower()}; {_given(script)}"


def _relative(script: "Script", tree: Tree, match: "re.Match[str]") -> str:
    first = PurePath(match[1]).parts[0]
    if first in script.beside:
        return _left_behind(first, script)
    return "a script runs in a copy of its code; give it data by --input NAME=PLACE"


HINTS: Sequence[tuple[str, Hint]] = (
    (re.escape(str(OPT_ML)), _opt_ml),
    (r"No module named '?([\w.]+)", _module),
    (r"unrecognized arguments:.*|[Nn]o such option.*", _unknown),
    ("arguments are required", _required),
    (r"KeyError: 'SM_HP_([\w-]+)'", _parameter),
    (r"No such file or directory: '([^/'~][^']*)'", _relative),
)
"""Hints by the last words of a script that failed."""
