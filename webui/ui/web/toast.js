// Short messages at the foot of the page, and the notices that stay until they are dismissed.

import { button, byId, h } from './dom.js';
import { state, subscribe } from './store.js';
import { t } from './words.js';

let shelf;

// `info`: {message, hint}; `action`: {label, act} becomes a button. Errors stay longer, because they are read more slowly.
export function toast({ message, hint, action }, level = 'info') {
  shelf ??= document.body.appendChild(h('div', { class: 'toasts', role: 'status', 'aria-live': 'polite' }));
  const item = h('div', { class: `toast ${level}` }, h('div', {}, h('p', { text: message }), hint && h('p', { class: 'hint', text: hint })),
    action && h('button', { type: 'button', class: 'toast-action', text: action.label, onclick: () => { item.remove(); action.act(); } }),
    button('close', t('dismiss'), () => item.remove(), { class: 'icon-button' }));
  shelf.append(item);
  if (shelf.childElementCount > 4) shelf.firstChild.remove();
  setTimeout(() => item.remove(), level === 'error' || action ? 12000 : 4000);
}

const dismissed = new Set(JSON.parse(sessionStorage.getItem('easel.dismissed') || '[]'));
// What was wrong with ui-config.json when this page was loaded.
const complaints = window.easel.server.complaints.map((message) => ({ id: message, level: 'warning', message }));
let awaySince = null, shownAway = false, drawn = '';

export function mountNotices() {
  subscribe(draw);
  setInterval(draw, 500); // the "away" line appears only when it lasts
  draw();
}

function draw() {
  if (state.up) awaySince = null;
  else awaySince ??= Date.now();
  const away = awaySince !== null && Date.now() - awaySince > 1200;
  if (shownAway && !away) toast({ message: t('server_back') });
  shownAway = away;
  const notices = [...state.notices, ...complaints].filter((notice) => !dismissed.has(notice.id));
  const key = `${away}|${notices.map((notice) => notice.id + notice.message)}`;
  if (key === drawn) return;
  drawn = key;
  byId('easel_notices').replaceChildren(
    ...(away ? [h('div', { class: 'notice away', role: 'status' }, h('span', { class: 'dot' }), h('p', { text: t('server_away') }))] : []),
    ...notices.map((notice) => h('div', { class: `notice ${notice.level}`, role: notice.level === 'error' ? 'alert' : 'status' },
      h('p', { text: notice.message }), button('close', t('dismiss'), () => dismiss(notice.id), { class: 'icon-button' }))));
}

function dismiss(id) {
  dismissed.add(id);
  sessionStorage.setItem('easel.dismissed', JSON.stringify([...dismissed]));
  draw();
}
