"""The report of a run: one HTML file that opens offline, without anything from elsewhere."""

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.experiment.run_folder import JOURNAL
from app.report import REPORT, STATIC, TEMPLATES
from app.report.content import content, figures
from app.run.layout import EVALUATION, EXPERIMENT, MODEL
from app.run.store import Run, StoreError
from app.storage.files import replace_file
from app.storage.run_storage import run_storage
from serve.models.manifest import MANIFEST

if TYPE_CHECKING:
    import jinja2

SCRIPTS = ("figures.js", "report.js")
STYLES = ("report.css", "figures.css")
MODEL_FILES = (f"{MODEL}/{MANIFEST}", f"{MODEL}/{EVALUATION}")


@dataclass(frozen=True)
class Report:
    """A report that was written."""

    path: Path
    """The file."""

    def _repr_html_(self) -> str:
        return framed(self.path.read_text(encoding="utf-8"))


def fetch(run: Run) -> None:
    """Bring what a report is made from up to date, where the run is kept behind a URI.

    Raises StorageError where that fails.
    """
    run_storage(run.folder).refresh(EXPERIMENT, JOURNAL, *MODEL_FILES)


def write_report(run: Run) -> Path:
    """Write a run's report into its folder, and send it where the run is kept.

    Returns:
        The file.

    Raises:
        StoreError: It cannot be written.
        StorageError: It cannot be sent.
    """
    path = run.folder / REPORT
    with _as_store_error(path):
        run_storage(run.folder).write(REPORT, render(run))
    return path


def write_to(run: Run, path: Path) -> Path:
    """Write a run's report to a file and return it; raises StoreError where that fails."""
    with _as_store_error(path):
        replace_file(path, render(run))
    return path


@contextmanager
def _as_store_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def render(run: Run) -> str:
    """Return the report of a run as HTML, from the files that are in its folder."""
    template = templates_in(TEMPLATES).get_template("report.html")
    page = template.render(
        {**content(run), **_assets(figures(run)), "is_live": False, "trial_links": ""}
    )
    return page.encode(errors="replace").decode()  # A name may be half of a character.


def templates_in(*folders: Path) -> "jinja2.Environment":
    """Return the templates in these folders, which escape every value."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def framed(page: str) -> str:
    """Return a report as a notebook shows it: in a frame, whose scripts reach nothing else."""
    attributes = 'sandbox="allow-scripts allow-downloads" width="100%" height="800"'
    return f'<iframe srcdoc="{html.escape(page)}" {attributes} style="border: 0"></iframe>'


def _assets(plots: Mapping[str, Any]) -> dict[str, Any]:
    """Scripts and styles, and a policy under which no other script can run."""
    from markupsafe import Markup

    plotly = (STATIC / "plotly-basic.min.js").read_text(encoding="utf-8")
    script = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in (plotly, script))
    # A tag's end within the JSON would end the script's element.
    data = json.dumps(plots, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    styles = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES)
    return {
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline';"
        " img-src data: blob:; base-uri 'none'; form-action 'none'",
        "has_figures": bool(plots),
        "figures": Markup(data),
        "plotly": Markup(plotly),
        "script": Markup(script),
        "styles": Markup(styles),
    }


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
