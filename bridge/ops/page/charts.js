// Two drawings. Each says in words what it shows; the time line has a table beside it, and its states differ in form too.

import { el } from "./dom.js";
import { moment, rate, took } from "./words.js";

const HIGH = 40;
const WIDE = 240;
const MINUTE = 60_000;
const SPANS = [15 * MINUTE, 60 * MINUTE, 6 * 60 * MINUTE, 24 * 60 * MINUTE];
const LEAST = 4;

// frames: a second, oldest first.
export function sparkline({ frames, seconds }) {
  const most = Math.max(...frames, 1);
  const step = WIDE / (frames.length - 1);
  const points = frames.map((value, index) =>
    `${(index * step).toFixed(1)} ${(HIGH - 2 - (value / most) * (HIGH - 5)).toFixed(1)}`);
  const words = `Frames processed a second over the last ${took(frames.length * seconds)}: between ${rate(Math.min(...frames))} and ${rate(Math.max(...frames))}`;
  return el("svg", { class: "spark", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": words },
    el("path", { class: "area", d: `M0 ${HIGH} L${points.join(" L")} L${WIDE} ${HIGH} Z` }),
    el("path", { class: "line", d: `M${points.join(" L")}`, "vector-effect": "non-scaling-stroke" }));
}

export function recent({ frames }) {
  const last = frames.slice(-5);
  return last.reduce((sum, value) => sum + value, 0) / Math.max(last.length, 1);
}

// One line for each gateway that has a gap; from the oldest one shown until now.
export function timeline(gaps, now) {
  const oldest = Math.min(...gaps.map((gap) => gap.since));
  const span = SPANS.find((each) => now - each < oldest) ?? SPANS.at(-1);
  const begin = now - span;
  const shown = gaps.filter((gap) => (gap.until ?? now) > begin);
  const lines = [...new Set(gaps.map((gap) => gap.gateway))].sort().map((gateway) => {
    const mine = shown.filter((gap) => gap.gateway === gateway);
    const bars = mine.map((gap) => {
      const from = Math.max(0, ((gap.since - begin) / span) * 1000);
      const wide = Math.max(LEAST, (((gap.until ?? now) - Math.max(gap.since, begin)) / span) * 1000);
      const high = { lost: 24, partly: 18, open: 24, filled: 12 }[gap.state] ?? 24;
      return el("rect", { class: `bar ${gap.state}`, x: Math.min(from, 1000 - wide).toFixed(1), y: 28 - high, width: wide.toFixed(1), height: high });
    });
    const words = `${gateway}: ${mine.length} ${mine.length === 1 ? "gap" : "gaps"} in the last ${took(span / 1000)}, listed in the table below`;
    return el("div", { class: "track" }, el("span", { class: "track-name" }, gateway),
      el("svg", { viewBox: "0 0 1000 32", preserveAspectRatio: "none", role: "img", "aria-label": words },
        el("line", { class: "axis", x1: 0, x2: 1000, y1: 28, y2: 28, "vector-effect": "non-scaling-stroke" }), ...bars));
  });
  return el("div", { class: "timeline" }, ...lines,
    el("p", { class: "scale dim" }, el("span", {}, moment(begin, now)), el("span", {}, moment(begin + span / 2, now)), el("span", {}, "now")));
}
