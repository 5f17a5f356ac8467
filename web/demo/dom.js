// Elements without a library: making them, icons, lists that keep their elements. SPDX-License-Identifier: Apache-2.0

/** h('button', { class: 'x', onclick: f, 'aria-label': 'X' }, child, 'text', [more]); what is null or false is left out. */
export function h(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else if (name === 'class') e.className = value;
    else if (name === 'style') for (const [k, v] of Object.entries(value)) e.style.setProperty(k, v);
    else e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

const SVG = 'http://www.w3.org/2000/svg';
const ICONS = {
  back: 'M14.5 5.5 8 12l6.5 6.5', send: 'M4.5 12 19.5 4.8 15.6 19.5 11 13.4z M11 13.4 19.5 4.8', plus: 'M12 5v14M5 12h14', more: 'M6 12h.01M12 12h.01M18 12h.01',
  reply: 'M9.5 6 4.5 11l5 5M5 11h8.5a6 6 0 0 1 6 6v1.5', edit: 'M5 19l1-4L16.2 4.8a1.7 1.7 0 0 1 2.4 0l.6.6a1.7 1.7 0 0 1 0 2.4L9 18z', trash: 'M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12',
  road: 'M4 17c4 0 3-10 8-10s4 10 8 10M4 17h.01M20 17h.01', close: 'M6.5 6.5l11 11M17.5 6.5l-11 11', sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M18.4 5.6l-1.1 1.1M6.7 17.3l-1.1 1.1',
  moon: 'M19.5 14.2A8 8 0 0 1 9.8 4.5a8 8 0 1 0 9.7 9.7z', auto: 'M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16', plane: 'M12 3.5c.8 0 1.3.9 1.3 2v4l6.7 4v2l-6.7-2v3.7l2 1.6v1.4L12 19.4l-3.3.8v-1.4l2-1.6v-3.7L4 15.5v-2l6.7-4v-4c0-1.1.5-2 1.3-2z',
  down: 'M6.5 10 12 15.5 17.5 10', clock: 'M12 6a6 6 0 1 0 0 12 6 6 0 0 0 0-12M12 9v3.2l2 1.3', one: 'M7 12.5l3.2 3.2L17 8.8', two: 'M3.8 12.5 7 15.7l6.8-6.9M11.6 15.7 18.4 8.8M11.6 15.7l-1-1', fail: 'M12 7v6M12 16.5h.01', smile: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M9 10h.01M15 10h.01M8.8 14c.8 1.2 1.9 1.8 3.2 1.8s2.4-.6 3.2-1.8',
  check: 'M6 12.5l4 4 8-9', bell: 'M6 16.5V11a6 6 0 0 1 12 0v5.5l1.5 1.5h-15zM10 20.5a2.2 2.2 0 0 0 4 0', box: 'M4.5 5.5h15v4h-15zM6 9.5V19h12V9.5M10 13h4',
  gear: 'M5 7.5h7M17 7.5h2M5 16.5h2M12 16.5h7M14.5 5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5M9.5 14a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5', heart: 'M12 19.5S4.5 15 4.5 9.7A4 4 0 0 1 12 7.9a4 4 0 0 1 7.5 1.8C19.5 15 12 19.5 12 19.5z',
  talk: 'M5 6h14v10h-8l-4 3.5V16H5z', train: 'M7 4.5h10a1.5 1.5 0 0 1 1.5 1.5v9.5a2 2 0 0 1-2 2h-9a2 2 0 0 1-2-2V6A1.5 1.5 0 0 1 7 4.5zM5.5 11.5h13M9 14.5h.01M15 14.5h.01M8 17.5 6.5 20M16 17.5l1.5 2.5', horn: 'M5 10v4h3l8 4V6l-8 4zM19 10v4M9 14.5l1 4.5h2',
};

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg'), path = document.createElementNS(SVG, 'path');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', `icon icon-${name}`);
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** The children of `parent` become one for each item, in order; those of items that stay are kept with the focus that one may have, and told by `update`. */
export function keyed(parent, items, key, make, update) {
  const old = new Map([...parent.children].map((e) => [e.dataset.key, e]));
  const held = parent.contains(document.activeElement) ? document.activeElement : null;
  let at = parent.firstElementChild;
  for (const item of items) {
    const k = String(key(item));
    let e = old.get(k);
    if (!e) {
      e = make(item);
      e.dataset.key = k;
    }
    old.delete(k);
    update(e, item);
    if (e === at) at = at.nextElementSibling;
    else if (e.isConnected && parent.moveBefore) parent.moveBefore(e, at); // its transitions go on
    else parent.insertBefore(e, at);
  }
  for (const e of old.values()) e.remove();
  if (held?.isConnected && held !== document.activeElement) held.focus({ preventScroll: true }); // an element that is moved loses it
}

/** Sets text without touching what says it already. */
export function say(e, text) { if (e.textContent !== text) e.textContent = text; }

/** One of a list's elements can be reached by Tab; arrows, Home and End go to the others. */
export function roving(list, selector, { across = false, last = false } = {}) {
  const items = () => [...list.querySelectorAll(selector)];
  const current = () => list.querySelector(`${selector}[tabindex="0"]`);
  const to = (e) => {
    for (const other of list.querySelectorAll(`${selector}[tabindex="0"]`)) other.tabIndex = -1;
    e.tabIndex = 0;
    e.focus();
  };
  list.addEventListener('keydown', (event) => {
    if (!event.target.matches(selector)) return;
    const all = items(), at = all.indexOf(event.target), [before, after] = across ? ['ArrowLeft', 'ArrowRight'] : ['ArrowUp', 'ArrowDown'];
    const next = { [before]: all[at - 1], [after]: all[at + 1], Home: all[0], End: all.at(-1) }[event.key];
    if (!next) return;
    event.preventDefault();
    to(next);
  });
  list.addEventListener('focusin', (event) => { if (event.target.matches(selector) && event.target.tabIndex !== 0) to(event.target); });
  /** After a change of the list: exactly one is in the order of Tab. */
  return () => {
    if (current()) return;
    const all = items();
    const e = last ? all.at(-1) : all[0];
    if (e) e.tabIndex = 0;
  };
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
export const clock = (iso) => (iso ? CLOCK.format(new Date(iso)) : '');
const DAY_MS = 86_400_000;
export const dayOf = (iso) => new Date(iso).toDateString();
/** Of a day: `Today`, `Yesterday`, or its date. */
export const day = (iso) => ({ [dayOf(Date.now())]: 'Today', [dayOf(Date.now() - DAY_MS)]: 'Yesterday' })[dayOf(iso)] ?? new Date(iso).toLocaleDateString(undefined, { weekday: 'short', day: 'numeric', month: 'short' });
/** The time of today, the day of before. */
export const when = (iso) => (!iso ? '' : dayOf(iso) === dayOf(Date.now()) ? clock(iso) : day(iso));
export const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
