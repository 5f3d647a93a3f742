"use strict";
// Elements, numbers and controls that every view is made of. What a run says becomes text, never HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const runs = data.runs;
const regionNames = data.regions;
const seedGroups = data.groups;
const svgTags = new Set(["svg", "path", "line", "text", "circle", "g"]);

function make(tag, attributes = {}, ...children) {
  const element = svgTags.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function known(value) { return value !== null && value !== undefined; }

function signed(text) { return text.replace(/^-/, "−"); }

function number(value, digits = 2) { return known(value) ? signed(value.toFixed(digits)) : "–"; }

// Four digits that count, for figures of any size.
function short(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size === 0 || (size >= 0.01 && size < 1000)) return signed(value.toFixed(size === 0 ? 0 : size < 1 ? 3 : 2));
  return signed(size >= 1e5 || size < 0.01 ? value.toExponential(2) : value.toFixed(0));
}

function percent(value) { return (100 * value).toFixed(1) + " %"; }

function ends(low, high) { return `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`; }

function counted(count, one, many = one + "s") {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function duration(seconds) {
  if (!known(seconds)) return null;
  if (seconds < 60) return `${short(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function table(heads, rows, label) {
  // with roles: a narrow window shows rows as blocks, which else were no table any more
  const head = make("tr", { role: "row" }, ...heads.map((text) => make("th", { scope: "col", role: "columnheader" }, text)));
  const body = rows.map((cells) => make("tr", { role: "row" }, ...cells.map((text, place) =>
    place ? make("td", { role: "cell", "data-label": heads[place] }, text) : make("th", { scope: "row", role: "rowheader" }, text))));
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label },
    make("table", { role: "table" }, make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" }, ...body)));
}

// What is folded is made when it is unfolded for the first time.
function folded(title, fill, open = false) {
  const element = make("details", {}, make("summary", {}, title));
  let filled = false;
  const show = () => { if (!filled && element.open) { filled = true; element.append(...[fill()].flat()); } };
  element.addEventListener("toggle", show);
  element.open = open;
  show();
  return element;
}

function box(text, more = {}) { return make("pre", { tabindex: "0", ...more }, text); }

function select(label, options, value, change) {
  const element = make("select", { id: "control-" + label.replaceAll(" ", "-"), "aria-label": label },
    ...options.map((option) => make("option",
      { value: option[0], selected: String(option[0]) === String(value) ? "" : null }, option[1])));
  element.addEventListener("change", () => change(element.value));
  return make("label", {}, label + " ", element);
}

function search(label, value, change) {
  const element = make("input", { type: "search", id: "control-" + label.replaceAll(" ", "-"),
    "aria-label": label, value, maxlength: 200 });
  element.addEventListener("input", () => change(element.value));
  return make("label", {}, label + " ", element);
}

function tick(label, value, change) {
  const element = make("input", { type: "checkbox", id: "control-" + label.replaceAll(" ", "-") });
  element.checked = value;
  element.addEventListener("change", () => change(element.checked));
  return make("label", {}, element, " " + label);
}

function button(text, press, more = {}) {
  const element = make("button", { type: "button", id: "control-" + text.replaceAll(" ", "-"), ...more }, text);
  element.addEventListener("click", press);
  return element;
}

// Draw anew without losing the place of the keyboard.
function keepingFocus(draw) {
  const active = document.activeElement, id = active && active.id;
  const at = active instanceof HTMLInputElement && active.type === "search" ? active.selectionStart : null;
  draw();
  const found = id ? document.getElementById(id) : null;
  if (!found || found === document.activeElement) return;
  found.focus({ preventScroll: true });
  if (at !== null) found.setSelectionRange(at, at);
}
