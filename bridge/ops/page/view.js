// The whole page, made of one status (see /api/status). A bridge of another version may say more or less.

import { recent, sparkline, timeline } from "./charts.js";
import { el, table } from "./dom.js";
import { NONE, ago, bytes, count, moment, plain, rate, short, took, words } from "./words.js";

const MARKS = { good: "✓", wait: "…", warning: "!", bad: "✕" };
const ROLES = { active: ["good", "publishes"], standby: ["good", "stands by"], recovering: ["wait", "reads the ledger"] };
const STATES = { live: ["good", "connected"], connecting: ["wait", "connecting"], reconnecting: ["bad", "reconnecting"], refused: ["bad", "refused"], stopped: ["wait", "stopped"], absent: ["wait", "no such stream"] };
const ENDS = { lost: ["bad", "lost"], partly: ["warning", "partly filled"], open: ["warning", "open"], filled: ["good", "filled"] };
const OPEN_TYPES = 40;
const MANY = 8;

export function mark(level) {
  return MARKS[level] ?? MARKS.wait;
}

// Beside the sentence: what to do, and what else there is to say.
export function findings(status) {
  const [first, ...others] = status.well ?? [];
  return [
    runbook(first),
    others.length ? el("ul", { class: "findings" }, others.map((each) =>
      el("li", { "data-level": each.level }, badge(each.level, each.text), " ", runbook(each)))) : null,
  ];
}

export function rest(status) {
  return [tiles(status), lanes(status), gateways(status), gaps(status), letters(status), types(status), reload(status)];
}

function runbook(finding) {
  return finding?.runbook
    ? el("a", { class: "runbook", href: `runbooks/${finding.runbook}` }, `What to do: ${finding.runbook}`) : null;
}

function badge(level, text) {
  return el("span", { class: "badge", "data-level": level }, el("span", { class: "mark", "aria-hidden": "true" }, mark(level)), text);
}

function section(id, title, ...parts) {
  return el("section", { "aria-labelledby": id }, el("h2", { id }, title), ...parts);
}

function fact(name, value, note) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value, note ? el("small", { class: "dim" }, note) : null));
}

function tiles(status) {
  const all = status.gateways ?? [];
  const sum = (name) => all.reduce((total, gateway) => total + (gateway[name] ?? 0), 0);
  const now = all.reduce((total, gateway) => total + (gateway.rate ? recent(gateway.rate) : 0), 0);
  const { latency = {}, transaction = {} } = status.last_minute ?? {};
  const journal = status.journal ?? { frames: 0, bytes: 0, max_bytes: 0 };
  const fill = journal.max_bytes ? journal.bytes / journal.max_bytes : 0;
  const open = (status.gaps ?? []).filter((gap) => gap.state === "open").length;
  return el("dl", { class: "tiles" },
    fact("Frames a second", rate(now), `${count(sum("received"))} processed`),
    fact("Records published", count(sum("published")), `${count(sum("duplicates"))} duplicates dropped`),
    fact("Socket to commit", took(latency.p50), within(latency)),
    fact("Transaction", took(transaction.p50), within(transaction)),
    el("div", { class: "broad" }, el("dt", {}, "Journal"), el("dd", {}, fill < 0.0005 ? "0 %" : `${(fill * 100).toFixed(1)} %`,
      el("meter", { min: 0, max: 1, high: 0.5, optimum: 0, value: fill.toFixed(3), "aria-label": "Journal fill" }),
      el("small", { class: "dim" }, `${count(journal.frames)} waiting; ${bytes(journal.bytes)} of ${bytes(journal.max_bytes)}`))),
    fact("Gaps open", count(open), (status.gaps ?? []).length ? `${count(status.gaps.length)} remembered` : "none remembered"),
    fact("Dead letters", count(sum("dead_letters")), "since the start"));
}

function within({ p99 }) {
  return typeof p99 === "number" ? `99 of 100 within ${took(p99)}` : "nothing in the last minute";
}

function lanes(status) {
  const { now } = status;
  const columns = [{ name: "Lane" }, { name: "This process" }, { name: "Since" }, { name: "Published by" },
    { name: "Last commit" }, { name: "Frames waiting", end: true }, { name: "Identities", end: true }];
  const rows = (status.lanes ?? []).map((lane) => {
    const [level, does] = ROLES[lane.role] ?? ["wait", plain(lane.role)];
    return [
      `Lane ${lane.lane}`,
      [badge(lane.trouble ? "bad" : level, lane.trouble ? plain(lane.role) : `${lane.role}, ${does}`), lane.trouble ? el("small", { class: "why" }, plain(lane.trouble)) : null],
      lane.since ? `${moment(lane.since, now)} (${ago(lane.since, now)})` : NONE,
      lane.active === status.instance ? "this process" : short(lane.active),
      lane.last_commit ? ago(lane.last_commit, now) : NONE,
      count(lane.behind), count(lane.identities),
    ];
  });
  return section("lanes", "Lanes", table("lanes", columns, rows));
}

function gateways(status) {
  const cards = (status.gateways ?? []).map((gateway) => gatewayCard(gateway, status.now));
  return section("gateways", "Gateways", cards.length ? el("div", { class: "cards" }, cards) : el("p", { class: "dim" }, "None yet."));
}

