// The view of failures: by evaluation and reason, folded, twenty a page.
const aPage = 20;

const thought = /<think>([^]*?)<\/think>\s*/;

// Where no thought is expected, the one that came is not compared.
function compared(row) {
  const expected = thought.exec(row.expected), got = thought.exec(row.got);
  if (!expected || expected[1].trim() || !got) return [sideBySide("expected", row.expected, "got", row.got)];
  return [make("p", { class: "side" }, "thought"), box(got[1].trim()),
    sideBySide("expected", row.expected.replace(thought, ""), "got", row.got.replace(thought, ""))];
}

function failure(row) {
  const article = make("article", {}, make("h4", {}, row.what));
  if (row.detail && row.detail !== row.reason) article.append(make("p", { class: "soft" }, row.detail));
  if (row.question) article.append(make("p", { class: "side" }, "question"), box(row.question));
  if (row.expected) article.append(...compared(row));
  else article.append(make("p", { class: "side" }, "got"), box(row.got));
  return article;
}

function pageOf(rows, key) {
  const pages = Math.ceil(rows.length / aPage);
  const place = Math.min(pages, state.open === key ? Number(state.page) : 1);
  const part = make("div", {}, ...rows.slice((place - 1) * aPage, place * aPage).map(failure));
  if (pages > 1) {
    const turn = (by) => go({ open: key, page: String(place + by) });
    part.append(make("p", { class: "pages" },
      button("previous page", () => turn(-1), { disabled: place === 1 ? "" : null }), ` page ${place} of ${pages} `,
      button("next page", () => turn(1), { disabled: place === pages ? "" : null })));
  }
  return part;
}

function reasonGroup(evaluation, reason, rows, total) {
  const key = `${evaluation.name}/${reason}`.slice(0, 400);
  const some = rows.length < total ? `, ${rows.length} of them here` : "";
  const element = folded(`${reason}: ${total}${some}`, () => pageOf(rows, key), state.open === key);
  element.firstChild.addEventListener("click", () => {
    // its own toggle follows; only the address is to know of it
    Object.assign(state, { open: element.open ? "" : key, page: "1" });
    history.replaceState(null, "", addressWith({}));
    views.failures.shown = signature(views.failures);
  });
  return element;
}

function failuresView(section) {
  const run = runs[chosenRun()], words = state.q.toLowerCase();
  section.append(make("h2", {}, "Failures"));
  const controls = make("div", { class: "controls" });
  if (runs.length > 1) {
    controls.append(select("failures of run", runs.map((each, place) => [place, each.name]), chosenRun(),
      (value) => go({ run: addressOf(Number(value)), open: "", page: "1" })));
  }
  controls.append(search("search failures", state.q, (q) => go({ q, page: "1" }, false)));
  section.append(controls);
  const fits = (row) => !words || Object.values(row).join("\n").toLowerCase().includes(words);
  let any = false;
  for (const evaluation of run.failures) {
    const found = evaluation.rows.filter(fits);
    if (!found.length) continue;
    any = true;
    const all = Object.values(evaluation.reasons).reduce((a, b) => a + b, 0);
    section.append(make("h3", {}, `${evaluation.name}: ${counted(words ? found.length : all, "failure")}`));
    for (const [reason, total] of Object.entries(evaluation.reasons)) {
      const rows = found.filter((row) => row.reason === reason);
      if (rows.length) section.append(reasonGroup(evaluation, reason, rows, words ? rows.length : total));
    }
  }
  if (!any) section.append(make("p", {}, words ? "No failure has that in it." : "None are recorded."));
}
