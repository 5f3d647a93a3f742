// What two texts have in common, word by word: the longest common subsequence.
const mostCells = 4_000_000;

function wordsOf(text) { return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || []; }

// [[words only of the first], [words only of the second]] as sets of places; null: too long, or hardly alike.
function unlike(first, second) {
  let start = 0, end = 0;
  const most = Math.min(first.length, second.length);
  while (start < most && first[start] === second[start]) start += 1;
  while (end < most - start && first[first.length - 1 - end] === second[second.length - 1 - end]) end += 1;
  const a = first.slice(start, first.length - end), b = second.slice(start, second.length - end);
  if (a.length * b.length > mostCells) return { why: "too long to be compared word by word" };
  const width = b.length + 1, best = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i * width + j] = a[i] === b[j] ? best[(i + 1) * width + j + 1] + 1
        : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const alone = [new Set(), new Set()];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { i += 1; j += 1; }
    else if (j >= b.length || (i < a.length && best[(i + 1) * width + j] >= best[i * width + j + 1])) {
      alone[0].add(start + i); i += 1;
    } else { alone[1].add(start + j); j += 1; }
  }
  return { alone };
}

function marked(words, alone, tag) {
  const shown = make("pre", { tabindex: "0" });
  let run = [], inside = false;
  const flush = () => {
    if (run.length) shown.append(inside ? make(tag, {}, run.join("")) : run.join(""));
    run = [];
  };
  words.forEach((word, place) => {
    const now = alone.has(place);
    if (now !== inside) { flush(); inside = now; }
    run.push(word);
  });
  flush();
  return shown;
}

// Two texts side by side; what the second lacks is struck out in the first, what it adds is marked in it.
function sideBySide(firstName, first, secondName, second) {
  const words = [wordsOf(first), wordsOf(second)], found = unlike(words[0], words[1]);
  const common = found.alone ? words[0].filter((word, place) => word.trim() && !found.alone[0].has(place)).length : 0;
  const solid = words[0].filter((word) => word.trim()).length;
  const alike = found.alone && common >= 0.2 * solid;
  const note = alike ? null : make("p", { class: "soft" }, found.why || "They have next to no words in common, so none are marked.");
  const sides = [[firstName, first, words[0], 0, "del"], [secondName, second, words[1], 1, "ins"]];
  return make("div", {}, note, make("div", { class: "sides" }, ...sides.map(([name, text, list, side, tag]) =>
    make("div", {}, make("p", { class: "side" }, name), alike ? marked(list, found.alone[side], tag) : box(text)))));
}
