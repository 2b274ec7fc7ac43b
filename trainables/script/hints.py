"""What would help a script that failed, by its last words.

Covered: channels, arguments and modules that it was not given, relative paths, folders below
`/opt/ml`. A script's own mistakes have no hint.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from trainables.script.environment import Tree, flag, is_held_back
from trainables.script.opt_ml import PLACE

if TYPE_CHECKING:
    from trainables.script.trainable import Script

Hint = Callable[["Script", Tree, "re.Match[str]"], str | None]
CHANNEL = re.compile(r"SM_CHANNEL_([A-Z0-9_-]+)|input/data/([A-Za-z0-9_-]+)")
FOR_WANT = re.compile(r"NoneType|not None|arguments are required")
"""In last words of scripts that got nothing for a channel where they take it for optional."""


def hints(said: str, script: "Script", tree: Tree) -> Iterator[str]:
    """Sentences for whoever reads a script's last words, each without its end."""
    lacking = _lacking(said, script, tree)
    if lacking:
        yield _channels(lacking, script)
    for words, hint in HINTS:
        match = re.search(words, said)
        sentence = hint(script, tree, match) if match else None
        if sentence:
            yield sentence


def _lacking(said: str, script: "Script", tree: Tree) -> Sequence[str]:
    """The channels that a script seems to lack: those it names, but for those that it has."""
    named = CHANNEL.findall(said)
    if not named and FOR_WANT.search(said):
        entry = tree.code / script.entry_point
        text = entry.read_text(encoding="utf-8", errors="replace") if entry.is_file() else ""
        named = [(variable, "") for variable, _ in CHANNEL.findall(text) if variable]
    given = {each.name.lower() for each in script.inputs}
    wanted = dict.fromkeys((variable or folder).lower() for variable, folder in named)
    return [name for name in wanted if name not in given]


def _channels(lacking: Sequence[str], script: "Script") -> str:
    given = ", ".join(each.name for each in script.inputs)
    add = " ".join(f"--input {name}=PLACE" for name in lacking)
    there = f"there is {given}" if given else f"there is none: add {add}"
    return f"no --input is called {' or '.join(lacking)}; {there}"


def _place(script: "Script", tree: Tree, match: "re.Match[str]") -> str:
    return f"{PLACE} is {tree.base} here, and SM_ variables name the folders in it"


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
    names = sorted(name for name in script.parameters if not is_held_back(name))
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
    (re.escape(str(PLACE)), _place),
    (r"No module named '?([\w.]+)", _module),
    (r"unrecognized arguments:.*|[Nn]o such option.*", _unknown),
    ("arguments are required", _required),
    (r"KeyError: 'SM_HP_([\w-]+)'", _parameter),
    (r"No such file or directory: '([^/'~][^']*)'", _relative),
)
"""What helps, by what a failed script may have said last."""
