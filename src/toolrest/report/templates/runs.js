"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const runs = data.runs;
const regionNames = data.regions;
const state = { run: 0, group: 0, shade: "weight", filter: "all" };

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "title", "g"].includes(tag);
  const element = svg && tag !== "title"
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children) element.append(child);
  return element;
}

function number(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function percent(value) { return (100 * value).toFixed(1) + " %"; }

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((text, place) =>
    place ? make("td", {}, text) : make("th", { scope: "row" }, text))));
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "table" },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

function chart(title, lines, unit = "") {
  const shown = lines.filter((line) => line.points.length);
  if (!shown.length) return null;
  const width = 420, height = 220, left = 46, bottom = 26, top = 8, right = 8;
  const xs = shown.flatMap((line) => line.points.map((point) => point[0]));
  const ys = shown.flatMap((line) => line.points.map((point) => point[1]));
  const x0 = Math.min(...xs), x1 = Math.max(...xs);
  let y0 = Math.min(...ys), y1 = Math.max(...ys);
  if (y0 === y1) { y0 -= 0.5; y1 += 0.5; }
  const px = (x) => left + (x1 === x0 ? 0.5 : (x - x0) / (x1 - x0)) * (width - left - right);
  const py = (y) => top + (1 - (y - y0) / (y1 - y0)) * (height - top - bottom);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (let tick = 0; tick <= 4; tick++) {
    const value = y0 + (tick / 4) * (y1 - y0), at = py(value);
    svg.append(make("line", { class: "axis", x1: left, x2: width - right, y1: at, y2: at }));
    const digits = Math.abs(y1 - y0) < 0.1 ? 3 : Math.abs(y1 - y0) < 20 ? 2 : 0;
    svg.append(make("text", { x: left - 4, y: at + 4, "text-anchor": "end" }, value.toFixed(digits)));
  }
  for (const x of new Set([x0, Math.round((x0 + x1) / 2), x1])) {
    svg.append(make("text", { x: px(x), y: height - 8, "text-anchor": "middle" }, String(x)));
  }
  shown.forEach((line) => {
    const path = line.points.map((point, place) =>
      (place && !line.gaps.has(place) ? "L" : "M") + px(point[0]).toFixed(1) + " " + py(point[1]).toFixed(1));
    const dot = line.points.length === 1 ? " l 0.01 0" : "";
    svg.append(make("path", { class: line.look, d: path.join("") + dot,
      "stroke-dasharray": line.dash, "stroke-linecap": "round",
      "stroke-width": dot ? 6 : null }));
  });
  const key = shown.map((line) => {
    const stroke = make("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" },
      make("path", { class: line.look, d: "M0 4L24 4", "stroke-dasharray": line.dash }));
    return make("span", {}, stroke, line.name + " (" + number(line.points[line.points.length - 1][1]) + ")");
  });
  return make("figure", {}, make("figcaption", {}, title + (unit ? ", " + unit : "")), svg,
    make("div", { class: "key" }, ...key));
}

function points(series, name) {
  const found = series[name];
  const kept = [], gaps = new Set();
  let gap = false;
  if (found) found[0].forEach((step, place) => {
    if (found[1][place] === null) { gap = true; return; }
    if (gap) gaps.add(kept.length);
    gap = false;
    kept.push([step, found[1][place]]);
  });
  return { points: kept, gaps };
}

const dashes = [null, "6 4", "2 3", "8 3 2 3"];

function lines(pick, names) {
  return runs.flatMap((run, r) => names.map((name, n) => ({
    name: (runs.length > 1 ? run.name + " " : "") + name[1],
    look: regionNames.includes(name[1]) ? name[1] : "c" + ((runs.length > 1 && names.length === 1 ? r : n) % 8),
    dash: runs.length > 1 && names.length > 1 ? dashes[r % 4] : null,
    ...points(pick(run), name[0]),
  })));
}

function byRegion(prefix) {
  return regionNames.map((name) => [prefix + "/" + name, name]);
}

