"""The page in a real browser, before a real server with a real index."""

import json
import re
import shutil
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from tests.serving.conftest import READ
from tests.serving.server import Server
from xtrkit import Index, Passage, Retriever, load_encoder
from xtrkit.explained_html import write_explained

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")

PATIENCE = 20_000
VIOLIN = "doc-violin"
TEXTS = {
    VIOLIN: ("A violin has four strings, tuned in fifths, and is played with a bow.", "en"),
    "doc-cello": ("A cello is larger than a violin and has four strings too.", "en"),
    "doc-geige": ("Die Geige hat vier Saiten und wird mit einem Bogen gespielt.", "de"),
    "doc-volcano": ("😀🌋 The volcano 🌋 erupted at dawn, and ash 😀 fell on the village.", "en"),
    "doc-script": (
        "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> "
        '<b onclick="window.hacked = 3">scripts in a passage</b> &amp; "quotes" </mark></p><style>*{display:none}',
        "en",
    ),
    "doc-hebrew": ("בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם Genesis \u202eoverride in a right-to-left passage", "he"),
    "doc-long": ("A very long passage about lighthouses. " + "Light" * 200 + " keepers watch the sea. " * 4_500, "en"),
}
FILLER = [
    f"The {what} of {where} is described in the report of the year {1900 + number}, with figures on trade and weather."
    for number, (what, where) in enumerate(
        (what, where)
        for what in ("harbour", "railway", "forest", "market", "school", "river", "bridge", "museum")
        for where in ("Lisbon", "Oslo", "Quito", "Nairobi", "Kyoto", "Perth", "Riga", "Turin")
    )
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "texts"
    passages = [Passage(name, text, {"lang": lang, "length": len(text)}) for name, (text, lang) in TEXTS.items()]
    passages += [Passage(f"report-{number}", text, {"lang": "en"}) for number, text in enumerate(FILLER)]
    with pytest.warns(match="longer than"):
        Retriever.create(path, passages, split=False).close()
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "others"
    Retriever.create(path, [Passage("doc-whale", "Whales sing songs that travel through the sea.")]).close()
    return path


@pytest.fixture(scope="module")
def without_texts(tmp_path_factory):
    path, encoder = tmp_path_factory.mktemp("served") / "vectors", load_encoder()
    embeddings = encoder.encode_documents([TEXTS[VIOLIN][0], TEXTS["doc-volcano"][0]])
    Index.create(path, iter([list(embeddings)]), ids=[VIOLIN, "doc-volcano"], encoder=encoder.identity).close()
    return path


@pytest.fixture(scope="module")
def url(index, other, without_texts, tmp_path_factory):
    with Server(tmp_path_factory.mktemp("paged"), index, other, without_texts) as running:
        yield running.url


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as made:
        launched = made.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=30_000)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, url):
    """Opens pages; at the end nothing may have been raised in one, and no policy violated."""
    contexts, said = [], []

    def open_page(path="/", *, width=1280, scheme="light", at=url):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(f"Uncaught {error}"))
        page.goto(at + path)
        page.locator(
            "#status:not(:empty), .welcome:not([hidden]), .notice:not(noscript *):not([hidden])"
        ).first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [line for line in said if not line.startswith("Failed to load resource: the server responded")]


def query(**given):
    return "/?" + urlencode({"index": "texts", **given})


def ask(page, text):
    page.locator("#query").fill(text)
    page.keyboard.press("Enter")
    playwright.expect(page).to_have_title(f"{text} – xtrkit", timeout=PATIENCE)
    playwright.expect(page.locator("#status")).not_to_be_empty(timeout=PATIENCE)
    page.locator("#main:not([aria-busy])").wait_for()


def state_of(page):
    return {name: value for name, (value,) in parse_qs(urlsplit(page.url).query).items()}


