"""Plain text tables."""

from fastconv.training.diagnostics.tables import table


def test_columns_are_flush():
    got = table(("name", "value"), [("a", "1"), ("long name", "12")], head="head", left=1)
    assert got == "head\nname       value\n----------------\na              1\nlong name     12"
