"""The picture of the parts is what its script draws, and every box lies inside of it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from docs import picture


def test_the_file_holds_what_the_script_draws() -> None:
    assert picture.PAGE.read_text() == picture.picture(), "run: python -m docs.picture"


def test_it_is_well_formed_and_boxes_lie_inside_and_apart() -> None:
    ElementTree.fromstring(picture.picture())
    for left, top, width, height, *_ in picture.BOXES:
        assert 0 <= left < left + width <= picture.WIDTH
        assert 0 <= top < top + height <= picture.HEIGHT
    for number, (left, top, width, height, *_) in enumerate(picture.BOXES):
        for x, y, *_ in picture.BOXES[number + 1 :]:
            assert not (left <= x < left + width and top <= y < top + height)
