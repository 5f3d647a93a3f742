// A response token by token, shaded by weight, region or entropy; an episode turn by turn.
function shadesOf(row, by) {
  if (by === "region") return row.tokens.map(() => 14);
  const values = by === "entropy" ? row.entropies : row.weights;
  if (!values) return row.tokens.map(() => 0);
  const most = values.reduce((a, b) => Math.max(a, b), 0) || 1;
  return values.map((value) => Math.round(40 * value / most));
}

// Places of tokens in which searched words are.
function hitsOf(row, words) {
  const hits = new Set();
  if (!words || !row.tokens) return hits;
  const text = row.tokens.join("").toLowerCase();
  let place = 0, from = 0;
  for (let at = text.indexOf(words); at >= 0; at = text.indexOf(words, at + 1)) {
    while (place < row.tokens.length && from + row.tokens[place].length <= at) from += row.tokens[place++].length;
    for (let inner = place, begin = from; inner < row.tokens.length && begin < at + words.length; inner++) {
      hits.add(inner);
      begin += row.tokens[inner].length;
    }
  }
  return hits;
}

function tokenBox(row, from, to, by, hits = new Set()) {
  const tokens = make("div", { class: "tokens" }), shades = shadesOf(row, by);
  row.tokens.slice(from, to).forEach((text, place) => {
    const at = from + place, region = regionNames[row.regions[at]];
    const told = `${region}, weight ${number(row.weights[at], 3)}` +
      (row.advantages ? `, advantage ${number(row.advantages[at], 3)}` : "") +
      (row.entropies ? `, entropy ${number(row.entropies[at], 3)} nats` : "");
    const token = make("span", { class: `token ${region}${hits.has(at) ? " hit" : ""}`, title: told,
      "data-weight": row.weights[at], "data-region": region }, text);
    token.style.setProperty("--shade", shades[at]);
    tokens.append(token);
    if (text.endsWith("⏎")) tokens.append(make("br"));
  });
  return tokens;
}

function conversation(row, by, hits) {
  const parts = [];
  let from = 0;
  row.episode.turns.forEach((turn, place) => {
    const errors = turn.errors ? `, ${turn.errors} of its calls failed` : "";
    parts.push(make("p", { class: "turn" }, `Turn ${place + 1}: reward ${number(turn.reward)}${errors}`));
    if (row.tokens && turn.tokens) parts.push(tokenBox(row, from, from + turn.tokens, by, hits));
    else parts.push(box(turn.text));
    from += turn.tokens;
    for (const [call, result] of turn.calls) {
      parts.push(make("div", { class: "exchange" }, make("code", {}, call),
        make("span", { class: "read" }, result === null ? "no result: the episode had ended" : result)));
    }
    if (turn.said !== null) parts.push(make("p", { class: "read" }, "The user: " + turn.said));
  });
  return parts;
}

function contentsOf(row, by, words = "") {
  const hits = hitsOf(row, words), parts = [];
  if (row.episode) parts.push(...conversation(row, by, hits));
  else if (row.tokens) parts.push(tokenBox(row, 0, row.tokens.length, by, hits));
  else parts.push(box(row.text || ""));
  if (row.tokens && row.cut) {
    parts.push(make("p", { class: "soft" }, row.episode ? "The tokens of the rest are not shown." : "The rest is not shown."));
  }
  if (row.tokens && by === "entropy" && !row.entropies) {
    parts.push(make("p", { class: "soft" }, "Entropies of single tokens were not recorded."));
  }
  return parts;
}

function outcomeOf(row) {
  if (row.episode) return row.episode.outcome;
  const parts = [`reward ${number(row.reward.total)}`, `format ${number(row.reward.format_reward)}`,
    `correctness ${number(row.reward.correctness_reward)}`, row.status === "ok" ? null : row.status,
    row.exact ? "exact" : null];
  return parts.filter(Boolean).join(", ");
}

function textOf(row) {
  if (row.tokens && !row.episode) return row.tokens.map((text) => text.replaceAll("⏎", "⏎\n")).join("");
  if (row.episode) return row.episode.turns.map((turn) => turn.text).join("\n\n");
  return row.text || "";
}

// The regions in their colours; of a response those that it has, with their mean weights.
function legend(row = null) {
  const told = regionNames.map((name, region) => {
    if (!row) return [name, name];
    const weights = row.weights.filter((weight, place) => row.regions[place] === region);
    return weights.length ? [name, `${name} ${number(weights.reduce((a, b) => a + b, 0) / weights.length)}`] : null;
  }).filter(Boolean);
  return make("p", { class: "legend" }, row ? "Mean weights: " : "", ...told.map(([name, text]) => make("span", { class: name }, text)));
}

function questionOf(group) {
  if (!group.question) return null;
  return make("div", {}, make("p", { class: "side" }, "question"), box(group.question));
}
