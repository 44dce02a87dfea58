// Where what was read from a picture can be sent. A place registers itself once; every row of send-to buttons shows it.

import { button, h } from './dom.js';
import { t } from './words.js';

const targets = new Map();

// `send({metadata, blob, url, id})`: what is known of the picture and its parameters; `takes(source)` says whether there is anything for it. `label` is a key of the translations.
export function registerTarget(id, { label, icon, send, takes = () => true }) {
  targets.set(id, { label, icon, send, takes });
}

// "Send to" and the buttons for one source, but not the one for `here`; ids are A1111's (`txt2img_tab`, …).
export function sendRow(source, name = (id) => `${id}_tab`, here = null) {
  const fit = [...targets].filter(([id, { takes }]) => id !== here && takes(source));
  return fit.length ? [h('span', { text: t('send_to') }), ...fit.map(([id, { label, icon, send }]) => button(icon, t(label), () => send(source), { id: name(id), text: t(label), class: 'act' }))] : [];
}

// Opens a tab of the page. Those that do not fit are in a menu, which Gradio draws when it is opened.
export async function openTab(id) {
  const tab = document.querySelector(`#tabs [role="tab"][data-tab-id="${id}"]`);
  if (tab) return tab.click();
  document.querySelector('#tabs .overflow-menu > button')?.click();
  await new Promise(requestAnimationFrame);
  [...document.querySelectorAll('#tabs .overflow-dropdown button')].find((entry) => entry.textContent.trim() === t(`tab_${id}`))?.click();
}