def test_the_files_of_the_page_are_served_once_and_under_a_policy(url):
    for path, kind in (("/", "html"), ("/page.css", "css"), ("/explained.css", "css"), ("/page.js", "javascript")):
        answer = httpx.get(url + path)
        assert kind in answer.headers["Content-Type"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        tag = answer.headers["ETag"]
        again = httpx.get(url + path, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.headers["ETag"], again.content) == (304, tag, b"")
        assert httpx.get(url + path, headers={"If-None-Match": '"other"'}).status_code == 200
        assert httpx.head(url + path).headers["Content-Length"] == str(len(answer.content))


def test_an_empty_page_says_what_can_be_searched(opened):
    page = opened("/?index=texts")
    assert page.locator(".welcome p").first.inner_text() == (
        f"Search {len(TEXTS) + len(FILLER)} passages ({tokens_of(page)} tokens), read by xtrkit-mini."
    )
    assert page.evaluate("document.activeElement.id") == "query"


def tokens_of(page):
    told = page.evaluate("fetch('v1/indexes').then((answer) => answer.json())")
    return f"{told['indexes'][0]['tokens']:,}"


def test_a_search_shows_results_with_marks(opened):
    page = opened()
    ask(page, "How many strings does a violin have?")
    assert page.locator(".hit").count() == 10
    first = page.locator(".hit").first
    assert first.locator(".rank").inner_text() == "1"
    assert first.locator(".id").inner_text() == VIOLIN
    assert re.search(r"\d\.\d{4}", first.locator(".score").inner_text())
    assert {"violin", "strings"} <= set(first.locator(".snippet mark:not(.weak)").all_inner_texts())
    assert first.locator(".snippet").inner_text() == TEXTS[VIOLIN][0]
    assert "lang: en" in first.locator(".about").inner_text()
    assert re.fullmatch(r"10 results in [\d.]+ ms\.", page.locator("#status").inner_text())
    page.locator("#timing summary").click()
    assert {"encode", "passages"} <= set(page.locator("#stages dt").all_inner_texts())


def test_a_result_tells_what_each_token_matched_and_what_it_weighs(opened):
    page = opened(query(q="four strings of a violin"))
    page.locator(".toggle").first.click()
    why = page.locator(".why").first
    assert why.locator(".passage").inner_text() == TEXTS[VIOLIN][0]
    assert why.locator(".token:visible").count() == 5
    why.get_by_role("button", name="Show the model's markers").click()
    chips = why.locator(".token:visible")
    assert chips.count() == 7
    shares = [float(text.split()[0]) for text in why.locator(".share").all_inner_texts()]
    figures = [text.split()[-2:] for text in why.locator(".figure").all_inner_texts()]
    score = float(page.locator(".hit .score").first.inner_text().split()[-1])
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))
    assert sum(float(number) for number, _ in figures) / len(figures) == pytest.approx(score, abs=1e-3)
    for share, (number, state) in zip(shares, figures, strict=True):
        assert share == pytest.approx(100 * float(number) / (len(figures) * score), abs=0.2)
        assert state == "retrieved"
    assert f"The score {score:.4f} is the mean of 7 similarities" in why.locator(".account").inner_text()
    violin = why.locator(".token").filter(has=page.locator(".asked", has_text="violin"))
    violin.click()
    assert violin.get_attribute("aria-pressed") == "true"
    assert why.locator("mark.chosen").all_inner_texts() == ["violin"]
    violin.locator("xpath=../following-sibling::li[1]/button").focus()
    assert violin.get_attribute("aria-pressed") == "false"
    assert why.locator("mark.chosen").all_inner_texts() == [why.locator("[aria-pressed=true] .matched").inner_text()]
    assert state_of(page) == {"index": "texts", "q": "four strings of a violin", "open": "1", "special": "1"}


def test_what_was_not_retrieved_is_shown_as_imputed(opened):
    page = opened(query(q="violin lighthouse volcano", special=1, k=30, open="30"))
    why = page.locator(".hit").last.locator(".why")
    imputed = why.locator(".token.imputed")
    assert imputed.count() >= 1
    assert imputed.first.locator(".nothing").inner_text() == "nothing retrieved"
    assert re.fullmatch(r"similarity -?0\.\d{3} imputed", imputed.first.locator(".figure").text_content())
    assert re.search(rf", {imputed.count()} imputed", why.locator(".account").inner_text())
    shares = [float(text.split()[0]) for text in why.locator(".share").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))
    assert why.locator(".fill").first.get_attribute("width") != "0.0"


def test_characters_beyond_the_basic_plane_are_marked_where_they_stand(opened):
    page = opened(query(q="volcano erupted ash", open=1))
    why = page.locator(".why").first
    assert page.locator(".id").first.inner_text() == "doc-volcano"
    for word in ("volcano", "erupted", "ash"):
        why.locator(".token").filter(has=page.locator(".asked", has_text=re.compile(f"^{word}$"))).click()
        assert why.locator("mark.chosen").all_inner_texts() == [word]
    assert why.locator(".passage").inner_text() == TEXTS["doc-volcano"][0]


