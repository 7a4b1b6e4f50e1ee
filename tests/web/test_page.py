"""The page in a real browser: a photo is dropped and named, a landmark is added and recognized, verdicts are given."""

import io
import os
import re
from pathlib import Path

import PIL.Image
import pytest
from support import world
from support.browser import BROWSER, PHONE, WIDE, ask, launched, names, opened, serious, sign_in
from support.servers import TOKEN, serving

pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.xdist_group("browser"),
]
PICTURES = os.environ.get("VEDUTA_PICTURES")  # a folder to write the documentation's picture to
PLACE = (45.4379, 12.3359)


@pytest.fixture(scope="module")
def chromium():
    with launched() as browser:
        yield browser


@pytest.fixture
def server(gallery_path):
    with serving(gallery_path) as started:
        yield started.address


@pytest.fixture
def page(chromium, server):
    """A page that has been opened; whatever the browser complains of fails the test in the end."""
    yield from opened(chromium, server, viewport=WIDE)


def test_a_photo_is_named_and_the_matching_points_are_shown(page, view, distractors):
    from playwright.sync_api import expect

    ask(page, view, distractors[0])
    expect(names(page)).to_have_text(["palazzo-0", "None I know"])
    card = page.get_by_test_id("answer-card").first
    expect(card.get_by_test_id("answer-confidence")).to_contain_text("almost certainly")
    card.get_by_test_id("why-button").click()
    lines = card.get_by_test_id("evidence-lines").locator("line")
    lines.first.wait_for()
    assert lines.count() >= 8
    before = card.get_by_test_id("pair-viewer").screenshot()
    card.get_by_test_id("mask-toggle").check()
    page.wait_for_timeout(500)
    assert card.get_by_test_id("pair-viewer").screenshot() != before
    assert card.get_by_test_id("candidate").count() >= 2
    if PICTURES:  # the one in docs/service.md
        card.get_by_test_id("mask-toggle").uncheck()
        page.wait_for_timeout(500)
        shown = PIL.Image.open(io.BytesIO(card.screenshot()))
        shown.crop((0, 0, shown.width, 960)).save(Path(PICTURES) / "page.webp", quality=80, method=6)


def test_why_asks_the_server_for_nothing_more_about_candidates_that_were_verified(page, view):
    from playwright.sync_api import expect

    posts = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    ask(page, view)
    expect(names(page)).to_have_text(["palazzo-0"])
    assert [url.rpartition("/")[2] for url in posts] == ["recognize"]
    page.get_by_test_id("why-button").click()
    verified = page.get_by_test_id("candidate").filter(has_not_text="not checked")
    assert verified.count() > 3
    lines = page.get_by_test_id("evidence-lines").locator("line")
    for i in range(verified.count()):
        verified.nth(i).click()
        expect(verified.nth(i)).to_have_attribute("aria-pressed", "true")
        inliers = re.search(r"(\d+)\s+matching point", verified.nth(i).inner_text())
        expect(lines).to_have_count(2 * int(inliers[1]) if inliers else 0)  # each with a darker one under it
    assert len(posts) == 1
    with page.expect_response("**/v1/verify"):
        page.get_by_test_id("candidate").filter(has_text="not checked").first.click()
    assert len(posts) == 2


def test_a_photo_can_be_dropped(page, view):
    from playwright.sync_api import expect

    held = page.evaluate_handle(
        """async (bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", {type: "image/jpeg"}));
            return transfer;
        }""",
        list(Path(view).read_bytes()),
    )
    page.get_by_test_id("drop-zone").dispatch_event("drop", {"dataTransfer": held})
    expect(names(page)).to_have_text(["palazzo-0"])


def test_a_file_that_is_no_photo_has_its_error_on_its_card_and_does_not_stop_the_others(page, view, tmp_path):
    from playwright.sync_api import expect

    broken = tmp_path / "<b>broken.jpg"
    broken.write_bytes(b"no photo")
    ask(page, broken, view)
    expect(page.get_by_test_id("answer-card").first).to_contain_text("<b>broken.jpg")
    expect(names(page).last).to_have_text("palazzo-0")
    assert page.locator(".card b").count() == 0


def test_a_landmark_that_is_added_is_recognized_and_stands_on_the_map_without_network(page, tmp_path):
    from playwright.sync_api import expect

    photos = [tmp_path / f"{i}.jpg" for i in range(2)]
    for i, photo in enumerate(photos):
        world.save(world.view(world.facade(700), 40 + i, 0.4).pixels, photo)
    sign_in(page)
    page.get_by_test_id("nav-landmarks").click()
    page.get_by_test_id("add-landmark").click()
    form = page.get_by_test_id("add-landmark-form")
    form.get_by_label("Name").fill("Ca' d'Oro / Venezia")
    form.get_by_label("Latitude").fill(str(PLACE[0]))
    form.get_by_label("Longitude").fill(str(PLACE[1]))
    page.get_by_test_id("reference-input").set_input_files(str(photos[0]))
    form.get_by_role("button", name="Add the landmark").click()
    page.get_by_test_id("reference").first.wait_for()
    page.locator(".leaflet-container canvas").first.wait_for()
    page.get_by_test_id("nav-recognize").click()
    ask(page, photos[1])
    expect(names(page)).to_have_text(["Ca' d'Oro / Venezia"])


