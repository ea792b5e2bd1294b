"use strict";
// The page of `erm3 serve`: questions to /api, answers as text and charts. All text is set as text, never as HTML.

const COLOURS = { market: "#3b6ea5", sector: "#d08a2e", subsector: "#4f9d69", residual: "#9aa0a6", total: "#333333" };
const LEVELS = ["market", "sector", "subsector"];
const $ = (id) => document.getElementById(id);
const state = { who: null, shown: 0, sort: { column: "beta_variance", down: true }, panel: null };

function make(kind, given = {}, ...inside) {
  const node = document.createElement(kind);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value);
  }
  node.append(...inside);
  return node;
}

const number = (value, digits = 4) => (value === null || value === undefined ? "–" : Number(value).toFixed(digits));
const percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1) + " %");
const dollars = (value) => Number(value).toLocaleString("en-US", { maximumFractionDigits: 0 });

async function ask(path, params = {}, body = null) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== "" && value !== null));
  const headers = {};
  const key = sessionStorage.getItem("erm3-key");
  if (key) headers.Authorization = "Bearer " + key;
  if (body) headers["Content-Type"] = "application/json";
  const given = { headers, method: body ? "POST" : "GET", body: body ? JSON.stringify(body) : undefined };
  const answer = await fetch("/api" + path + (query.size ? "?" + query : ""), given);
  const found = await answer.json();
  if (answer.status === 401) $("key-form").hidden = false;
  if (!answer.ok) throw new Error(found.message);
  return found;
}

function say(text) { $("message").textContent = text; }

/** Runs one question at a time per view: an answer that comes after the next question is not shown. */
async function during(task, ...places) {
  const mine = ++state.shown;
  say("…");
  try {
    await task(() => mine === state.shown);
    if (mine === state.shown) say("");
  } catch (error) {
    if (mine !== state.shown) return;
    for (const place of places) $(place).replaceChildren();  // an old answer is not the one to this question
    say(error.message);
  }
}

const asOf = () => $("as-of").value;

// -- find ---------------------------------------------------------------------------------------------------------

let hits = [], chosen = -1, typing = null, lookups = 0;

async function lookUp() {
  const text = $("find").value.trim(), mine = ++lookups;
  if (!text) return showHits([]);
  try {
    const found = await ask("/securities", { search: text, as_of: asOf() });
    if (mine === lookups) showHits(found.securities.filter((hit) => hit.kind !== "etf"));
  } catch (error) { say(error.message); }
}

function showHits(found) {
  hits = found;
  chosen = found.length ? 0 : -1;
  $("found").replaceChildren(...found.map((hit, k) => make("li", { role: "option", id: "hit-" + k, onmousedown: (event) => { event.preventDefault(); pick(k); } },
    make("span", { text: hit.ticker + "  " + hit.name }),
    make("span", { class: "note", text: (hit.first || "") + " – " + (hit.last || "now") }))));
  $("found").hidden = !found.length;
  $("find").setAttribute("aria-expanded", String(Boolean(found.length)));
  mark();
}

function mark() {
  [...$("found").children].forEach((item, k) => item.setAttribute("aria-selected", String(k === chosen)));
  const item = $("hit-" + chosen);
  if (item) { $("find").setAttribute("aria-activedescendant", item.id); item.scrollIntoView({ block: "nearest" }); }
  else $("find").removeAttribute("aria-activedescendant");
}

function pick(k) {
  const hit = hits[k];
  if (!hit) return;
  $("find").value = hit.ticker;
  showHits([]);
  location.hash = "#stock/" + hit.symbol;
}

$("find").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(lookUp, 120); });
$("find").addEventListener("blur", () => showHits([]));
$("find").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && hits.length) { event.preventDefault(); chosen = (chosen + step + hits.length) % hits.length; mark(); }
  else if (event.key === "Enter" && hits.length) { event.preventDefault(); pick(chosen); }
  else if (event.key === "Escape") showHits([]);
});

// -- tables and charts --------------------------------------------------------------------------------------------

