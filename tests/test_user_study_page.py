"""Laws of the study's page in a real browser: rated, left, resumed, saved, read; for everyone."""

import csv
import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from shutil import copy
from threading import Thread

import pandas as pd
import pytest
from browser import CHROMIUM, needs_chromium
from made_up import cases

from bokehlib import batch, ratings
from bokehlib.extras.user_study import page

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
def open_tab(browser):
    """Opens a page; tabs of one test share what their browser keeps."""
    contexts = {}

    def opened(page, **options):
        context = contexts.setdefault("all", browser.new_context(**options))
        context.set_default_timeout(PATIENCE)
        tab = context.new_page()
        tab.requests, tab.errors = [], []
        tab.on("request", lambda request: tab.requests.append(request.url))
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.goto(page.as_uri() if isinstance(page, Path) else page)
        return tab

    yield opened
    for context in contexts.values():
        context.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A study in the paper's form and one with all aspects: (page, key)."""
    folder = tmp_path_factory.mktemp("study")
    made = {form: page.build(cases(), "Which blur?", form, checks=1) for form in ratings.FORMS}
    return {form: (page.write(folder, text, key), key) for form, (text, key) in made.items()}


def begin(tab):
    tab.check("input[value=year]")
    tab.click("text=Start")


def current(tab):
    """(case, method's code, asked value of a check or none) that the page shows."""
    return tab.evaluate(
        """() => {
            const screen = screens[state.at], shown = study.cases[screen.case];
            return [shown.name, shown.results[screen.result].code, screen.check ?? null];
        }"""
    )


def opinion(tab, key):
    """The rating that `OPINIONS` has for what is shown, or what a check asks for."""
    case, code, asked = current(tab)
    return asked or OPINIONS[key.cases[case][code]]


def rate(tab, key, screens):
    for _ in range(screens):
        tab.click(f".scale label:has([value='{opinion(tab, key)}'])")
        tab.click("#next")


def saved(tab, folder, kind="csv"):
    with tab.expect_download() as download:
        tab.click(f"section [data-save={kind}]")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def view(tab):
    return next(v for v in ("start", "rate", "end") if tab.is_visible(f"#{v}"))


# --- A rater ---------------------------------------------------------------------------------


def test_a_rater_leaves_midway_comes_back_and_the_notebook_reads_the_saved_file(
    built, open_tab, tmp_path
):
    path, key = built["drawn"]
    tab = open_tab(path)
    begin(tab)
    rate(tab, key, 3)
    tab.click(".scale label:has([value='5'])")  # chosen, not yet confirmed
    where = tab.inner_text("#place")
    tab.close()
    tab = open_tab(path)
    assert (view(tab), tab.inner_text("#place")) == ("rate", where)
    assert tab.is_checked(".scale [value='5']")
    assert tab.get_attribute("#progress", "value") == str(3 / 7)
    rate(tab, key, 4)
    assert view(tab) == "end"
    sheet = saved(tab, tmp_path)
    assert sheet.name == f"{key.study}-{tab.evaluate('state.rater')}.csv"
    assert {url.partition(":")[0] for url in tab.requests} <= {"file", "data", "blob"}
    assert tab.errors == []
    copy(path.with_name(f"{key.study}.key.json"), tmp_path)
    batch.run("41_table1_ratings", tmp_path, ratings=str(tmp_path), results=str(tmp_path))
    table = pd.read_csv(tmp_path / "tables" / "table1_ratings.csv").set_index("method")
    rows = ratings.read(tmp_path).rows
    assert rows.groupby("method")["rating"].unique().to_dict() == OPINIONS
    assert table.loc["Dr.Bokeh", rows["aspect"].unique()].tolist() == [4] * rows["aspect"].nunique()
    assert "Sheets: 1; counted: 1 complete." in (tmp_path / "tables/table1_ratings.md").read_text()
    assert (tmp_path / "figures" / "ratings.svg").exists()


