"use strict";
// The landing page: what publisher.py put into the element #data, drawn. No request is made for anything.

const DATA = JSON.parse(document.getElementById("data").textContent);

function start() {
  // Links into asv's page that were made for the address it usually has.
  if (/^#(\/|bench_|[\w.]+\?)/.test(location.hash)) { location.replace(DATA.stock + location.hash); return; }
  document.title = `${DATA.project} benchmarks`;
  document.getElementById("project").textContent = `${DATA.project} benchmarks`;
  document.querySelectorAll("a.stock").forEach((link) => link.setAttribute("href", DATA.stock + link.dataset.route));
  theme();
  const select = document.getElementById("setup");
  DATA.setups.forEach((setup, index) => select.append(new Option(nameOf(setup), index)));
  document.getElementById("choice").hidden = DATA.setups.length < 2;
  select.addEventListener("change", () => render(DATA.setups[select.value]));
  if (DATA.setups.length) render(DATA.setups[0]);
  else document.getElementById("about").textContent = "No results yet: asv run, and then asv publish.";
}

/** One machine and environment in a line: "x86_64-2-cores, AMD EPYC, Python 3.11, numba 0.68.1". */
function nameOf({ machine, pins }) {
  return [machine.machine, machine.cpu, pins.python && `Python ${pins.python}`, pins.numba && `numba ${pins.numba}`].filter(Boolean).join(", ");
}

/** Light or dark as the system has it, until the button says otherwise; kept where the browser keeps such things. */
function theme() {
  const button = document.getElementById("theme"), root = document.documentElement, key = `${DATA.project}-theme`;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem(key); } catch { /* a browser that keeps nothing: the choice lasts as the page */ }
  const apply = () => {
    root.dataset.theme = chosen || (system.matches ? "dark" : "light");
    button.textContent = root.dataset.theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Use ${button.textContent.toLowerCase()} colours`);
    figures.forEach((figure) => figure.redraw());
  };
  button.addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem(key, chosen); } catch { /* as above */ }
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}

function render(setup) {
  figures.forEach((figure) => figure.destroy());
  figures.clear();
  const columns = setup.commits.map((commit) => ({
    short: commit.hash.slice(0, 7),
    long: `${commit.hash.slice(0, 7)}, ${formatDate(commit.date)}${commit.subject ? `, ${commit.subject}` : ""}`,
  }));
  const last = setup.commits[setup.commits.length - 1];
  document.getElementById("about").textContent =
    `${setup.commits.length} commits on ${setup.machine.cpu || setup.machine.machine}, ${setup.machine.num_cpu || "?"} cores, ` +
    `last measured ${formatDate(setup.measured)} UTC. Newest commit: ${columns[columns.length - 1].long}. ` +
    `${setup.regressions.length ? `asv found ${setup.regressions.length} regressions.` : "asv found no regression."}`;
  document.getElementById("headlines").replaceChildren(...setup.headlines.map(tile));
  speedups(setup);
  regressions(setup);
  const scales = scaling(setup);
  document.getElementById("scaling").replaceChildren(...scales.map((chart) => figure(chart, chart.columns, "h3")));
  document.getElementById("scaling").parentElement.hidden = !scales.length; // another project's suites have no such axes
  curves(setup, columns);
  const rows = Object.entries({ ...setup.machine, ...setup.pins, asv: DATA.asv, commit: last.hash });
  document.querySelector("#pins tbody").replaceChildren(...rows.map(([key, value]) =>
    element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, value))));
}

/** A large figure: time, or pieces a second, and how the others stand to it. */
function tile(headline) {
  const { numba, ...others } = headline.newest;
  const figure = headline.pieces > 1 ? Math.round(headline.pieces / numba).toLocaleString("en") : formatValue(numba, headline.unit);
  const rivals = Object.entries(others).map(([name, value]) => `${name} takes ${digits(value / numba)} ×`).join(", ");
  return element("li", {}, element("span", { class: "label" }, headline.label), element("strong", {}, figure),
    element("span", { class: "rivals" }, rivals));
}

function speedups(setup) {
  const charts = setup.charts.filter((chart) => chart.unit === "seconds" && newest(lineNamed(chart, "numba")) !== null);
  const rivals = [...new Set(charts.flatMap((chart) => chart.series.map((line) => line.name)))].filter((name) => name !== "numba");
  const before = (chart) => lineNamed(chart, "numba").value.slice(0, -1).filter((value) => value !== null).pop();
  const head = ["Work", "numba", ...rivals, "before"].map((text) => element("th", { scope: "col" }, text));
  const row = (chart) => {
    const numba = newest(lineNamed(chart, "numba"));
    const times = rivals.map((name) => {
      const value = newest(lineNamed(chart, name));
      return element("td", value === null ? {} : { class: value >= numba ? "faster" : "slower" },
        value === null ? "–" : `${digits(value / numba)} ×`);
    });
    const old = before(chart);
    return element("tr", {}, element("th", { scope: "row" }, chart.title), element("td", {}, formatValue(numba, chart.unit)),
      ...times, element("td", {}, old === undefined ? "–" : `${digits(numba / old)} ×`));
  };
  const groups = [...new Set(charts.map((chart) => chart.group))].map((group) => element("tbody", {},
    element("tr", {}, element("th", { scope: "rowgroup", colspan: String(head.length) }, group)),
    ...charts.filter((chart) => chart.group === group).map(row)));
  document.getElementById("speedups").replaceChildren(element("thead", {}, element("tr", {}, ...head)), ...groups);
}

function regressions(setup) {
  const place = document.getElementById("regressions");
  if (!setup.regressions.length) {
    place.replaceChildren(element("p", { class: "good" }, "asv's search for steps in these curves found none above its thresholds."));
    return;
  }
  const items = setup.regressions.map((found) => element("li", {},
    element("a", { href: `${DATA.stock}#/regressions` }, found.name),
    ` now ${digits(found.newest / found.best)} × its best value, since ${found.jumps.map((jump) => hashOf(jump[1])).join(", ")}`));
  place.replaceChildren(element("ul", { class: "bad" }, ...items));
}

