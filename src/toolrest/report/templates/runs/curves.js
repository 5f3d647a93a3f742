// The view of all curves: which charts there are, and lines of runs, of their parts, and means over seeds.
const regionParts = (prefix) => regionNames.map((name) => [`${prefix}/${name}`, name]);
const partsOf = (prefix, names) => names.map((name) => [`${prefix}/${name}`, name.replaceAll("_", " ")]);
const entropyName = runs.some((run) => Object.keys(run.series).some((name) => name.startsWith("collision/")))
  ? "collision" : "entropy";
const done = runs.length && runs.every((run) => run.acts) ? "tasks done" : "exact match";

function endings() {
  const names = new Set(runs.flatMap((run) => Object.keys(run.series)));
  return [...names].filter((name) => name.startsWith("ending/") &&
    runs.some((run) => run.series[name] && run.series[name][1].some(Boolean))).map((name) => [name, name.slice(7)]);
}

// [title, where the numbers are, unit, parts]; a part is [metric, label].
const sections = [
  ["Held out", [
    [`Held-out ${done}`, "held_out", "share of tasks", [["exact_match", "sampled"], ["greedy_exact_match", "greedy"]]],
    ["Held-out reward", "held_out", "reward", [["reward", "sampled"], ["greedy_reward", "greedy"]]],
    ["Held-out turns of an episode", "held_out", "turns", [["turns", "sampled"], ["greedy_turns", "greedy"]]],
  ]],
  ["Reward in training", [
    ["Reward, sampled", "series", "reward", [["reward", "reward"]]],
    ["Reward by part", "series", "share", partsOf("reward", ["format", "names", "parameters", "values", "exact_match"])],
    ["Groups whose rewards are all equal", "series", "share of groups", [["frac_reward_zero_std", "equal"]]],
    ["Tasks done, sampled", "series", "share", [["episode/success", "done"]]],
    ["Turns, calls and errors of an episode", "series", "an episode", partsOf("episode", ["turns", "calls", "errors"])],
    ["Reward of a turn", "series", "reward", partsOf("turn_reward", ["first", "middle", "last"])],
    ["How episodes end", "series", "share", endings()],
  ]],
  ["Tokens by region", [
    ["Mean weight by region", "series", "weight", regionParts("weight")],
    ["Share of the gradient signal", "series", "share", regionParts("signal")],
    ["Entropy by region", "series", entropyName === "entropy" ? "nats" : "collision", regionParts(entropyName)],
    ["Share of tokens", "series", "share", regionParts("share")],
    ["Entropy by turn", "series", entropyName === "entropy" ? "nats" : "collision",
      partsOf("turn_" + entropyName, ["first", "middle", "last"])],
  ]],
  ["Supervised", [
    ["Loss on demonstrations, supervised", "supervised", "nats a token", [["loss", "loss"]]],
    ["Token accuracy, supervised", "supervised", "share", [["mean_token_accuracy", "accuracy"]]],
    ["Tokens so far, supervised", "supervised", "tokens", [["num_tokens", "tokens"]]],
    ["Learning rate, supervised", "supervised", "rate", [["learning_rate", "rate"]]],
  ]],
  ["Optimisation", [
    ["Gradient norm", "series", "norm", [["grad_norm", "norm"]]],
    ["Response length", "series", "tokens", [["completions/mean_length", "mean"], ["completions/max_length", "longest"]]],
    ["Responses cut at the length limit", "series", "share", [["completions/clipped_ratio", "cut"]]],
    ["Learning rate", "series", "rate", [["learning_rate", "rate"]]],
    ["Time of a step", "series", "seconds", [["step_time", "time"]]],
  ]],
];

function others() {
  const used = new Set(sections.flatMap((section) => section[1].filter((each) => each[1] === "series")
    .flatMap((each) => each[3].map((part) => part[0]))));
  const names = new Set(runs.flatMap((run) => Object.keys(run.series)));
  return [...names].filter((name) => !used.has(name)).sort().map((name) => [name, "series", "value", [[name, name]]]);
}

