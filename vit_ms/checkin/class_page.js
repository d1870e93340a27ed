// All text goes into the page as text nodes: nothing here makes markup of what a record says, and the policy forbids it.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const find = (id) => document.getElementById(id);

function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}
function both(text) {  // in both languages; the style shows one
  return text.map((words, index) => {
    const node = make("span", "", words);
    node.lang = index ? "zh" : "en";
    return node;
  });
}
const zh = () => root.dataset.lang === "zh";
const pick = (text) => text[zh() ? 1 : 0];
const isolated = (words) => make("bdi", "", words);

function speak(lang) {
  root.dataset.lang = lang;
  root.lang = lang === "zh" ? "zh-CN" : "en";
  for (const button of document.querySelectorAll("[data-speak]"))
    button.setAttribute("aria-pressed", String(button.dataset.speak === lang));
  for (const option of document.querySelectorAll("[data-zh]"))
    option.textContent = zh() ? option.dataset.zh : option.dataset.en;
  find("name").placeholder = zh() ? "按姓名筛选" : "Filter by name";
  find("name").setAttribute("aria-label", find("name").placeholder);
}

// ------------------------------------------------------------------------------------------------ learners
const words = data.words;
const plain = (text) => text.normalize("NFKC").toLowerCase();
const learners = data.learners.map((row, index) => ({
  index, name: row[0], group: row[1], status: row[2], latest: row[3], solved: row[4], accuracy: row[5],
  problems: row[6],
  days: new Map(row[7].map((one) => [one[0], one])), marks: row[8], times: row[9], attempts: row[10], groups: row[11],
  mistakes: row[12], sought: plain(row[0] + "\n" + row[1]),
}));
const TONE = {
  fine: "green", problem: "red", late: "orange", lacking: "orange", missing: "grey", extra: "blue", same: "blue",
};
const MARK = {
  0: ["·", "none", "grey"], 1: ["✓", "solved", "green"], 2: ["✓!", "solvedLate", "orange"], 3: ["✗", "tried", "red"],
};
const ranks = (list, key) => {  // names are compared once, not at every click
  const collator = new Intl.Collator("zh-CN-u-co-pinyin", { numeric: true });
  const order = list.map((one) => one.index).sort((a, b) => collator.compare(key(list[a]), key(list[b])));
  const rank = new Array(list.length);
  let last = -1;
  order.forEach((index, place) => {
    const same = place > 0 && collator.compare(key(list[order[place - 1]]), key(list[index])) === 0;
    if (!same) last = place;
    rank[index] = last;
  });
  return rank;
};
const byName = ranks(learners, (one) => one.name);
const byGroup = ranks(learners, (one) => one.group);
const severity = ["missing", "problem", "late", "lacking", "extra", "fine", "same"];

function mark(tone, text, title) {
  const node = make("span", "mark " + tone, text);
  if (title) node.title = title;
  return node;
}
function statuses(one, most = 9) {
  const more = one.status.length > most ? [" +" + (one.status.length - most)] : [];
  return one.status.slice(0, most).map((key) => make("span", "mark " + TONE[key], ...both(words[key]))).concat(more);
}
function dayCell(one, day) {
  const found = one.days.get(day.day);
  if (!found) return day.over ? mark("red", "–", pick(words.lacking)) : mark("grey", "·");
  const [, time, late] = found, short = time.slice(5);
  return late ? mark("orange", short + " !", time + " " + pick(words.late)) : mark("green", short, time);
}
function exerciseCell(one, number) {
  const [sign, key, tone] = MARK[one.marks[number]];
  const time = one.times[number];
  const tries = one.attempts[number] ? ", " + pick(words.attempts) + " " + one.attempts[number] : "";
  return mark(tone, sign, pick(words[key]) + (time ? ": " + time + tries : ""));
}

const moment = (time) => time ? Number(time.replace(/\D/g, "")) : undefined;  // numbers are compared faster