function gatewayCard(gateway, now) {
  const [level, state] = STATES[gateway.state] ?? [gateway.connected ? "good" : "bad", plain(gateway.state)];
  const flow = gateway.rate ?? { frames: [0, 0], seconds: 2 };
  const id = `gateway-${gateway.name}`;
  const connections = gateway.connections ?? [];
  return el("article", { class: "card", "aria-labelledby": id },
    el("div", { class: "top" }, el("h3", { id }, plain(gateway.name)), badge(level, state)),
    el("p", { class: "dim" }, plain(gateway.kind), gateway.private ? ", private" : ""),
    gateway.detail ? el("p", { class: "why" }, plain(gateway.detail)) : null,
    el("div", { class: "flow" }, sparkline(flow), el("p", {}, el("strong", {}, rate(recent(flow))), " frames/s processed")),
    el("dl", { class: "facts" },
      fact("Connected since", gateway.connected_since ? moment(gateway.connected_since, now) : NONE),
      fact("Last frame", ago(gateway.last_frame, now)),
      fact("Reconnects", count(gateway.reconnects)),
      fact("Connections", `${connections.filter((each) => each.state === "live").length} of ${connections.length} up`)),
    sees(gateway),
    rejected(gateway),
    connections.length > 1 ? details(`${connections.length} connections`, el("ul", {}, connections.map((each) =>
      el("li", {}, `${each.name}: ${(STATES[each.state] ?? ["", each.state])[1]} since ${moment(each.since, now)}, last frame ${ago(each.last_frame, now)}, ${count(each.reconnects)} reconnects`, each.detail ? ` (${each.detail})` : "")))) : null);
}

function sees(gateway) {
  const may = gateway.sees ?? [];
  const not = gateway.lacks ?? [];
  const chips = el("ul", { class: "chips" }, may.map((each) => el("li", {}, plain(each))));
  const all = not.length ? el("p", { class: "why" }, `Not ${not.join(", ")}.`) : null;
  return el("div", { class: "sees" },
    el("h4", {}, "The key may see"),
    may.length ? [all ?? (may.length > MANY ? el("p", {}, "All frame types.") : null), may.length > MANY ? details(`${may.length} scopes`, chips) : chips]
      : el("p", { class: "dim" }, gateway.kind === "ticktock" ? "Not known: REST is asked, where it is configured." : "Nothing is subscribed to yet."));
}

function rejected(gateway) {
  const rows = gateway.rejected ?? [];
  return rows.length ? details(`${rows.length} rejected subscriptions`, el("ul", {}, rows.map((each) =>
    el("li", {}, `${plain(each.channel)}: ${plain(each.message)} (${plain(each.code)})`)))) : null;
}

function details(title, content) {
  return el("details", {}, el("summary", {}, title), content);
}

function gaps(status) {
  const { now } = status;
  const all = status.gaps ?? [];
  if (!all.length) return section("gaps", "Gaps", el("p", { class: "none" }, badge("good", "No time is known for which frames are missing.")));
  const columns = [{ name: "Began" }, { name: "State" }, { name: "Gateway" }, { name: "Length" }, { name: "Cause" }, { name: "What became of it" }];
  const rows = all.slice(0, 10).map((gap) => {
    const [level, text] = ENDS[gap.state] ?? ["wait", plain(gap.state)];
    return [moment(gap.since, now), badge(level, text), `${gap.gateway} ${gap.connection}`,
      gap.until ? took(Math.max(0, gap.until - gap.since) / 1000) : `${took(Math.round((now - gap.since) / 1000))} so far`,
      words(gap.cause), gap.how ? plain(gap.how) : NONE];
  });
  return section("gaps", "Gaps", timeline(all, now), table("gaps", columns, rows),
    all.length > 10 ? el("p", { class: "dim" }, `And ${all.length - 10} older ones: feedbridge gaps list.`) : null);
}

function letters(status) {
  const { now } = status;
  const all = status.dead_letters ?? [];
  if (!all.length) return section("letters", "Recent dead letters", el("p", { class: "none" }, badge("good", "Every frame became what it should.")));
  const columns = [{ name: "Received" }, { name: "Gateway" }, { name: "Type" }, { name: "Reason" }, { name: "Path" }];
  const rows = all.slice(0, 10).map((each) => [moment(each.at, now), plain(each.gateway), plain(each.type), words(each.reason),
    each.path ? el("code", {}, plain(each.path)) : NONE]);
  return section("letters", "Recent dead letters", table("letters", columns, rows),
    el("p", { class: "dim" }, "Their bytes are in the topic of dead letters: feedbridge dead-letters list."));
}

function types(status) {
  const all = status.types ?? [];
  if (!all.length) return section("types", "Types", el("p", { class: "dim" }, "No frame has come yet."));
  const columns = [{ name: "Type" }, { name: "Gateway", of: true }, ...["Received", "Published", "Duplicates", "Unchanged", "Dead letters"].map((name) => ({ name, end: true }))];
  const rows = all.slice(0, OPEN_TYPES).map((each) => [plain(each.type), plain(each.gateway),
    count(each.received), count(each.published), count(each.duplicates), count(each.unchanged), count(each.dead_letters)]);
  return section("types", "Types", el("div", { class: "dense" }, table("types", columns, rows)),
    all.length > OPEN_TYPES ? el("p", { class: "dim" }, `And ${all.length - OPEN_TYPES} more in the status as JSON.`) : null);
}

function reload(status) {
  const last = status.reload;
  if (!last) return null;
  const good = last.outcome !== "refused";
  const told = last.error ?? (last.changed ?? []).join(", ");
  return section("reload", "Last reload of the configuration",
    el("p", {}, badge(good ? "good" : "bad", `${plain(last.outcome)} ${ago(last.at, status.now)}, by ${plain(last.cause)}`), told ? `: ${told}` : ""));
}
