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
  const several = data.ensemble !== null;
  const columns = 8 + labelled + rated + several;
  const orders = {
    score: ["most suspicious first", -1], name: ["name", 1], worst: ["time to look at", 1],
    frames: ["frames with a face, fewest first", 1], faces: ["faces, fewest first", 1],
    verdict: ["verdict", 1], seconds: ["longest looking fake first", -1], label: ["label", 1],
    apart: ["bundles furthest apart first", -1],
  };
  if (several) data.apart = data.ensemble.apart;
  data.ensemble?.names.forEach((name, k) => {
    orders[`said${k}`] = [`${name}, highest first`, -1];
    data[`said${k}`] = data.ensemble.said[k];
  });
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
    const status = byId("status").value, verdict = byId("verdict").value, mine = byId("reviewed").value;
    const least = parseFloat(byId("least").value);
    if (words && lowered === null) lowered = data.name.map((name) => name.toLowerCase());
    chosen = order.filter((i) =>
      (!words || lowered[i].includes(words)) &&
      (status === "" || data.status[i] === +status) &&
      (verdict === "" || data.verdict[i] === +verdict) &&
      (mine === "" || (mine === "none" ? !kept.has(idOf(i)) : reviewOf(i).label === mine)) &&
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
    row.tabIndex = -1;
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
    if (several) {
      const apart = data.apart[i];
      cell(row, "number" + (apart === null ? " empty" : ""), apart === null ? "–" : apart.toFixed(3), "Bundles apart");
    }
    const verdict = data.verdict[i];
    const judged = cell(row, verdict === null ? "empty" : "verdict", verdict === null ? "–" : undefined);
    if (verdict !== null) judged.append(element("b", data.verdictKeys[verdict], data.verdictWords[verdict]), element("span", "why", reason(i)), ...linesOf(i));
    const ratio = data.ratio[i];
    if (rated) cell(row, ratio === null ? "ratio empty" : "ratio", ratio === null ? "–" : data.ratioWords[ratio], "Likelihood ratio");
    const worst = data.worst[i];
    const file = fileOf(i);
    const look = cell(row, worst === null && !file ? "number empty" : "number", file ? undefined : worst === null ? "–" : clock(worst), "Look at");
    if (file) {
      const link = element("a", "file", worst === null ? "the file" : clock(worst));
      Object.assign(link, { href: worst === null ? file : `${file}#t=${Math.floor(worst / 10)}.${worst % 10}`, target: "_blank", rel: "noopener" });
      look.append(link);
    }
    cell(row, "number", `${grouped(data.withFace[i])} of ${grouped(data.frames[i])}`, "Frames with a face");
    cell(row, "number", grouped(data.faces[i]), "Faces");
    if (labelled) cell(row, data.label[i] === null ? "label empty" : "label", data.label[i] === null ? "–" : data.label[i], "Label");
    row.append(reviewCell(i));
    return row;
  }

  function linesOf(i) { // what each bundle of an ensemble says
    const names = several && data.apart[i] !== null ? data.ensemble.names : [];
    return names.map((name, k) => {
      const line = element("span", "why");
      line.append(element("bdi", "", name), ` ${data.ensemble.said[k][i].toFixed(3)}`);
      return line;
    });
  }

  function reason(i) {
    if (data.facePx[i] === null) return "";
    const parts = data.tracks[i] > 1 ? [`track ${data.track[i]} the worst of ${data.tracks[i]}`] : [];
    const seconds = data.seconds[i];
    if (seconds !== null) parts.push(seconds ? `fake for ${seconds.toFixed(1)} s` : "no stretch looks fake");
    return [...parts, `${data.facePx[i] < data.smallPx ? "small faces" : "faces"} of ${data.facePx[i]} px`].join(", ");
  }

  function fileOf(i) {
    if (data.elsewhere[i] !== undefined) return data.elsewhere[i];
    return data.folder && data.folder + data.name[i].split("/").map(encodeURIComponent).join("/");
  }

  // The reader's own review: label and note by video, kept by this browser under the archive's name.
  const labels = { r: "real", f: "fake", u: "unsure" };
  const place = `deepfake review of ${data.archive}`;
  let kept = new Map(), lasting = true;
  const idOf = (i) => data.id[i] ?? data.name[i];
  const reviewOf = (i) => kept.get(idOf(i)) ?? {};

  function recall() {
    try {
      kept = new Map(JSON.parse(localStorage.getItem(place) ?? "[]"));
    } catch {
      lasting = false;
    }
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify([...kept]));
    } catch {
      lasting = false;
    }
  }

  function review(i, change) {
    if (lasting) recall(); // another window may have gone on
    const now = { ...reviewOf(i), ...change };
    if (now.label || now.note) kept.set(idOf(i), now);
    else kept.delete(idOf(i));
    keep();
    const row = body.rows[chosen.indexOf(i, page * data.pageRows) - page * data.pageRows];
    row.querySelectorAll(".mine button").forEach((button) => button.setAttribute("aria-pressed", String(button.value === now.label)));
    countReview();
  }

  const toggle = (i, label) => review(i, { label: reviewOf(i).label === label ? "" : label });

  function reviewCell(i) {
    const made = element("td", "mine"), mine = reviewOf(i);
    made.setAttribute("role", "cell");
    for (const [letter, label] of Object.entries(labels)) {
      const button = element("button", "", label);
      Object.assign(button, { type: "button", value: label, title: `key ${letter}` });
      button.setAttribute("aria-pressed", String(mine.label === label));
      button.addEventListener("click", () => toggle(i, label));
      made.append(button);
    }
    const note = element("input");
    Object.assign(note, { value: mine.note ?? "", placeholder: "note", maxLength: 1000 });
    note.setAttribute("aria-label", `Note on ${data.name[i]}`);
    note.addEventListener("change", () => review(i, { note: note.value.trim() }));
    made.append(note);
    return made;
  }

  function countReview(news = "") {
    const counts = Object.values(labels).map((label) => [label, [...kept.values()].filter((one) => one.label === label).length]);
    const said = counts.filter(([, n]) => n).map(([label, n]) => `${grouped(n)} ${label}`).join(", ");
    byId("tally").textContent = `Your review: ${said || "none yet"}.${news}` +
      (lasting ? "" : " This browser keeps nothing: save it before you leave.");
    byId("export").disabled = kept.size === 0;
  }

  function save() {
    const safe = (text) => (/^'*[=+\-@\t\r\n]/.test(text) ? `'${text}` : text); // no formula for a spreadsheet
    const quoted = (text) => `"${safe(text ?? "").replaceAll('"', '""')}"`;
    const lines = [...kept].map(([id, one]) => [id, one.label, one.note].map(quoted).join(","));
    const link = element("a");
    link.download = "review.csv";
    link.href = URL.createObjectURL(new Blob([["video_id,label,note", ...lines, ""].join("\n")], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href));
  }

  // A saved review joins this one, and wins where both speak of a video.
  async function add(event) {
    const text = (await event.target.files[0].text()).replace(/^\ufeff/, "");
    const separator = text.match(/^"?video_id"?([,;\t])/)?.[1];
    const field = new RegExp(`("(?:[^"]|"")*"|[^"\\r\\n${separator}]*)(${separator}|\\r?\\n|$)`, "gy");
    const rows = [[]];
    for (const [, word, end] of separator ? text.matchAll(field) : []) {
      const plain = word.startsWith('"') ? word.slice(1, -1).replaceAll('""', '"') : word;
      rows.at(-1).push(plain.replace(/^'('*[=+\-@\t\r\n])/, "$1"));
      if (end !== separator) rows.push([]);
    }
    recall();
    const at = (name) => rows[0].indexOf(name);
    let found = 0;
    for (const row of rows.slice(1)) {
      const label = row[at("label")] ?? "", note = row[at("note")] ?? "";
      if (!row[at("video_id")] || !["", ...Object.values(labels)].includes(label) || !(label || note)) continue;
      kept.set(row[at("video_id")], { label, note });
      found += 1;
    }
    event.target.value = "";
    keep();
    show();
    countReview(separator ? ` ${grouped(found)} added.` : " That is no saved review.");
  }

  let current = null; // the row that keys work on

  function choose(row) {
    if (current) current.classList.remove("current");
    current = row;
    row.classList.add("current");
  }

  function step(by) {
    const size = data.pageRows, before = current && current.isConnected ? current.sectionRowIndex : by > 0 ? -1 : 0;
    const at = page * size + before + by;
    if (at < 0 || at >= chosen.length) return;
    if (Math.floor(at / size) !== page) {
      page = Math.floor(at / size);
      show();
    }
    choose(body.rows[at % size]);
    current.focus();
    current.scrollIntoView({ block: "nearest" });
  }

  function press(event) {
    const typing = event.target.closest("input, select, textarea");
    if (typing && typing.closest(".mine") && ["Enter", "Escape"].includes(event.key)) current.focus();
    if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
    if (!current || !current.isConnected || !chosen.length) return;
    if (labels[event.key]) toggle(chosen[page * data.pageRows + current.sectionRowIndex], labels[event.key]);
    if (event.key === "o") current.querySelector("a.file")?.click();
    const own = current.querySelector(".name a");
    if (event.key === "p" && own) window.open(own.href, "_blank", "noopener");
    if (event.key === "n") {
      event.preventDefault(); // or the letter would be the note's first
      current.querySelector(".mine input").focus();
    }
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
  byId("order").append(custom, ...Object.keys(orders).filter((key) => (labelled || key !== "label") && (several || key !== "apart")).map((key) => new Option(orders[key][0], key)));
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

  options(byId("reviewed"), "any", [["none yet", "none"], ...Object.values(labels).map((label) => [label, label])]);
  byId("reviewed").addEventListener("change", filter);
  byId("export").addEventListener("click", save);
  byId("import").addEventListener("change", add);
  body.addEventListener("focusin", (event) => choose(event.target.closest("tr")));
  document.addEventListener("keydown", press);
  window.addEventListener("storage", () => { recall(); countReview(); });

  byId("first").hidden = true;
  document.querySelectorAll(".controls, .pager").forEach((part) => { part.hidden = total <= 1; });
  byId("mine").hidden = document.querySelector(".review").hidden = total === 0;
  if (total) { // the rows in the document have no place for a review
    recall();
    countReview();
    show();
  }
})();
