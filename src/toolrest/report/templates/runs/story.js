// The first view: what came of it, how, on what grounds, at what cost.
function interval(side, share) {
  if (!side || !known(side.low)) return "";
  return share ? ends(side.low, side.high) : "";
}

function cellOf(row, when) {
  const side = row[when];
  if (!side) return "–";
  return row.percent ? percent(side.value) : number(side.value);
}

function headline(row) {
  const both = row.before && row.after, change = both ? row.after.value - row.before.value : null;
  const sign = change > 0 ? "+" : change < 0 ? "−" : "±", size = Math.abs(change);
  const told = !both ? null : row.percent ? `${sign}${(100 * size).toFixed(1)} points` : `${sign}${size.toFixed(2)}`;
  const ranges = ["before", "after"].map((when) => interval(row[when], row.percent));
  const apart = both && known(row.before.low) && known(row.after.low) &&
    (row.before.high < row.after.low || row.after.high < row.before.low);
  return make("div", { class: "headline" }, make("p", { class: "what" }, row.label),
    make("p", { class: "figures" }, cellOf(row, "before"), make("span", { class: "arrow" }, " → "), make("strong", {}, cellOf(row, "after"))),
    told ? make("p", { class: !apart ? "change" : change > 0 ? "change up" : "change down" }, told) : null,
    ranges.some(Boolean) ? make("p", { class: "soft" }, ranges.map((text) => text || "–").join(" → ")) : null);
}

function headlines(run) {
  if (!run.table.length) return [make("p", {}, "No held-out figures are recorded.")];
  const side = run.table[0].after || run.table[0].before;
  return [make("p", { class: "soft" },
    `Held-out tasks before → after training, n = ${side.n}; below each share its 95 % intervals (Wilson).`),
  make("div", { class: "headlines" }, ...run.table.map(headline))];
}

function meanOf(values) {
  const found = values.filter(known);
  return found.length ? found.reduce((a, b) => a + b, 0) / found.length : null;
}

function groupCell(group, label, when) {
  const rows = group.runs.map((place) => runs[place].table.find((row) => row.label === label)).filter(Boolean);
  const values = rows.map((row) => (row[when] ? row[when].value : null)).filter(known);
  if (!values.length) return "–";
  const share = rows[0].percent, least = Math.min(...values), most = Math.max(...values);
  const range = share ? ends(least, most) : `${number(least)} to ${number(most)}`;
  return (share ? percent : number)(meanOf(values)) + (values.length > 1 ? ` (${range})` : "");
}

function comparisonOfRuns() {
  const labels = [...new Set(runs.flatMap((run) => run.table.map((row) => row.label)))];
  const seeded = seedGroups.some((group) => group.runs.length > 1);
  const parts = [make("h2", {}, "Before and after training")];
  if (seeded) parts.push(make("p", { class: "soft" }, "Means over the seeds, with the least and the greatest of them."));
  parts.push(table([seeded ? "runs" : "run", "seeds", ...labels.flatMap((label) => [`${label}, before`, `${label}, after`]), "time"],
    seedGroups.map((group) => [group.label, String(group.runs.length),
      ...labels.flatMap((label) => ["before", "after"].map((when) => groupCell(group, label, when))),
      duration(meanOf(group.runs.map((place) => runs[place].cost.seconds))) || "–"]), "held-out figures of runs"));
  if (seeded) {
    parts.push(folded("every run", () => table(["run", ...labels.flatMap((label) => [`${label}, before`, `${label}, after`]), "time"],
      runs.map((run, place) => [run.name, ...labels.flatMap((label) => ["before", "after"].map((when) =>
        groupCell({ runs: [place] }, label, when))), duration(run.cost.seconds) || "–"]), "held-out figures of every run")));
  }
  if (data.differences.length) {
    parts.push(folded("what their recipes differ in", () => table(["key", ...runs.map((run) => run.name)],
      data.differences.map(([key, values]) => [key, ...values]), "differences of recipes")));
  }
  return parts;
}

function storyCharts() {
  const picked = sections[0][1].slice(0, 1).concat(sections[1][1].slice(0, 1), runs.every((run) => !Object.keys(run.series).length)
    ? sections[3][1].slice(0, 2) : []);
  const found = picked.flatMap(([title, source, unit, parts]) => {
    const more = { unit, marks: source === "held_out", plain: true };
    if (runs.length === 1) return [chart(title, partLines(owners()[0], source, parts), more)];
    return parts.map((part) => chart(parts.length > 1 ? `${title}: ${part[1]}` : title,
      seedGroups.map((group, place) => ownerLine({ name: group.label, runs: group.runs, ...lookOf(place) }, place, source, part))
        .filter(Boolean).map((line) => ({ ...line, owner: undefined })), more));
  }).filter(Boolean);
  if (!found.length) return [];
  return [make("div", { class: "charts" }, ...found), runs.length > 1 && bandsSaid() ? make("p", { class: "soft" }, bandsSaid()) : ""];
}

