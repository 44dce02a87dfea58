// Making elements without innerHTML: prompts and model names are foreign text and only ever become text nodes.

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'text') element.textContent = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';
const PATHS = {
  up: 'M6 15l6-6 6 6', down: 'M6 9l6 6 6-6', close: 'M6 6l12 12M18 6L6 18', left: 'M15 5l-7 7 7 7', right: 'M9 5l7 7-7 7',
  again: 'M4 12a8 8 0 1 0 2.5-5.8M4 4v4.5h4.5', grip: 'M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01',
  moon: 'M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z',
  sun: 'M12 7.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M5 5l1.7 1.7M17.3 17.3L19 19M5 19l1.7-1.7M17.3 6.7L19 5',
  save: 'M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6', zip: 'M4 7h16v13H4zM3 4h18v3H3zM10 11h4', download: 'M12 4v11M7 11l5 5 5-5M5 20h14',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1', seed: 'M4 12a8 8 0 0 1 13.7-5.6L20 9M20 4v5h-5M20 12a8 8 0 0 1-13.7 5.6L4 15M4 20v-5h5',
  sparkle: 'M12 3l1.9 5.6L19.5 10.5l-5.6 1.9L12 18l-1.9-5.6-5.6-1.9 5.6-1.9zM19 16v4M17 18h4',
  swap: 'M8 4v15M4.5 7.5L8 4l3.5 3.5M16 20V5M12.5 16.5L16 20l3.5-3.5',
  pencil: 'M5 19l1-4L16.5 4.5l3 3L9 18zM14 7l3 3', apply: 'M8 5h8v4H8zM8 7H5v13h14V7h-3M9 13h6M9 16h4',
  replay: 'M4 12a8 8 0 1 1 2.5 5.8M4 20v-5h5M10.5 9v6l5-3z', paste: 'M18 6L7 17M7 8v9h9',
  clip: 'M20 11.5l-8 8a5 5 0 0 1-7-7l8.5-8.5a3.4 3.4 0 0 1 4.8 4.8L9.8 17.2a1.7 1.7 0 0 1-2.4-2.4l7.6-7.6', box: 'M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8',
  enlarge: 'M4 13v7h7M20 11V4h-7M20 4l-7.5 7.5M4 20l7.5-7.5',
  brush: 'M20 4c-5 2-9 6-11 10l2 2c4-2 8-6 9-12zM9 14c-3 0-3 4-6 5 2 2 8 1 8-3', lasso: 'M12 5c5 0 8 2 8 5s-3 5-8 5-8-2-8-5 3-5 8-5zM8 15c-2 1-2 3 0 3s2 3 0 3', picture: 'M4 5h16v14H4zM4 16l5-5 4 4 2-2 5 4M15.5 9h.01',
  ruler: 'M4 15L15 4l5 5L9 20zM8 11l2 2M11 8l2 2M6 13l1 1M14 5l1 1', sliders: 'M4 7h9M17 7h3M15 5v4M4 12h3M11 12h9M9 10v4M4 17h11M19 17h1M17 15v4', dice: 'M5 5h14v14H5zM9 9h.01M15 9h.01M12 12h.01M9 15h.01M15 15h.01', infinity: 'M8 8.5a3.5 3.5 0 1 0 0 7c3 0 5-7 8-7a3.5 3.5 0 1 1 0 7c-3 0-5-7-8-7z',
};

// Drawings of a part of the page that is fetched later.
export const addIcons = (paths) => Object.assign(PATHS, paths);

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [key, value] of Object.entries({ viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true', focusable: 'false' })) svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}

// A button of ours; `label` is its accessible name, shown as text unless it is only an icon.
export function button(name, label, onclick, { text = '', ...props } = {}) {
  return h('button', { type: 'button', 'aria-label': text ? undefined : label, title: label, onclick, ...props }, name && icon(name), text && h('span', { text }));
}

// A slider at a value, with the colour up to it.
export function setRange(range, value) {
  range.value = value;
  range.style.setProperty('--at', (range.value - range.min) / (range.max - range.min) * 100);
}

// The key that was pressed; of a keyboard with other letters (я) the one that is there on a Latin one (z).
export const keyOf = ({ key, code }) => (key > '~' && key.length === 1 && code.startsWith('Key') ? code.slice(3) : key).toLowerCase();

export const byId = (id) => document.getElementById(id);

// Puts an element's text on the clipboard; plain http (--listen) has no clipboard object.
export async function copyText(element) {
  if (navigator.clipboard) return navigator.clipboard.writeText(element.textContent).catch(() => {});
  getSelection().selectAllChildren(element);
  document.execCommand('copy');
}

const waiting = new WeakMap();
// Draws a part of the page anew, but not under the hand of somebody who writes or chooses in it: then when they have left it.
export function whenLeft(place, draw) {
  const within = (element) => place.contains(element) && element.matches('input, select, textarea');
  if (!within(document.activeElement)) return void draw();
  const listens = waiting.has(place);
  waiting.set(place, draw);
  if (listens) return;
  place.addEventListener('focusout', function left({ relatedTarget }) {
    if (place.contains(relatedTarget) || within(document.activeElement)) return;
    place.removeEventListener('focusout', left);
    const latest = waiting.get(place);
    waiting.delete(place);
    latest();
  });
}

// Resolves once every id is in the page: Gradio draws when it is ready.
export function present(...ids) {
  const found = () => ids.every(byId);
  return new Promise((resolve) => {
    if (found()) return resolve();
    new MutationObserver((_, observer) => { if (found()) { observer.disconnect(); resolve(); } }).observe(document.body, { childList: true, subtree: true });
  });
}
