"""A user's own file and what it imports from its folder, which travel to Ray's workers as source.

Their modules are true modules there: what is imported within a function is found, and what is
pickled in a checkpoint is found again by its name.
"""

import ast
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import SourceLoader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

HELD = sys.stdlib_module_names | {"app", "serve", "trainables"}
"""Names of the standard library and of ours, which a user's folder never takes."""


class Sources(SourceLoader):
    """Modules by name, read once; in place on `sys.meta_path` they can be imported."""

    def __init__(self, files: Mapping[str, str], contents: Mapping[str, bytes]) -> None:
        """Take the files of modules, by name, and the contents of files."""
        self.files = files
        self.contents = contents

    def __reduce__(self) -> tuple[Any, ...]:
        return _put_in_place, (self.files, self.contents)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        """How to import a module that is among these."""
        if fullname not in self.files:
            return None
        return spec_from_file_location(fullname, self.files[fullname], loader=self)

    def get_filename(self, fullname: str) -> str:
        """The file as it is called where it was read."""
        return self.files[fullname]

    def get_data(self, path: str) -> bytes:
        """The contents of a file, as they were when it was read."""
        return self.contents[path] if path in self.contents else Path(path).read_bytes()


def named(path: Path) -> str:
    """What a file's own module is called; one called json.py does not take the library's place."""
    return f"trainable_{path.stem}".replace(".", "_")


def read(path: Path) -> Sources:
    """Put a file and the neighbours that it imports in place, instead of any other's.

    A neighbour is found by its name in an import, wherever that stands. It goes before an installed
    package of that name, but not before one that is imported already.
    """
    forget()
    found = {named(path): path}
    waiting = [path]
    while waiting:
        for name in sorted(_imported(waiting.pop()) - HELD - set(found)):
            beside = dict(_beside(path.parent, name))
            found.update(beside)
            waiting.extend(beside.values())
    files = {name: str(file) for name, file in found.items()}
    contents = {str(file): _contents(file) for file in found.values()}
    return _put_in_place(files, contents)


def carrying(sources: Sources, found: type) -> type[Any]:
    """The class, but wherever it is unpickled its sources are put in place first."""
    # Of a class that is pickled by value the bases come first, in their order.
    carrier = type("Carrier", (), {"__sources__": sources})
    names = {name: getattr(found, name) for name in ("__module__", "__qualname__", "__doc__")}
    return types.new_class(found.__name__, (carrier, found), {}, lambda body: body.update(names))


def _put_in_place(files: Mapping[str, str], contents: Mapping[str, bytes]) -> Sources:
    for finder in sys.meta_path:
        if isinstance(finder, Sources) and finder.contents == contents:
            return finder
    forget()
    sources = Sources(files, contents)
    sys.meta_path.insert(0, sources)
    return sources


def forget() -> None:
    """Forget what was in place, so that another folder's modules, or changed ones, are found."""
    for finder in [each for each in sys.meta_path if isinstance(each, Sources)]:
        sys.meta_path.remove(finder)
        for name in finder.files:
            if getattr(sys.modules.get(name), "__loader__", None) is finder:
                del sys.modules[name]


def _imported(path: Path) -> set[str]:
    """First parts of the names that a file imports, at any depth, but for relative ones."""
    try:
        tree = ast.parse(_contents(path))
    except SyntaxError:
        return set()  # whoever imports it is told
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module))
    return {name.partition(".")[0] for name in names}


def _beside(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """The module or package of that name in a folder: names and files, none where it has none."""
    file, package = folder / f"{name}.py", folder / name
    if (package / "__init__.py").is_file():
        file = package / "__init__.py"
    elif not file.is_file() and _is_free(name):
        file = package
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) != str(file):
        return
    if package in (file, file.parent):
        yield from _package(package)
    elif file.is_file():
        yield name, file


def _is_free(name: str) -> bool:
    """Whether no module has that name, so that a folder without `__init__.py` is a package."""
    spec = PathFinder.find_spec(name)
    return spec is None or spec.origin is None


def _package(package: Path) -> Iterator[tuple[str, Path]]:
    """All modules of a package; a folder without `__init__.py` is one whose file is empty."""
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        for depth in range(1, len(parts)):
            yield ".".join(parts[:depth]), package.parent.joinpath(*parts[:depth], "__init__.py")
        if file.name != "__init__.py":
            yield ".".join(parts), file


def _contents(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""
