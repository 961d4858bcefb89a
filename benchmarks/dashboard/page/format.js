"use strict";
// How figures are written, and how elements are made. Everything here is a function without state.

/** 0.00153 -> "1.53 ms". `unit` is asv's: "seconds", "bytes", or a word that follows the number. */
function formatValue(value, unit) {
  if (value === null || value === undefined) return "–";
  const steps = {
    seconds: [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]],
    bytes: [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]],
  }[unit];
  if (!steps) return digits(value);
  const [size, name] = steps.find(([size]) => Math.abs(value) >= size) || steps[steps.length - 1];
  return `${digits(value / size)} ${name}`;
}

/** Three significant digits, without an exponent. */
function digits(value) {
  if (value === 0) return "0";
  const places = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return places > 6 ? value.toExponential(2) : value.toFixed(places);
}

function formatDate(milliseconds) {
  return new Date(milliseconds).toISOString().slice(0, 16).replace("T", " ");
}

/** element("td", {class: "number"}, "3", child): attributes, then texts and children. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The last number of a line that has one there; null otherwise. */
function newest(series) {
  return series ? series.value[series.value.length - 1] : null;
}

function lineNamed(chart, name) {
  return chart.series.find((series) => series.name === name);
}

/** The address of asv's own graph of a chart. */
function stockAddress(chart) {
  const query = Object.entries(chart.query).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
  return `${DATA.stock}#${chart.benchmark}${query && `?${query}`}`;
}