def test_a_rater_goes_through_by_keyboard_alone_and_both_files_say_the_same(
    built, open_tab, tmp_path
):
    path, key = built["drawn"]
    tab = open_tab(path)
    for pressed in ("Tab", "Space", "Tab", "1", "2", "Tab", "Enter"):
        tab.keyboard.press(pressed)
    assert (view(tab), tab.evaluate("state.rater")) == ("rate", "n12")
    tab.keyboard.press("Enter")
    assert "choose from 1 to 5" in tab.inner_text("#notice")
    for number in range(7):
        tab.keyboard.press(str(opinion(tab, key)))
        if number == 2:  # a change of mind, then back and forth
            tab.keyboard.press("5")
            tab.keyboard.press("Backspace")
            tab.keyboard.press("Enter")
            assert tab.is_checked(".scale [value='5']")
            tab.keyboard.press(str(opinion(tab, key)))
        tab.keyboard.press("Enter")
    assert view(tab) == "end"
    with tab.expect_download() as download:
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
    download.value.save_as(tmp_path / "n12.csv")
    with open(tmp_path / "n12.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == ratings.COLUMNS
    assert [row["screen"] for row in rows] == [str(n) for n in range(1, 8)]
    assert all(float(row["seconds"]) >= 0 and int(row["shown"]) == 48 for row in rows)
    told = json.loads(saved(tab, tmp_path, "json").read_text())["rows"]
    assert [{name: str(value) for name, value in row.items()} for row in told] == rows
    copy(path.with_name(f"{key.study}.key.json"), tmp_path)
    assert sorted(ratings.read(tmp_path).sheets["status"]) == ["complete", "double"]


def test_keys_can_be_switched_off(built, open_tab):
    tab = open_tab(built["drawn"][0])
    begin(tab)
    tab.uncheck("#shortcuts")
    tab.keyboard.press("3")
    assert not tab.is_checked(".scale [value='3']")


def test_in_the_form_with_three_aspects_each_picture_gets_three_ratings(built, open_tab, tmp_path):
    path, key = built["all"]
    tab = open_tab(path)
    begin(tab)
    for _ in range(7):
        _, _, asked = current(tab)
        groups = 1 if asked else 3
        assert tab.locator(".scale").count() == groups
        for done in range(groups):
            assert tab.get_attribute("#next", "aria-disabled") == "true", done
            tab.keyboard.press(str(opinion(tab, key)))
        tab.keyboard.press("Enter")
    saved(tab, tmp_path)
    copy(path.with_name(f"{key.study}.key.json"), tmp_path)
    found = ratings.read(tmp_path)
    assert found.sheets["status"].tolist() == ["complete"]
    assert found.rows.groupby("aspect").size().to_dict() == dict.fromkeys(ratings.ASPECTS, 6)


def test_a_finished_rater_makes_room_for_the_next_and_nothing_is_thrown_away(
    built, open_tab, tmp_path
):
    path, key = built["drawn"]
    tab = open_tab(path)
    begin(tab)
    rate(tab, key, 7)
    assert not tab.is_visible("#another")
    tab.reload()
    assert view(tab) == "end"
    saved(tab, tmp_path)
    tab.click("#another")
    assert view(tab) == "start"
    assert len(tab.evaluate("Object.keys(localStorage).filter((k) => k.includes('/done/'))")) == 1


# --- What may go wrong -----------------------------------------------------------------------


def test_of_two_tabs_one_rates_the_other_says_so_in_one_line_and_nothing_is_lost(built, open_tab):
    path, key = built["drawn"]
    first = open_tab(path)
    begin(first)
    rate(first, key, 2)
    second = open_tab(path)
    said = "open in another tab"
    assert said in second.inner_text("#notice span")
    assert second.locator("#notice span").bounding_box()["height"] < 40
    assert second.evaluate("document.getElementById('main').inert")
    rate(first, key, 1)
    assert not first.is_visible("#notice")
    second.click("text=Go on here")
    assert not second.is_visible("#notice")
    assert second.inner_text("#place") == first.inner_text("#place")
    first.wait_for_selector("#notice:visible")
    assert said in first.inner_text("#notice span")
    kept = second.evaluate("localStorage.getItem(KEY)")
    first.evaluate("rate('accuracy', 1)")  # what the blocked tab holds is not written
    assert second.evaluate("localStorage.getItem(KEY)") == kept
    rate(second, key, 4)
    assert view(second) == "end"
    kept = json.loads(second.evaluate("localStorage.getItem(KEY)"))
    assert len(kept["answers"]) == 7
    second.close()
    first.wait_for_selector("#end:visible")  # the lock is free: it goes on with what was kept


def test_a_second_study_does_not_touch_the_first(built, open_tab):
    one = open_tab(built["drawn"][0])
    begin(one)
    other = open_tab(built["all"][0])
    assert view(other) == "start"
    assert not other.is_visible("#notice")


def test_kept_answers_that_cannot_be_read_are_set_aside_and_said(built, open_tab):
    tab = open_tab(built["drawn"][0])
    tab.evaluate("localStorage.setItem(KEY, '{half')")
    tab.reload()
    assert "could not be read and was set aside" in tab.inner_text("#notice")
    assert view(tab) == "start"
    kept = tab.evaluate("Object.entries(localStorage).filter(([k]) => k.includes('/damaged/'))")
    assert [value for _, value in kept] == ["{half"]


def test_a_browser_that_keeps_nothing_is_told_so_and_still_works(built, open_tab, tmp_path):
    path, key = built["drawn"]
    tab = open_tab(path)
    tab.add_init_script("Storage.prototype.setItem = () => { throw new Error('no'); }")
    tab.reload()
    assert "keeps nothing" in tab.inner_text("#notice")
    begin(tab)
    rate(tab, key, 7)
    assert len(saved(tab, tmp_path).read_text().splitlines()) == 8


# --- The plan --------------------------------------------------------------------------------


def test_each_row_of_the_square_has_all_and_each_place_and_neighbour_comes_equally_often(
    built, open_tab
):
    tab = open_tab(built["drawn"][0])
    for size in range(2, 9):
        rows = tab.evaluate(f"latinSquare({size})")
        assert all(sorted(row) == list(range(size)) for row in rows)
        times = len(rows) // size
        for column in zip(*rows, strict=True):
            assert all(column.count(item) == times for item in range(size))
        after = [pair for row in rows for pair in pairwise(row)]
        assert {after.count(pair) for pair in set(after)} == {times}
        assert len(set(after)) == size * (size - 1)


def test_every_rater_sees_everything_once_and_numbered_raters_fill_the_square(built, open_tab):
    tab = open_tab(built["drawn"][0])
    plans = [tab.evaluate(f"plan(seedOf({n}), {n})") for n in range(6)]
    assert plans[0] == tab.evaluate("plan(seedOf(0), 0)")
    for screens in plans:
        real = [s for s in screens if "check" not in s]
        assert len(screens) == len(real) + 1
        assert {(s["case"], s["result"]) for s in real} == {
            (c, r) for c in (0, 1) for r in range(3)
        }
        by_turn = [{s["aspects"][0]["key"] for s in real if s["turn"] == turn} for turn in (0, 1)]
        assert all(len(aspects) == 1 for aspects in by_turn)  # one a case
        assert by_turn[0] != by_turn[1]  # no aspect again before all have come
    for turn in (0, 1):
        order = [[s["result"] for s in p if s["turn"] == turn and "check" not in s] for p in plans]
        for place in zip(*order, strict=True):
            assert [place.count(result) for result in range(3)] == [2, 2, 2]
    drawn = [tab.evaluate(f"plan({seed}, null)") for seed in range(40)]
    assert len({s["aspects"][0]["key"] for p in drawn for s in p[:1]} | {"check"}) == 4
    assert {s["check"] for p in drawn for s in p if "check" in s} == {1, 2, 4, 5}


def test_from_a_static_host_it_works_too_and_a_number_in_the_address_is_filled_in(built, open_tab):
    path, key = built["drawn"]

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Silent, directory=path.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}/index.html?rater=7"
        tab = open_tab(address)
        server.shutdown()
    begin(tab)
    rate(tab, key, 7)
    assert view(tab) == "end"
    assert tab.evaluate("[state.rater, state.number]") == ["n7", 7]
    assert [url for url in tab.requests if url.startswith("http")] == [address]


