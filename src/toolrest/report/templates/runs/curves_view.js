// Controls and sections of the view of curves.
function ownerKey() {
  const hidden = hiddenOwners();
  const key = make("div", { class: "key owners", role: "group", "aria-label": "runs that are shown" });
  owners().forEach((owner, place) => {
    const seeds = owner.runs.length > 1 ? `, ${owner.runs.length} seeds` : "";
    const toggle = make("button", { type: "button", id: "owner-" + place, "aria-pressed": String(!hidden.has(place)) },
      sample(owner), owner.name + seeds);
    toggle.addEventListener("click", () => {
      const now = hiddenOwners();
      if (!now.delete(place)) now.add(place);
      go({ hide: [...now].sort((a, b) => a - b).join(".") }, false);
    });
    key.append(toggle);
  });
  return key;
}

function smoothing() {
  const label = make("label", { for: "control-smoothing" }, "smoothing ");
  const slider = make("input", { type: "range", id: "control-smoothing", min: 0, max: 0.99, step: 0.01, value: state.smooth });
  const told = make("output", { for: "control-smoothing" }, state.smooth);
  slider.addEventListener("input", () => { told.textContent = String(Number(slider.value)); });
  slider.addEventListener("change", () => go({ smooth: String(Number(slider.value)) }, false));
  return make("span", { class: "control" }, label, slider, " ", told);
}

function curveControls() {
  const controls = make("div", { class: "controls" }, smoothing(),
    tick("log axis", state.log === "1", (on) => go({ log: on ? "1" : "" }, false)),
    select("x axis", [["step", "step"], ["seconds", "seconds"], ["tokens", "tokens"]], state.x, (x) => go({ x }, false)),
    search("find a chart", state.find, (find) => go({ find }, false)));
  if (runs.length > 1) {
    controls.append(select("a chart for each", [["part", "region or part"], ["run", "run"]], state.split,
      (split) => go({ split, hide: split === "run" ? "" : state.hide }, false)));
  }
  if (seedGroups.some((group) => group.runs.length > 1)) {
    controls.append(tick("single runs", state.single === "1", (on) => go({ single: on ? "1" : "", hide: "" }, false)));
  }
  return controls;
}

function isSought(each) {
  const words = state.find.toLowerCase();
  return !words || [each[0], ...each[3].flat()].join(" ").toLowerCase().includes(words);
}

function gridOf(list) { return list.filter(isSought).flatMap(chartsOf).filter(Boolean); }

// What needs no new charts: smoothing, the axis, runs that are switched off.
function refreshCurves() {
  const hidden = hiddenOwners();
  document.querySelectorAll(".owners button").forEach((toggle, place) =>
    toggle.setAttribute("aria-pressed", String(!hidden.has(place))));
  redrawCharts();
}

function curvesView(section) {
  section.append(make("h2", {}, "Curves"), curveControls());
  if (runs.length > 1 && state.split === "part") section.append(ownerKey());
  const told = [bandsSaid(), "Drag to zoom, twice click to see all; the camera saves a chart as SVG."].filter(Boolean);
  section.append(make("p", { class: "soft" }, told.join(" ")));
  let any = false;
  for (const [title, list] of sections) {
    const found = gridOf(list);
    if (!found.length) continue;
    any = true;
    section.append(make("h3", {}, title), make("div", { class: "charts" }, ...found));
  }
  const rest = others().filter(isSought).length;
  if (rest) {
    section.append(folded(`All other metrics (${rest})`,
      () => make("div", { class: "charts" }, ...gridOf(others())), state.find !== ""));
  } else if (!any) {
    section.append(make("p", {}, state.find ? "No chart has that in its name." : "No metrics were recorded."));
  }
}
