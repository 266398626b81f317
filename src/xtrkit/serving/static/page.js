// The page: what is asked stands in its address, what is found comes from POST v1/search, and texts of others are only
// ever shown as text. Places in texts are counted in code points, as the server counts them.
"use strict";

const PER_PAGE = 10;
const MOST_FACETS = 8; // fields that are asked for
const MOST_VALUES = 8; // values shown of each
const KEY = "xtrkit key";

const $ = (id) => document.getElementById(id);

/** What the server has: its indexes, and which fields its searches take. */
const server = { indexes: [], takes: new Set() };
/** What the last answer was, and the request that is under way. */
let answer = null;
let asking = null;

// ---- Elements

/** An element with attributes and children; texts stay texts. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === false || value === null) continue;
    if (attribute.startsWith("on")) made.addEventListener(attribute.slice(2), value);
    else made.setAttribute(attribute, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function shape(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

const counted = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// ---- What is asked, as the address has it

function read() {
  const given = new URLSearchParams(location.search);
  const whole = (name, otherwise) => {
    const value = Number(given.get(name) ?? otherwise);
    return Number.isInteger(value) && value >= 0 ? value : otherwise;
  };
  return {
    q: given.get("q") ?? "",
    index: given.get("index") ?? "",
    recipe: given.get("recipe") ?? "",
    fusion: given.get("fusion") ?? "",
    k: Math.max(1, whole("k", PER_PAGE)),
    offset: whole("offset", 0),
    where: given.get("where") ?? "",
    open: new Set((given.get("open") ?? "").split(".").map(Number).filter(Boolean)),
    special: given.get("special") === "1",
  };
}

let state = read();

function address() {
  const told = new URLSearchParams();
  for (const name of ["q", "index", "recipe", "fusion", "where"]) if (state[name]) told.set(name, state[name]);
  if (state.k !== PER_PAGE) told.set("k", state.k);
  if (state.offset) told.set("offset", state.offset);
  if (state.open.size) told.set("open", [...state.open].sort((a, b) => a - b).join("."));
  if (state.special) told.set("special", "1");
  const query = told.toString();
  return query ? `?${query}` : location.pathname;
}

/** Change what is asked, make it the address, and search. */
function ask(changes) {
  const before = address();
  state = { ...state, offset: 0, open: new Set(), ...changes };
  if (address() !== before) history.pushState(null, "", address());
  fill();
  search();
}

/** Change how the answer is shown, which is no step of its own in the history. */
function show(changes) {
  state = { ...state, ...changes };
  history.replaceState(null, "", address());
}

function fill() {
  $("query").value = state.q;
  $("index").value = state.index || (server.indexes[0]?.name ?? "");
  for (const name of ["recipe", "fusion"]) {
    $(name).value = state[name];
    if ($(name).selectedIndex < 0) {
      $(name).append(element("option", { value: state[name] }, state[name]));
      $(name).value = state[name];
    }
  }
  $("k").value = state.k;
  $("where").value = state.where;
  const chosen = [state.recipe, state.fusion, state.k !== PER_PAGE && `${state.k} results`].filter(Boolean).join(", ");
  $("chosen").textContent = chosen && `: ${chosen}`;
}

// ---- Asking the server

class Refused extends Error {
  constructor(status, message, details) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

async function fetched(path, body, signal) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. Is it still running, and is this device still connected?");
  }
  const told = await response.json().catch(() => null);
  if (response.ok && told !== null) return told;
  const sentence = told?.error?.message ?? `The server answered ${response.status} without saying why.`;
  const wait = response.headers.get("Retry-After");
  throw new Refused(
    response.status,
    response.status === 503 && wait ? `${sentence} Try again in ${counted(Number(wait), "second")}.` : sentence,
    told?.error?.details,
  );
}

const index = () => server.indexes.find((one) => one.name === state.index) ?? server.indexes[0];

/** The condition as a value; an error beside the box where it is none. */
function condition() {
  complain(null);
  if (!state.where.trim()) return null;
  try {
    const value = JSON.parse(state.where);
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      throw new Error("a filter is an object in braces");
    }
    return value;
  } catch (error) {
    complain(`This is no filter: ${error.message}. Write it as {"field": "value"}.`);
    return undefined;
  }
}