// A region that holds next to none of the tokens does not set a chart's scale.
function negligible(place, label) {
  if (!regionNames.includes(label)) return null;
  const shares = ((runs[place].series["share/" + label] || [null, []])[1]).filter(known);
  const mean = shares.length ? shares.reduce((a, b) => a + b, 0) / shares.length : null;
  return mean !== null && mean < 0.01 ? mean : null;
}

function ticksOf(place, source, x) {
  if (x === "step") return (step) => step;
  const run = runs[place], name = x === "seconds" ? "seconds" : "num_tokens";
  const found = (source === "supervised" ? run.supervised : run.series)[name];
  const at = new Map(found ? found[0].map((step, index) => [step, found[1][index]]) : []);
  return (step) => (step === 0 && source === "held_out" ? 0 : at.has(step) ? at.get(step) : null);
}

function rawLine(place, source, metric) {
  const found = runs[place][source][metric];
  if (!found) return null;
  const tick = ticksOf(place, source, state.x), ends = ["low", "high"].map((end) => runs[place][source][`${metric}/${end}`]);
  const line = { steps: found[0], x: found[0].map(tick), y: found[1] };
  if (ends[0] && ends[0][0].length === line.y.length) { line.low = ends[0][1]; line.high = ends[1][1]; }
  return line;
}

// Mean over seeds at the steps that all of them have, and its band.
function meanLine(places, source, metric) {
  const found = places.map((place) => rawLine(place, source, metric)).filter(Boolean);
  if (found.length < 2) return found[0] || null;
  const at = found.map((line) => new Map(line.steps.map((step, index) => [step, [line.x[index], line.y[index]]])));
  const line = { steps: [], x: [], y: [], low: [], high: [] };
  for (const step of found[0].steps) {
    const pairs = at.map((each) => each.get(step)).filter((pair) => pair && known(pair[0]) && known(pair[1]));
    if (pairs.length < found.length) continue;
    const values = pairs.map((pair) => pair[1]), mean = values.reduce((a, b) => a + b, 0) / values.length;
    const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
    line.steps.push(step);
    line.x.push(pairs.reduce((sum, pair) => sum + pair[0], 0) / pairs.length);
    line.y.push(mean);
    line.low.push(values.length < 4 ? Math.min(...values) : mean - spread);
    line.high.push(values.length < 4 ? Math.max(...values) : mean + spread);
  }
  return line;
}

function bandsSaid() {
  const sizes = owners().map((owner) => owner.runs.length).filter((size) => size > 1);
  if (!sizes.length) return "";
  const says = [];
  if (sizes.some((size) => size < 4)) says.push("from the least to the greatest of 2 or 3 seeds");
  if (sizes.some((size) => size > 3)) says.push("mean ± standard deviation of 4 or more seeds");
  if (owners().some((owner) => owner.runs.length === 1)) says.push("of a single run 95 % intervals (Wilson)");
  return `Lines are means over the seeds at the steps that all of them have; bands and bars are ${says.join(", ")}.`;
}

function ownerLine(owner, place, source, part) {
  const line = meanLine(owner.runs, source, part[0]);
  return line && { ...line, name: owner.name, look: owner.look, dash: owner.dash, owner: place };
}

function partLines(owner, source, parts) {
  const look = parts.every((part) => regionNames.includes(part[1])) ? partLook : (label, place) => lookOf(place);
  return parts.map(([metric, label], place) => {
    const line = meanLine(owner.runs, source, metric), share = negligible(owner.runs[0], label);
    const told = share === null ? label : `${label}, ${(100 * share).toFixed(1)} % of tokens`;
    return line && { ...line, name: told, off: share !== null, ...look(label, place) };
  }).filter(Boolean);
}

function chartsOf([title, source, unit, parts]) {
  const more = { unit, x: state.x, marks: source === "held_out" };
  if (runs.length === 1) return [chart(title, partLines(owners()[0], source, parts), more)];
  if (state.split === "run" && parts.length > 1) {
    return owners().map((owner) => chart(`${title}: ${owner.name}`, partLines(owner, source, parts), more));
  }
  const having = parts.filter((part) => !owners().every((owner) => negligible(owner.runs[0], part[1]) !== null));
  return having.map((part) => chart(parts.length > 1 ? `${title}: ${part[1]}` : title,
    owners().map((owner, place) => ownerLine(owner, place, source, part)).filter(Boolean), more));
}
