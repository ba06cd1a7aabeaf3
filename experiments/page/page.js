/* The page's script: filters, one chart a task, the table's order. It asks the network for nothing. */

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const data = read("data");
const specification = read("specification");
const vegaEmbed = await unpacked("library", "vegaEmbed");
const $ = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];
/** A figure with three digits, rounded half to even as Python does; only sixteenths are exact ties. */
function shown3(value) {
  if (!Number.isInteger(value * 16) || Number.isInteger(value * 8)) return value.toFixed(3);
  return ((2 * Math.round(value * 500)) / 1000).toFixed(3);
}
const words = (name) => name.replaceAll("_", " ");

const state = {
  tasks: new Set(data.tasks.map((task) => task.name)),
  methods: new Set(),
  metric: data.metrics.includes("accuracy") ? "accuracy" : data.metrics[0],
  axis: data.axes[0].name,
};
const charts = new Map(); // task -> its figure and view
const reader = { chart: null, at: -1 }; // where the keyboard stands

/** Runs the script that lies gzip'd in an element, and gives the global that it sets. */
async function unpacked(id, global) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  const text = await new Response(stream).text();
  script.textContent = `(() => {${text}})();`; // its many names stay its own
  document.head.append(script);
  return window[global];
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/* ---- what a point is called, and what is said about it ---- */

data.points.forEach((point, i) => (point.number = i));
for (const run of data.runs) run.of = data.points[run.point];

const lineName = (point, axis) => axis.names[point.number];
const onAxis = (point, axis) => point[axis.name] !== null;

/** The axis that was chosen; for a task without a point on it the first that has one, if any has. */
function axisOf(task) {
  const own = data.points.filter((point) => point.task === task.name);
  const order = [data.axes.find((axis) => axis.name === state.axis), ...data.axes];
  const axis = order.find((axis) => own.some((point) => onAxis(point, axis)));
  return { ...(axis ?? order[0]), empty: axis === undefined };
}

function budget(point) {
  const named = { prompt_tokens: "prompt tokens", shots: "shots", tuning_samples: "tuning samples" };
  const given = Object.entries(named).filter(([name]) => point[name] !== null);
  return given.map(([name, text]) => `${point[name].toLocaleString("en")} ${text}`).join(", ");
}

function interval([value, low, high]) {
  const ends = low === null ? "" : ` (95 % from ${shown3(low)} to ${shown3(high)})`;
  return `${words(state.metric)} ${shown3(value)}${ends}`;
}

function aboutMean(point, axis) {
  const seeds = point.seeds === 1 ? "one run" : `mean of ${point.seeds} runs`;
  const settings = [point.variant, `${point.parameters.toLocaleString("en")} trainable parameters`];
  return [lineName(point, axis), interval(point[state.metric]), `${seeds}; ${budget(point) || "no budget"}`]
    .concat(settings.filter(Boolean))
    .join("\n");
}

function aboutRun(run, axis) {
  const settings = run.settings || `seed=${run.seed}`;
  return [`run ${run.name}: ${lineName(run.of, axis)}`, interval(run[state.metric]), budget(run.of), settings]
    .filter(Boolean)
    .join("\n");
}

/* ---- from points to what a chart draws ---- */

const has = (one, point) => state.methods.has(point.method) && one[state.metric]?.[0] != null;

/** Linear from 0 to the smallest number on the axis, a step for each doubling from there. */
const place = (value, smallest) => (value <= smallest ? value / smallest : 1 + Math.log2(value / smallest));

/** Heights as near as can be to those wanted, in their order, `gap` apart, inside the limits. */
function spread(labels, gap, low, high) {
  labels.sort((a, b) => a.y - b.y);
  const step = Math.min(gap, (high - low) / Math.max(1, labels.length - 1));
  labels.forEach((label, i) => {
    label.y = Math.max(label.y, i ? labels[i - 1].y + step : low);
  });
  for (let i = labels.length - 1; i >= 0; i--)
    labels[i].y = Math.min(labels[i].y, i < labels.length - 1 ? labels[i + 1].y - step : high);
  return labels;
}

const MANY = 8; // runs of one method, each with settings of its own, that are still told apart by their lines

/** Takes out of the means what a search tried once: too many for a line and a name each. Gives them by method. */
function tried(means) {
  const on = Map.groupBy(means, (mean) => mean.line);
  const alone = means.filter((mean) => mean.seeds === 1 && on.get(mean.line).length === 1);
  const found = [...Map.groupBy(alone, (mean) => mean.method).values()].filter((dots) => dots.length > MANY);
  const taken = new Set(found.flat());
  means.splice(0, means.length, ...means.filter((mean) => !taken.has(mean)));
  return found;
}