function summaryView(section) {
  for (const run of runs) {
    section.append(make("h2", {}, run.name));
    const facts = [["weighting", run.scheme], ["policy", run.policy], ["seed", run.seed],
      ["steps", run.steps], ["seconds", run.seconds], ["commit", run.commit]];
    section.append(table(["", "value"], facts.filter((fact) => fact[1] !== null && fact[1] !== undefined)
      .map((fact) => [fact[0], String(fact[1])])));
    if (run.table.length) {
      const cell = (row, when) => {
        const found = row[when];
        if (!found) return "–";
        return row.percent ? `${percent(found.value)} (${percent(found.low)} to ${percent(found.high)})`
          : number(found.value);
      };
      const n = (run.table[0].after || run.table[0].before).n;
      section.append(make("h3", {}, `Held-out tasks, n = ${n}; 95 % intervals (Wilson)`));
      section.append(table(["", "before", "after"],
        run.table.map((row) => [row.label, cell(row, "before"), cell(row, "after")])));
    }
    if (run.warnings.length) {
      section.append(make("h3", {}, "Warnings"),
        make("ul", {}, ...run.warnings.map((text) => make("li", {}, text))));
    }
    if (run.missing.length) {
      section.append(make("h3", {}, "What is missing"),
        make("ul", {}, ...run.missing.map((text) => make("li", {}, text))));
    }
    const versions = Object.entries(run.versions).map((pair) => [pair[0], String(pair[1])]);
    if (versions.length) {
      section.append(make("details", {}, make("summary", {}, "versions"), table(["package", "version"], versions)));
    }
    section.append(make("details", {}, make("summary", {}, "recipe"),
      make("pre", { tabindex: "0" }, JSON.stringify(run.recipe, null, 1))));
  }
}

function curvesView(section) {
  const series = (run) => run.series, curve = (run) => run.curve, learnt = (run) => run.supervised;
  const entropy = runs.some((run) => Object.keys(run.series).some((name) => name.startsWith("collision/")))
    ? "collision" : "entropy";
  const endings = [...new Set(runs.flatMap((run) => Object.keys(run.series)))]
    .filter((name) => name.startsWith("ending/") && runs.some((run) => run.series[name] &&
      run.series[name][1].some((value) => value)))
    .map((name) => [name, name.slice("ending/".length)]);
  const charts = [
    chart("Loss on demonstrations, supervised", lines(learnt, [["loss", "loss"]]), "nats a token"),
    chart("Token accuracy, supervised", lines(learnt, [["mean_token_accuracy", "accuracy"]])),
    chart("Tokens so far, supervised", lines(learnt, [["num_tokens", "tokens"]])),
    chart("Learning rate, supervised", lines(learnt, [["learning_rate", "rate"]])),
    chart("Reward, sampled", lines(series, [["reward", "reward"]])),
    chart("Reward by part", lines(series, [["reward/format", "format"], ["reward/names", "names"],
      ["reward/parameters", "parameters"], ["reward/values", "values"], ["reward/exact_match", "exact match"]])),
    chart("Tasks done, sampled", lines(series, [["episode/success", "done"]]), "share"),
    chart("Turns, calls and errors of an episode", lines(series, [["episode/turns", "turns"],
      ["episode/calls", "calls"], ["episode/errors", "errors"]])),
    chart("Reward of a turn", lines(series, [["turn_reward/first", "first"], ["turn_reward/middle", "middle"],
      ["turn_reward/last", "last"]])),
    chart("How episodes end", lines(series, endings), "share"),
    chart("Held-out turns of an episode", lines(curve, [["turns", "sampled"], ["greedy_turns", "greedy"]])),
    chart(runs.every((run) => run.acts) ? "Held-out tasks done" : "Held-out exact match", lines(curve, [["exact_match", "sampled"], ["greedy_exact_match", "greedy"]])),
    chart("Entropy by region", lines(series, byRegion(entropy)), entropy === "entropy" ? "nats" : ""),
    chart("Entropy by turn", lines(series, ["first", "middle", "last"].map(
      (part) => [`turn_${entropy}/${part}`, part])), entropy === "entropy" ? "nats" : ""),
    chart("Mean weight by region", lines(series, byRegion("weight"))),
    chart("Share of the gradient signal", lines(series, byRegion("signal"))),
    chart("Share of tokens", lines(series, byRegion("share"))),
    chart("Response length", lines(series, [["completions/mean_length", "mean"]]), "tokens"),
    chart("Gradient norm", lines(series, [["grad_norm", "norm"]])),
    chart("Time of a step", lines(series, [["step_time", "time"]]), "s"),
  ].filter(Boolean);
  section.append(charts.length ? make("div", { class: "charts" }, ...charts)
    : make("p", {}, "No metrics were recorded."));
}

