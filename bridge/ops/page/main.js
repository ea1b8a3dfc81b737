// Listens to the bridge and shows what it says. A page that nobody looks at listens to nothing.

import { say, show } from "./dom.js";
import { findings, mark, rest } from "./view.js";
import { ago, moment, plain, short } from "./words.js";

const SILENT = 6000;
const SLOWEST = 15_000;
const place = (id) => document.getElementById(id);

let source = null;
let heard = performance.now();
let last = null;
let lost = false;
let pause = 1000;

function listen() {
  if (source !== null || document.hidden) return;
  source = new EventSource("api/events");
  source.onmessage = (event) => {
    heard = performance.now();
    pause = 1000;
    lost = false;
    last = JSON.parse(event.data);
    paint(last);
  };
  source.onerror = () => miss();
}

// The browser's own way of trying again gives up for good where a proxy or a full bridge answers.
function miss() {
  leave();
  if (document.hidden) return;
  setTimeout(listen, pause);
  pause = Math.min(pause * 1.6, SLOWEST);
  if (!lost) {
    lost = true;
    const since = last ? ` since ${moment(last.now, Date.now())} UTC` : "";
    tell("bad", `No contact with the bridge${since}.${last ? " What stands below is from then." : ""}`);
    show(place("more"));
    contact("bad", "No contact");
  }
}

function leave() {
  source?.close();
  source = null;
}

function tell(level, sentence) {
  place("well").dataset.level = level;
  say(place("sentence"), sentence);
  document.title = `${mark(level)} ${last ? plain(last.name) : place("name").textContent} · feedbridge`;
}

function contact(level, text) {
  place("contact").dataset.level = level;
  say(place("contact"), text);
}

function paint(status) {
  const first = status.well?.[0] ?? { level: status.ready ? "good" : "bad", text: plain(status.reason) };
  say(place("name"), plain(status.name));
  say(place("about"), `feedbridge ${plain(status.version)}, instance ${short(status.instance)}, started ${ago(status.started, status.now)}`);
  contact("good", `Live, ${moment(status.now, status.now)}`);
  tell(first.level, first.text);
  show(place("more"), ...findings(status));
  show(place("rest"), ...rest(status));
}

setInterval(() => {
  if (source !== null && performance.now() - heard > SILENT) {
    heard = performance.now();
    miss();
  }
}, 1000);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) leave();
  else {
    heard = performance.now();
    listen();
  }
});
listen();
