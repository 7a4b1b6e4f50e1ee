"""The page in a real browser: groups are named and taken back, photos go into the gallery that is chosen."""

import re
import shutil

import pytest
from support.browser import BROWSER, PHONE, WIDE, ask, launched, names, opened, serious, sign_in
from support.photos import grouped_library
from support.servers import TOKEN, listening

from veduta.gallery import Gallery
from veduta.library import Library

pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def chromium():
    with launched() as browser:
        yield browser


@pytest.fixture
def mine(tmp_path):
    """Folder of an empty gallery."""
    Gallery.create(tmp_path / "mine").close()
    return tmp_path / "mine"


@pytest.fixture
def folder(tmp_path):
    """A library of two groups: 0, 1 and 2 are the first, 3 and 4 the second."""
    return grouped_library(tmp_path / "library", (3, 2), seed=20)


@pytest.fixture
def places(chromium, folder, mine):
    """The page with the groups of the library."""
    with Library(folder) as library, listening(mine, library=library) as address:
        for page in opened(chromium, address, viewport=WIDE):
            page.goto("about:blank")
            page.goto(f"{address}/#/review?token={TOKEN}")
            page.get_by_test_id("group").first.wait_for()
            yield page


@pytest.fixture
def two(chromium, gallery_path, mine):
    """The page of a server with two galleries."""
    with listening(gallery_path, mine) as address:
        for page in opened(chromium, address, viewport=WIDE):
            sign_in(page)
            page.get_by_test_id("nav-recognize").click()
            yield page


def labels(folder):
    with Library(folder) as library:
        return [a.label and a.label.landmark.name for a in library.assets()]


def counts(path):
    with Gallery.open(path) as gallery:
        return {landmark.name: count for landmark, count in gallery.landmarks()}


def choose_new(page, where, text):
    """Type a name and choose it as a new landmark's."""
    where.get_by_test_id("picker-input").fill(text)
    where.get_by_role("option", name=f"New landmark “{text}”").click()


def test_a_group_is_named_without_a_stranger_and_the_name_is_taken_back(places, folder, mine):
    from playwright.sync_api import expect

    first, second = (places.get_by_test_id("group").nth(i) for i in (0, 1))
    expect(places.get_by_test_id("review-places")).to_have_text("Places 2")
    expect(first.get_by_role("img", name="1.jpg")).to_have_attribute("src", re.compile("^blob:"))
    first.get_by_role("button", name="Leave out 1.jpg").click()
    expect(first.get_by_role("button", name="Put back 1.jpg")).to_be_focused()
    expect(first.get_by_test_id("group-save")).to_have_text("Name 2\u00a0photos")
    first.get_by_test_id("picker-input").fill("Ca' d'Oro")
    first.get_by_role("option").first.wait_for()
    places.keyboard.press("Enter")
    places.keyboard.press("Enter")
    expect(first).to_contain_text("2\u00a0photos named, 2\u00a0references added to mine.")
    expect(second.get_by_test_id("picker-input")).to_be_focused()  # the next one
    expect(places.get_by_test_id("review-places")).to_have_text("Places 1")
    assert labels(folder) == ["Ca' d'Oro", None, "Ca' d'Oro", None, None]
    assert counts(mine) == {"Ca' d'Oro": 2}
    expect(first.get_by_text("Left out")).to_be_visible()
    expect(first.get_by_test_id("leave-out").first).to_be_hidden()
    first.get_by_test_id("group-forget").click()
    expect(first).to_contain_text("The name of 2\u00a0photos was taken back, 2\u00a0references removed from mine.")
    expect(first.get_by_test_id("picker-input")).to_be_focused()
    assert labels(folder) == [None] * 5
    assert counts(mine) == {}


def test_names_of_the_gallery_are_suggested_and_references_are_left_out_on_request(places, folder, mine):
    from playwright.sync_api import expect

    first, second = (places.get_by_test_id("group").nth(i) for i in (0, 1))
    choose_new(places, first, "Rialto")
    first.get_by_test_id("group-save").click()
    expect(first).to_contain_text("3\u00a0references added")
    second.get_by_test_id("picker-input").fill("rial")
    second.get_by_role("option", name="Rialto rialto").click()
    second.get_by_test_id("group-references").uncheck()
    second.get_by_test_id("group-save").click()
    expect(second).to_contain_text("2\u00a0photos named.")
    assert labels(folder) == ["Rialto"] * 5
    assert counts(mine) == {"Rialto": 3}
    places.reload()  # a name can be taken back later, too
    places.get_by_test_id("review-places").click()
    expect(places.get_by_test_id("group-forget")).to_have_count(2)