function complain(sentence) {
  const box = $("where");
  $("where-error").hidden = !sentence;
  $("where-error").textContent = sentence ?? "";
  if (sentence) {
    box.setAttribute("aria-invalid", "true");
    $("options").open = true;
  } else box.removeAttribute("aria-invalid");
}

async function search() {
  asking?.abort();
  document.title = state.q ? `${state.q} – xtrkit` : "xtrkit";
  if (!state.q.trim()) return welcome();
  const where = condition();
  if (where === undefined) return;
  const own = (asking = new AbortController());
  $("main").setAttribute("aria-busy", "true");
  const body = { query: state.q, k: state.k, offset: state.offset, explain: index()?.texts !== false };
  if (index()) body.index = index().name;
  if (where) body.where = where;
  if (state.recipe) body.recipe = state.recipe;
  if (state.fusion) body.fusion = state.fusion;
  const fields = index()?.metadata_fields ?? [];
  if (fields.length && server.takes.has("facets")) body.facets = fields.slice(0, MOST_FACETS);
  try {
    answer = await fetched("v1/search", body, own.signal);
    tell(null);
    shown();
  } catch (error) {
    if (error.name === "AbortError") return;
    failed(error, where);
  } finally {
    if (asking === own) $("main").removeAttribute("aria-busy");
  }
}

function failed(error, where) {
  answer = null;
  clear();
  if (error.status === 401 || error.status === 403) return askKey(error);
  if (where && isAboutFilter(error)) {
    complain(error.message);
    $("status").textContent = "The filter can't be used.";
  } else tell(error.message, error.status === 0 || error.status >= 500);
}

/** Whether what the server refuses is the condition: its details say where, or it names what conditions alone have. */
function isAboutFilter(error) {
  if (error.status < 400 || error.status >= 500) return false;
  const places = Array.isArray(error.details) ? error.details.map(({ where }) => String(where).split(".")[0]) : [];
  return places.includes("where") || /\b(where|filter|condition|metadata|field|operator)s?\b/i.test(error.message);
}

function tell(sentence, again = false) {
  $("problem").replaceChildren();
  $("problem").hidden = !sentence;
  if (!sentence) return;
  $("problem").append(element("p", {}, sentence));
  if (again) $("problem").append(element("button", { class: "main", type: "button", onclick: server.indexes.length ? search : begin }, "Try again"));
}

function askKey(error) {
  const had = sessionStorage.getItem(KEY) !== null;
  sessionStorage.removeItem(KEY);
  $("key-why").textContent = had ? error.message : "";
  $("key-form").hidden = false;
  $("welcome").hidden = true;
  $("key").focus();
}

// ---- What is shown

function clear() {
  for (const id of ["results", "filters", "facets", "stages"]) $(id).replaceChildren();
  for (const id of ["facets", "timing", "pages", "welcome"]) $(id).hidden = true;
  $("columns").classList.remove("narrowed");
  $("status").textContent = "";
}

function welcome() {
  answer = null;
  clear();
  tell(null);
  const facts = index();
  if (!facts) return;
  $("welcome").replaceChildren(
    element(
      "p",
      {},
      `Search ${counted(facts.documents, "passage")} (${counted(facts.tokens, "token")}), read by ${facts.encoder.name}.`,
    ),
    element(
      "p",
      {},
      "Ask in your own words. Each result shows why it was found: what every part of your question matched in the " +
        "text, how well, and how much of the score comes from it.",
    ),
  );
  $("welcome").hidden = false;
}

function shown() {
  clear();
  const hits = answer.hits;
  $("results").append(...hits.map(hitElement));
  showSpecial();
  $("results").start = state.offset + 1;
  $("status").textContent = summary(hits);
  showTiming();
  showFilters();
  showFacets();
  $("pages").hidden = !state.offset && hits.length < state.k;
  $("previous").disabled = !state.offset;
  $("next").disabled = hits.length < state.k;
}

