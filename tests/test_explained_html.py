"""Explanations as HTML: what a passage holds stays text, marks stand where tokens do, shares add up."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from xtrkit import Passage, Retriever
from xtrkit.encoding.base import Token
from xtrkit.errors import InputError
from xtrkit.explain import Match
from xtrkit.explained_html import SHOWN, account_of, explained_page, write_explained
from xtrkit.hits import Hit, Hits, Scores
from xtrkit.passage import Part

QUERY = "who <wrote> it?"
WHO, WROTE, END = Token("who", 0, 3), Token("wrote", 5, 10), Token("</s>", 0, 0)


def hit_with(matches, text="Ada wrote it, she did.", *, score=None, rank=1, **more):
    known = [match.similarity for match in matches or () if match.similarity is not None]
    score = (sum(known) / len(known) if known else 0.5) if score is None else score
    return Hit("notes", score, text, rank, matches=matches, **more)


def answer_of(*hits):
    return Hits(hits, QUERY)


FOUND = [Match(WHO, 0.6, Token("she", 14, 17)), Match(WROTE, 0.9, Token("wrote", 4, 9)), Match(END, 0.3, None)]


class Parsed(HTMLParser):
    """Tags, and texts of those that are asked for."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "rect"):
            self.open.append((tag, dict(attributes)))
            self.texts.setdefault(self.key(), []).append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for place in range(len(self.open)):
            self.texts[self.key(place)][-1] += data

    def key(self, place=-1):
        tag, attributes = self.open[place]
        return f"{tag}.{attributes['class']}" if "class" in attributes else tag


def test_a_file_tells_of_each_token_what_it_matched_and_what_it_weighs():
    page = Parsed(explained_page(answer_of(hit_with(FOUND))))
    assert page.texts["h1"] == [QUERY]
    assert page.texts["div.passage"] == ["Ada wrote it, she did."]
    assert page.texts["mark"] + page.texts["mark.weak"] == ["wrote", "she"]
    assert page.texts["bdi.asked"] == ["who", "wrote", "</s>"]
    assert page.texts["span.share"] == ["33.3 %", "50.0 %", "16.7 %"]
    assert page.texts["span.figure"] == ["0.600 retrieved", "0.900 retrieved", "0.300 imputed"]
    assert page.texts["span.nothing"] == ["nothing retrieved"]
    assert "The score 0.6000 is the mean of 3 similarities, 1 imputed." in page.texts["p.account"][0]
    assert "1 marker of the model (</s>), 16.7 % of the score" in page.texts["summary.note"]
    targets = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert targets == ["#h1c14", "#h1c4"]
    assert {attributes.get("id") for tag, attributes in page.tags if tag == "mark"} == {"h1c4", "h1c14"}


def test_a_file_allows_nothing_but_its_own_style():
    text = explained_page(answer_of(hit_with(FOUND)))
    policy = next(attributes["content"] for tag, attributes in Parsed(text).tags if "http-equiv" in attributes)
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not re.search(r"url\(|@import|https?:", style)


HOSTILE = "</style></p><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & done"


@pytest.mark.parametrize("shown", [explained_page, Hits._repr_html_, lambda answer: answer[0]._repr_html_()])
def test_what_passages_ids_and_metadata_hold_stays_text(shown):
    script = Token("script", HOSTILE.index("script"), HOSTILE.index("script") + 6)
    hit = Hit(
        HOSTILE,
        0.9,
        HOSTILE,
        1,
        metadata={HOSTILE: HOSTILE, "list": [HOSTILE]},
        part=Part(HOSTILE, 0, 9),
        matches=[Match(Token(HOSTILE, 0, 0), 0.9, script)],
    )
    text = shown(Hits((hit,), HOSTILE))
    parsed = Parsed(text)
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "p",
        "article",
        "div",
        "span",
        "bdi",
    }
    allowed |= {"ul", "li", "mark", "strong", "details", "summary", "svg", "rect", "a"}
    assert {tag for tag, _ in parsed.tags} <= allowed
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on") or name == "src"]
    assert parsed.texts["div.passage"] == [HOSTILE]
    assert set(parsed.texts["mark"]) == {"script"}
    assert text.count("<style>") == 1


def test_characters_beyond_the_basic_plane_are_marked_where_they_stand():
    text = "😀🌋 The volcano 🌋 erupted"
    volcano = Token("volcano", text.index("volcano"), text.index("volcano") + 7)
    fire = Token("🌋", text.rindex("🌋"), text.rindex("🌋") + 1)
    page = Parsed(explained_page(answer_of(hit_with([Match(WHO, 0.8, volcano), Match(WROTE, 0.8, fire)], text))))
    assert page.texts["mark"] == ["volcano", "🌋"]
    assert page.texts["div.passage"] == [text]


def test_tokens_that_overlap_or_stand_elsewhere_lose_no_character():
    matches = [
        Match(WHO, 0.9, Token("wrote it", 4, 12)),
        Match(WROTE, 0.8, Token("it", 10, 12)),
        Match(END, 0.7, Token("far", 400, 403)),
    ]
    page = Parsed(explained_page(answer_of(hit_with(matches))))
    assert page.texts["div.passage"] == ["Ada wrote it, she did."]
    assert "".join(page.texts["mark"] + page.texts.get("mark.weak", [])) == "wrote it"