def test_a_verdict_is_given_by_keys_and_stays(page, view, server, gallery_path):
    from playwright.sync_api import expect

    from veduta.review_queue import ReviewQueue

    sign_in(page)
    page.get_by_test_id("nav-recognize").click()
    ask(page, view)
    expect(names(page)).to_have_count(1)
    page.get_by_test_id("keep-review").click()
    page.locator(".notes .done").wait_for()
    page.get_by_test_id("nav-review").click()
    expect(page.get_by_test_id("review-item")).to_have_count(1)
    page.keyboard.press("a")
    expect(page.get_by_test_id("review-item")).to_have_count(0)
    review = ReviewQueue(gallery_path)
    assert [(item.verdict, item.landmark) for item in review.items("all")] == [("accepted", "palazzo-0")]
    review.close()


def test_the_first_choice_for_a_doubtful_photo_is_its_best_guess(page, strangers, gallery_path):
    from playwright.sync_api import expect

    from veduta.review_queue import ReviewQueue

    sign_in(page)
    page.get_by_test_id("nav-recognize").click()
    ask(page, strangers[0])
    page.get_by_test_id("keep-review").click()
    page.locator(".notes .done").wait_for()
    page.get_by_test_id("nav-review").click()
    expect(page.get_by_test_id("review-item")).to_have_count(1)
    review = ReviewQueue(gallery_path)
    (item,) = review.items("all")
    assert item.answer["landmark"] is None
    best = item.answer["guesses"][0]["landmark"]
    tools = page.locator("[data-testid=review-item] .row button")
    assert tools.first.inner_text() == f"Yes, it is {best['name'] or best['id']}"
    assert [tools.nth(i).inner_text() for i in (1, 2)] == ["Something else …", "No landmark"]
    page.keyboard.press("a")
    expect(page.get_by_test_id("review-item")).to_have_count(0)
    assert [(item.verdict, item.landmark) for item in review.items("all")] == [("accepted", best["id"])]
    review.close()


def test_a_token_in_the_address_is_taken_over_and_out_of_sight(chromium, server):
    from playwright.sync_api import expect

    for page in opened(chromium, server, viewport=WIDE):
        page.goto("about:blank")
        page.goto(f"{server}/#/review?token={TOKEN}")
        expect(page.get_by_test_id("review-open")).to_be_visible()
        assert TOKEN not in page.url
        page.reload()  # it is kept for this tab
        expect(page.get_by_test_id("review-open")).to_be_visible()
        expect(page.locator(".notice")).to_have_count(0)


def test_everything_up_to_the_evidence_can_be_reached_by_the_keyboard_alone(page, view):
    from playwright.sync_api import expect

    ask(page, view)
    expect(names(page)).to_have_count(1)
    page.evaluate("document.activeElement.blur()")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.testid") == "why-button":
            break
    else:
        pytest.fail("the button for the evidence is not reached")
    page.keyboard.press("Enter")
    page.get_by_test_id("evidence-lines").locator("line").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_view_is_wider_than_its_window_or_has_a_serious_fault_for_a_screen_reader(
    chromium, server, view, size, scheme
):
    from playwright.sync_api import expect

    # axe is put into the page, which the page's own policy would forbid.
    for page in opened(chromium, server, viewport=size, color_scheme=scheme, bypass_csp=True):
        ask(page, view)
        expect(names(page)).to_have_count(1)
        page.get_by_test_id("why-button").click()
        page.get_by_test_id("evidence-lines").locator("line").first.wait_for()
        checked(page)
        sign_in(page)
        checked(page)
        for route, testid in (
            ("landmarks", "landmark-row"),
            ("add", "add-landmark-form"),
            ("landmarks/palazzo-0", "reference"),
        ):
            page.goto(f"{server}/#/{route}")
            page.get_by_test_id(testid).first.wait_for()
            checked(page)
        page.get_by_test_id("nav-review").click()
        page.wait_for_timeout(300)
        checked(page)


def checked(page):
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_a_token_nothing_can_be_changed_and_the_page_says_so(chromium, built, view):
    from playwright.sync_api import expect

    with serving(built, token=None) as started:
        for page in opened(chromium, started.address, viewport=WIDE):
            ask(page, view)
            expect(names(page)).to_have_count(1)
            assert page.get_by_test_id("keep-review").count() == 0
            page.get_by_test_id("nav-settings").click()
            expect(page.get_by_test_id("read-only")).to_be_visible()
