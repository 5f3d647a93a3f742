// What is shown is in the page's address, so that a link leads to it. What an address says wrongly is left out.
const oneOf = (...words) => (value) => words.includes(value);
const short200 = (value) => value.length <= 200;
const positive = (value) => /^[1-9]\d{0,8}$/.test(value);
const keys = {
  tab: ["summary", oneOf("summary", "curves", "rollouts", "failures")],
  run: ["", (value) => runs.some((run, place) => addressOf(place) === value)],
  step: ["", (value) => /^\d{1,9}$/.test(value)],
  group: ["", short200],
  response: ["", positive],
  compare: ["", (value) => /^\d{1,4}-\d{1,4}$/.test(value)],
  filter: ["all", (value) => Object.hasOwn(filters, value)],
  order: ["step", oneOf("step", "worst", "spread")],
  shade: ["weight", oneOf("weight", "region", "entropy")],
  q: ["", short200],
  open: ["", (value) => value.length <= 400],
  page: ["1", positive],
  x: ["step", oneOf("step", "seconds", "tokens")],
  smooth: ["0", (value) => /^0(\.\d{1,2})?$/.test(value)],
  log: ["", oneOf("1")],
  split: ["part", oneOf("part", "run")],
  single: ["", oneOf("1")],
  hide: ["", (value) => /^\d{1,3}(\.\d{1,3})*$/.test(value)],
  find: ["", short200],
};
const state = {};

// A run's name, or its place where another run has that name too.
function addressOf(place) {
  const name = runs[place].name;
  return runs.filter((run) => run.name === name).length > 1 ? String(place) : name;
}

function chosenRun() {
  return Math.max(0, runs.findIndex((run, place) => addressOf(place) === state.run));
}

function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  for (const [key, [usual, fits]] of Object.entries(keys)) {
    const value = found.get(key);
    state[key] = value !== null && fits(value) ? value : usual;
  }
}

function addressWith(changes) {
  const made = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...state, ...changes })) {
    if (value !== keys[key][0]) made.set(key, value);
  }
  return "#" + made.toString();
}

// Change what is shown. `step`: whether the browser's back button undoes it by itself.
function go(changes, step = true) {
  const address = addressWith(changes);
  Object.assign(state, changes);
  if (address !== (location.hash || "#")) {
    if (step) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  }
  show();
}

function follow() { readAddress(); show(); }
addEventListener("hashchange", follow);
addEventListener("popstate", follow);
