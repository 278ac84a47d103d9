"""The picture of the wings is drawn from the imports as they are, and they go one way."""

import sys

import pytest
from support.service import ROOT

sys.path.insert(0, str(ROOT / "misc"))

import layout


@pytest.mark.slow
def test_the_picture_shows_the_imports_as_they_are() -> None:
    assert layout.DRAWN.read_text(encoding="utf-8") == layout.dot(), "`make layout` draws it again"


@pytest.mark.slow
def test_every_wing_and_module_is_in_the_picture() -> None:
    drawn = layout.dot()
    assert {path.name for path in layout.PACKAGE.iterdir() if (path / "__init__.py").exists()} == {*layout.wings()}
    assert all(module in drawn for wing in layout.wings() for module in layout.modules(wing))


@pytest.mark.slow
def test_no_arrow_points_backwards() -> None:
    """Each wing imports only wings before it in the table, so there is no circle either."""
    order = layout.wings()
    assert [arrow for arrow in sorted(layout.arrows()) if order.index(arrow[1]) >= order.index(arrow[0])] == []