function table(head, rows, caption) {
  const body = rows.map((row) => make("tr", {}, ...row.map((cell) => cell instanceof Node ? cell : make("td", { text: cell }))));
  const top = make("tr", {}, ...head.map((cell) => cell instanceof Node ? cell : make("th", { scope: "col", text: cell })));
  return make("div", { class: "scroll" }, make("table", {}, make("caption", { class: "note", text: caption }), make("thead", {}, top), make("tbody", {}, ...body)));
}

/** One chart with its title; `lines`: label, values, colour, and a fill. The values under the pointer stand below it. */
function chart(place, title, dates, lines, format = number, fromZero = false) {
  const box = make("div", { class: "chart", role: "img", "aria-label": title });
  place.append(make("h3", { text: title }), box);
  const times = dates.map((day) => Date.parse(day + "T00:00:00Z") / 1000);
  const series = [{ value: (_, at) => (at === null ? "–" : new Date(at * 1000).toISOString().slice(0, 10)) }];
  for (const line of lines) {
    series.push({ label: line.label, stroke: line.colour, fill: line.fill, width: line.fill ? 0 : 1.5, points: { show: false },
      value: (_, value, __, k) => (k === null || k === undefined ? "–" : format((line.told || line.values)[k])) });
  }
  const plot = new uPlot({ width: box.clientWidth || 600, height: 240, series, tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), "Etc/UTC"),
    cursor: { sync: { key: "stock" } }, axes: [{}, { size: 60 }], scales: { x: { time: true }, y: { range: fromZero ? (_, low, high) => [Math.min(0, low), high] : undefined } } },
    [times, ...lines.map((line) => line.values)], box);
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 240 })).observe(box);
  return plot;
}

/** When which ETF was used, in words. */
function changes(dates, etfs) {
  const parts = [];
  etfs.forEach((etf, k) => { if (k === 0 || etf !== etfs[k - 1]) parts.push((etf || "none") + " from " + dates[k]); });
  return parts.slice(-6).join(", ");
}

// -- a stock ------------------------------------------------------------------------------------------------------

const FIELDS = ["l1_market_beta", "l2_sector_beta", "l3_subsector_beta", "l3_market_hr", "l3_sector_hr", "l3_subsector_hr",
  "l3_market_er", "l3_sector_er", "l3_subsector_er", "l3_residual_er", "l3_residual_return"];

function showStock(who) {
  state.who = who;
  if (!who) return;
  during(async (current) => {
    const [now, past] = await Promise.all([
      ask("/decompose", {}, asOf() ? { ticker: who, as_of: asOf() } : { ticker: who }),
      ask("/series", { ticker: who, fields: FIELDS.join(","), years: $("years").value, as_of: asOf() }),
    ]);
    if (!current()) return;
    $("who").textContent = now.ticker + " (" + now.symbol + ") at " + now.teo;
    showHedge(now);
    showCharts(past);
  }, "who", "hedge", "charts");
}

function showHedge(now) {
  const size = make("input", { type: "number", value: "100000", step: "1000", "aria-label": "Dollars long" });
  const trade = make("p", { id: "trade" });
  const tell = () => {
    const legs = Object.entries(now.hedge).map(([etf, ratio]) => (ratio < 0 ? "short " : "long ") + dollars(Math.abs(ratio * size.value)) + " of " + etf);
    trade.textContent = "Against " + dollars(size.value) + " dollars long: " + (legs.join(", ") || "nothing");
  };
  size.addEventListener("input", tell);
  const rows = Object.entries(now.exposure).map(([level, part]) => [level, percent(part.er), number(part.hr), part.hedge_etf || "–"]);
  $("hedge").replaceChildren(table(["level", "share of risk", "hedge ratio", "ETF"], rows, "Dollars of ETF per dollar long; negative is short."),
    make("label", { class: "note", text: "Dollars long " }, size), trade);
  tell();
}