function summary(hits) {
  const took = `in ${milliseconds(answer.took_ms)}`;
  const first = state.offset + 1;
  const found = !hits.length
    ? state.offset
      ? `Nothing was found beyond rank ${state.offset}.`
      : `Nothing was found${state.where ? " that the filter lets through" : ""}.`
    : state.offset
      ? `Ranks ${first}–${state.offset + hits.length} ${took}.`
      : `${counted(hits.length, "result")} ${took}.`;
  const notes = [...(answer.warnings ?? [])];
  if (answer.truncated) notes.push("The query is longer than the model's window: its end was not searched for.");
  if (answer.unknown) {
    notes.push(
      `${answer.unknown} of ${answer.pieces} pieces of the query are unknown to the model: they look alike to it.`,
    );
  }
  return [found, ...notes].join(" ");
}

function showTiming() {
  const stages = Object.entries(answer.seconds ?? {});
  $("timing").hidden = !stages.length;
  $("stages").replaceChildren(
    ...stages.map(([stage, seconds]) =>
      element("div", {}, element("dt", {}, stage), element("dd", {}, milliseconds(1000 * seconds))),
    ),
  );
}

/** Conditions as (field, value) where they are that simple; others as they are written. */
function conditions() {
  const where = state.where.trim() ? JSON.parse(state.where) : {};
  return Object.entries(where);
}

function narrowed(field, value) {
  const entries = conditions().filter(([name]) => name !== field);
  if (value !== undefined) entries.push([field, value]);
  return entries.length ? JSON.stringify(Object.fromEntries(entries)) : "";
}

function showFilters() {
  $("filters").replaceChildren(
    ...conditions().map(([field, value]) => {
      const written = typeof value === "object" ? JSON.stringify(value) : String(value);
      const label = `${field}: ${written}`;
      const remove = () => ask({ where: narrowed(field) });
      return element(
        "li",
        {},
        element("button", { type: "button", "aria-label": `Remove the filter ${label}`, onclick: remove }, label),
      );
    }),
  );
}

function showFacets() {
  const used = Object.fromEntries(conditions());
  const tells = ([field, counts]) => field in used || (counts.length > 1 && counts.some(({ count }) => count > 1));
  const groups = Object.entries(answer.facets ?? {}).filter(tells);
  $("facets").hidden = !groups.length;
  $("columns").classList.toggle("narrowed", groups.length > 0);
  for (const [field, counts] of groups) {
    const list = element("ul", { "aria-label": field });
    for (const { value, count } of counts.slice(0, MOST_VALUES)) {
      const on = used[field] === value;
      const button = element(
        "button",
        {
          type: "button",
          "aria-pressed": String(on),
          onclick: () => ask({ where: narrowed(field, on ? undefined : value) }),
        },
        element("bdi", { class: "value" }, String(value)),
        element("span", { class: "count" }, String(count)),
      );
      list.append(element("li", {}, button));
    }
    $("facets").append(element("div", {}, element("h2", {}, field), list));
  }
}

function hitElement(hit) {
  const why = `why-${hit.rank}`;
  const button = element(
    "button",
    { class: "toggle", type: "button", "aria-expanded": "false", "aria-controls": why },
    element("span", { class: "rank" }, String(hit.rank)),
    element("bdi", { class: "id" }, hit.id),
  );
  const score = element(
    "span",
    { class: "score" },
    element("span", { class: "unseen" }, "score "),
    hit.score.toFixed(4),
  );
  const body = element("div", { class: "body" });
  const made = element("li", { class: "hit" }, element("h2", { class: "line" }, button, score), body);
  button.addEventListener("click", () => toggle(made, hit));
  if (hit.snippet) {
    const snippet = element("p", { class: "snippet", dir: "auto" }, marked(hit.snippet.text, snippetSpans(hit)));
    snippet.addEventListener("click", () => getSelection().isCollapsed && toggle(made, hit));
    body.append(snippet);
  }
  body.append(element("div", { id: why, class: "why", hidden: true }));
  if (hit.part || Object.keys(hit.metadata).length) body.append(aboutElement(hit));
  if (state.open.has(hit.rank)) open(made, hit);
  return made;
}

