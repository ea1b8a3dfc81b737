// Numbers and times as people read them. Times are ms since the epoch, by the bridge's clock, and shown in UTC.

export const NONE = "–";

export function count(value) {
  return typeof value === "number" ? value.toLocaleString("en") : NONE;
}

export function rate(value) {
  const digits = value > 0 && value < 10 ? 1 : 0;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function bytes(value) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 && unit ? 1 : 0 })} ${units[unit]}`;
}

// A length of time in seconds.
export function took(seconds) {
  if (typeof seconds !== "number") return NONE;
  if (seconds < 1) return `${(seconds * 1000).toLocaleString("en", { maximumFractionDigits: seconds < 0.01 ? 1 : 0 })} ms`;
  if (seconds < 120) return `${seconds.toLocaleString("en", { maximumFractionDigits: seconds < 10 ? 1 : 0 })} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function ago(then, now) {
  if (typeof then !== "number") return "never";
  const seconds = Math.max(0, (now - then) / 1000);
  return seconds < 2 ? "just now" : `${took(Math.round(seconds))} ago`;
}

// The time of day; with the date where it is not that of now.
export function moment(at, now) {
  if (typeof at !== "number") return NONE;
  const [day, time] = new Date(at).toISOString().split("T");
  const today = new Date(now).toISOString().split("T")[0];
  return day === today ? time.slice(0, 8) : `${day} ${time.slice(0, 8)}`;
}

export function plain(value) {
  if (value === null || value === undefined || value === "") return NONE;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export function words(code) {
  return plain(code).replaceAll("_", " ");
}

export function short(instance) {
  return typeof instance === "string" ? instance.slice(0, 8) : NONE;
}
