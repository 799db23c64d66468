"use strict";
// Sorts, filters and pages the table of videos. The data are columns, most suspicious first; the rows of
// the first page are already in the document. Text goes in as textContent only, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const total = data.name.length;
  const byId = (id) => document.getElementById(id);
  const body = byId("rows");
  const labelled = document.querySelector("th[data-sort=label]") !== null;
  const rated = data.ratioWords.length > 0;
  const columns = 7 + labelled + rated;
  const orders = {
    score: ["most suspicious first", -1], name: ["name", 1], worst: ["time to look at", 1],
    frames: ["frames with a face, fewest first", 1], faces: ["faces, fewest first", 1],
    verdict: ["verdict", 1], label: ["label", 1],
  };
  let sortKey = "score", direction = -1, page = 0;
  let order = Array.from({ length: total }, (_, i) => i); // every row, sorted
  let chosen = order; // those that pass the filters
  let lowered = null; // names in lower case, made when first searched

  const keysOf = (key) => (key === "frames" ? data.withFace : data[key]);

  function sort(key, way) {
    sortKey = key;
    direction = way;
    const values = keysOf(key);
    order = Array.from({ length: total }, (_, i) => i);
    if (key === "score") {
      // The data come in this order; only those with a score turn round.
      const scored = order.filter((i) => values[i] !== null);
      if (way > 0) order = scored.reverse().concat(order.filter((i) => values[i] === null));
    } else {
      order.sort((a, b) => {
        const x = values[a], y = values[b];
        if (x === y) return a - b;
        if (x === null) return 1; // what is not there comes last either way
        if (y === null) return -1;
        return x < y ? -way : way;
      });
    }
    document.querySelectorAll("th[data-sort]").forEach((head) => {
      const own = head.dataset.sort === key;
      head.setAttribute("aria-sort", own ? (way > 0 ? "ascending" : "descending") : "none");
    });
    const option = orders[key][1] === way ? key : "";
    byId("order").value = option;
    filter();
  }

  function filter() {
    const words = byId("search").value.toLowerCase();
    const status = byId("status").value, verdict = byId("verdict").value;
    const least = parseFloat(byId("least").value);
    if (words && lowered === null) lowered = data.name.map((name) => name.toLowerCase());
    chosen = order.filter((i) =>
      (!words || lowered[i].includes(words)) &&
      (status === "" || data.status[i] === +status) &&
      (verdict === "" || data.verdict[i] === +verdict) &&
      (Number.isNaN(least) || (data.score[i] !== null && data.score[i] >= least)));
    page = 0;
    show();
  }

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function cell(row, className, text, name) {
    const made = element("td", className, text);
    made.setAttribute("role", "cell");
    if (name) made.dataset.name = name;
    row.append(made);
    return made;
  }

  function clock(tenths) {
    const hours = Math.floor(tenths / 36000), minutes = Math.floor(tenths / 600) % 60;
    const rest = tenths % 600, two = (n) => String(n).padStart(2, "0");
    const seconds = `${two(Math.floor(rest / 10))}.${rest % 10}`;
    return hours ? `${hours}:${two(minutes)}:${seconds}` : `${minutes}:${seconds}`;
  }

  const grouped = (n) => (n === null ? "–" : String(n).replace(/\B(?=(\d{3})+$)/g, ","));

  function rowOf(i) {
    const row = element("tr");
    row.setAttribute("role", "row");
    const face = cell(row, data.thumbnail[i] ? "face" : "face empty");
    if (data.thumbnail[i]) {
      const image = element("img");
      Object.assign(image, { alt: "face with the highest score", width: 64, height: 64, loading: "lazy" });
      image.src = data.thumbnail[i];
      face.append(image);
    }
    const name = element("th", "name");
    name.scope = "row";
    name.setAttribute("role", "rowheader");
    const words = element("bdi", "", data.name[i]);
    if (data.page[i]) {
      const link = element("a");
      link.href = data.page[i];
      link.append(words);
      name.append(link);
    } else name.append(words);
    const score = data.score[i];
    if (score === null) {
      const why = element("span", "why", data.statusWords[data.status[i]]);
      if (data.detail[i]) why.append(": ", element("bdi", "", data.detail[i]));
      name.append(why);
    }
    row.append(name);
    const number = cell(row, "number score" + (score === null ? " empty" : ""), score === null ? "–" : score.toFixed(3), "Score");
    if (score !== null) {
      const bar = element("span", "bar");
      bar.style.setProperty("--share", `${(100 * score).toFixed(1)}%`);
      number.append(bar);
    }
    const verdict = data.verdict[i];
    cell(row, verdict === null ? "empty" : data.verdictKeys[verdict], verdict === null ? "–" : data.verdictWords[verdict]);
    const ratio = data.ratio[i];
    if (rated) cell(row, ratio === null ? "ratio empty" : "ratio", ratio === null ? "–" : data.ratioWords[ratio], "Likelihood ratio");
    const worst = data.worst[i];
    cell(row, worst === null ? "number empty" : "number", worst === null ? "–" : clock(worst), "Look at");
    cell(row, "number", `${grouped(data.withFace[i])} of ${grouped(data.frames[i])}`, "Frames with a face");
    cell(row, "number", grouped(data.faces[i]), "Faces");
    if (labelled) cell(row, data.label[i] === null ? "label empty" : "label", data.label[i] === null ? "–" : data.label[i], "Label");
    return row;
  }

  function describe() {
    const size = data.pageRows, first = page * size, last = Math.min(first + size, chosen.length);
    byId("shown").textContent = chosen.length
      ? `${grouped(first + 1)} to ${grouped(last)} of ${grouped(chosen.length)}` +
        (chosen.length < total ? ` (${grouped(total)} in all)` : " videos")
      : `No video fits; there are ${grouped(total)} in all`;
    document.querySelectorAll(".pager button").forEach((button) => {
      button.disabled = button.dataset.step < 0 ? page === 0 : last >= chosen.length;
    });
  }

  function show() {
    const start = page * data.pageRows;
    const rows = chosen.slice(start, start + data.pageRows).map(rowOf);
    if (!rows.length) {
      const row = element("tr");
      row.setAttribute("role", "row");
      cell(row, "nothing", "No video fits these filters.").colSpan = columns;
      rows.push(row);
    }
    body.replaceChildren(...rows);
    describe();
  }

  function options(select, first, entries) {
    select.append(new Option(first, ""), ...entries.map(([text, value]) => new Option(text, value)));
  }

  const tally = (values, index) => values.reduce((n, value) => n + (value === index), 0);
  options(byId("status"), "any", data.statusKeys.map((_, k) => [`${data.statusWords[k]} (${grouped(tally(data.status, k))})`, k]));
  options(byId("verdict"), "any", data.verdictWords.map((words, k) => [`${words} (${grouped(tally(data.verdict, k))})`, k]));
  const custom = new Option("as clicked", "");
  custom.hidden = true;
  byId("order").append(custom, ...Object.keys(orders).filter((key) => labelled || key !== "label").map((key) => new Option(orders[key][0], key)));
  byId("order").value = "score";

  document.querySelectorAll("th[data-sort]").forEach((head) => {
    const key = head.dataset.sort, button = element("button", "", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(key, sortKey === key ? -direction : orders[key][1]));
    head.replaceChildren(button);
    head.setAttribute("aria-sort", key === "score" ? "descending" : "none");
  });
  byId("order").addEventListener("change", (event) => sort(event.target.value, orders[event.target.value][1]));
  for (const id of ["search", "least"]) byId(id).addEventListener("input", filter);
  for (const id of ["status", "verdict"]) byId(id).addEventListener("change", filter);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").addEventListener("reset", () => setTimeout(() => sort("score", -1)));
  document.querySelectorAll(".pager button").forEach((button) => button.addEventListener("click", () => {
    page += +button.dataset.step;
    show();
    byId("videos-heading").scrollIntoView();
  }));

  byId("first").hidden = true;
  document.querySelectorAll(".controls, .pager").forEach((part) => { part.hidden = total <= 1; });
  describe();
})();
