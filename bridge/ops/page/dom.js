// Elements, and bringing what is shown up to date without touching what has not changed: focus, selection and what a
// screen reader is just reading stay where they are. Whatever a gateway sent becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "rect", "path", "line", "g"]);

export function el(tag, attributes = {}, ...children) {
  const made = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

// Has the children of a place become these.
export function show(place, ...children) {
  const wanted = el("div", {}, ...children);
  become(place, wanted);
}

export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

// A table whose rows become cards where there is little room, and stay a table for those who listen.
// columns: [{name, end, of}]: numbers stand at the end, what a row belongs to needs no name on a card; the first cell of a row is its header.
export function table(labelled, columns, rows) {
  const head = columns.map((column) =>
    el("th", { role: "columnheader", scope: "col", class: column.end && "end" }, column.name));
  const body = rows.map((cells) => el("tr", { role: "row" }, cells.map((cell, place) => {
    const { name, end, of } = columns[place];
    return place === 0
      ? el("th", { role: "rowheader", scope: "row" }, cell)
      : el("td", { role: "cell", class: [end && "end", of && "of", cell === "0" && "none"].filter(Boolean).join(" ") || null, "data-name": name }, cell);
  })));
  return el("table", { role: "table", "aria-labelledby": labelled },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)),
    el("tbody", { role: "rowgroup" }, body));
}

function become(place, wanted) {
  const have = [...place.childNodes];
  const want = [...wanted.childNodes];
  want.forEach((fresh, index) => {
    const old = have[index];
    if (old === undefined) place.append(fresh);
    else if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) old.replaceWith(fresh);
    else if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
    } else {
      dress(old, fresh);
      become(old, fresh);
    }
  });
  have.slice(want.length).forEach((old) => old.remove());
}

function dress(old, fresh) {
  for (const { name } of [...old.attributes]) {
    // Whether details are open is the reader's.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}
