// The tabs; the last file, which starts the page.
const views = {
  summary: { title: "Overview", draw: summaryView, needs: [] },
  curves: { title: "Curves", draw: curvesView, needs: ["x", "split", "single", "find"], soft: ["smooth", "log", "hide"], refresh: refreshCurves },
  rollouts: { title: "Rollouts", draw: rolloutsView, needs: ["run", "step", "group", "response", "compare", "filter", "order", "shade", "q"] },
  failures: { title: "Failures", draw: failuresView, needs: ["run", "q", "open", "page"] },
};
const nav = make("nav", { role: "tablist", "aria-label": "views" });
const main = make("main");

function signature(view, names = view.needs) { return JSON.stringify(names.map((name) => state[name])); }

function draw(key) {
  const view = views[key], section = document.getElementById("view-" + key), now = signature(view);
  if (view.shown !== now) {
    view.shown = now;
    keepingFocus(() => { section.replaceChildren(); view.draw(section); });
  }
  if (!view.refresh) return;
  const soft = signature(view, view.soft);
  if (view.soften !== undefined && view.soften !== soft) view.refresh();
  view.soften = soft;
}

function show() {
  for (const key of Object.keys(views)) {
    const tab = document.getElementById("tab-" + key);
    tab.setAttribute("aria-selected", String(key === state.tab));
    tab.tabIndex = key === state.tab ? 0 : -1;
    document.getElementById("view-" + key).hidden = key !== state.tab;
  }
  draw(state.tab);
}

for (const [key, { title }] of Object.entries(views)) {
  const tab = make("button", { type: "button", role: "tab", id: "tab-" + key, "aria-controls": "view-" + key }, title);
  tab.addEventListener("click", () => go({ tab: key }));
  nav.append(tab);
  main.append(make("section", { id: "view-" + key, role: "tabpanel", "aria-labelledby": "tab-" + key, hidden: "" }));
}
document.body.append(nav, main);
readAddress();
show();
addEventListener("beforeprint", () => Object.keys(views).forEach(draw));
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
  if (!by) return;
  if (event.target instanceof HTMLButtonElement && event.target.getAttribute("role") === "tab") {
    const tabs = [...nav.children];
    tabs[(tabs.indexOf(event.target) + by + tabs.length) % tabs.length].focus();
  } else if (state.tab === "rollouts" && event.target === document.body) move(by);
});
