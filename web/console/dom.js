// Elements, made and changed without markup: what servers and users name is text, never HTML.
// SPDX-License-Identifier: Apache-2.0

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

/** An element: h('p', {class: 'muted'}, 'text', other). Attributes that are null or false are left out; onclick and kin are listeners. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** The same in SVG. */
export const s = (tag, props, ...children) => fill(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);

/** Sets the text, if it is another: an unchanged node costs no layout. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A custom property of one element, by the CSSOM: a style attribute would be refused by the page's policy. */
export function property(node, name, value) {
  node.style.setProperty(name, value);
}

/** Rows of a table body kept by key: made once, changed in place, in the order given. */
export function rows(body, items, keyOf, make, change) {
  const had = body.kept ?? (body.kept = new Map());
  const now = new Map();
  items.forEach((item, i) => {
    const key = keyOf(item);
    const row = had.get(key) ?? make(item);
    change?.(row, item);
    now.set(key, row);
    if (body.children[i] !== row) body.insertBefore(row, body.children[i] ?? null);
  });
  for (const [key, row] of had) if (!now.has(key)) row.remove();
  body.kept = now;
}
