// The view of rollouts: groups by filter, search and order, responses side by side.
const isFormat = (row) => row.reward.format !== null && row.reward.format < 1;
const filters = {
  all: ["all groups", () => true, null],
  format: ["a response of failed format", (group) => group.rows.some(isFormat), false],
  value: ["a wrong value", (group) => group.rows.some((row) => row.reward.format === 1 && !row.exact), false],
  undone: ["a task not done", (group) => group.rows.some((row) => !row.exact), true],
  error: ["a call that failed", (group) => group.rows.some((row) => row.episode && row.episode.errors > 0), true],
  failed: ["an environment that failed", (group) => group.rows.some((row) => row.episode && row.episode.failed), true],
  equal: ["all rewards equal", (group) => group.rows.every((row) => row.reward.total === group.rows[0].reward.total), null],
};
const texts = new WeakMap();

function filtersOf(run) {
  return Object.entries(filters).filter((pair) => pair[1][2] === null || pair[1][2] === run.acts);
}

function searchedText(group) {
  if (!texts.has(group)) {
    const parts = [group.identity, group.prompt, group.truth];
    for (const row of group.rows) {
      parts.push(row.tokens ? row.tokens.join("") : row.text || "", row.status);
      if (row.episode) parts.push(JSON.stringify(row.episode.turns));
    }
    texts.set(group, parts.join("\n").toLowerCase());
  }
  return texts.get(group);
}

function leastOf(group) { return Math.min(Infinity, ...totalsOf(group)); }

function chosenGroups(run) {
  const words = state.q.toLowerCase();
  const fits = (filters[state.filter] || filters.all)[1];
  const found = run.groups.filter((group) => fits(group) && (!words || searchedText(group).includes(words)));
  if (state.order === "worst") return found.sort((a, b) => leastOf(a) - leastOf(b));
  if (state.order === "spread") {
    const range = new Map(found.map((group) => [group, rangeOf(group)]));
    return found.sort((a, b) => range.get(b) - range.get(a));
  }
  return found;
}

function rangeOf(group) {
  const totals = totalsOf(group);
  return totals.length ? Math.max(...totals) - Math.min(...totals) : -1;
}

function placeOf(chosen) {
  const found = chosen.findIndex((group) => String(group.step) === state.step && group.identity === state.group);
  return Math.max(0, found);
}

function addressOfGroup(group, more = {}) {
  return { step: String(group.step), group: group.identity.slice(0, 200), response: "", compare: "", ...more };
}

function move(by) {
  const chosen = chosenGroups(runs[chosenRun()]);
  const place = Math.max(0, Math.min(chosen.length - 1, placeOf(chosen) + by));
  if (chosen[place]) go(addressOfGroup(chosen[place]));
}

function worst() {
  const chosen = chosenGroups(runs[chosenRun()]);
  if (!chosen.length) return;
  const group = chosen.reduce((a, b) => (leastOf(b) < leastOf(a) ? b : a));
  const place = group.rows.findIndex((row) => row.reward.total === leastOf(group));
  go(addressOfGroup(group, { response: String(Math.max(0, place) + 1) }));
}

function rolloutControls(run, chosen) {
  const nothing = { step: "", group: "", response: "", compare: "" };
  const controls = make("div", { class: "controls" });
  if (runs.length > 1) {
    controls.append(select("run", runs.map((each, place) => [place, each.name]), chosenRun(),
      (value) => go({ ...nothing, run: addressOf(Number(value)), filter: "all" })));
  }
  controls.append(
    search("search", state.q, (q) => go({ ...nothing, q }, false)),
    select("show", filtersOf(run).map((pair) => [pair[0], pair[1][0]]), state.filter, (filter) => go({ ...nothing, filter })),
    select("order", [["step", "by step"], ["worst", "lowest reward first"], ["spread", "widest rewards first"]], state.order,
      (order) => go({ ...nothing, order })),
    select("shade by", [["weight", "weight"], ["region", "region"], ["entropy", "entropy"]], state.shade, (shade) => go({ shade })));
  if (chosen.length) {
    const at = placeOf(chosen);
    controls.append(
      select("group", chosen.map((group, place) => [place, `step ${group.step}, ${group.identity}`]), at,
        (value) => go(addressOfGroup(chosen[Number(value)]))),
      button("previous", () => move(-1), { disabled: at === 0 ? "" : null }), " ",
      button("next", () => move(1), { disabled: at === chosen.length - 1 ? "" : null }), " ",
      button("jump to the worst", worst));
  }
  return controls;
}

function card(group, row, place) {
  const chosen = state.response === String(place + 1);
  const what = row.episode ? "Episode" : "Response";
  const link = make("a", { href: addressWith({ tab: "rollouts", ...addressOfGroup(group, { response: String(place + 1) }) }) },
    `${what} ${place + 1}`);
  const article = make("article", { id: "response-" + (place + 1), class: chosen ? "chosen" : null },
    make("h3", {}, link, `: advantage ${number(row.advantage)}`), make("p", { class: "soft" }, outcomeOf(row)));
  article.append(...contentsOf(row, state.shade, state.q.toLowerCase()));
  return article;
}

function comparison(group) {
  const names = group.rows.map((row, place) => [place + 1, `${place + 1} (reward ${number(row.reward.total)})`]);
  if (names.length < 2) return null;
  const [first, second] = (state.compare || "0-0").split("-").map(Number);
  const set = (a, b) => go({ compare: a && b ? `${a}-${b}` : "" });
  const part = make("div", { class: "comparison" },
    select("difference of", [[0, "none"], ...names], first, (value) => set(Number(value), second || (value === "1" ? 2 : 1))),
    select("and", [[0, "none"], ...names], second, (value) => set(first || (value === "1" ? 2 : 1), Number(value))));
  const rows = [group.rows[first - 1], group.rows[second - 1]];
  if (rows[0] && rows[1]) part.append(sideBySide("response " + first, textOf(rows[0]), "response " + second, textOf(rows[1])));
  return part;
}

function rolloutsView(section) {
  const run = runs[chosenRun()], chosen = chosenGroups(run), group = chosen[placeOf(chosen)];
  section.append(make("h2", {}, "Rollouts"), rolloutControls(run, chosen),
    make("p", { class: "soft", id: "sampled", role: "status" },
      (run.sampled ? run.sampled + "; " : "") + `${counted(chosen.length, "group")} shown. Keys: left and right.`));
  if (!group) { section.append(make("p", {}, "No group.")); return; }
  const about = make("div", {}, strip(group, (response) => go({ response })), questionOf(group));
  if (group.prompt) about.append(folded("prompt", () => box(group.prompt)));
  if (group.truth || !run.acts) about.append(folded("ground truth", () => box(group.truth)));
  section.append(make("div", { class: "overview" }, about, rewardsOfRun(run)), legend(), ...[comparison(group)].filter(Boolean),
    make("div", { class: "group" }, ...group.rows.map((row, place) => card(group, row, place))));
  const sought = state.response && document.getElementById("response-" + state.response);
  if (sought) requestAnimationFrame(() => sought.scrollIntoView({ block: "nearest" }));
}