function showCharts(past) {
  const place = $("charts"), dates = past.dates;
  place.replaceChildren();
  const of = (suffix, k, level) => past["l" + k + "_" + level + "_" + suffix];
  chart(place, "Betas by level", dates, LEVELS.map((level, k) => ({ label: level, values: of("beta", k + 1, level), colour: COLOURS[level] })));
  for (const level of LEVELS) place.append(make("p", { class: "note", text: "ETF of the " + level + " level: " + changes(dates, past[level + "_etf"]) }));
  chart(place, "Hedge ratios at L3 (dollars of ETF per dollar long)", dates, LEVELS.map((level) => ({ label: level, values: of("hr", 3, level), colour: COLOURS[level] })));
  chart(place, "Where the risk comes from (share of variance at L3)", dates, stacked(past), percent, true);
  let sum = 0;
  const path = past.l3_residual_return.map((value) => (value === null ? null : (sum += value)));
  chart(place, "Residual return at L3, summed", dates, [{ label: "residual", values: path, colour: COLOURS.total }], percent);
}

/** Shares one on the other, the whole first so that each is drawn over the ones above it. */
function stacked(past) {
  const parts = [...LEVELS, "residual"], shares = parts.map((part) => past["l3_" + part + "_er"]);
  const upTo = (k) => past.dates.map((_, t) => (shares[0][t] === null ? null : shares.slice(0, k + 1).reduce((total, share) => total + (share[t] || 0), 0)));
  return parts.map((part, k) => ({ label: part, values: upTo(k), told: shares[k], colour: COLOURS[part], fill: COLOURS[part] })).reverse();
}

// -- industries ---------------------------------------------------------------------------------------------------

const COLUMNS = [["industry", "industry"], ["n_companies", "companies"], ["beta_mean", "mean beta"], ["beta_mean_change", "change in a month"], ["beta_variance", "variance"]];

function showIndustries() {
  during(async (current) => {
    const [panel, names] = await Promise.all([
      ask("/industry-panel", { level: $("level").value, min_peers: $("peers").value || 1, teo: asOf(), change: "1m" }),
      industryNames(),
    ]);
    if (!current()) return;
    state.panel = panel.industries.map((row) => ({ ...row, industry: names[row.industry_code] || String(row.industry_code) }));
    state.teo = panel.teo;
    drawPanel();
  }, "panel");
}

let named = null;
async function industryNames() {
  if (!named) named = (await ask("/status")).industries;
  return named;
}

function drawPanel() {
  const { column, down } = state.sort, low = {}, high = {};
  for (const [name] of COLUMNS.slice(1)) {
    const known = state.panel.map((row) => row[name]).filter((value) => value !== null);
    low[name] = Math.min(...known);
    high[name] = Math.max(...known);
  }
  const order = (a, b) => (a === null) - (b === null) || (typeof a === "string" ? a.localeCompare(b) : a - b) * (down ? -1 : 1);
  const rows = [...state.panel].sort((a, b) => order(a[column], b[column])).map((row) => COLUMNS.map(([name]) => {
    if (name === "industry") return make("td", {}, make("button", { type: "button", text: row.industry, onclick: () => showIndustry(row) }));
    const cell = make("td", { text: name === "n_companies" ? row[name] : number(row[name], 3) });
    cell.style.background = heat(row[name], low[name], high[name]);
    return cell;
  }));
  const head = COLUMNS.map(([name, label]) => make("th", { scope: "col", "aria-sort": name === column ? (down ? "descending" : "ascending") : "none" },
    make("button", { type: "button", text: label, onclick: () => { state.sort = { column: name, down: name === column ? !down : name !== "industry" }; drawPanel(); } })));
  $("panel").replaceChildren(table(head, rows, "At " + state.teo + ", level " + $("level").value + ". A column sorts; an industry shows its past."));
}

function heat(value, low, high) {
  if (value === null || !(high > low)) return "transparent";
  return "rgba(208, 138, 46, " + (0.05 + 0.6 * (value - low) / (high - low)).toFixed(3) + ")";
}

function showIndustry(row) {
  during(async (current) => {
    const past = await ask("/industry-history", { industry: row.industry_code, level: row.level, as_of: asOf() });
    if (!current()) return;
    const deviation = past.beta_variance.map((value) => (value === null ? null : Math.sqrt(value)));
    const edge = (sign) => past.beta_mean.map((mean, k) => (mean === null ? null : mean + sign * deviation[k]));
    $("industry-chart").replaceChildren();
    chart($("industry-chart"), past.name + ": mean beta at the " + past.level + " level, and one standard deviation around it", past.dates, [
      { label: "mean", values: past.beta_mean, colour: COLOURS.sector },
      { label: "less", values: edge(-1), colour: COLOURS.residual }, { label: "more", values: edge(1), colour: COLOURS.residual }]);
    $("industry-chart").scrollIntoView({ block: "nearest" });
  });
}