// A column: its title, its width in em, its key for sorting (undefined comes last) and its cell.
const columns = [
  { id: "name", title: words.name, wide: matchMedia("(max-width: 40rem)").matches ? 8 : 11,
    key: (one) => byName[one.index], cell: (one) => {
    const button = make("button", "", isolated(one.name));
    button.type = "button";
    button.title = one.name;
    button.dataset.learner = one.index;
    return button;
  } },
  { id: "group", title: words.group, wide: 7, key: (one) => one.group ? byGroup[one.index] : undefined,
    cell: (one) => isolated(one.group) },
  { id: "status", title: words.status, wide: 17, key: (one) => severity.indexOf(one.status[0]) * 10 - one.status.length,
    cell: (one) => {
      const node = make("span", "", ...statuses(one, 2));
      node.title = one.status.map((key) => pick(words[key])).join(", ");
      return node;
    } },
  { id: "days", title: words.days, wide: 5, key: (one) => one.days.size, cell: (one) => String(one.days.size) },
  { id: "latest", title: words.latest, wide: 10.5, key: (one) => moment(one.latest),
    cell: (one) => one.latest || "–" },
  { id: "solved", title: words.solvedCount, wide: 6.5, key: (one) => one.solved,
    cell: (one) => one.solved + " / " + data.exercises.length },
  { id: "accuracy", title: words.accuracy, wide: 6, key: (one) => one.accuracy ?? undefined,
    cell: (one) => one.accuracy === null ? "–" : (100 * one.accuracy).toFixed(1) + "%" },
  { id: "problems", title: words.problems, wide: 6, key: (one) => one.problems.length,
    cell: (one) => one.problems.length ? mark("red", String(one.problems.length)) : "0" },
].filter((column) => data.grouped || column.id !== "group");
const views = {
  days: data.days.map((day) => ({
    id: "day" + day.day, title: [words.day[0] + " " + day.day, "第 " + day.day + " 天"], wide: 9,
    key: (one) => moment(one.days.get(day.day)?.[1]), cell: (one) => dayCell(one, day),
  })),
  exercises: data.exercises.map((exercise, number) => ({
    id: "exercise" + number, title: exercise.title, wide: 6.5,
    key: (one) => moment(one.times[number]) ?? (one.marks[number] === "3" ? Infinity : undefined),
    cell: (one) => exerciseCell(one, number),
  })),
};

const frame = find("frame"), head = find("head"), body = find("body"), sizes = find("sizes");
const state = { view: "days", sort: "name", down: false, shown: learners, from: -1, to: -1, all: false };
const OVER = 8;  // rows beyond each edge
let height = 36;

const current = () => columns.concat(views[state.view]);

function drawHead() {
  const cells = current().map((column) => {
    const title = make("span", "words", ...both(column.title));
    const button = make("button", "", title);
    button.type = "button";
    button.dataset.sort = column.id;
    button.title = pick(column.title);
    const cell = make("th", "", button);
    cell.scope = "col";
    cell.setAttribute("aria-sort", column.id !== state.sort ? "none" : state.down ? "descending" : "ascending");
    return cell;
  });
  head.replaceChildren(make("tr", "", ...cells));
  let total = 0;
  sizes.replaceChildren(...current().map((column) => {
    const node = make("col");
    node.style.width = column.wide + "em";
    total += column.wide;
    return node;
  }));
  find("learners").style.width = total + "em";
  find("legend-days").hidden = state.view !== "days";
  find("legend-exercises").hidden = state.view !== "exercises";
}