function aboutElement(hit) {
  const about = element("ul", { class: "about" });
  if (hit.part) {
    const { document: of, first, last } = hit.part;
    const places = `characters ${first.toLocaleString("en")}–${last.toLocaleString("en")}`;
    about.append(element("li", {}, "in ", element("bdi", {}, of), `, ${places}`));
  }
  for (const [name, value] of Object.entries(hit.metadata)) {
    const written = Array.isArray(value) ? value.join(", ") : String(value);
    about.append(element("li", {}, `${name}: `, element("bdi", {}, written)));
  }
  return about;
}

/** What the hit's matches stand for in its text: [{begin, end, match, weak}]; the weaker half is marked more lightly. */
function passageSpans(hit) {
  const found = (hit.matches ?? []).flatMap(({ document_token: token, similarity }, match) =>
    token && !isSpecial(token) ? [{ begin: token.start, end: token.end, match, similarity }] : [],
  );
  const similarities = found.map(({ similarity }) => similarity);
  const middle = (Math.min(...similarities) + Math.max(...similarities)) / 2;
  return found.map((span) => ({ ...span, weak: span.similarity < middle }));
}

/** The words that matched in the snippet, each as strong as the best token in it. */
function snippetSpans(hit) {
  const { first, matched } = hit.snippet;
  const shift = first - (first ? 1 : 0); // … stands before what was cut
  const spans = passageSpans(hit);
  return matched.map(([begin, end]) => ({
    begin,
    end,
    weak: !spans.some((span) => !span.weak && begin + shift <= span.begin && span.end <= end + shift),
  }));
}

/** A text with marks at spans; a mark remembers the matches that it stands for. */
function marked(text, spans) {
  const points = [...text];
  const inside = spans.filter(({ begin, end }) => 0 <= begin && begin < end && end <= points.length);
  const places = new Set([0, points.length, ...inside.flatMap(({ begin, end }) => [begin, end])]);
  const cuts = [...places].sort((a, b) => a - b);
  const made = document.createDocumentFragment();
  for (let place = 1; place < cuts.length; place += 1) {
    const [first, last] = [cuts[place - 1], cuts[place]];
    const over = inside.filter(({ begin, end }) => begin <= first && last <= end);
    const piece = points.slice(first, last).join("");
    const attributes = {
      class: over.every(({ weak }) => weak) ? "weak" : null,
      "data-matches": over.map(({ match }) => match).join(" "),
    };
    made.append(over.length ? element("mark", attributes, piece) : piece);
  }
  return made;
}

// ---- Why a hit was found

function toggle(item, hit) {
  if (item.classList.contains("open")) close(item, hit);
  else {
    open(item, hit);
    show({ open: new Set([...state.open, hit.rank]) });
  }
}

function close(item, hit) {
  item.classList.remove("open");
  item.querySelector(".toggle").setAttribute("aria-expanded", "false");
  item.querySelector(".why").hidden = true;
  show({ open: new Set([...state.open].filter((rank) => rank !== hit.rank)) });
}

function open(item, hit) {
  item.classList.add("open");
  item.querySelector(".toggle").setAttribute("aria-expanded", "true");
  const why = item.querySelector(".why");
  why.hidden = false;
  if (!why.childElementCount) why.append(...whyElements(hit));
  showSpecial();
}

const isSpecial = (token) => token.start === token.end;