def test_the_group_without_any_photo_left_cannot_be_named(places):
    from playwright.sync_api import expect

    second = places.get_by_test_id("group").nth(1)
    for name in ("3.jpg", "4.jpg"):
        second.get_by_role("button", name=f"Leave out {name}").click()
    expect(second.get_by_test_id("group-save")).to_be_disabled()
    second.get_by_role("button", name="Put back 4.jpg").click()
    expect(second.get_by_test_id("group-save")).to_be_enabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_groups_fit_their_window_and_have_no_serious_fault_for_a_screen_reader(
    chromium, folder, mine, size, scheme
):
    with Library(folder) as library, listening(mine, library=library) as address:
        for page in opened(chromium, address, viewport=size, color_scheme=scheme, bypass_csp=True):
            page.goto("about:blank")
            page.goto(f"{address}/#/review?token={TOKEN}&state=places")
            page.get_by_role("button", name="Leave out 1.jpg").click()
            choose_new(page, page.get_by_test_id("group").nth(1), "Rialto")
            page.get_by_test_id("group-save").nth(1).click()
            page.get_by_test_id("group-forget").wait_for()
            assert serious(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_photo_goes_into_the_gallery_chosen_which_is_remembered_and_its_card_asks_again(two, strangers, mine):
    from playwright.sync_api import expect

    ask(two, strangers[0])
    expect(names(two)).to_have_text(["None I know"])
    two.get_by_test_id("add-reference").click()
    dialog = two.get_by_role("dialog")
    expect(dialog.get_by_test_id("reference-gallery").locator("option")).to_have_text(["gallery", "mine"])
    dialog.get_by_label("Gallery").select_option("mine")
    choose_new(two, dialog, "Palazzo Nuovo")
    dialog.get_by_role("button", name="Add it").click()
    expect(two.locator(".notes")).to_contain_text("1\u00a0photo added")
    expect(names(two)).to_have_text(["Palazzo Nuovo"])  # the new answer, not the one before
    assert counts(mine) == {"Palazzo Nuovo": 1}
    two.reload()
    ask(two, strangers[1])
    two.get_by_test_id("add-reference").click()
    expect(two.get_by_test_id("reference-gallery")).to_have_value("mine")


def test_the_gallery_that_answered_is_the_first_choice_and_a_change_forgets_its_landmark(two, view):
    from playwright.sync_api import expect

    ask(two, view)
    expect(names(two)).to_have_text(["palazzo-0"])
    two.get_by_test_id("add-reference").click()
    dialog = two.get_by_role("dialog")
    choice, field = dialog.get_by_test_id("reference-gallery"), dialog.get_by_test_id("picker-input")
    expect(choice).to_have_value("gallery")
    assert field.evaluate("field => field.validity.valid")
    choice.select_option("mine")
    assert not field.evaluate("field => field.validity.valid")  # it is no landmark of that gallery
    choice.select_option("gallery")
    assert field.evaluate("field => field.validity.valid")


def test_a_photo_is_asked_about_where_it_was_added_though_the_settings_name_another_gallery(two, strangers):
    from playwright.sync_api import expect

    two.evaluate("localStorage.setItem('veduta.settings', JSON.stringify({gallery: 'gallery', lastAdded: 'mine'}))")
    two.reload()
    ask(two, strangers[0])
    two.get_by_test_id("add-reference").click()
    choose_new(two, two.get_by_role("dialog"), "Palazzo Nuovo")
    two.get_by_role("button", name="Add it").click()
    expect(names(two)).to_have_text(["Palazzo Nuovo"])


@pytest.mark.parametrize(
    ("accepted", "text", "is_new", "touch", "ticked"),
    [
        (False, "Palazzo Nuovo", True, (), True),
        (False, "palazzo-1", False, (), False),
        (True, "Palazzo Nuovo", True, (), True),
        (True, "palazzo-1", False, (), True),
        (False, "Palazzo Nuovo", True, ("after",), False),
        (False, "palazzo-1", False, ("after",), True),
        (False, "Palazzo Nuovo", True, ("before",), True),
        (False, "palazzo-1", False, ("before",), True),
        (False, "Palazzo Nuovo", True, ("before", "after"), False),
        (True, "palazzo-1", False, ("after",), False),
    ],
)
def test_a_photo_corrected_to_a_new_landmark_becomes_its_reference_unless_that_is_unticked(
    queued, accepted, text, is_new, touch, ticked
):
    from playwright.sync_api import expect

    if accepted:
        queued.get_by_test_id("review-reference").check()
    queued.get_by_test_id("review-correct").click()
    dialog, box = queued.get_by_role("dialog"), queued.get_by_test_id("correct-reference")
    if "before" in touch:
        box.click()
    dialog.get_by_test_id("picker-input").fill(text)
    dialog.get_by_role("option", name=f"New landmark “{text}”" if is_new else text).first.click()
    if "after" in touch:
        box.click()
    assert box.is_checked() is ticked
    with queued.expect_request("**/v1/review/*") as sent:
        queued.route(
            "**/v1/review/*", lambda route: route.abort() if route.request.method == "POST" else route.continue_()
        )
        dialog.get_by_role("button", name="Save").click()
    assert sent.value.post_data_json["reference"] is ticked
    expect(dialog.get_by_role("alert")).to_be_visible()
    queued.unroute_all()
    dialog.get_by_role("button", name="Cancel").click()


@pytest.fixture(scope="module")
def queue_page(chromium, built, strangers, tmp_path_factory):
    """A page whose review queue has one photo."""
    path = shutil.copytree(built, tmp_path_factory.mktemp("queued") / "gallery")
    with Gallery.open(path) as gallery:
        gallery.trust()
    with listening(path) as address:
        context = chromium.new_context(viewport=WIDE)
        page = context.new_page()
        page.goto(address)
        sign_in(page)
        page.get_by_test_id("nav-recognize").click()
        ask(page, strangers[0])
        page.get_by_test_id("keep-review").click()
        page.locator(".notes .done").wait_for()
        yield page
        context.close()


@pytest.fixture
def queued(queue_page):
    """The review queue, opened anew."""
    queue_page.unroute_all()
    queue_page.reload()  # whatever a test that failed has left open
    queue_page.get_by_test_id("nav-review").click()
    queue_page.get_by_test_id("review-item").wait_for()
    return queue_page