function space(rows, count) {  // as high as the rows that are not drawn
  const cell = make("td", "space");
  cell.colSpan = count;
  cell.style.height = rows * height + "px";
  const row = make("tr", "", cell);
  row.setAttribute("aria-hidden", "true");
  return row;
}
function drawRows(force) {
  const rows = state.shown, first = Math.floor(frame.scrollTop / height);
  const all = state.all || rows.length <= 40;
  const from = all ? 0 : Math.max(0, first - OVER);
  const to = all ? rows.length : Math.min(rows.length, first + Math.ceil(frame.clientHeight / height) + OVER);
  if (!force && from === state.from && to === state.to) return;
  [state.from, state.to] = [from, to];
  const list = current();
  const drawn = rows.slice(from, to).map((one, place) => {
    const cells = list.map((column, number) => {
      const cell = make(number ? "td" : "th", "", column.cell(one));
      if (!number) cell.scope = "row";
      return cell;
    });
    const row = make("tr", "", ...cells);
    row.setAttribute("aria-rowindex", from + place + 2);
    return row;
  });
  if (!rows.length) {
    const cell = make("td", "", ...both(words.nobody));
    cell.colSpan = list.length;
    drawn.push(make("tr", "", cell));
  }
  if (from > 0) drawn.unshift(space(from, list.length));
  if (to < rows.length) drawn.push(space(rows.length - to, list.length));
  body.replaceChildren(...drawn);
}

function update(top = true) {
  const started = performance.now();
  const sought = plain(find("name").value.trim()), status = find("status").value, group = find("group")?.value ?? "";
  const column = current().find((one) => one.id === state.sort) ?? columns[0];
  const keys = learners.map(column.key), sign = state.down ? -1 : 1;
  state.shown = learners.filter((one) => one.sought.includes(sought) && (!status || one.status.includes(status))
    && (!group || one.group === group));
  state.shown.sort((a, b) => {
    const x = keys[a.index], y = keys[b.index];
    if (x === y) return byName[a.index] - byName[b.index];
    if (x === undefined || y === undefined) return x === undefined ? 1 : -1;  // nothing comes last either way
    return x < y ? -sign : sign;
  });
  if (top) frame.scrollTop = 0;
  drawRows(true);
  find("count").textContent = state.shown.length + " / " + learners.length;
  find("learners").setAttribute("aria-rowcount", state.shown.length + 1);
  root.dataset.took = (performance.now() - started).toFixed(1);
}

function fact(term, ...told) {
  const row = make("tr", "", make("th", "", ...both(term)), make("td", "", ...told));
  row.firstChild.scope = "row";
  return row;
}
function table(heads, rows) {
  const cells = heads.map((text) => { const cell = make("th", "", ...both(text)); cell.scope = "col"; return cell; });
  const top = make("thead", "", make("tr", "", ...cells));
  return make("div", "wide", make("table", "", top, make("tbody", "", ...rows)));
}
const line = (...cells) => make("tr", "", ...cells.map((cell) => make("td", "", ...[cell].flat())));

function open(one) {
  const content = [make("p", "", ...statuses(one))];
  const days = data.days.filter((day) => one.days.has(day.day) || day.over);
  content.push(make("h3", "", ...both(words.checkins)));
  content.push(table([words.day, words.time, words.file], days.map(({ day }) => {
    const [, time, late, file] = one.days.get(day) ?? [];
    if (!time) return line(String(day), mark("red", "–"), "");
    return line(String(day), late ? mark("orange", time + " !") : mark("green", time), isolated(file));
  })));
  const heads = [words.exercise, words.result, words.firstSolved, words.attempts];
  content.push(make("h3", "", ...both(words.exercises)));
  content.push(table(heads, data.exercises.map((exercise, number) => {
    const [sign, key, tone] = MARK[one.marks[number]], tries = one.attempts[number];
    const result = make("span", "mark " + tone, sign + " ", ...both(words[key]));
    return line(both(exercise.title), result, make("span", "time", one.times[number]), tries ? String(tries) : "");
  })));
  if (one.mistakes.length) {
    const told = ([number, code]) => make("li", "", ...both(data.exercises[number].title), ": ", isolated(code));
    content.push(make("h3", "", ...both(words.mistakes)), make("ul", "names", ...one.mistakes.map(told)));
  }
  if (one.problems.length) {
    content.push(make("h3", "", ...both(words.problems)));
    content.push(table([words.kind, words.inFull, words.file], one.problems.map(([kind, text, file]) =>
      line(both(data.kinds[kind]), isolated(text), isolated(file)))));
  }
  if (one.groups.length) {
    content.push(make("h3", "", ...both(words.same)));
    content.push(...one.groups.map((number) => equal(number)));
  }
  find("who").replaceChildren(isolated(one.name));
  find("detail").replaceChildren(...content);
  find("dialog").showModal();
  find("dialog").scrollTop = 0;
}

