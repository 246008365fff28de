from fastconv.training.entries import settings


def test_settings_are_told_by_their_places():
    tables = {"a": {"x": 1, "y": True, "none": []}, "b": [{"name": "N", "size": [2, 3]}, {"name": "M"}], "c": "text"}
    assert settings(tables) == {
        "a.x": "1",
        "a.y": "true",
        "a.none": "none",
        "b[1].name": "N",
        "b[1].size": "2, 3",
        "b[2].name": "M",
        "c": "text",
    }
