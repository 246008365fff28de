"""Links of the site: ``python -m docs.links docs/_build/html`` names those that lead nowhere, and what is not of it.

Sphinx warns of a reference that it does not know; this looks at the pages as they were written, so at links in HTML,
in the menus of the theme and to parts of pages, too. A page needs no network: its styles, scripts and pictures are of
the site.
"""

from __future__ import annotations

import html
import posixpath
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LINK = re.compile(r'\b(?:href|src)="([^"]*)"')
_FETCHED = re.compile(r'<(?:link|script|img|iframe|source|video)\b[^>]*?\b(?:href|src)="((?:https?:)?//[^"]*)"')
_ID = re.compile(r'\b(?:id|name)="([^"]*)"')


def leading_nowhere(site: Path) -> list[str]:
    """Return links of the pages in a folder to files or parts of pages that there are not, each as "page: link"."""
    files = {path.relative_to(site).as_posix() for path in site.rglob("*")}
    pages = sorted(name for name in files if name.endswith(".html") and not name.startswith("_static/"))
    texts = {name: (site / name).read_text() for name in pages}
    parts = {name: {html.unescape(part) for part in _ID.findall(text)} for name, text in texts.items()}
    found = []
    for page, text in texts.items():
        for link in sorted(set(_LINK.findall(text))):
            address = urlsplit(html.unescape(link))
            if address.scheme or address.netloc:
                continue
            path = posixpath.join(posixpath.dirname(page), unquote(address.path))
            name = posixpath.normpath(path) if address.path else page
            part = unquote(address.fragment)
            if name not in files or (part and name in parts and part not in parts[name]):
                found.append(f"{page}: {link}")
    return found


def from_elsewhere(site: Path) -> list[str]:
    """Return what a browser would fetch from other places than the site to show its pages, each as "page: address"."""
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html") if "_static" not in path.parts)
    return [
        f"{page}: {address}" for page in pages for address in sorted(set(_FETCHED.findall((site / page).read_text())))
    ]


def main() -> None:
    """Print them; exit status 1 if there are any."""
    site = Path(sys.argv[1]).resolve()
    found = leading_nowhere(site) + from_elsewhere(site)
    print("\n".join(found) or "all links lead somewhere, and all that is shown is here")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
