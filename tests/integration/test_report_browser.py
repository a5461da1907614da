"""The report in a real browser: Chromium without a window, from the file alone, offline."""

import json
import shutil

import pytest
from limits import LIMIT
from reports import EVIL, report_data, some

from nxt.data.ref import DataRef
from nxt.report.page import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--enable-unsafe-swiftshader")


@pytest.fixture(scope="module")
def browser():
    """A Chromium of the test's own, which may not reach any network."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield made
    made.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of a search that has everything, whose data and messages are hostile."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    trials = some(40)
    trials[0].family = EVIL
    write_report(report_data(trials, data=DataRef("folder", EVIL)), file)
    return file


def opened(browser, page, width=1280, dark=False):
    """Open the page at a width, scroll through it, and wait until every plot is drawn."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page.as_uri())
    browser.set_script_timeout(LIMIT)
    browser.execute_async_script(
        """
        const done = arguments[0], plots = [...document.querySelectorAll('.plot')];
        (function next() {
          const missing = plots.find(plot => !plot.querySelector('.main-svg'));
          if (!missing) { return done(); }
          missing.scrollIntoView({ behavior: 'instant' });
          setTimeout(next, 30);
        })();
        """
    )


def wait(browser, condition):
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, LIMIT).until(lambda found: found.execute_script(f"return {condition}"))


def test_all_figures_are_drawn_with_points_and_nothing_is_complained_of(browser, page):
    opened(browser, page)
    assert browser.get_log("browser") == []
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map(plot => [plot.getAttribute('aria-label'), "
        "plot.querySelectorAll('.point, .js-line, .js-fill, .hm image, canvas').length])"
    )
    assert len(drawn) > 20 and all(count > 0 for _, count in drawn), drawn
    front = "document.querySelector('#front .plot')"
    points = browser.execute_script(f"return {front}.querySelectorAll('.scatterlayer .point').length")
    assert points >= 40 + 1  # every finished architecture, and the reference's frame


def test_nothing_but_the_file_is_loaded(browser, page):
    opened(browser, page)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert page.as_uri() in asked
    assert all(url == page.as_uri() or url.startswith(("data:", "blob:")) for url in asked)


def test_text_from_outside_stays_text(browser, page):
    opened(browser, page)
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert EVIL in browser.find_element("tag name", "h1").text


def test_a_kind_is_hidden_by_a_click_in_the_legend(browser, page):
    opened(browser, page)
    plot = browser.find_element("css selector", "#curves .plot")
    shown = "document.querySelectorAll('#curves .scatterlayer .trace').length"
    before = browser.execute_script(f"return {shown}")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    webdriver.ActionChains(browser).click(plot.find_element("css selector", ".legendtoggle")).perform()
    wait(browser, f"{shown} === {before - 1}")


def test_a_name_in_the_table_unfolds_commands_and_yaml(browser, page):
    opened(browser, page)
    folded = "#front details"
    assert browser.execute_script(f"return document.querySelectorAll('{folded}[open]').length") == 0
    link = browser.find_element("css selector", "#front td a")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", link)
    link.click()
    wait(browser, f"document.querySelectorAll('{folded}[open]').length === 1")
    opened_one = browser.find_element("css selector", f"{folded}[open]")
    assert "nxt train here/pareto/" in opened_one.text and "schema: 1" in opened_one.text
    opened_one.find_element("tag name", "summary").click()
    wait(browser, f"document.querySelectorAll('{folded}[open]').length === 0")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_phones_and_screens_in_light_and_dark(browser, page, width, dark):
    opened(browser, page, width, dark)
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    too_wide = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(one => !one.closest('.wide, pre, .plot, svg') && "
        "one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"
    )
    assert too_wide == []
    back, text = browser.execute_script(
        "const tick = document.querySelector('#front .plot .xtick text');"
        "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(tick).fill]"
    )
    shade = [sum(map(int, colour[4:-1].split(","))) / 3 for colour in (back, text)]
    assert (shade[0] < 60 and shade[1] > 180) if dark else (shade[0] > 240 and shade[1] < 80)
    assert browser.get_log("browser") == []


def test_the_figures_follow_when_light_becomes_dark(browser, page):
    opened(browser, page)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    wait(browser, "getComputedStyle(document.querySelector('#front .plot .xtick text')).fill === 'rgb(226, 230, 235)'")