def test_what_is_asked_stands_in_the_address(opened):
    page = opened()
    ask(page, "violin strings")
    ask(page, "volcano at dawn")
    first = page.locator(".id").first
    assert first.inner_text() == "doc-volcano"
    page.locator(".toggle").nth(1).click()
    assert state_of(page) == {"q": "volcano at dawn", "index": "texts", "open": "2"}
    page.go_back()
    playwright.expect(first).to_have_text(re.compile("doc-(violin|cello)"), timeout=PATIENCE)
    assert page.locator("#query").input_value() == "violin strings"
    page.go_forward()
    playwright.expect(first).to_have_text("doc-volcano", timeout=PATIENCE)
    playwright.expect(page.locator(".hit.open")).to_have_count(1, timeout=PATIENCE)
    again = opened("/?" + urlsplit(page.url).query)
    assert again.locator(".hit.open .rank").all_inner_texts() == ["2"]
    assert again.locator("#query").input_value() == "volcano at dawn"


def test_options_stand_in_the_address_and_are_sent(opened):
    page = opened()
    ask(page, "violin")
    sent = []
    page.on("request", lambda request: request.post_data and sent.append(json.loads(request.post_data)))
    page.locator("#options summary").click()
    page.locator("#recipe").select_option("colbert")
    page.locator("#main:not([aria-busy])").wait_for()
    page.locator("#k").fill("3")
    page.locator("#k").press("Enter")
    playwright.expect(page.locator(".hit")).to_have_count(3, timeout=PATIENCE)
    assert state_of(page) == {"q": "violin", "index": "texts", "recipe": "colbert", "k": "3"}
    assert (sent[-1]["recipe"], sent[-1]["k"], sent[-1]["index"]) == ("colbert", 3, "texts")
    page.get_by_role("button", name="Next").click()
    playwright.expect(page.locator(".rank").first).to_have_text("4", timeout=PATIENCE)
    assert state_of(page)["offset"] == "3"
    page.get_by_role("button", name="Previous").click()
    playwright.expect(page.locator(".rank").first).to_have_text("1", timeout=PATIENCE)


def test_words_can_be_fused_with_token_vectors(opened):
    page = opened(query(q="violin", open=1))
    page.locator("#options summary").click()
    page.locator("#fusion").select_option("rrf")
    account = page.locator(".account").first
    playwright.expect(page.locator(".hit.open")).to_have_count(0, timeout=PATIENCE)
    page.locator(".toggle").first.click()
    assert re.match(r"The score 0\.\d{4} is fused of token vectors \(0\.\d{4}\) and words \(", account.inner_text())
    assert re.search(r"That of token vectors 0\.\d{4} is the mean of 3 similarities\.", account.inner_text())
    assert state_of(page)["fusion"] == "rrf"


def test_another_index_can_be_chosen(opened):
    page = opened(query(q="songs of the sea"))
    page.locator("#index").select_option("others")
    playwright.expect(page.locator(".id").first).to_have_text("doc-whale", timeout=PATIENCE)
    assert state_of(page)["index"] == "others"


def test_of_an_index_without_texts_what_was_found_is_shown(opened):
    page = opened(query(q="violin strings", index="vectors"))
    assert page.locator(".id").all_inner_texts() == [VIOLIN, "doc-volcano"]
    page.locator(".toggle").first.click()
    assert page.locator(".why").first.inner_text() == "This index has no texts, only what was found."


def test_filters(opened):
    page = opened(query(q="Geige"))
    page.locator("#options summary").click()
    where, error = page.locator("#where"), page.locator("#where-error")
    for wrong, said in (
        ('{"lang": de}', "This is no filter: "),
        ("[1]", "a filter is an object in braces"),
        ('{"langue": "de"}', "langue"),
        ('{"length": {"$near": 3}}', "$near"),
    ):
        where.fill(wrong)
        where.press("Enter")
        playwright.expect(error).to_contain_text(said, timeout=PATIENCE)
        assert where.get_attribute("aria-invalid") == "true"
        assert page.locator("#problem").is_hidden()
    where.fill('{"lang": "de"}')
    where.press("Enter")
    playwright.expect(page.locator(".id")).to_have_text(["doc-geige"], timeout=PATIENCE)
    assert error.is_hidden()
    assert json.loads(state_of(page)["where"]) == {"lang": "de"}
    page.get_by_role("button", name="Remove the filter lang: de").click()
    playwright.expect(page.locator(".hit")).to_have_count(10, timeout=PATIENCE)
    assert "where" not in state_of(page)