// ------------------------------------------------------------------------------------------------ equal solutions
function names(members) {
  return make("ul", "names", ...members.map((index) => make("li", "", isolated(learners[index].name))));
}
function equal(number) {
  const group = data.equal[number];
  const few = group.members.slice(0, 3).flatMap((index, place) => [place ? ", " : "", isolated(learners[index].name)]);
  const node = make("details", "", make("summary", "",
    ...both(data.exercises[group.exercise].title), " – ",
    String(group.members.length), " ", ...both(words.people), ", ",
    String(group.lines), " ", ...both(words.lines), ": ",
    ...few, group.members.length > 3 ? " +" + (group.members.length - 3) : ""));
  node.addEventListener("toggle", () => {
    if (node.children.length > 1) return;  // filled when it is first opened
    if (group.members.length > 3) node.append(names(group.members));
    if (!group.sources.length) { node.append(make("p", "soft", ...both(words.notShown))); return; }
    node.append(make("div", "beside", ...group.sources.map(([index, source]) =>
      make("div", "", make("p", "soft", isolated(learners[index].name)), make("pre", "", source)))));
    if (group.variants > group.sources.length)
      node.append(make("p", "soft", "+" + (group.variants - group.sources.length) + " ", ...both(words.variants)));
  });
  return node;
}
let listed = 0;
function listMore() {
  const until = Math.min(data.equal.length, listed + 50);
  for (; listed < until; listed++) find("equal").append(equal(listed));
  find("more").hidden = listed === data.equal.length;
}
find("more").addEventListener("click", listMore);
listMore();
for (const group of data.copies) find("copies").append(names(group));

// ------------------------------------------------------------------------------------------------ controls
head.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  state.down = state.sort === button.dataset.sort ? !state.down : false;
  state.sort = button.dataset.sort;
  drawHead();
  update();
  head.querySelector(`[data-sort="${state.sort}"]`).focus({ preventScroll: true });
});
body.addEventListener("click", (event) => {
  const button = event.target.closest("[data-learner]");
  if (button) open(learners[Number(button.dataset.learner)]);
});
for (const id of ["name", "status", "group"]) find(id)?.addEventListener("input", () => update());
for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => {
  state.view = button.dataset.view;
  if (!current().some((column) => column.id === state.sort)) [state.sort, state.down] = ["name", false];
  for (const other of document.querySelectorAll("[data-view]"))
    other.setAttribute("aria-pressed", String(other === button));
  drawHead();
  update(false);
});
for (const button of document.querySelectorAll("[data-speak]")) button.addEventListener("click", () => {
  speak(button.dataset.speak);
  drawHead();
  drawRows(true);  // titles that appear under the pointer are in one language
});
find("close").addEventListener("click", () => find("dialog").close());
let waiting = false;
frame.addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawRows(false); });
});
addEventListener("resize", () => drawRows(false));
const whole = (all) => { state.all = all; drawRows(true); };
addEventListener("beforeprint", () => whole(true));
addEventListener("afterprint", () => whole(false));

speak((navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en");
drawHead();
update();
height = body.querySelector("tr")?.getBoundingClientRect().height || height;  // as the reader's fonts make it
drawRows(true);