const filters = {
  all: ["all groups", () => true, null],
  format: ["a response of failed format", (group) => group.rows.some((row) => row.reward.format !== null && row.reward.format < 1), false],
  value: ["a wrong value", (group) => group.rows.some((row) => row.reward.format === 1 && !row.exact), false],
  undone: ["a task not done", (group) => group.rows.some((row) => !row.exact), true],
  error: ["a call that failed", (group) => group.rows.some((row) => row.episode && row.episode.errors > 0), true],
  failed: ["an environment that failed", (group) => group.rows.some((row) => row.episode && row.episode.failed), true],
  equal: ["all rewards equal", (group) => group.rows.every((row) => row.reward.total === group.rows[0].reward.total), null],
};

function filtersOf(run) {
  return Object.entries(filters).filter((pair) => pair[1][2] === null || pair[1][2] === run.acts);
}

function shadesOf(row) {
  if (state.shade === "region") return row.tokens.map(() => 14);
  const values = state.shade === "entropy" ? row.entropies : row.weights;
  if (!values) return row.tokens.map(() => 0);
  const most = values.reduce((a, b) => Math.max(a, b), 0) || 1;
  return values.map((value) => Math.round(40 * value / most));
}

function tokenBox(row, from, to) {
  const box = make("div", { class: "tokens" }), shades = shadesOf(row);
  row.tokens.slice(from, to).forEach((text, place) => {
    const at = from + place, region = regionNames[row.regions[at]];
    const told = `${region}, weight ${number(row.weights[at], 3)}` +
      (row.entropies ? `, entropy ${number(row.entropies[at], 3)} nats` : "");
    const token = make("span", { class: "token " + region, title: told, "data-weight": row.weights[at],
      "data-region": region }, text);
    token.style.setProperty("--shade", shades[at]);
    box.append(token);
    if (text.endsWith("⏎")) box.append(make("br"));
  });
  return box;
}

function conversation(row) {
  const parts = [];
  let from = 0;
  row.episode.turns.forEach((turn, place) => {
    const errors = turn.errors ? `, ${turn.errors} of its calls failed` : "";
    parts.push(make("p", { class: "turn" }, `Turn ${place + 1}: reward ${number(turn.reward)}${errors}`));
    if (row.tokens && turn.tokens) parts.push(tokenBox(row, from, from + turn.tokens));
    else parts.push(make("pre", { tabindex: "0" }, turn.text));
    from += turn.tokens;
    for (const [call, result] of turn.calls) {
      parts.push(make("div", { class: "exchange" }, make("code", {}, call),
        make("span", { class: "read" }, result === null ? "no result: the episode had ended" : result)));
    }
    if (turn.said !== null) parts.push(make("p", { class: "read" }, "The user: " + turn.said));
  });
  return parts;
}

function card(row, place) {
  const parts = row.episode ? [row.episode.outcome] : [`reward ${number(row.reward.total)}`,
    `format ${number(row.reward.format_reward)}`, `correctness ${number(row.reward.correctness_reward)}`, row.status];
  const what = row.episode ? "Episode" : "Response";
  const article = make("article", {}, make("h3", {}, `${what} ${place + 1}: advantage ${number(row.advantage)}`),
    make("p", { class: "soft" }, parts.join(", ") + (row.exact && !row.episode ? ", exact" : "")));
  if (row.episode) article.append(...conversation(row));
  else if (row.tokens) article.append(tokenBox(row, 0, row.tokens.length));
  else article.append(make("pre", { tabindex: "0" }, row.text || ""));
  if (row.tokens) {
    if (row.cut) article.append(make("p", { class: "soft" }, row.episode ? "The tokens of the rest are not shown." : "The rest is not shown."));
    if (state.shade === "entropy" && !row.entropies) {
      article.append(make("p", { class: "soft" }, "Entropies of single tokens were not recorded."));
    }
  }
  return article;
}

function select(label, options, value, change) {
  const element = make("select", {}, ...options.map((option) =>
    make("option", { value: option[0], selected: String(option[0]) === String(value) ? "" : null }, option[1])));
  element.addEventListener("change", () => change(element.value));
  element.setAttribute("aria-label", label);
  return make("label", {}, label + " ", element);
}