// -- a portfolio --------------------------------------------------------------------------------------------------

function positions(text) {
  const found = {};
  text.split("\n").forEach((line, k) => {
    if (!line.trim() || /^\s*ticker\b/i.test(line)) return;
    const parts = line.trim().split(/[,;\t]\s*|\s{1,}(?=[-+.\d]\S*$)/), amount = Number((parts[1] || "").replace(/_/g, ""));
    if (parts.length !== 2 || !parts[1].trim() || !Number.isFinite(amount)) throw new Error("line " + (k + 1) + " is not a ticker and a number: " + line.trim().slice(0, 40));
    found[parts[0].trim()] = (found[parts[0].trim()] || 0) + amount;
  });
  return found;
}

$("portfolio-form").addEventListener("submit", (event) => {
  event.preventDefault();
  during(async (current) => {
    const body = { positions: positions($("positions").value), level: $("depth").value };
    if (!Object.keys(body.positions).length) throw new Error("paste at least one position, like AAPL, 100000");
    if (asOf()) body.as_of = asOf();
    const found = await ask("/portfolio", {}, body);
    if (!current()) return;
    const place = $("portfolio-answer");
    const hedge = Object.entries(found.dollars).map(([etf, amount]) => [etf, dollars(amount)]);
    place.replaceChildren(table(["ETF", "dollars"], hedge, "Hedge at " + found.teo + "; negative is short."));
    if (found.risk.realised) place.append(table(["risk", "share"], ["market", "sector", "subsector", "residual"].map((part) => [part, percent(found.risk.realised[part])]), "Of the variance of " + found.risk.realised.sessions + " sessions"));
    else place.append(make("p", { class: "note", text: "Risk: " + found.risk.error }));
    if (found.bridge.bars) place.append(table(["bar", "return"], Object.entries(found.bridge.bars).map(([bar, value]) => [bar, percent(value)]), found.bridge.start + " to " + found.bridge.end));
    else place.append(make("p", { class: "note", text: "Return: " + found.bridge.error }));
    for (const [name, why] of Object.entries(found.missing)) place.append(make("p", { class: "note", text: "Not hedged: " + name + ": " + why }));
  }, "portfolio-answer");
});

// -- what is published --------------------------------------------------------------------------------------------

function showPublished() {
  during(async (current) => {
    const found = await ask("/status");
    if (!current()) return;
    const facts = [["publication", found.publication], ["published", found.published_utc || "–"], ["sessions", found.first_session + " to " + found.complete_through + ", " + found.sessions],
      ["model", found._metadata.model_version], ["factor set", found._metadata.factor_set_id], ["members", found._metadata.universe_size], ["returns at the last session", found.returns]];
    const text = (value) => make("td", { class: "text", text: value });
    $("status").replaceChildren(table(["what", "value"], facts.map(([name, value]) => [name, text(value)]), "What answers come from"),
      make("h3", { text: "Withheld at the last session" }),
      found.withheld.length ? table(["why", "stocks", "which"], found.withheld.map((row) => [row.flag, row.stocks, text(row.tickers.join(" "))]), "Returns that data quality does not publish, by flag") : make("p", { text: "No return was withheld." }),
      make("h3", { text: "Stores" }), make("p", { text: found.stores.join(", ") }));
  });
}

// -- where one is -------------------------------------------------------------------------------------------------

function show() {
  const [page, who] = (location.hash.slice(1) || "stock").split("/");
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== page;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === "#" + page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  say("");
  if (page === "stock") showStock(who ? decodeURIComponent(who) : state.who);
  if (page === "industries") showIndustries();
  if (page === "published") showPublished();
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("erm3-key", $("key").value);
  $("key-form").hidden = true;
  show();
});
for (const id of ["as-of", "years", "level", "peers"]) $(id).addEventListener("change", show);
window.addEventListener("hashchange", show);
show();
if (location.hash.length < 2) $("find").focus();
