"""The page in Chromium: opened, and used as people use it."""

import contextlib
import shutil
from pathlib import Path

from support.servers import TOKEN

BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
WIDE, PHONE = {"width": 1180, "height": 900}, {"width": 360, "height": 740}


@contextlib.contextmanager
def launched():
    """Give a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser
        browser.close()


def opened(chromium, server, **options):
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
    context, complaints, requested = chromium.new_context(**options), [], []
    page = context.new_page()
    page.set_default_timeout(20_000)
    # That an id is free is found out by asking for it: the browser notes the 404.
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" and "404" not in m.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(server)
    yield page
    context.close()
    assert complaints == []
    assert [url for url in requested if not url.startswith((server, "blob:", "data:"))] == []  # nothing from elsewhere


def ask(page, *paths):
    page.get_by_test_id("file-input").set_input_files([str(path) for path in paths])


def names(page):
    return page.get_by_test_id("answer-name")


def sign_in(page):
    page.get_by_test_id("nav-settings").click()
    page.get_by_test_id("token-input").fill(TOKEN)
    page.get_by_test_id("token-save").click()
    page.locator(".done").first.wait_for()


def serious(page):
    """What axe finds that is serious or worse."""
    import axe_playwright_python

    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8"))
    violations = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        (violation["id"], violation["nodes"][0]["html"][:120])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]
