// Colours and dashes of lines: ten colours that are told apart on a light and on a dark ground.
const dashes = ["solid", "dash", "dot", "dashdot", "longdash"];
const strokes = { solid: null, dash: "6 4", dot: "2 3", dashdot: "8 3 2 3", longdash: "10 3" };
const dark = matchMedia("(prefers-color-scheme: dark)");

function lookOf(place) {
  return { look: "c" + (place % 10), dash: dashes[(place + Math.floor(place / 10)) % dashes.length] };
}

function partLook(name) { return { look: name, dash: dashes[regionNames.indexOf(name) % dashes.length] }; }

function colourOf(look) {
  const probe = make("span", { class: look });
  document.body.append(probe);
  const style = getComputedStyle(probe);
  const found = style.getPropertyValue(look.startsWith("c") && !regionNames.includes(look) ? "--c" : "--region").trim();
  probe.remove();
  return found;
}

function pageColour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

function paler(colour, alpha) {
  const parts = /^#(..)(..)(..)$/.exec(colour);
  return parts ? `rgba(${parts.slice(1).map((part) => parseInt(part, 16)).join(",")},${alpha})` : colour;
}

function sample(line) {
  return make("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" },
    make("path", { class: line.look, d: "M0 4L24 4", "stroke-dasharray": strokes[line.dash] }));
}

// Whose lines a chart has: groups of runs that differ in their seed, or each run by itself.
function owners() {
  if (state.single || runs.length === 1) {
    return runs.map((run, place) => ({ name: run.name, runs: [place], ...lookOf(place) }));
  }
  return seedGroups.map((group, place) => ({ name: group.label, runs: group.runs, ...lookOf(place) }));
}

function hiddenOwners() { return new Set(state.hide ? state.hide.split(".").map(Number) : []); }