function spreadOf(row) { return row.weights.reduce((a, b) => Math.max(a, b)) - row.weights.reduce((a, b) => Math.min(a, b)); }

function tellingView() {
  const having = runs.filter((run) => run.telling);
  if (!having.length) return [];
  const rowOf = (run) => run.groups[run.telling.group].rows[run.telling.row];
  const run = having.find((each) => spreadOf(rowOf(each)) > 0) || having[0];
  const group = run.groups[run.telling.group], row = rowOf(run), weighted = spreadOf(row) > 0;
  const href = addressWith({ tab: "rollouts", run: addressOf(runs.indexOf(run)), filter: "all", q: "",
    ...addressOfGroup(group, { response: String(run.telling.row + 1) }) });
  const article = make("article", { class: "telling" }, questionOf(group),
    make("p", {}, outcomeOf(row)), weighted ? legend(row) : legend(), ...contentsOf(row, weighted ? "weight" : "region"),
    make("p", { class: "soft" }, `Shaded by ${weighted ? "weight: the darker, the more a token counts in the policy gradient" : "region"}. Chosen as ${run.telling.why}` +
      `${runs.length > 1 ? ", of " + run.name : ""}. `, make("a", { href }, "Its whole group")));
  for (const tokens of article.querySelectorAll(".tokens")) { // a long one scrolls, also by keyboard
    for (const [name, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", "tokens"]]) tokens.setAttribute(name, value);
  }
  return [make("h2", {}, "One response, token by token"), article];
}

function benchmarkTables(shown) {
  const names = [...new Set(shown.flatMap((run) => run.benchmarks.map((each) => each.benchmark)))];
  return names.flatMap((name) => {
    const columns = shown.flatMap((run) => run.benchmarks.filter((each) => each.benchmark === name)
      .map((each) => ({ ...each, title: runs.length > 1 ? `${run.name}: ${each.name}` : each.name })));
    const labels = [...new Set(columns.flatMap((each) => each.rows.map((row) => row.label)))];
    const cell = (column, label) => {
      const row = column.rows.find((each) => each.label === label);
      if (!row) return "–";
      return `${percent(row.value)}${known(row.low) ? ` (${ends(row.low, row.high)})` : ""}${row.part ? ", in part" : ""}`;
    };
    const size = (label) => String((columns.flatMap((each) => each.rows).find((row) => row.label === label && known(row.n)) || { n: "–" }).n);
    return [make("h3", {}, name), table(["right answers", "n", ...columns.map((each) => each.title)],
      labels.map((label) => [label, size(label), ...columns.map((each) => cell(each, label))]), "results on " + name)];
  });
}

function benchmarksView(shown) {
  const found = benchmarkTables(shown);
  return found.length ? [make("h2", {}, "Benchmarks"),
    make("p", { class: "soft" }, "Shares of right answers with 95 % intervals; one column an evaluation."), ...found] : [];
}

function summaryView(section) {
  const one = runs.length === 1;
  section.append(...(one ? [make("h2", {}, "Before and after training"), ...headlines(runs[0])] : comparisonOfRuns()));
  section.append(...[warningsOf(runs)].filter(Boolean), ...storyCharts(), ...tellingView(), ...benchmarksView(runs));
  section.append(make("h2", {}, "What was run, and its cost"));
  if (one) section.append(factsOf(runs[0]), costOf(runs[0]), ...papersOf(runs[0]));
  else {
    const sum = (name) => runs.reduce((total, run) => total + (run.cost[name] || 0), 0);
    section.append(pairs([["runs", String(runs.length)], ["all runs together", duration(sum("seconds") || null)],
      ["responses sampled", sum("responses").toLocaleString("en")],
      ["commits", [...new Set(runs.map((run) => run.commit).filter((commit) => typeof commit === "string"))]
        .map((commit) => commit.slice(0, 10)).join(", ")]]));
    for (const run of runs) section.append(folded(run.name, () => [factsOf(run), costOf(run), ...papersOf(run)]));
  }
  section.append(...[missingOf(runs)].filter(Boolean));
}
