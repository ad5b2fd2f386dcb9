"""The report in a browser: nothing is fetched, nothing sticks out, and the text can be read."""

from pathlib import Path

import pytest
from cli_tools import TINY, done, shops
from data_tools import write

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


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A report with names that are hostile and long, of a cell of one's own."""
    folder = tmp_path_factory.mktemp("report")
    ids = (LONG, "<script>throw 1</script>", WIDE, MARKUP)
    data = write(folder, shops(target=LONG, ids=ids), f"{LONG}.csv")
    own = (Path(__file__).parent / "own_cell.py").read_text().replace("LeakyGRU", CELL)
    words = ("--target", LONG, "--id", "shop", "--time", "day", "--horizon", "5", *TINY)
    words += ("--cell", f"{write(folder, own, 'own.py')}:{CELL}")
    done("fit", "forecast", data, *words, "--out", folder / "run")
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
def test_each_figure_is_shown_once_in_the_form_that_fits(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    shown = [svg.get_attribute("class") for svg in page.locator("svg:visible").all()]
    assert shown == (["narrow"] if width < 704 else ["wide"]) * 4


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


def test_names_are_shown_as_they_are(page):
    """A name in a figure is no formula and no markup; a long one keeps its two ends."""
    titles = page.locator("svg.wide text").all_text_contents()
    for name in (MARKUP, "<script>throw 1</script>"):
        assert any(text.startswith(f"{name},") for text in titles)
    text = "".join(titles)
    assert f"{LONG[:16]}…{LONG[-16:]}" in text
    assert f"{WIDE[:8]}…{WIDE[-8:]}" in text