@pytest.mark.parametrize("text", [None, "Ada wrote it, she did."])
@pytest.mark.parametrize("matches", [None, [], FOUND])
def test_without_a_text_or_matches_what_is_known_is_shown(text, matches):
    hit = hit_with(matches, text)
    for shown in (explained_page(answer_of(hit)), hit._repr_html_(), answer_of(hit)._repr_html_()):
        page = Parsed(shown)
        assert ("div.passage" in page.texts) == (text is not None)
        assert ("bdi.asked" in page.texts) == bool(matches)
        assert not [tag for tag, attributes in page.tags if "href" in attributes and text is None]
        assert ("The index has no texts." in shown) == (text is None and matches is None)


def test_how_a_score_comes_from_its_similarities():
    left_out = [*FOUND[:2], Match(END, None, None)]
    for matches, score, how in (
        (FOUND, 0.6, "mean"),
        (FOUND, 1.8, "sum"),
        (left_out, 0.75, "mean"),
        (FOUND, -3.25, None),  # a reranker's
        ([Match(END, None, None)], 0.0, None),
    ):
        account = account_of(score, matches)
        assert account.how == how
        assert sum(account.shares) == pytest.approx(1 if account.known else 0)
    assert account_of(0.75, left_out) == ((0.6 / 1.5, 0.9 / 1.5, 0.0), "mean", 2, 1)
    shown = Parsed(explained_page(answer_of(hit_with(left_out))))
    assert shown.texts["span.figure"][-1] == "left out"
    assert "is the mean of 2 similarities, 1 left out." in shown.texts["p.account"][0]
    reranked = Parsed(explained_page(answer_of(hit_with(FOUND, score=-3.25))))
    assert "The score -3.2500 was made after the retrieval." in reranked.texts["p.account"][0]


def test_of_a_fused_score_both_parts_are_told():
    hit = hit_with(FOUND, score=0.0323, scores=Scores(0.6, 7.25))
    said = Parsed(explained_page(answer_of(hit))).texts["p.account"][0]
    assert said.startswith("The score 0.0323 is fused of token vectors (0.6000) and words (7.2500). That of token ")
    assert "That of token vectors 0.6000 is the mean of 3 similarities, 1 imputed." in said
    alone = hit_with(FOUND, score=0.0161, scores=Scores(None, 7.25))
    said = Parsed(explained_page(answer_of(alone))).texts["p.account"][0]
    assert "token vectors (not found) and words (7.2500). Shares are of 3 similarities, 1 imputed." in said


def test_a_notebook_shows_the_first_hits_of_an_answer():
    answer = Hits(tuple(hit_with(FOUND, rank=rank) for rank in range(1, SHOWN + 4)), QUERY, truncated=True, unknown=1)
    shown = Parsed(answer._repr_html_())
    assert shown.texts["span.rank"] == [str(rank) for rank in range(1, SHOWN + 1)]
    assert shown.texts["p.note"][-1] == "3 more."
    assert "window" in shown.texts["p.note"][0]
    assert "unknown" in shown.texts["p.note"][0]
    assert not [attributes for _, attributes in shown.tags if "id" in attributes or "href" in attributes]
    assert "Nothing was found." in Hits((), QUERY)._repr_html_()


def test_files_are_written_where_they_can_be(tmp_path):
    answer = answer_of(hit_with(FOUND), hit_with(FOUND, rank=2))
    target = tmp_path / "out.html"
    target.write_text("old")
    assert write_explained(target, answer, answer[1:]) == target
    page = Parsed(target.read_text(encoding="utf-8"))
    assert page.texts["span.rank"] == ["2"]
    with pytest.raises(InputError, match="the HTML file names the folder"):
        write_explained(tmp_path, answer)
    with pytest.raises(InputError, match="is no folder"):
        write_explained(tmp_path / "missing" / "out.html", answer)
    with pytest.raises(InputError, match=r"can't be written: File name too long"):
        write_explained(tmp_path / ("long" * 100), answer)


def test_the_command_writes_what_it_shows(tmp_path, here):
    Retriever.create(tmp_path / "idx", [Passage("ada", "Ada wrote a program."), Passage("bob", "Bob baked.")]).close()
    ran = here("search", tmp_path / "idx", "who wrote it?", "--explain", "--html", tmp_path / "out.html")
    assert ran.stdout.rstrip().endswith(f"Wrote {tmp_path / 'out.html'}")
    page = Parsed((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert page.texts["bdi.id"] == ["ada", "bob"]
    assert "is the mean of 6 similarities" in page.texts["p.account"][0]
    told = here("search", tmp_path / "idx", "who wrote it?", "--html", tmp_path / "out.html", "--json")
    assert f'"html": "{tmp_path / "out.html"}"' in told.stdout
    refused = here("search", tmp_path / "none", "who wrote it?", "--html", tmp_path)
    assert "--html names the folder" in refused.stderr