function content(task) {
  const axis = axisOf(task);
  const points = data.points.filter((point) => point.task === task.name && has(point, point));
  const runs = data.runs.filter((run) => run.of.task === task.name && has(run, run.of) && onAxis(run.of, axis));
  const xs = unique(points.filter((point) => onAxis(point, axis)).map((point) => point[axis.name])).sort((a, b) => a - b);
  const smallest = xs.find((x) => x > 0) ?? 1;
  const at = (point) => place(point[axis.name], smallest);
  const means = [];
  const flats = [];
  for (const point of points) {
    const [mean, low, high] = point[state.metric];
    const line = lineName(point, axis);
    const isOn = onAxis(point, axis);
    const entry = { mean, low, high, line, method: point.method, about: aboutMean(point, axis), ...(isOn ? axis.lines : axis.flat)[line] };
    if (isOn) means.push({ x: at(point), value: point[axis.name], seeds: point.seeds, ...entry });
    else flats.push(entry);
  }
  means.sort((a, b) => a.line.localeCompare(b.line) || a.x - b.x);
  flats.sort((a, b) => b.mean - a.mean);
  flats.forEach((flat, i) => (flat.beside = i % 4)); // whiskers of neighbours stand side by side
  const searched = tried(means).map((dots) => ({ line: `${dots[0].method}: ${dots.length} settings, one run each`, method: dots[0].method, color: dots[0].color, dash: [0, 99], shape: "circle", dots }));
  const many = new Set(means.filter((mean) => mean.seeds > 1).map((mean) => `${mean.line} ${mean.x}`));
  const single = runs
    .filter((run) => many.has(`${lineName(run.of, axis)} ${at(run.of)}`))
    .map((run) => ({ x: at(run.of), value: run[state.metric][0], color: axis.lines[lineName(run.of, axis)].color, about: aboutRun(run, axis) }))
    .concat(searched.flatMap(({ color, dots }) => dots.map(({ x, mean, about }) => ({ x, value: mean, color, about }))));
  const references = [["best possible", "best"], ["chance", "chance"]]
    .map(([line, kind]) => ({ line, mean: task[kind][state.metric], ...data.references[kind] }))
    .filter(({ mean }) => mean !== undefined)
    .map((reference) => ({ ...reference, about: `${reference.line}\n${words(state.metric)} ${shown3(reference.mean)}` }));
  return { axis, means, searched, flats, single, references, xs, smallest };
}

/* ---- charts ---- */

