"use strict";
// The table of rows: search, filter, sort, pages. Everything is written as text, never as markup.
(() => {
  const PER_PAGE = 100;
  const ROW = 0, CUSTOMER = 1, STATUS = 2, REASON = 3, HINT = 4, ANSWER = 5, SENT = 6, DONE = 7, CHANGES = 8;
  const { rows, texts } = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const search = by("search"), status = by("status"), body = by("rows"), told = by("told");
  const labels = Array.from(document.querySelectorAll("[data-column]"), (button) => button.textContent);
  const lowered = texts.map((text) => text.toLowerCase());
  const haystacks = new Array(rows.length);
  let found = rows.map((_, at) => at), page = 0, sorted = { column: null, down: false };

  const element = (name, text, style) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (style) made.className = style;
    return made;
  };
  const time = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC";

  function haystack(at) {
    if (haystacks[at] === undefined) {
      const row = rows[at];
      const parts = [row[ROW], row[CUSTOMER].toLowerCase()];
      for (const column of [STATUS, REASON, HINT, ANSWER]) parts.push(lowered[row[column]]);
      const changes = row[CHANGES];
      for (let i = 0; i < changes.length; i += 3) {
        parts.push(lowered[changes[i]], (changes[i + 1] ?? "").toLowerCase(), (changes[i + 2] ?? "").toLowerCase());
      }
      haystacks[at] = parts.join("\n");
    }
    return haystacks[at];
  }

  function prepare(from) {
    const until = performance.now() + 25;
    while (from < rows.length && performance.now() < until) haystack(from++);
    if (from < rows.length) setTimeout(prepare, 0, from);
  }

  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = status.value;
    found = [];
    for (let at = 0; at < rows.length; at++) {
      if (wanted && texts[rows[at][STATUS]] !== wanted) continue;
      if (words.every((word) => haystack(at).includes(word))) found.push(at);
    }
    sort();
  }

  // What is compared; numbers of texts are turned into ranks once, so that no text is compared twice.
  const rank = [];
  [...texts.keys()].sort((a, b) => (lowered[a] < lowered[b] ? -1 : 1)).forEach((number, at) => { rank[number] = at; });
  const keys = {
    row: (row) => row[ROW],
    customer: (row) => row[CUSTOMER],
    status: (row) => rank[row[STATUS]],
    changes: (row) => (row[CHANGES].length ? rank[row[CHANGES][0]] : -1),
    reason: (row) => rank[row[REASON]],
    sent: (row) => row[SENT] || Infinity,
  };

  function sort() {
    if (sorted.column) {
      const key = keys[sorted.column], sign = sorted.down ? -1 : 1;
      const values = new Array(rows.length);
      for (const at of found) values[at] = key(rows[at]);
      found.sort((a, b) => {
        const one = values[a], other = values[b];
        return one < other ? -sign : one > other ? sign : a - b;
      });
    }
    show(0);
  }

  function changesOf(row) {
    const changes = row[CHANGES];
    if (!changes.length) return "";
    const list = element("ul", undefined, "changes");
    for (let i = 0; i < changes.length; i += 3) {
      const item = element("li"), before = changes[i + 1], after = changes[i + 2];
      item.append(element("span", texts[changes[i]], "field"));
      if (after !== null) {
        item.append(" ", before === null ? element("i", "not known") : value(before, "absent"));
        item.append(" → ", value(after, "cleared"));
      } else if (before !== null) item.append(" ", value(before, "empty"));
      list.append(item);
    }
    return list;
  }

  const value = (text, none) => (text === "" ? element("i", none) : element("bdi", text));

  function line(at) {
    const row = rows[at], made = element("tr");
    const why = element("div"), sent = element("div");
    if (texts[row[REASON]]) why.append(element("p", texts[row[REASON]]));
    if (texts[row[HINT]]) why.append(element("p", texts[row[HINT]], "hint"));
    if (row[SENT]) sent.append(element("p", time(row[SENT])));
    if (texts[row[ANSWER]]) sent.append(element("p", texts[row[ANSWER]]));
    if (row[DONE] && row[DONE] !== row[SENT]) sent.append(element("p", "done " + time(row[DONE]).slice(11), "hint"));
    const state = texts[row[STATUS]];
    const inside = [
      row[ROW].toLocaleString("en"), element("bdi", row[CUSTOMER], "id"), element("span", state, "chip " + state),
      changesOf(row), why, sent,
    ];
    inside.forEach((content, column) => {
      const cell = element(column ? "td" : "th");
      if (!column) cell.scope = "row";
      cell.dataset.label = labels[column];
      if (content === "" || (content.childNodes && !content.childNodes.length)) cell.className = "none";
      cell.append(content);
      made.append(cell);
    });
    return made;
  }

  function show(to) {
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    page = Math.min(Math.max(to, 0), pages - 1);
    const first = page * PER_PAGE, shown = found.slice(first, first + PER_PAGE);
    body.replaceChildren(...shown.map(line));
    const number = (n) => n.toLocaleString("en");
    told.textContent = found.length
      ? `${number(first + 1)} to ${number(first + shown.length)} of ${number(found.length)} rows`
      : "no row matches";
    for (const id of ["first", "previous"]) by(id).disabled = page === 0;
    for (const id of ["next", "last"]) by(id).disabled = page === pages - 1;
  }

  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(find, rows.length > 20000 ? 30 : 0);
  });
  status.addEventListener("change", find);
  by("first").addEventListener("click", () => show(0));
  by("previous").addEventListener("click", () => show(page - 1));
  by("next").addEventListener("click", () => show(page + 1));
  by("last").addEventListener("click", () => show(Infinity));
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const column = button.dataset.column;
      sorted = { column, down: sorted.column === column && !sorted.down };
      for (const head of document.querySelectorAll("#live th[aria-sort]")) head.removeAttribute("aria-sort");
      button.parentElement.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      sort();
    });
  }
  for (const link of document.querySelectorAll("button[data-row]")) {
    link.hidden = false;
    link.addEventListener("click", () => {
      search.value = "";
      status.value = link.dataset.status;
      find();
      by("live").scrollIntoView();
      search.focus({ preventScroll: true });
    });
  }

  show(0);
  document.documentElement.classList.add("scripted");
  prepare(0);
})();
