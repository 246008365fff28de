"""The page in a real browser: Chromium, driven through chromedriver by Selenium."""

import http.server
import json
import shutil
import threading
import time
from functools import partial

import pytest

import fastconv as fc
from fastconv.report import make_report
from fastconv.report.pictures import SIGNS
from fastconv.training.history import History

from .made import HISTORY, make_run

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZES = [(400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")]


@pytest.fixture(scope="module")
def browser():
    """A browser without a window, or without a screen."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the extra 'browser'")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip(f"needs {' or '.join(NAMES)}, and chromedriver, of one version")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))  # given, it looks for none
    try:
        yield opened
    finally:
        opened.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The folder of two pages: one.html of a run, and two.html of two, one of which is called by markup."""
    folder = tmp_path_factory.mktemp("pages")
    first = make_run(folder / "first", HISTORY)
    second = make_run(
        folder / "<script>alert(1)<script>", History({"loss": [2.0, float("nan")], "val_loss": [3.0, 2.5]})
    )
    with fc.use_backend("numpy"):
        make_report(first.directory).save(folder / "one.html")
        make_report(first.directory, second.directory, timed=False).save(folder / "two.html")
    return folder


def look(browser, path, width, scheme):
    """Open a page in a window of some width, in the light or in the dark."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path if "://" in str(path) else path.as_uri())


def requested(browser):
    """The addresses that the browser asked for since the page was opened."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]


def point_at(browser, chart, share):
    """Move the pointer over a chart, to some share of its width, and return the lines of what is shown."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    box = browser.execute_script("return arguments[0].querySelector('svg').getBoundingClientRect()", chart)
    place = {"x": box["left"] + share * box["width"], "y": box["top"] + box["height"] / 2}
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **place})
    return told(browser, chart)


def told(browser, chart):
    """The lines that a chart shows, without the signs of the runs."""
    script = "return [...arguments[0].querySelectorAll('.tip:not([hidden]) > div')].map((line) => line.innerText)"
    signs = dict.fromkeys(map(ord, SIGNS))
    return [" ".join(line.translate(signs).split()) for line in browser.execute_script(script, chart)]


def charts(browser):
    return browser.find_elements("css selector", "figure.chart")


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_nothing_is_asked_for_no_error_and_no_overflow(browser, pages, name, width, scheme):
    path = pages / f"{name}.html"
    look(browser, path, width, scheme)
    for chart in charts(browser):
        assert point_at(browser, chart, 0.5)
    wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert inner == width
    assert wide <= width
    assert browser.get_log("browser") == []
    assert {url for url in requested(browser) if not url.startswith("data:")} == {path.as_uri()}


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_pointing_at_a_curve_shows_the_numbers_of_the_log(browser, pages, width, scheme):
    look(browser, pages / "one.html", width, scheme)
    loss, accuracy = charts(browser)[:2]
    assert point_at(browser, loss, 0.12) == ["epoch 1", "training 2.25", "validation 2.5"]
    assert point_at(browser, loss, 0.55) == ["epoch 2", "training 1.5", "validation 1.75"]
    assert point_at(browser, loss, 0.97) == ["epoch 3", "training 0.751235", "validation 1.25"]
    box = browser.execute_script(
        "const b = arguments[0].querySelector('.tip').getBoundingClientRect(); return [b.left, b.right]", loss
    )
    assert 0 <= box[0] < box[1] <= width
    assert point_at(browser, accuracy, 0.97) == ["epoch 3", "training 0.75", "validation 0.625"]
    assert told(browser, loss) == []


def test_curves_of_runs_are_told_apart_and_names_are_no_markup(browser, pages):
    look(browser, pages / "two.html", 1400, "light")
    name = "<script>alert(1)<script>"
    assert [each.text[0] for each in browser.find_elements("css selector", ".legend > span")[:2]] == list(SIGNS[:2])
    assert point_at(browser, charts(browser)[0], 0.55) == [
        "epoch 2",
        "first, training 1.5",
        "first, validation 1.75",
        f"{name}, training not finite",
        f"{name}, validation 2.5",
    ]
    assert browser.find_element("css selector", "h1").text == f"first, {name}"
    assert len(browser.find_elements("css selector", "script")) == 1 + len(charts(browser))


def test_curves_can_be_read_by_keys(browser, pages):
    look(browser, pages / "one.html", 1400, "light")
    chart = charts(browser)[0]
    svg = chart.find_element("css selector", "svg")
    browser.execute_script("arguments[0].focus()", svg)
    left, right, home, escape = "\ue012", "\ue014", "\ue011", "\ue00c"
    for key, epoch in ((right, 1), (right, 2), (left, 1), (left, 1), (right, 2), (home, 1)):
        browser.switch_to.active_element.send_keys(key)
        assert told(browser, chart)[0] == f"epoch {epoch}"
    browser.switch_to.active_element.send_keys(escape)
    assert told(browser, chart) == []


def test_colours_follow_the_scheme(browser, pages):
    script = """const of = (s, p) => getComputedStyle(document.querySelector(s))[p];
        return [of("body", "backgroundColor"), of("body", "color"), of("figure.chart svg text", "fill"),
        of("figure.chart path[style*='--s0']", "stroke")]"""
    found = {}
    for scheme in ("light", "dark"):
        look(browser, pages / "one.html", 1400, scheme)
        found[scheme] = browser.execute_script(script)
        assert found[scheme][1] == found[scheme][2]
    assert all(light != dark for light, dark in zip(found["light"], found["dark"], strict=True))
    look(browser, pages / "one.html", 1400, "dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    printed = browser.execute_script(script)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert printed == found["light"]


def test_what_is_put_into_a_page_does_not_run(browser, pages):
    text = (pages / "one.html").read_text(encoding="utf-8")
    bad = '<script>document.title = "run"</script><img src="https://example.invalid/x.png" onerror="document.title=1">'
    (pages / "bad.html").write_text(text.replace("<main>", f"<main>{bad}"), encoding="utf-8")
    look(browser, pages / "bad.html", 1400, "light")
    assert browser.title == "first - fastconv report"
    assert len(browser.get_log("browser")) >= 2  # it says what it refused


def test_an_open_page_loads_itself_again_until_the_last_one(browser, tmp_path):
    run, page = make_run(tmp_path / "run", History({"loss": [2.0]})), tmp_path / "page.html"
    make_report(run.directory, compute=False, reload_seconds=0.2).save(page)
    look(browser, page, 400, "light")
    browser.execute_script("scrollTo(0, 300)")
    run.write_log(History({"loss": [2.0, 1.0, 0.5]}))
    make_report(run.directory, compute=False).save(page)

    def shown():
        # In one call: between two the page may load itself again, and its elements are stale.
        return "complete" in browser.execute_script("return document.querySelector('.status')?.textContent ?? ''")

    deadline = time.monotonic() + 60
    while not shown():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert browser.execute_script("return scrollY") == pytest.approx(300, abs=100)  # what is above it got shorter
    browser.execute_script("window.mark = 1")
    time.sleep(1)
    assert browser.execute_script("return window.mark") == 1  # it is still the same page
    assert browser.get_log("browser") == []


def test_a_notebook_can_hold_it(browser, pages, tmp_path):
    """In a frame without an origin, from a page that a server gives."""
    report = make_report(pages / "first", compute=False, reload_seconds=30)
    (tmp_path / "notebook.html").write_text(f"<!doctype html><link rel=icon href=data:,>{report._repr_html_()}")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/notebook.html"
        look(browser, address, 1400, "light")
        browser.switch_to.frame(0)
        browser.execute_script("document.querySelector('figure.chart svg').focus()")
        browser.switch_to.active_element.send_keys("\ue014")
        assert told(browser, charts(browser)[0])[0] == "epoch 1"
        browser.switch_to.default_content()
        assert browser.get_log("browser") == []
        server.shutdown()
