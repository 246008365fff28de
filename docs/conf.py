"""The site: ``sphinx-build -W docs docs/_build/html``, with the extra `docs`."""

from __future__ import annotations

import logging as standard_logging
import os
import re
import shutil
import sys
import warnings
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import matplotlib
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from docs import docstrings, links  # noqa: E402 - found on that path
from fastconv.backends.cpu import compile_note  # noqa: E402 - this checkout's, by that path

os.environ.setdefault("FASTCONV_BACKEND", "numba")
warnings.filterwarnings("error", module="fastconv")
matplotlib.rcParams["animation.writer"] = "pillow"
# Whose page comes first waits for kernels to compile; no reader does.
standard_logging.getLogger("fastconv").addFilter(lambda record: record.msg != compile_note.TEXT)

project = "fastconv"
author = "the fastconv authors"
version = release = version_of("fastconv")
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery", "_templates"]
# Pages that stand beside the code: where they are shown, links between them lead to each other.
BESIDE = {
    "benchmarks/RESULTS.md": "results",
    "kernels/NOTES.md": "cpu-notes",
    "kernels/NUMERICS.md": "numerics",
    "kernels/README.md": "kernels",
    "kernels/cuda/COMPILED.md": "cuda-compiled",
    "kernels/cuda/NOTES.md": "cuda-notes",
    "kernels/cuda/PREDICTED.md": "cuda-predicted",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
}
templates_path = ["_templates"]
root_doc = "index"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

html_theme = "pydata_sphinx_theme"
html_title = "fastconv"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"index": [], "quickstart": []}  # which have nothing below them
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"], "use_edit_page_button": False}

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_typehints = "none"  # the docstrings say what comes and goes
autodoc_default_options = {"show-inheritance": False}
numpydoc_show_class_members = False
numpydoc_validation_checks = docstrings.CHECKS
numpydoc_validation_exclude = {docstrings.METHODS, *(f"^{re.escape(name)}$" for name in docstrings.PROTOCOLS)}
default_role = "code"  # single backquotes in docstrings name arguments and functions

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "lecture",
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py",
    "backreferences_dir": "api/used",
    "doc_module": ("fastconv",),
    "abort_on_example_error": True,
    "show_memory": False,
    "min_reported_time": 1,
    "write_computation_times": False,  # a table of the web's: its script and style come from elsewhere
    "download_all_examples": False,
    "remove_config_comments": True,
    "plot_gallery": True,
    "capture_repr": ("_repr_html_",),  # and not what matplotlib returns
    "matplotlib_animations": True,
    "reset_modules": ("matplotlib",),
}


def _relinked(text: str, folder: Path, to: str) -> str:
    """Let links between pages lead to where these are shown, and take those to files of code away."""

    def change(link: re.Match[str]) -> str:
        words, target = link[1], link[2]
        path, _, heading = target.partition("#")
        if "://" in path or not path:
            return link[0]
        file = Path(os.path.normpath(folder / path)).relative_to(ROOT)
        anchor = f"#{heading}" if heading else ""
        if str(file) in BESIDE:
            return f"[{words}]({to}beside/{BESIDE[str(file)]}.md{anchor})"
        if file.parts[:2] == ("docs", "gallery"):
            return f"[{words}]({to}lecture/{file.stem if file.suffix else 'index'}.rst)"
        if file.parts[0] == "docs" and file.suffix == ".md":
            return f"[{words}]({to}{file.relative_to('docs')}{anchor})"
        if not (ROOT / file).exists():
            return link[0]  # Sphinx knows it, or warns
        return f"{words} (`{file}`)" if f"`{file.name}`" not in words else words

    pieces = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)  # what is code stays
    pieces[::2] = [re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", change, piece) for piece in pieces[::2]]
    return "".join(pieces)


def _copy_pages(app: Any) -> None:
    place = ROOT / "docs" / "beside"
    place.mkdir(exist_ok=True)
    for source, name in BESIDE.items():
        text = _relinked((ROOT / source).read_text(), (ROOT / source).parent, "../")
        for image in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
            shutil.copy((ROOT / source).parent / image, place)
        page = place / f"{name}.md"
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def _relink_page(app: Any, name: str, source: list[str]) -> None:
    if app.env.doc2path(name).suffix == ".md" and not name.startswith("beside/"):
        source[0] = _relinked(source[0], ROOT / "docs", "")


def _follow_links(app: Any, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        for link in links.leading_nowhere(Path(app.outdir)):
            logging.getLogger(__name__).warning("a link that leads nowhere: %s", link)
        for address in links.from_elsewhere(Path(app.outdir)):
            logging.getLogger(__name__).warning("a page that needs the network: %s", address)


def _keep_at_home(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Take the address of an icon font out of matplotlib's animations: the theme brings that font."""
    if "body" in context:
        context["body"] = re.sub(
            r'<link rel="stylesheet"\s+href="https?://[^"]*font-awesome[^"]*">', "", context["body"]
        )


def setup(app: Any) -> None:
    """Show the pages beside the code, and follow the links when all is written."""
    app.connect("builder-inited", _copy_pages)
    app.connect("source-read", _relink_page)
    app.connect("html-page-context", _keep_at_home)
    app.connect("build-finished", _follow_links)
