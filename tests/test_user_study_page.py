"""Laws of the study's page in a real browser: rated, left, resumed, saved, read; for everyone."""

from itertools import pairwise

import pytest
from browser import CHROMIUM, needs_chromium
from made_up import cases

from bokehlib.extras.user_study import page, ratings

pytestmark = needs_chromium
PATIENCE = 60_000  # ms, for machines with much else to do
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
OPINIONS = {"scatter": 2, "drbokeh": 4, "mpib": 1}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox"], "timeout": PATIENCE}
        yield playwright.chromium.launch(**options)


@pytest.fixture
def study(browser, tmp_path):
    """Builds a study; gives its key and a function that opens tabs which share their storage."""
    contexts = []

    def built(form, **options):
        text, key = page.build(cases(), "Which blur?", form, checks=1)
        address = page.write(tmp_path, text, key).as_uri() + "?rater=7"
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(PATIENCE)

        def open_tab():
            tab = contexts[-1].new_page()
            tab.requests, tab.errors = [], []
            tab.on("request", lambda request: tab.requests.append(request.url))
            tab.on("pageerror", lambda error: tab.errors.append(str(error)))
            tab.goto(address)
            return tab

        return key, open_tab

    yield built
    for context in contexts:
        context.close()


def rate(tab, key, screens):
    """Rate by keys as `OPINIONS` says, or as a check asks."""
    for _ in range(screens):
        case, code, asked = tab.evaluate(
            """() => {
                const screen = screens[state.at], shown = study.cases[screen.case];
                return [shown.name, shown.results[screen.result].code, screen.check ?? null];
            }"""
        )
        for _ in range(tab.locator(".scale").count()):
            tab.keyboard.press(str(asked or OPINIONS[key.cases[case][code]]))
        tab.keyboard.press("Enter")


def violations(tab):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab).response["violations"]
    return [(v["id"], v["impact"], [n["html"][:80] for n in v["nodes"]]) for v in found]


@pytest.mark.parametrize(("form", "options"), [("drawn", {}), ("all", PHONE)])
def test_a_rater_leaves_midway_comes_back_saves_and_the_file_is_read(
    study, tmp_path, form, options
):
    key, open_tab = study(form, **options)
    tab = open_tab()
    assert violations(tab) == []
    tab.check("input[value=year]")
    tab.click("text=Start")
    tab.click("#next")
    assert "choose from 1 to 5" in tab.inner_text("#notice")
    rate(tab, key, 3)
    tab.click(".scale label:has([value='5'])")  # chosen, not yet confirmed
    where = tab.inner_text("#place")
    assert violations(tab) == []
    sizes = tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert sizes[0] <= sizes[1]
    other = open_tab()  # comes back in another tab
    assert other.inner_text("#place") == where
    assert other.is_checked(".scale [value='5']")
    other.keyboard.press("Backspace")
    rate(other, key, 1)
    other.click(".scale label:has([value='1'])")  # changes the rating that was chosen
    rate(other, key, 4)
    tab.wait_for_selector("#end:visible")  # the first tab follows
    assert violations(other) == []
    with other.expect_download() as download:
        other.click("section .save")
    place = tmp_path / key.study
    assert download.value.suggested_filename == f"{key.study}-n7.csv"
    download.value.save_as(place / "n7.csv")
    (place / "index.html").unlink()
    found = ratings.read(place)
    assert found.sheets["status"].tolist() == ["complete"]
    assert len(found.rows) == key.expected
    if form == "drawn":
        assert found.rows.groupby("method")["rating"].unique().to_dict() == OPINIONS
    assert {url.partition(":")[0] for url in tab.requests + other.requests} <= {
        *("file", "data", "blob")
    }
    assert tab.errors + other.errors == []
    other.click("#another")
    assert other.is_visible("#start")


def test_methods_are_balanced_over_places_and_neighbours_and_everyone_sees_everything(study):
    tab = study("drawn")[1]()
    for size in range(2, 9):
        rows = tab.evaluate(f"latinSquare({size})")
        times = len(rows) // size
        for column in zip(*rows, strict=True):
            assert all(column.count(item) == times for item in range(size))
        after = [pair for row in rows for pair in pairwise(row)]
        assert {after.count(pair) for pair in set(after)} == {times}
        assert len(set(after)) == size * (size - 1)
    plans = [tab.evaluate(f"plan(seedOf({n}), {n})") for n in range(6)]
    assert plans[0] == tab.evaluate("plan(seedOf(0), 0)")
    for screens in plans:
        real = [s for s in screens if "check" not in s]
        assert len(screens) == len(real) + 1
        assert {(s["case"], s["result"]) for s in real} == {
            (c, r) for c in (0, 1) for r in (0, 1, 2)
        }
        by_turn = [{s["aspects"][0]["key"] for s in real if s["turn"] == turn} for turn in (0, 1)]
        assert all(len(aspects) == 1 for aspects in by_turn)  # one per case
        assert by_turn[0] != by_turn[1]  # no aspect again before all have come
    for turn in (0, 1):
        order = [[s["result"] for s in p if s["turn"] == turn and "check" not in s] for p in plans]
        for place in zip(*order, strict=True):
            assert [place.count(result) for result in range(3)] == [2, 2, 2]