function whyElements(hit) {
  if (hit.text === null) return [element("p", { class: "note" }, "This index has no texts, only what was found.")];
  const matches = hit.matches ?? [];
  const passage = element(
    "div",
    { class: "passage", dir: "auto", tabindex: "0", role: "region", "aria-label": `Passage ${hit.rank}` },
    marked(hit.text, passageSpans(hit)),
  );
  if (!matches.length) return [passage];
  const total = matches.reduce((sum, { similarity }) => sum + (similarity ?? 0), 0);
  const shares = matches.map(({ similarity }) => (total ? (similarity ?? 0) / total : 0));
  const widest = Math.max(...shares, 1e-9);
  const list = element("ul", { class: "tokens", "aria-label": "What each part of the query matched" });
  const choose = (chosen) => {
    for (const chip of list.querySelectorAll(".token")) {
      chip.setAttribute("aria-pressed", String(Number(chip.dataset.match) === chosen));
    }
    for (const mark of passage.querySelectorAll("mark")) {
      mark.classList.toggle("chosen", mark.dataset.matches.split(" ").includes(String(chosen)));
    }
    bringIntoView(passage);
  };
  matches.forEach((match, place) => {
    const chip = chipElement(hit, match, place, shares[place], shares[place] / widest);
    chip.addEventListener("click", () => choose(place));
    chip.addEventListener("focus", () => choose(place));
    list.append(element("li", { "data-special": isSpecial(match.query_token) ? "" : null }, chip));
  });
  passage.addEventListener("click", ({ target }) => {
    if (target.matches("mark") && getSelection().isCollapsed) choose(Number(target.dataset.matches.split(" ")[0]));
  });
  return [passage, accountElement(hit, matches, total), list, ...specialElements(matches, shares)];
}

/** Scroll a chosen mark into its passage, and leave the page where it is. */
function bringIntoView(passage) {
  const mark = passage.querySelector("mark.chosen");
  if (!mark) return;
  const [outer, inner] = [passage.getBoundingClientRect(), mark.getBoundingClientRect()];
  if (inner.top < outer.top || inner.bottom > outer.bottom) {
    passage.scrollTop += inner.top - outer.top - passage.clientHeight / 3;
  }
}

const cut = (text, token) => (isSpecial(token) ? token.piece : [...text].slice(token.start, token.end).join(""));

function chipElement(hit, match, place, share, width) {
  const { query_token: asked, document_token: found, similarity } = match;
  const what = found
    ? element("bdi", { class: "matched" }, cut(hit.text, found))
    : element("span", { class: "nothing" }, "nothing retrieved");
  const state = found ? "retrieved" : similarity === null ? "left out" : "imputed";
  const figure = similarity === null ? state : `${similarity.toFixed(3)} ${state}`;
  return element(
    "button",
    { type: "button", class: `token${found ? "" : " imputed"}`, "data-match": String(place), "aria-pressed": "false" },
    element(
      "span",
      { class: "pair" },
      element("bdi", { class: "asked" }, cut(answer.query, asked)),
      element("span", { class: "arrow", "aria-hidden": "true" }, " → "),
      element("span", { class: "unseen" }, " matched "),
      what,
    ),
    barElement(width),
    element("span", { class: "share" }, percent(share), element("span", { class: "unseen" }, " share,")),
    element("span", { class: "figure" }, element("span", { class: "unseen" }, "similarity "), figure),
  );
}

