"""The picture of the parts in the README: ``python -m docs.picture`` writes docs/parts.svg."""

from __future__ import annotations

from docs.marked import ROOT

PAGE = ROOT / "docs" / "parts.svg"
WIDTH, HEIGHT = 860, 250

# Each box: left, top, width, height, title, line below it.
BOXES = (
    (10, 95, 60, 60, "x", "NHWC"),
    (110, 95, 130, 60, "layer", "fastconv.nn"),
    (280, 95, 150, 60, "function", "fastconv.functional"),
    (470, 95, 130, 60, "contract", "one, for all"),
    (650, 20, 200, 60, "numba", "kernels/cpu: SIMD, threads"),
    (650, 95, 200, 60, "cuda", "kernels/cuda: CuPy, emulator"),
    (650, 170, 200, 60, "numpy", "the reference"),
)
ARROWS = ((0, 1), (1, 2), (2, 3), (3, 4), (3, 5), (3, 6))
_STYLE = (
    "rect{fill:#f6f8fa;stroke:#57606a;rx:6}text{font-family:sans-serif;text-anchor:middle;fill:#1f2328}"
    ".title{font-size:16px;font-weight:bold}.line{font-size:12px}path{fill:none;stroke:#57606a;stroke-width:1.5}"
)


def _box(left: int, top: int, width: int, height: int, title: str, line: str) -> str:
    middle = left + width / 2
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}"/>'
        f'<text class="title" x="{middle:g}" y="{top + 26}">{title}</text>'
        f'<text class="line" x="{middle:g}" y="{top + 46}">{line}</text>'
    )


def _arrow(source: int, target: int) -> str:
    left, top, width, height = BOXES[source][:4]
    to_left, to_top, _, to_height = BOXES[target][:4]
    return (
        f'<path marker-end="url(#head)" d="M{left + width} {top + height / 2:g}'
        f'L{to_left - 11} {to_top + to_height / 2:g}"/>'
    )


def picture() -> str:
    """Return the picture as SVG."""
    head = '<marker id="head" markerWidth="8" markerHeight="8" refX="1" refY="4" orient="auto">'
    lines = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        "<title>x goes through a layer and a function to the contract, which numba, cuda and numpy carry out</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" style="fill:white;stroke:none"/>',
        f'<defs>{head}<path d="M0 0L8 4L0 8z" style="fill:#57606a;stroke:none"/></marker></defs>',
        *(_box(*box) for box in BOXES),
        *(_arrow(source, target) for source, target in ARROWS),
        "</svg>",
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the picture."""
    PAGE.write_text(picture())


if __name__ == "__main__":
    main()