function hashOf(revision) {
  const commit = (DATA.revisions || {})[revision];
  return commit ? commit.slice(0, 7) : `revision ${revision}`;
}

/** Images a second by batch, and times by threads and dtype, of the newest commit: what the suites have as an axis. */
function scaling(setup) {
  const axes = [
    ["bench_training.Batch.time_step", "batch", "LeNet training: images a second by batch", (x, seconds) => x / seconds],
    ["bench_training.Threads.time_step", "threads", "VGG training: images a second by threads", (_, seconds) => 64 / seconds],
    ["bench_training.Dtype.time_step", "dtype", "LeNet training: images a second by dtype", (_, seconds) => 64 / seconds],
  ];
  return axes.flatMap(([benchmark, key, title, rate]) => {
    const charts = setup.charts.filter((chart) => chart.benchmark === benchmark);
    const names = [...new Set(charts.flatMap((chart) => chart.series.map((line) => line.name)))];
    const series = names.map((name) => ({
      name,
      value: charts.map((chart) => {
        const seconds = newest(lineNamed(chart, name));
        return seconds === null ? null : rate(Number(chart.parameters[key]), seconds);
      }),
    }));
    const columns = charts.map((chart) => ({ short: chart.parameters[key], long: `${key} ${chart.parameters[key]}` }));
    return charts.length ? [{ title, unit: "images a second", over: key, series, columns }] : [];
  });
}

/** Every chart over the commits, in its group. */
function curves(setup, columns) {
  const groups = [...new Set(setup.charts.map((chart) => chart.group))];
  const id = (group) => `group-${group.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  document.getElementById("groups").replaceChildren(...groups.map((group) => element("a", { href: `#${id(group)}` }, group)));
  document.getElementById("history").replaceChildren(...groups.map((group) => {
    const charts = setup.charts.filter((chart) => chart.group === group);
    return element("section", { id: id(group), "aria-label": group }, element("h3", {}, group),
      element("div", { class: "charts" }, ...charts.map((chart) => figure(chart, columns))));
  }));
}

start();
