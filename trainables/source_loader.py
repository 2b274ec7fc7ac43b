"""Import a user's file and its neighbours from source that travels to Ray's workers.

They are true modules there: an import within a function works, and a class that is pickled in a
checkpoint is found again by its name.
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

RESERVED = sys.stdlib_module_names | {"app", "serve", "trainables"}
"""Module names of the standard library and of ours, which no neighbour takes the place of."""


class Sources(SourceLoader):
    """Finder and loader of modules whose source was read; it stands on `sys.meta_path`."""

    def __init__(self, files: Mapping[str, str], contents: Mapping[str, bytes]) -> None:
        """Take the files by module name, and the contents by file."""
        self.files = files
        self.contents = contents

    def __reduce__(self) -> tuple[Any, ...]:
        return _install, (self.files, self.contents)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of a module that is among these."""
        if fullname not in self.files:
            return None
        return spec_from_file_location(fullname, self.files[fullname], loader=self)

    def get_filename(self, fullname: str) -> str:
        """Return the module's file on the machine where it was read."""
        return self.files[fullname]

    def get_data(self, path: str) -> bytes:
        """Return the contents of a file as they were when it was read."""
        return self.contents[path] if path in self.contents else Path(path).read_bytes()


def module_name(path: Path) -> str:
    """Return the module name of a trainable's file; `json.py` must not replace the library's."""
    return f"trainable_{path.stem}".replace(".", "_")


def load(path: Path) -> Sources:
    """Read a file and the neighbours that it imports, and install them for import.

    A neighbour is found by its name in an import, wherever that stands. It takes precedence over an
    installed package of that name, but not over one that is imported already.
    """
    forget()
    modules = {module_name(path): path}
    pending = [path]
    while pending:
        for name in sorted(_imported_names(pending.pop()) - RESERVED - set(modules)):
            neighbours = dict(_find_neighbour(path.parent, name))
            modules.update(neighbours)
            pending.extend(neighbours.values())
    files = {name: str(file) for name, file in modules.items()}
    contents = {str(file): _read(file) for file in modules.values()}
    return _install(files, contents)


def attach(sources: Sources, trainable: type) -> type[Any]:
    """Derive a class that installs its sources wherever it is unpickled."""
    # Of a class that is pickled by value the bases come first, in their order.
    carrier = type("Carrier", (), {"__sources__": sources})
    names = {name: getattr(trainable, name) for name in ("__module__", "__qualname__", "__doc__")}
    return types.new_class(
        trainable.__name__, (carrier, trainable), {}, lambda body: body.update(names)
    )


def _install(files: Mapping[str, str], contents: Mapping[str, bytes]) -> Sources:
    for finder in sys.meta_path:
        if isinstance(finder, Sources) and finder.contents == contents:
            return finder
    forget()
    sources = Sources(files, contents)
    sys.meta_path.insert(0, sources)
    return sources


def forget() -> None:
    """Remove installed sources and their modules, so that changed or other files are imported."""
    for finder in [one for one in sys.meta_path if isinstance(one, Sources)]:
        sys.meta_path.remove(finder)
        for name in finder.files:
            if getattr(sys.modules.get(name), "__loader__", None) is finder:
                del sys.modules[name]


def _imported_names(path: Path) -> set[str]:
    """Return the top-level names that a file imports absolutely, at any depth."""
    try:
        tree = ast.parse(_read(path))
    except SyntaxError:
        return set()  # importing it will raise this
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module))
    return {name.partition(".")[0] for name in names}


def _find_neighbour(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield names and files of the module or package of that name in a folder, if any."""
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
    """Whether no module has a name, so that a folder without `__init__.py` can be a package."""
    spec = PathFinder.find_spec(name)
    return spec is None or spec.origin is None


def _package(package: Path) -> Iterator[tuple[str, Path]]:
    """Yield all modules of a package; a missing `__init__.py` is an empty one."""
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        for depth in range(1, len(parts)):
            yield ".".join(parts[:depth]), package.parent.joinpath(*parts[:depth], "__init__.py")
        if file.name != "__init__.py":
            yield ".".join(parts), file


def _read(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""