def test_a_value_of_a_facet_filters(opened):
    page = opened(query(q="Geige und Bogen"))
    assert page.locator(".facets h2").all_inner_texts() == ["lang"]  # no length comes twice
    value = page.locator(".facets button").filter(has_text="en")
    value.click()
    playwright.expect(page.locator(".filters button")).to_have_text(["lang: en"], timeout=PATIENCE)
    assert json.loads(state_of(page)["where"]) == {"lang": "en"}
    playwright.expect(value).to_have_attribute("aria-pressed", "true", timeout=PATIENCE)
    value.click()
    playwright.expect(page.locator(".filters button")).to_have_count(0, timeout=PATIENCE)


def test_what_the_server_refuses_is_shown_as_a_sentence(opened):
    page = opened(query(q="violin", k=100_000))
    assert page.locator("#problem").inner_text().startswith("k must be 1,000 at most, got 100,000")
    assert page.get_by_role("button", name="Try again").count() == 0  # it would be refused again
    assert page.locator("#options summary").inner_text() == "Options: 100000 results"
    assert page.locator(".hit").count() == 0
    page = opened("/?q=violin&index=nowhere")
    assert page.locator(".id").count() == 10  # of the first index, since there is no such one


def test_a_key_is_asked_for_and_kept_for_the_tab_alone(opened, keyed):
    page = opened(query(q="music", index="small"), at=keyed.url)
    form, box = page.locator("#key-form"), page.locator("#key")
    assert form.is_visible()
    assert page.evaluate("document.activeElement.id") == "key"
    box.fill("another")
    box.press("Enter")
    playwright.expect(form).to_contain_text("got one that is not it", timeout=PATIENCE)
    box.fill(READ)
    box.press("Enter")
    page.locator(".hit").first.wait_for()
    assert form.is_hidden()
    assert READ not in page.url
    page.reload()
    page.locator(".hit").first.wait_for()
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]


def test_without_a_mouse(opened):
    page = opened()
    page.keyboard.press("Escape")
    page.locator("#home").focus()
    page.keyboard.press("/")
    page.keyboard.type("violin strings")
    page.keyboard.press("Enter")
    page.locator(".hit").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    focused = page.locator(":focus")
    assert focused.locator(".rank").inner_text() == "2"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert focused.get_attribute("aria-expanded") == "true"
    for _ in range(2):  # the passage, which scrolls, then the first token
        page.keyboard.press("Tab")
    assert focused.get_attribute("class") == "token"
    assert page.locator("mark.chosen").count() >= 1
    page.keyboard.press("Escape")
    assert focused.get_attribute("aria-expanded") == "false"
    page.keyboard.press("Space")
    assert focused.get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowUp")
    assert focused.get_attribute("id") == "query"


def test_hostile_passages_stay_inert_and_fit_a_phone(opened):
    page = opened(query(q="scripts in a passage", open="1.2"), width=360)
    assert page.locator(".id").first.inner_text() == "doc-script"
    assert page.locator(".why .passage").first.inner_text() == TEXTS["doc-script"][0]
    ask(page, "<img src=x onerror='window.hacked = 4'>")
    page.locator(".toggle").first.click()
    ask(page, "Genesis, from right to left")
    assert page.locator(".id").first.inner_text() == "doc-hebrew"
    page.locator(".toggle").first.click()
    assert page.locator(".passage").first.inner_text() == TEXTS["doc-hebrew"][0]
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main img, main b, main style").count() == 0
    ask(page, "lighthouses")
    assert page.locator(".id").first.inner_text() == "doc-long"
    page.locator(".toggle").first.click()
    assert len(page.locator(".passage").first.inner_text()) > 100_000
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(".passage").first.bounding_box()["height"] < 500


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(opened, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(
        query(q="strings of a violin", open="1.9", special=1, where='{"lang": "en"}'), width=width, scheme=scheme
    )
    page.locator(".token").nth(2).click()
    page.locator("#timing summary").click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", background)[:3]))
    assert brightness > 700 if scheme == "light" else brightness < 100


def test_an_explanation_as_a_file_is_as_safe_and_as_usable(browser, index, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    with Retriever.open(index) as retriever:
        write_explained(tmp_path / "out.html", retriever.search("scripts in a passage", 3, explain=True))
    context, said = browser.new_context(viewport={"width": 360, "height": 800}, color_scheme="dark"), []
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "out.html").as_uri())
    assert page.locator(".passage").first.inner_text() == TEXTS["doc-script"][0]
    chip = page.locator("a.token").filter(has=page.locator(".asked", has_text="passage")).first
    chip.click()
    assert page.locator("mark:target").inner_text() == "passage"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 20)"
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert not said
    context.close()
