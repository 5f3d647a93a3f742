// What was run, what it cost, and what is missing.
function pairs(list) {
  return make("dl", {}, ...list.filter((pair) => known(pair[1]) && pair[1] !== "")
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function shortCommit(commit) {
  if (typeof commit !== "string") return null;
  return make("span", { title: commit }, commit.slice(0, 10) + (commit.endsWith("-dirty") ? ", with changes" : ""));
}

function factsOf(run) {
  return pairs([["weighting", String(run.scheme)], ["policy", known(run.policy) ? String(run.policy) : null],
    ["seed", known(run.seed) ? String(run.seed) : null], ["steps", String(run.steps)], ["machine", run.machine],
    ["commit", shortCommit(run.commit)]]);
}

function costOf(run) {
  const cost = run.cost;
  return pairs([["whole run", duration(cost.seconds)], ["of it training", duration(cost.training)],
    ["a step, median", duration(cost.step)],
    ["tokens, prompts included", known(cost.tokens) ? Math.round(cost.tokens).toLocaleString("en") : null],
    ["responses sampled", known(cost.responses) ? cost.responses.toLocaleString("en") : null]]);
}

function listed(lines, most = 3) {
  const items = (some) => make("ul", {}, ...some.map((text) => make("li", {}, text)));
  if (lines.length <= most) return [items(lines)];
  return [items(lines.slice(0, most)), folded(`${lines.length - most} more`, () => items(lines.slice(most)))];
}

function warningsOf(shown) {
  const many = runs.length > 1;
  const lines = shown.flatMap((run) => run.warnings.map((text) => (many ? `${run.name}, ${text}` : text)));
  if (!lines.length) return null;
  return make("div", { class: "warnings" }, make("h3", {}, counted(lines.length, "warning")), ...listed(lines));
}

function missingOf(shown) {
  const many = runs.length > 1;
  const lines = shown.flatMap((run) => run.missing.map((text) => (many ? `${run.name}: ${text}` : text)));
  return lines.length ? make("div", {}, make("h3", {}, "What is missing"), ...listed(lines, 10)) : null;
}

function papersOf(run) {
  const versions = Object.entries(run.versions).filter((pair) => known(pair[1])).map((pair) => [pair[0], String(pair[1])]);
  const parts = [];
  if (run.command) parts.push(make("p", { class: "side" }, "command"), box(run.command));
  if (versions.length) parts.push(folded("versions", () => table(["package", "version"], versions, "versions")));
  parts.push(folded("recipe", () => box(JSON.stringify(run.recipe, null, 1))));
  return parts;
}
