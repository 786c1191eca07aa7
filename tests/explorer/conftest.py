import shutil

import pytest

OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--force-device-scale-factor=1", "--hide-scrollbars"),
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A Chromium without a network, shared by all tests."""
    selenium = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no Chromium with its chromedriver: install chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for option in OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    # The requests of pages and of their workers, and what they write to the console.
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = selenium.Chrome(options, selenium.ChromeService(driver))
    browser.set_script_timeout(30)
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def open_page(browser):
    """Opens a page from its file, and waits until it is ready."""

    def open_page(file, fragment=""):
        # Another fragment alone would not load the page again.
        browser.get("about:blank")
        browser.get(f"{file.resolve().as_uri()}{fragment}")
        error = browser.execute_async_script(
            "const done = arguments[0]; tfvae.ready.then(() => done(null), e => done(e.message));"
        )
        assert error is None, error
        return browser

    return open_page
