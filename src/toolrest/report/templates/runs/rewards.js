// How rewards are spread: within a group as dots on a line, over the run as a chart whose dots open their group.
function totalsOf(group) { return group.rows.map((row) => row.reward.total).filter(known); }

function strip(group, pick) {
  const totals = totalsOf(group);
  if (!totals.length) return null;
  const all = runs[chosenRun()].groups.flatMap(totalsOf);
  const least = all.reduce((a, b) => Math.min(a, b)), most = all.reduce((a, b) => Math.max(a, b));
  const at = (value) => 20 + 360 * (most === least ? 0.5 : (value - least) / (most - least));
  const mean = totals.reduce((a, b) => a + b, 0) / totals.length;
  const told = `Rewards of the group's ${totals.length} responses: least ${number(Math.min(...totals))}, ` +
    `mean ${number(mean)}, greatest ${number(Math.max(...totals))}`;
  const svg = make("svg", { viewBox: "0 0 400 58", role: "img", "aria-label": told, class: "strip" },
    make("line", { class: "axis", x1: 20, x2: 380, y1: 36, y2: 36 }),
    make("line", { class: "mean", x1: at(mean), x2: at(mean), y1: 6, y2: 42 }));
  const piles = new Map();
  group.rows.forEach((row, place) => {
    if (!known(row.reward.total)) return;
    const x = Math.round(at(row.reward.total) / 6), height = piles.get(x) || 0;
    piles.set(x, height + 1);
    svg.append(make("circle", { cx: at(row.reward.total), cy: 30 - 7 * Math.min(height, 3), r: 4.5,
      class: row.exact ? "right" : "wrong", "data-response": place + 1 }));
  });
  for (const value of [least, most]) svg.append(make("text", { x: at(value), y: 54, "text-anchor": "middle" }, number(value)));
  svg.addEventListener("click", (event) => {
    const place = event.target.dataset.response;
    if (place) pick(place);
  });
  return make("figure", { class: "rewards" }, make("figcaption", {}, told + "."), svg,
    make("p", { class: "soft note" }, "Filled: right. The axis spans all saved responses of the run; the line is the group's mean."));
}

// Every saved response of the run over its steps.
function rewardsOfRun(run) {
  const dots = [];
  run.groups.forEach((group) => group.rows.forEach((row, place) => {
    if (known(row.reward.total)) dots.push({ group, place, row });
  }));
  if (!dots.length) return null;
  const figure = chart("Rewards of all saved responses", [{ name: "reward", look: "c0", dash: "solid", owner: -1,
    x: dots.map((dot) => dot.group.step), y: dots.map((dot) => dot.row.reward.total) }],
  { unit: "reward", plain: true, note: "Click a dot to open its group." });
  const made = figure.querySelector(".plot").chart;
  made.traces = () => [["right", true, "circle", "c2"], ["wrong", false, "circle-open", "c4"]].map(([name, right, symbol, look]) => {
    const kept = dots.filter((dot) => Boolean(dot.row.exact) === right);
    return { type: "scatter", mode: "markers", name, x: kept.map((dot) => dot.group.step),
      y: kept.map((dot) => dot.row.reward.total), marker: { symbol, size: 7, color: colourOf(look) },
      customdata: kept.map((dot) => [dot.group.identity, dot.place + 1].map(String)),
      hovertemplate: `${name}: %{y:.4~g} at step %{x}<extra></extra>` };
  });
  made.drawn = () => {
    if (made.listens) return;
    made.listens = true;
    made.place.on("plotly_click", (event) => {
      const point = event.points[0];
      go({ filter: "all", q: "", step: String(point.x), group: point.customdata[0], response: point.customdata[1], compare: "" });
    });
  };
  return figure;
}
