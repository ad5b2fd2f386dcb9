"""The report in a browser: nothing is fetched, nothing sticks out, and the text can be read."""

import re
from pathlib import Path

import numpy as np
import pytest
from cli_tools import TINY, done, shops
from data_tools import write

from gatework.inspect.figures import NAME_LETTERS, UNIT_LETTERS

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LONG = "a_very_long_name_of_a_column_without_any_space_" * 3
WIDE = "売上高の合計と在庫の数量を店舗ごとにまとめた列" * 3  # letters as wide as two
MARKUP = "_<b>&$_^{x}$ \\frac"
NAMES = (LONG, "<script>throw 1</script>", WIDE, MARKUP)
CELL = "AUnitOfOnesOwnWithAVeryLongNameThatGoesOnAndOn"
# For every element with text of its own: what it says, and the contrast of WCAG 2.
CONTRASTS = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = c => {
    const [r, g, b] = c.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll('body, body *')) {
    if (e.closest('style, defs')) continue;
    // A count on a coloured cell; its contrast is tested apart.
    if (e.matches('svg text') && /^\\d+$/.test(e.textContent) &&
      ['rgb(0, 0, 0)', 'rgb(255, 255, 255)'].includes(getComputedStyle(e).fill)) continue;
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own && e.tagName !== 'BODY') continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(e.closest('svg') ? style.fill : style.color)), light(back(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([e.tagName, e.className.baseVal ?? e.className, e.textContent.slice(0, 40), ratio]);
  }
  return found;
}"""
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"there is no {CHROMIUM}")


def forecast(folder):
    """A table of series, and what to say about it."""
    columns = ("--target", LONG, "--id", "shop", "--time", "day", "--horizon", "5")
    return write(folder, shops(target=LONG, ids=NAMES), f"{LONG}.csv"), *columns


def classify(folder):
    """Sequences of four classes to learn from, and to score on."""
    X, y = np.random.default_rng(0).normal(size=(16, 7)), NAMES * 4
    np.savez(folder / f"{LONG}.npz", X_train=X, y_train=y, X_test=X[:8] + 1, y_test=y[:8])
    return (folder / f"{LONG}.npz",)


FIGURES = {forecast: 4, classify: 4}


@pytest.fixture(scope="module", params=FIGURES, ids=lambda task: task.__name__)
def task(request):
    """The task of the report."""
    return request.param


@pytest.fixture(scope="module")
def path(task, tmp_path_factory):
    """A report with names that are hostile and long, of a cell of one's own."""
    folder = tmp_path_factory.mktemp("report")
    own = (Path(__file__).parent / "own_cell.py").read_text().replace("LeakyGRU", CELL)
    words = (*TINY, "--cell", f"{write(folder, own, 'own.py')}:{CELL}")
    # A search, where the figure of it is to be looked at too.
    command = ("tune", "--trials", "2", "--pool", "last", "--pool", "mean")
    command = ("fit",) if task is forecast else command
    done(command[0], task.__name__, *task(folder), *words, *command[1:], "--out", folder / "run")
    return folder / "run" / "report.html"


@pytest.fixture(scope="module")
def page(path):
    """The page, opened once; ``trouble`` holds what a browser complains about."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET))
        page = browser.new_page()
        page.trouble, page.asked = [], []
        page.on("console", lambda message: page.trouble.append(message.text))
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("requestfailed", lambda request: page.trouble.append(request.url))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        yield page
        browser.close()


def test_nothing_is_fetched_and_nothing_goes_wrong(page, path):
    page.wait_for_load_state("networkidle")
    assert page.trouble == []
    assert [url for url in page.asked if not url.startswith("data:")] == [path.as_uri()]
    assert page.locator("script").count() == 0


@pytest.mark.parametrize("width", [360, 390, 768, 1200])
def test_each_figure_is_shown_once_in_the_form_that_fits(page, task, width):
    page.set_viewport_size({"width": width, "height": 800})
    shown = [svg.get_attribute("class") for svg in page.locator("svg:visible").all()]
    assert shown == (["narrow"] if width < 704 else ["wide"]) * FIGURES[task]


@pytest.mark.parametrize("width", [360, 390, 768, 1200])
def test_nothing_scrolls_sideways(page, width):
    """Neither the page nor a box in it: what would be out of sight is there."""
    page.set_viewport_size({"width": width, "height": 800})
    size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert size[0] <= width == size[1]
    lost = page.evaluate("""() => [...document.querySelectorAll('body *')].filter(
        e => e.getBoundingClientRect().right > innerWidth + 1
            || (!e.closest('svg') && e.scrollWidth > e.clientWidth + 1 && e.clientWidth))
        .map(e => e.outerHTML.slice(0, 80))""")
    assert lost == []


def test_a_table_that_is_too_wide_shows_a_shadow(page):
    """Numbers of many digits may need more room than there is; the edge then says so."""
    page.set_viewport_size({"width": 240, "height": 800})
    table = page.locator(".scroll").first
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")
    assert "gradient" in table.evaluate("e => getComputedStyle(e).backgroundImage")
    size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert size[0] <= size[1]


@pytest.mark.parametrize("width", [390, 1200])
def test_letters_in_figures_are_large_enough_to_read(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    sizes = page.evaluate("""() => [...document.querySelectorAll('svg')]
        .filter(svg => svg.clientWidth)
        .map(svg => 10 * svg.clientWidth / svg.viewBox.baseVal.width)""")
    assert all(10 <= size <= 16 for size in sizes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(page, scheme):
    page.emulate_media(color_scheme=scheme)
    found = page.evaluate(CONTRASTS)
    tags = {tag for tag, *_ in found}
    assert {"BODY", "H1", "H2", "P", "TD", "TH", "DT", "DD", "CODE", "FOOTER", "text"} <= tags
    assert any("verdict" in name for _, name, *_ in found)
    assert [row for row in found if row[-1] < 4.5] == []


def test_light_and_dark_differ(page):
    shades = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert shades == ["rgb(255, 255, 255)", "rgb(22, 24, 28)"]


@pytest.mark.parametrize("width", [390, 1200])
def test_the_figures_are_drawn_in_full(page, width):
    """No text of a figure lies outside it, where it would be cut off."""
    page.set_viewport_size({"width": width, "height": 800})
    cut = page.evaluate("""() => [...document.querySelectorAll('svg')].flatMap(svg => {
        const box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].filter(t => {
            const own = t.getBoundingClientRect();
            return own.left < box.left - 4 || own.right > box.right + 4
                || own.top < box.top - 4 || own.bottom > box.bottom + 4;
        }).map(t => t.textContent);
    })""")
    assert cut == []


def test_names_are_shown_as_they_are(page, task):
    """A name in a figure is no formula and no markup; a long one keeps its two ends."""
    text = "\n".join(page.locator("svg.wide text").all_text_contents())
    kept = UNIT_LETTERS // 4 if task is classify else NAME_LETTERS // 2  # of each end
    for name in NAMES:
        end = kept // 2 if name == WIDE else kept
        shown = name if len(name) <= 2 * kept else f"{name[:end]}…{name[-end:]}"
        assert re.search(rf"^{re.escape(shown)}(,|$)", text, re.M), (name, text)