function draw(task) {
  const chart = charts.get(task.name);
  chart.figure.hidden = !state.tasks.has(task.name);
  if (chart.figure.hidden) return;
  const { axis, means, searched, flats, single, references, xs, smallest } = content(task);
  chart.found = [...means, ...searched.flatMap(({ dots }) => dots), ...flats, ...references];
  const values = [...means, ...flats, ...references].flatMap((one) => [one.mean, one.low, one.high]).concat(single.map((one) => one.value));
  const known = values.filter((value) => value != null);
  const [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const margin = 0.06 * Math.max(high - low, 0.02);
  const outer = chart.plot.clientWidth || 600;
  const isWide = outer >= 560;
  const padding = { left: 64, right: isWide ? 218 : 22, top: 10, bottom: axis.empty ? 14 : 46 };
  const height = isWide ? 320 : 280;
  const ydomain = [low - margin, high + margin];
  const ends = new Map(means.map((mean) => [mean.line, mean])); // the last point of each line
  const labelled = [...ends.values(), ...flats, ...references];
  const short = shorter(labelled.map((one) => one.line), ROOM);
  const labels = labelled.map((one, i) => ({ y: one.mean, text: `${shown3(one.mean)} ${short[i]}`, color: one.color }));
  const last = place(Math.max(...xs, smallest), smallest);
  const ticks = axis.empty ? [] : unique([0, ...xs]).map((x) => place(x, smallest));
  const apart = ticks.length > 2 ? Math.ceil((ticks.length * 34) / (outer - padding.left - padding.right)) : 1;
  chart.view
    .padding(padding)
    .width(outer - padding.left - padding.right)
    .height(height)
    .signal("xdomain", [-0.12, last + 0.12])
    .signal("ydomain", ydomain)
    .signal("xticks", ticks.filter((_, i) => i === 0 || (ticks.length - 1 - i) % apart === 0))
    .signal("smallest", smallest)
    .signal("xtitle", axis.empty ? "" : axis.title)
    .signal("ytitle", words(state.metric))
    .data("mean", means)
    .data("band", means.filter((mean) => mean.low !== null))
    .data("single", single)
    .data("flat", [...flats, ...references])
    .data("label", isWide ? spread(labels, (15 / height) * (ydomain[1] - ydomain[0]), ...ydomain) : [])
    .run();
  name(chart, axis, [...ends.values(), ...searched], flats, references);
}

const ROOM = 26; // letters of a line's name to the right of a chart

/** Names cut to `room` letters that still differ: what all long names share goes first, then their middle. */
function shorter(names, room) {
  const parts = (name) => name.replace(/\)$/, "").split(/, | \(/);
  const long = names.filter((name) => name.length > room);
  const shared = (part, i) => i > 0 && long.length > 1 && long.every((name) => parts(name).includes(part));
  const cut = (text) => {
    const head = Math.ceil((room - 1) / 3);
    return text.length > room ? `${text.slice(0, head)}…${text.slice(head + 1 - room)}` : text;
  };
  const short = names.map((name) => (name.length > room ? cut(parts(name).filter((part, i) => !shared(part, i)).join(", ")) : name));
  return short.map((name, i) => {
    const before = short.slice(0, i).filter((other) => other === name).length;
    return before ? `${name.slice(0, room - 4)} (${before + 1})` : name;
  });
}

async function build(task) {
  const plot = make("div", { class: "plot", tabIndex: 0, role: "group", "aria-roledescription": "chart", "aria-label": `Curves of ${task.name}; the arrow keys move from point to point` });
  const names = make("ul", { class: "names" });
  const numbers = make("details", {}, make("summary", {}, "The numbers of this picture"));
  const caption = make("figcaption", {}, make("h3", {}, task.name), make("p", {}, task.about));
  const figure = make("figure", { "data-task": task.name }, caption, plot, names, numbers);
  $("figures").append(figure);
  const tooltip = (_, event, item, value) => (value ? tell(value, event.clientX, event.clientY) : hush());
  const { view } = await vegaEmbed(plot, specification, { mode: "vega", renderer: "svg", actions: false, tooltip });
  const chart = { figure, plot, names, numbers, view, found: [] };
  charts.set(task.name, chart);
  plot.addEventListener("keydown", (event) => step(chart, event));
  plot.addEventListener("blur", hush);
}

function tell(text, x, y) {
  const tip = $("tooltip");
  tip.textContent = text;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${y + height + 24 > innerHeight ? Math.max(8, y - height - 14) : y + 14}px`;
}

const hush = () => ($("tooltip").hidden = true);

function step(chart, event) {
  const count = chart.found.length;
  const now = reader.chart === chart ? reader.at : -1;
  const next = { ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1, Home: 0, End: count - 1 }[event.key];
  if (event.key === "Escape") hush();
  if (next === undefined || !count) return;
  event.preventDefault();
  reader.chart = chart;
  reader.at = (next + count) % count;
  const one = chart.found[reader.at];
  const [left, top] = chart.view.origin();
  const box = chart.plot.getBoundingClientRect();
  const x = one.x === undefined ? chart.view.width() : chart.view.scale("x")(one.x);
  tell(one.about, box.left + left + x, box.top + top + chart.view.scale("y")(one.mean));
  $("announcer").textContent = one.about.replaceAll("\n", "; ");
}

/* ---- names below a chart, and its numbers ---- */

function swatch({ color, dash, shape }) {
  const marks = { circle: "M9 7a4 4 0 1 0 8 0a4 4 0 1 0-8 0", square: "M9.5 3.5h7v7h-7z", "triangle-up": "M13 2.5l4.5 8h-9z", "triangle-down": "M13 11.5l4.5-8h-9z", diamond: "M13 2l4 5l-4 5l-4-5z", cross: "M11.5 3h3v2.5H17v3h-2.5V11h-3V8.5H9v-3h2.5z" };
  const span = make("span", { "aria-hidden": "true" });
  span.innerHTML = `<svg width="26" height="14"><path d="M0 7h26" stroke="${color}" stroke-width="2" stroke-dasharray="${dash.join(" ")}"/><path d="${shape ? marks[shape] : ""}" fill="${color}"/></svg>`;
  return span;
}

function name(chart, axis, ends, flats, references) {
  const entry = (one) => {
    const text = one.mean === undefined ? one.line : `${one.line} ${shown3(one.mean)}`;
    if (!one.method) return make("li", {}, make("button", { type: "button", disabled: true }, swatch(one), text));
    const button = make("button", { type: "button", title: `Show ${one.method} alone, or everything again` }, swatch(one), text);
    button.addEventListener("click", () => alone(one.method));
    return make("li", {}, button);
  };
  chart.names.replaceChildren(...[...ends, ...flats, ...references].map(entry));
  const budget = axis.empty ? [] : [words(axis.title)];
  const head = ["line", ...budget, words(state.metric), "95 % from", "to"].map((text) => make("th", { scope: "col" }, text));
  const number = (value) => make("td", { class: "number" }, value == null ? "" : shown3(value));
  const rows = chart.found.map((one) =>
    make("tr", {}, make("th", { scope: "row" }, one.line), ...budget.map(() => make("td", { class: "number" }, one.value === undefined ? "any" : one.value.toLocaleString("en"))), number(one.mean), number(one.low), number(one.high)));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  chart.numbers.replaceChildren(chart.numbers.firstElementChild, make("div", { class: "scroll" }, table));
}

/* ---- filters ---- */

function alone(method) {
  const methods = unique(data.points.map((point) => point.method));
  state.methods = state.methods.size === 1 && state.methods.has(method) ? new Set(methods) : new Set([method]);
  update();
}

function update() {
  for (const kind of ["tasks", "methods"])
    for (const box of $(kind).querySelectorAll("input")) box.checked = state[kind].has(box.value);
  hush();
  data.tasks.forEach(draw);
  table.show();
}

function chips(kind, names) {
  for (const one of names) {
    const box = make("input", { type: "checkbox", value: one });
    box.addEventListener("change", () => {
      state[kind][box.checked ? "add" : "delete"](one);
      update();
    });
    $(kind).append(make("label", { class: "chip" }, box, one));
  }
}

function choose(id, entries) {
  for (const [value, text] of entries) $(id).append(make("option", { value }, text));
  $(id).value = state[id];
  $(id).addEventListener("change", () => {
    state[id] = $(id).value;
    update();
  });
  $(id).closest("label").hidden = entries.length < 2;
}

/* ---- the table of runs ---- */

const table = {
  step: 100,
  limit: 100,
  rows: [...$("table").tBodies], // each of a run's figures and its command

  key(row, column) {
    const cell = row.rows[0].cells[column];
    return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
  },

  sort(column, heading) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of $("table").tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = this.rows.map((row) => [this.key(row, column), row]);
    const empty = (key) => key === "";
    keyed.sort(([a], [b]) => {
      if (empty(a) || empty(b)) return empty(a) - empty(b); // what is missing stays last
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return down ? -order : order;
    });
    this.rows = keyed.map(([, row]) => row);
    $("table").append(...this.rows);
    this.show();
  },

  show() {
    const known = new Set(data.points.map((point) => point.method));
    const fits = (row) => state.tasks.has(row.dataset.task) && (state.methods.has(row.dataset.method) || !known.has(row.dataset.method));
    let count = 0;
    for (const row of this.rows) row.hidden = !fits(row) || ++count > this.limit;
    $("table").classList.add("counted");
    const more = $("more");
    more.hidden = count <= this.limit;
    more.textContent = `Show all ${count.toLocaleString("en")} runs (now ${this.limit})`;
  },

  begin() {
    [...$("table").tHead.rows[0].cells].forEach((heading, column) => {
      const button = make("button", { type: "button" }, heading.textContent);
      button.addEventListener("click", () => this.sort(column, heading));
      heading.replaceChildren(button);
    });
    $("more").addEventListener("click", () => {
      this.limit = Infinity;
      this.show();
    });
    for (const row of this.rows) row.querySelector(".command div").prepend(make("button", { type: "button", class: "copy", "aria-label": `Copy the command of run ${row.rows[0].cells[0].textContent}` }, "copy"));
    $("table").addEventListener("click", ({ target }) => {
      if (!target.classList.contains("copy")) return;
      navigator.clipboard.writeText(target.parentElement.querySelector("code").textContent).then(
        () => (target.textContent = "copied"),
        () => getSelection().selectAllChildren(target.nextElementSibling),
      );
    });
  },
};

/* ---- beginning ---- */

const methods = unique(data.points.map((point) => point.method)).sort();
state.methods = new Set(methods);
chips("tasks", data.tasks.map((task) => task.name));
chips("methods", methods);
choose("metric", data.metrics.map((metric) => [metric, words(metric)]));
choose("axis", data.axes.map((axis) => [axis.name, words(axis.title)]));
$("all").addEventListener("click", () => {
  state.tasks = new Set(data.tasks.map((task) => task.name));
  state.methods = new Set(methods);
  update();
});
$("choices").hidden = false;
$("choices").addEventListener("submit", (event) => event.preventDefault());
table.begin();
for (const task of data.tasks) await build(task);
update();
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone's bars come and go
  width = innerWidth;
  data.tasks.forEach(draw);
});
addEventListener("scroll", hush, { passive: true });
