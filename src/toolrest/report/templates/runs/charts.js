// Charts, drawn when they come into view. A line: {name, look, dash, x, y, low, high, owner, off}.
const charts = new Set();
const few = 12;
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting && entry.target.chart.stale) drawChart(entry.target.chart);
}, { rootMargin: "200px" });

function chart(title, lines, { unit = "", x = "step", note = "", marks = false, plain = false } = {}) {
  const shown = lines.filter((line) => line.y.some(known));
  if (!shown.length) return null;
  const place = make("div", { class: "plot" });
  const figure = make("figure", {}, make("figcaption", {}, title), place);
  const made = { title, lines: shown, unit, x, place, figure, off: new Set(shown.filter((line) => line.off).map((line) => line.name)),
    marks, plain, stale: true };
  if (shown.some((line) => line.owner === undefined)) figure.append(keyOf(made));
  if (note) figure.append(make("p", { class: "soft note" }, note));
  figure.append(folded("values", () => valuesOf(made)));
  place.chart = made;
  charts.add(made);
  watcher.observe(place);
  return figure;
}

function lastOf(line) {
  const values = line.y.filter(known);
  return values[values.length - 1];
}

function keyOf(made) {
  const key = make("div", { class: "key", role: "group", "aria-label": "lines of " + made.title });
  for (const line of made.lines) {
    const toggle = make("button", { type: "button", "aria-pressed": String(!made.off.has(line.name)) },
      sample(line), `${line.name} (${short(lastOf(line))})`);
    toggle.addEventListener("click", () => {
      if (!made.off.delete(line.name)) made.off.add(line.name);
      toggle.setAttribute("aria-pressed", String(!made.off.has(line.name)));
      drawChart(made);
    });
    key.append(toggle);
  }
  return key;
}

function valuesOf(made) {
  const rows = made.lines.map((line) => {
    const values = line.y.filter(known);
    return [line.name, short(values[0]), short(values[values.length - 1]),
      short(values.reduce((a, b) => Math.min(a, b))), short(values.reduce((a, b) => Math.max(a, b)))];
  });
  return table(["line", "first", "last", "least", "greatest"], rows, "values of " + made.title);
}

// Mean of the values so far that forgets by `weight` a point, without the pull of a start at 0.
function smoothed(values, weight) {
  let mean = 0, sum = 0;
  return values.map((value) => {
    if (!known(value)) return null;
    mean = weight * mean + (1 - weight) * value;
    sum = weight * sum + (1 - weight);
    return mean / sum;
  });
}

function tracesOf(line, made, weight, many) {
  const colour = colourOf(line.look);
  const base = { type: "scatter", x: line.x, name: line.name, hoverlabel: { namelength: 40 } };
  const quiet = { mode: "lines", hoverinfo: "skip", showlegend: false, line: { width: 0, color: colour } };
  const marked = line.y.filter(known).length <= few;
  const traces = [];
  const bars = made.marks && line.low && marked;
  const smooth = made.marks ? 0 : weight;
  if (line.low && !bars) {
    traces.push({ ...base, ...quiet, y: smoothed(line.low, smooth) });
    traces.push({ ...base, ...quiet, y: smoothed(line.high, smooth), fill: "tonexty", fillcolor: paler(colour, 0.16) });
  } else if (smooth && !many) {
    traces.push({ ...base, ...quiet, y: line.y, line: { width: 1, color: paler(colour, 0.3) } });
  }
  traces.push({ ...base, y: smoothed(line.y, smooth), mode: marked ? "lines+markers" : "lines",
    line: { color: colour, width: 2, dash: line.dash }, marker: { size: 6 },
    hovertemplate: "%{y:.4~g}" + (many ? " at %{x:.4~g}" : ""),
    error_y: bars ? { type: "data", symmetric: false, thickness: 1, width: 3,
      array: line.high.map((high, place) => high - line.y[place]),
      arrayminus: line.low.map((low, place) => line.y[place] - low) } : undefined });
  return traces;
}

const axisNames = { step: "optimiser step", seconds: "seconds of training", tokens: "tokens, prompts included" };

function drawChart(made) {
  if (!window.Plotly || !made.place.isConnected || made.place.offsetWidth === 0) return;
  const hidden = made.plain ? new Set() : hiddenOwners();
  const lines = made.lines.filter((line) => !made.off.has(line.name) && !hidden.has(line.owner));
  const weight = made.plain ? 0 : Number(state.smooth), many = lines.length > 8;
  const axis = { gridcolor: pageColour("--faint"), zerolinecolor: pageColour("--line"), linecolor: pageColour("--line"),
    automargin: true, exponentformat: "power", title: { standoff: 6 } };
  const layout = {
    autosize: true, height: 250, margin: { l: 12, r: 10, t: 26, b: 12 }, showlegend: false,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: pageColour("--soft") },
    hovermode: many || made.traces ? "closest" : "x unified", dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    hoverlabel: { bgcolor: pageColour("--panel"), bordercolor: pageColour("--line"), font: { color: pageColour("--ink") } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: pageColour("--soft"), activecolor: pageColour("--accent") },
    xaxis: { ...axis, title: { text: axisNames[made.x] || made.x, standoff: 6 }, nticks: 6 },
    yaxis: { ...axis, title: { text: made.unit || "value", standoff: 6 }, type: state.log && !made.plain ? "log" : "linear", nticks: 6 },
  };
  const values = new Set(lines.flatMap((line) => line.y.filter(known)));
  if (values.size === 1 && layout.yaxis.type === "linear") {
    const [only] = values, room = Math.abs(only) / 2 || 0.5;
    layout.yaxis.range = [only - room, only + room];
  }
  const traces = made.traces ? made.traces() : lines.flatMap((line) => tracesOf(line, made, weight, many));
  Plotly.react(made.place, traces, layout, {
    displaylogo: false, responsive: true, showLink: false, showEditInChartStudio: false, showSendToCloud: false,
    plotlyServerURL: "", modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: made.title.replace(/[^\w]+/g, "_") },
  });
  made.stale = false;
  if (made.drawn) made.drawn();
}

function redrawCharts() {
  for (const made of charts) {
    if (!made.place.isConnected) { charts.delete(made); watcher.unobserve(made.place); }
    else {
      const drawn = !made.stale;
      made.stale = true;
      if (drawn) drawChart(made);
    }
  }
}

dark.addEventListener("change", redrawCharts);
// The chart library takes longest to start: the page is shown before it does.
function startLibrary() {
  const kept = document.getElementById("library"), script = make("script", {}, kept.textContent);
  kept.remove();
  document.body.append(script);
  for (const made of charts) { watcher.unobserve(made.place); watcher.observe(made.place); }
}

addEventListener("load", () => requestAnimationFrame(() => setTimeout(startLibrary)));