function rolloutsView(section) {
  section.replaceChildren(make("h2", {}, "Rollouts"));
  const run = runs[state.run];
  const chosen = run.groups.filter(filters[state.filter][1]);
  state.group = Math.max(0, Math.min(state.group, chosen.length - 1));
  const redo = (change) => { change(); rolloutsView(section); };
  const controls = make("div", { class: "controls" });
  if (runs.length > 1) {
    controls.append(select("run", runs.map((each, place) => [place, each.name]), state.run,
      (value) => redo(() => { state.run = Number(value); state.group = 0; state.filter = "all"; })));
  }
  controls.append(
    select("show", filtersOf(run).map((pair) => [pair[0], pair[1][0]]), state.filter,
      (value) => redo(() => { state.filter = value; state.group = 0; })),
    select("shade by", [["weight", "weight"], ["region", "region"], ["entropy", "entropy"]], state.shade,
      (value) => redo(() => { state.shade = value; })));
  if (chosen.length) {
    controls.append(select("group", chosen.map((group, place) =>
      [place, `step ${group.step}, ${group.identity}`]), state.group,
      (value) => redo(() => { state.group = Number(value); })));
    for (const [text, by] of [["previous", -1], ["next", 1]]) {
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => redo(() => { state.group += by; }));
      controls.append(button, " ");
    }
  }
  const legend = make("p", { class: "legend" }, ...regionNames.map((name) => make("span", { class: name }, name)));
  section.append(controls, make("p", { class: "soft", id: "sampled" },
    (run.sampled ? run.sampled + "; " : "") + `${chosen.length} groups shown. Keys: left and right.`), legend);
  const group = chosen[state.group];
  if (!group) { section.append(make("p", {}, "No group.")); return; }
  if (group.prompt) {
    section.append(make("details", {}, make("summary", {}, "prompt"), make("pre", { tabindex: "0" }, group.prompt)));
  }
  if (group.truth || !run.acts) {
    section.append(make("details", {}, make("summary", {}, "ground truth"), make("pre", { tabindex: "0" }, group.truth)));
  }
  section.append(make("div", { class: "group" }, ...group.rows.map(card)));
}

function failuresView(section) {
  let any = false;
  for (const run of runs) {
    if (!run.failures.length) continue;
    any = true;
    section.append(make("h2", {}, `${run.name}: failures`));
    for (const row of run.failures) {
      const article = make("article", {}, make("h3", {}, row.what), make("p", { class: "soft" }, row.check));
      if (row.expected) article.append(make("p", {}, "expected"), make("pre", { tabindex: "0" }, row.expected));
      article.append(make("p", {}, "got"), make("pre", { tabindex: "0" }, row.got));
      section.append(article);
    }
  }
  if (!any) section.append(make("p", {}, "None are recorded."));
}

const views = [["summary", "Summary", summaryView], ["curves", "Curves", curvesView],
  ["rollouts", "Rollouts", rolloutsView], ["failures", "Failures", failuresView]];
const nav = make("nav", { role: "tablist", "aria-label": "views" });
const main = make("main");
const drawn = new Set();

function open(name) {
  for (const [key, , draw] of views) {
    const section = document.getElementById("view-" + key);
    document.getElementById("tab-" + key).setAttribute("aria-selected", String(key === name));
    section.hidden = key !== name;
    if (key === name && !drawn.has(key)) { draw(section); drawn.add(key); }
  }
}

for (const [key, title] of views) {
  const tab = make("button", { type: "button", role: "tab", id: "tab-" + key, "aria-controls": "view-" + key }, title);
  tab.addEventListener("click", () => open(key));
  nav.append(tab);
  main.append(make("section", { id: "view-" + key, role: "tabpanel", "aria-labelledby": "tab-" + key, hidden: "" }));
}
document.body.append(nav, main);
open("summary");
addEventListener("beforeprint", () => views.forEach(([key, , draw]) => {
  if (!drawn.has(key)) { draw(document.getElementById("view-" + key)); drawn.add(key); }
}));
addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLSelectElement || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target instanceof HTMLButtonElement && event.target.getAttribute("role") === "tab") {
    const tabs = [...nav.children], step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step) { tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length].focus(); }
    return;
  }
  const section = document.getElementById("view-rollouts");
  if (section.hidden) return;
  if (event.key === "ArrowRight") { state.group += 1; rolloutsView(section); }
  if (event.key === "ArrowLeft") { state.group -= 1; rolloutsView(section); }
});
