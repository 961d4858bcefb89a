"use strict";
// A chart is a figure: title, buttons that show and hide its lines, the drawing, a line that reads out one commit,
// and the same figures as a table. The drawing is a canvas of uPlot.

// A line is known by its colour, its dashes and the shape of its legend, not by its colour alone.
const STYLES = {
  numba: ["--numba", []], numpy: ["--numpy", [8, 4]], torch: ["--torch", [2, 3]],
  winograd: ["--numba", []], direct: ["--numpy", [8, 4]], im2col: ["--torch", [2, 3]],
};
const SPARE = [["--numba", []], ["--numpy", [8, 4]], ["--torch", [2, 3]], ["--text", [12, 3, 2, 3]]];
const HEIGHT = 220;
const figures = new Set(); // {redraw, destroy} of each figure on the page

function colour(variable) {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}

function styleOf(name, position) {
  const [variable, dash] = STYLES[name] || SPARE[position % SPARE.length];
  return { variable, dash };
}

/** All numbers of the lines that are shown, to choose between a linear and a logarithmic axis. */
function spread(chart) {
  const numbers = chart.series.flatMap((series) => series.value).filter((value) => value > 0);
  return numbers.length ? Math.max(...numbers) / Math.min(...numbers) : 1;
}

function axis(extra) {
  const line = { stroke: colour("--grid"), width: 1 };
  return { stroke: colour("--text"), grid: line, ticks: line, font: "12px system-ui, sans-serif", ...extra };
}

/** uPlot's options and data: each line, and where it has a band the two edges of that. */
function plan(chart, labels, width) {
  const series = [{}], data = [labels.map((_, index) => index)], bands = [];
  chart.series.forEach((line, position) => {
    const { variable, dash } = styleOf(line.name, position);
    const stroke = colour(variable);
    series.push({ label: line.name, stroke, width: 2, dash, points: { show: true, size: 5, fill: stroke }, spanGaps: true });
    data.push(line.value);
    if (!line.low) return;
    const edge = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: true };
    series.push({ ...edge, label: `${line.name} low` }, { ...edge, label: `${line.name} high` });
    data.push(line.low, line.high);
    bands.push({ series: [series.length - 1, series.length - 2], fill: `${stroke}33` });
  });
  const log = spread(chart) > 8;
  const options = {
    width, height: HEIGHT, series, bands, legend: { show: false }, padding: [12, 16, 0, 0],
    cursor: { y: false, drag: { x: false, y: false } },
    scales: {
      x: { time: false, range: [-0.3, labels.length - 0.7] },
      y: log ? { distr: 3 } : { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] },
    },
    axes: [
      axis({ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500], space: 64, values: (_, at) => at.map((i) => labels[i] ?? "") }),
      axis({ size: 72, values: (_, at) => at.map((v) => (v === null ? "" : chart.pieces ? formatValue(v, chart.unit) : digits(v))) }),
    ],
  };
  return [options, data];
}

/** What one column says: "b783c75, 2026-11-25 00:37, message: numba 1.53 ms (1.50 ms to 1.61 ms), ...". */
function readOut(chart, columns, index) {
  const texts = chart.series.map((line) => {
    const value = line.value[index];
    if (value === null) return `${line.name} not measured`;
    const text = `${line.name} ${formatValue(value, chart.unit)}`;
    if (!line.low || line.low[index] === line.high[index]) return text;
    return `${text} (${formatValue(line.low[index], chart.unit)} to ${formatValue(line.high[index], chart.unit)})`;
  });
  return `${columns[index].long}: ${texts.join(", ")}`;
}

/** A figure of `chart` over `columns` ({short, long} each), drawn when it first comes into view. */
function figure(chart, columns, heading = "h4") {
  const made = element("figure", { class: "chart" });
  const last = columns.length - 1;
  const place = element("div", { class: "plot", tabindex: "0", role: "group", "aria-roledescription": "line chart" });
  const said = element("p", { class: "said", "aria-live": "polite" }, readOut(chart, columns, last));
  const legend = element("div", { class: "legend", role: "group", "aria-label": `Lines of ${chart.title}` });
  place.setAttribute("aria-label", `${chart.title}. ${readOut(chart, columns, last)}`);
  const title = chart.benchmark ? element("a", { href: stockAddress(chart) }, chart.title) : chart.title;
  made.append(element("figcaption", {}, element(heading, {}, title)), legend, place, said, tableOf(chart, columns));

  const hidden = new Set();
  let plot = null, at = last;
  const draw = () => {
    if (plot) plot.destroy();
    place.replaceChildren();
    const [options, data] = plan(chart, columns.map((column) => column.short), Math.max(240, place.clientWidth));
    options.hooks = { setCursor: [(u) => { if (u.cursor.idx !== null && u.cursor.left >= 0) say(u.cursor.idx); }] };
    plot = new uPlot(options, data, place);
    chart.series.forEach((line) => { if (hidden.has(line.name)) show(line.name, false); });
  };
  const say = (index) => { at = index; said.textContent = readOut(chart, columns, index); };
  const show = (name, shown) => plot.series.forEach((series, index) => {
    if ([name, `${name} low`, `${name} high`].includes(series.label)) plot.setSeries(index, { show: shown });
  });
  chart.series.forEach((line, position) => {
    const { variable, dash } = styleOf(line.name, position);
    const key = element("span", { class: "key", style: `--line: var(${variable})`, "data-dash": dash.length ? (dash[0] > 4 ? "long" : "short") : "none" });
    const button = element("button", { type: "button", "aria-pressed": "true" }, key, line.name);
    button.addEventListener("click", () => {
      const shown = hidden.delete(line.name) || !hidden.add(line.name);
      button.setAttribute("aria-pressed", String(shown));
      if (plot) show(line.name, shown);
    });
    legend.append(button);
  });
  place.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -columns.length, End: columns.length }[event.key];
    if (!step || !plot) return;
    event.preventDefault();
    say(Math.min(last, Math.max(0, at + step)));
    plot.setCursor({ left: plot.valToPos(at, "x"), top: HEIGHT / 3 }, false);
  });
  const forget = whenSeen(place, draw);
  figures.add({ redraw: () => { if (plot) draw(); }, destroy: () => { forget(); if (plot) plot.destroy(); } });
  return made;
}

/** Calls `draw` when `place` is first near the window, and again when its width changes; what it returns ends that. */
function whenSeen(place, draw) {
  let width = 0;
  const resized = new ResizeObserver(() => {
    if (width && place.clientWidth && Math.abs(place.clientWidth - width) > 8) { width = place.clientWidth; draw(); }
  });
  resized.observe(place);
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    width = place.clientWidth;
    draw();
  }, { rootMargin: "400px" });
  watch.observe(place);
  return () => { resized.disconnect(); watch.disconnect(); };
}

/** The figures of a chart for those who cannot see it, or want them exactly. */
function tableOf(chart, columns) {
  const head = element("tr", {}, element("th", { scope: "col" }, chart.over || "Commit"));
  chart.series.forEach((line) => head.append(element("th", { scope: "col" }, line.name)));
  const body = element("tbody");
  columns.forEach((column, index) => {
    const row = element("tr", {}, element("th", { scope: "row" }, column.short));
    chart.series.forEach((line) => row.append(element("td", {}, formatValue(line.value[index], chart.unit))));
    body.append(row);
  });
  const table = element("table", {}, element("caption", { class: "unseen" }, chart.title), element("thead", {}, head), body);
  return element("details", {}, element("summary", {}, "Figures"), element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Figures of ${chart.title}` }, table));
}
