from __future__ import annotations

import json
import threading

from fastconv.parallel import Timeline


def test_spans_are_written_as_a_chrome_trace(tmp_path):
    timeline = Timeline()
    with timeline.span("compute"):
        pass

    def talk():
        with timeline.span("reduce"):
            pass

    thread = threading.Thread(target=talk, name="other")
    thread.start()
    thread.join()
    timeline.save(tmp_path / "trace.json", rank=3)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert [(span["name"], span["pid"], span["tid"]) for span in spans] == [("compute", 3, 0), ("reduce", 3, 1)]
    assert {event["args"]["name"] for event in events if event["ph"] == "M"} == {"rank 3", "MainThread", "other"}
    assert spans[1]["ts"] >= spans[0]["ts"] + spans[0]["dur"]
    assert timeline.seconds("reduce") * 1e6 == spans[1]["dur"]