function barElement(width) {
  const attributes = { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" };
  const filled = (100 * Math.max(0, width)).toFixed(1);
  return shape(
    "svg",
    attributes,
    shape("rect", { class: "track", width: "100", height: "6" }),
    shape("rect", { class: "fill", width: filled, height: "6" }),
  );
}

/** How the score comes from the similarities; where it does not, who made it. */
function accountElement(hit, matches, total) {
  const known = matches.filter(({ similarity }) => similarity !== null).length;
  const missing = matches.filter(({ document_token: token }) => token === null).length;
  const score = hit.scores?.tokens ?? hit.score; // of a fused ranking, what token vectors say
  const near = (value) => Math.abs(value - score) <= 1e-3 * Math.max(1, Math.abs(score));
  const how = near(total / known) ? "the mean" : near(total) ? "the sum" : null;
  const imputed = known < matches.length ? "left out" : "imputed";
  const parts = `${counted(known, "similarity", "similarities")}${missing ? `, ${missing} ${imputed}` : ""}`;
  const strong = (value) => element("strong", {}, value.toFixed(4));
  const said = [];
  if (hit.scores) {
    const [tokens, words] = [hit.scores.tokens, hit.scores.words].map((one) => one?.toFixed(4) ?? "not found");
    said.push("The score ", strong(hit.score), ` is fused of token vectors (${tokens}) and words (${words}). `);
  }
  if (how) said.push(hit.scores ? "That of token vectors " : "The score ", strong(score), ` is ${how} of ${parts}.`);
  else if (hit.scores) said.push(`Shares are of ${parts}.`);
  else {
    said.push("The score ", strong(score));
    said.push(` was made after the retrieval. Shares are of the retrieval's ${parts}.`);
  }
  return element("p", { class: "account" }, ...said, " Dotted marks are the weaker ones.");
}

/** The switch for tokens that stand for no characters, and what they weigh; nothing where there are none. */
function specialElements(matches, shares) {
  const places = matches.flatMap(({ query_token: token }, place) => (isSpecial(token) ? [place] : []));
  if (!places.length) return [];
  const names = [...new Set(places.map((place) => matches[place].query_token.piece))].join(", ");
  const weight = percent(places.reduce((sum, place) => sum + shares[place], 0));
  const told = `${counted(places.length, "marker")} of the model (${names}), ${weight} of the score. `;
  const button = element("button", { type: "button", class: "special" });
  button.addEventListener("click", () => {
    show({ special: !state.special });
    showSpecial();
  });
  return [element("p", { class: "note" }, told, button)];
}

function showSpecial() {
  $("results").classList.toggle("with-special", state.special);
  for (const button of document.querySelectorAll("button.special")) {
    button.textContent = state.special ? "Hide" : "Show";
    button.setAttribute("aria-label", `${button.textContent} the model's markers`);
  }
}

// ---- Keys, forms, history

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input, textarea, select");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("query").focus();
    $("query").select();
  } else if (event.key === "Escape") closeOpen(event);
  else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && move(event)) event.preventDefault();
});

function closeOpen(event) {
  const item = event.target.closest?.(".hit.open");
  if (!item) return;
  close(item, answer.hits[[...$("results").children].indexOf(item)]);
  item.querySelector(".toggle").focus();
}

/** To the next or previous result, from the box or from a result's line; whether there was one. */
function move(event) {
  const toggles = [...document.querySelectorAll(".toggle")];
  const place = toggles.indexOf(event.target);
  if (place < 0 && event.target !== $("query")) return false;
  const next = place + (event.key === "ArrowDown" ? 1 : -1);
  if (next === -1 && place === 0) $("query").focus();
  else if (toggles[next]) toggles[next].focus();
  else return false;
  return true;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const several = server.indexes.length > 1;
  ask({
    q: $("query").value,
    index: several ? $("index").value : state.index,
    recipe: $("recipe").value,
    fusion: $("fusion").value,
    k: Math.max(1, Math.floor(Number($("k").value)) || PER_PAGE),
    where: $("where").value.trim(),
  });
});

for (const name of ["index", "recipe", "fusion", "k"]) {
  $(name).addEventListener("change", () => $("form").requestSubmit());
}

$("where").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey) return;
  event.preventDefault();
  $("form").requestSubmit();
});

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  $("key-form").hidden = true;
  begin();
});

$("previous").addEventListener("click", () => turn(Math.max(0, state.offset - state.k)));
$("next").addEventListener("click", () => turn(state.offset + state.k));

function turn(offset) {
  ask({ offset });
  scrollTo(0, 0);
  $("results").focus();
}

addEventListener("popstate", () => {
  state = read();
  fill();
  search();
});

/** Learn what the server has, then search for what the address asks. */
async function begin() {
  try {
    const [told, described] = await Promise.all([fetched("v1/indexes"), fetched("openapi.json").catch(() => null)]);
    server.indexes = told.indexes;
    for (const schema of Object.values(described?.components?.schemas ?? {})) {
      if (schema.properties?.k && schema.properties?.query) {
        for (const name of Object.keys(schema.properties)) server.takes.add(name);
      }
    }
  } catch (error) {
    failed(error);
    if (error.status === 503) setTimeout(begin, 1000); // it opens its indexes
    return;
  }
  $("index").replaceChildren(...server.indexes.map(({ name }) => element("option", { value: name }, name)));
  $("index-choice").hidden = server.indexes.length < 2;
  $("fusion-choice").hidden = !server.takes.has("fusion");
  fill();
  if (!state.q) $("query").focus();
  await search();
}

begin();
