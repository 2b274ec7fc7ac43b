"""Messages that users can see, by module: `python -m tests.support.messages > tests/messages.txt`.

Covered: strings with words, and those of `raise`, of warnings, of what is printed, of `help` and
`description`. Not covered: docstrings other than those of an experiment's fields, and JavaScript.
"""

import ast
import re
import sys
from collections.abc import Iterator

from tests.support import ROOT

PACKAGES = ("app", "serve", "trainables")
WORDS = re.compile(r"[\w}`'\")…][,;:.!?]? [\w{`'\"(…]*[a-z{]")
"""Two words, or a word beside a value: a sentence, and not a name or a path."""
WORD = re.compile("[A-Za-z]{2}")
VALUE = "{…}"
SPEAKING = ("warn", "print", "write", "exit", "warn_once")
"""Functions whose strings a user sees, however short."""
MODELS = {"BaseModel", "Table"}
"""Bases of the models whose fields are described by the strings below them."""
KEYWORDS = ("help", "description", "epilog")
"""Arguments of parsers and pydantic's fields that do the same."""


def messages(tree: ast.Module) -> Iterator[str]:
    """Give a module's messages in the order of its lines, values as `{…}`."""
    skipped = {*_docstrings(tree), *_parts(tree), *_types(tree), *_patterns(tree)}
    spoken = set(_spoken(tree))
    found = []
    for node in ast.walk(tree):
        text = _text(node)
        if not isinstance(node, ast.expr) or text is None:
            continue
        if node in skipped or not WORD.search(text.replace(VALUE, "")):
            continue
        if node in spoken or WORDS.search(text):
            found.append((node.lineno, node.col_offset, text))
    return (text for _, _, text in sorted(found))


def snapshot() -> str:
    """List every module's messages, a line each, below the module's path."""
    lines = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            said = list(messages(ast.parse(path.read_text(encoding="utf-8"))))
            if said:
                lines += [path.relative_to(ROOT).as_posix(), *(f"  {_line(text)}" for text in said)]
    return "".join(f"{line}\n" for line in lines)


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
        )
    return None


def _line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _docstrings(tree: ast.Module) -> set[ast.AST]:
    """Strings that stand alone, except those that describe a field of a pydantic model."""
    fields = {
        statement
        for model in ast.walk(tree)
        if isinstance(model, ast.ClassDef) and MODELS & set(map(_name, model.bases))
        for statement in model.body[1:]
    }
    alone = (n for n in ast.walk(tree) if isinstance(n, ast.Expr) and n not in fields)
    return {statement.value for statement in alone}


def _parts(tree: ast.Module) -> Iterator[ast.AST]:
    """Texts between an f-string's values, and how the values are formatted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from (part for part in node.values if isinstance(part, ast.Constant))
        if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            yield node.format_spec


def _patterns(tree: ast.Module) -> Iterator[ast.AST]:
    """Regular expressions, and lists of words that are written as one text."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if ast.unparse(node.func) == "re.compile":
            yield from ast.walk(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "split":
            yield node.func.value


def _types(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                yield from ast.walk(getattr(node, field))


def _spoken(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from node.exc.args
        if isinstance(node, ast.Call):
            yield from node.args if _name(node.func) in SPEAKING else ()
            yield from (word.value for word in node.keywords if word.arg in KEYWORDS)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


if __name__ == "__main__":
    sys.stdout.write(snapshot())