# --- For everyone ----------------------------------------------------------------------------


def violations(tab):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab).response["violations"]
    return [(v["id"], v["impact"], [n["html"][:80] for n in v["nodes"]]) for v in found]


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("form", ratings.FORMS)
def test_every_view_passes_axe_and_fits_the_screen(built, open_tab, form, options):
    path, key = built[form]
    tab = open_tab(path, **options)
    assert violations(tab) == []
    begin(tab)
    tab.click(".scale label >> nth=2")
    assert violations(tab) == []
    width = tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    for target in tab.query_selector_all("#rate button:visible, .scale label"):
        assert target.bounding_box()["height"] >= 44
    boxes = [tab.locator(f"#{name}").bounding_box() for name in ("reference", "result")]
    below, beside = (boxes[1][axis] > boxes[0][axis] + 10 for axis in "yx")
    assert (below, beside) == ((True, False) if options else (False, True))
    if form == "drawn":
        rate(tab, key, 7)
        assert violations(tab) == []


def test_the_focus_goes_from_the_question_through_the_scale_to_the_buttons(built, open_tab):
    tab = open_tab(built["drawn"][0])
    begin(tab)
    name = "document.activeElement.id || document.activeElement.name || document.activeElement.type"
    assert tab.evaluate(name) == "question"
    order = []
    for _ in range(4):
        tab.keyboard.press("Tab")
        order.append(tab.evaluate(name))
        ring = "[document.activeElement, document.activeElement.closest('label')].some("
        ring += "(e) => e && getComputedStyle(e).outlineStyle === 'solid'"
        ring += " && getComputedStyle(e).opacity === '1')"
        assert tab.evaluate(ring), order[-1]
    assert order[0] in {*ratings.ASPECTS, "check"}
    assert order[1:] == ["next", "shortcuts", "button"]
