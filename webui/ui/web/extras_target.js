// "Send to extras", before the tab was ever opened: the tab is shown, its scripts come, and they get the picture.

import { byId, present } from './dom.js';
import { openTab, registerTarget } from './send.js';

let loaded = null;

// Gradio draws the tab when it is first opened; only then are its scripts fetched.
export function mountExtrasTarget() {
  loaded = present('easel_extras').then(() => import('./extras.js')).then(async (extras) => { await extras.mountExtras(); return extras; });
  registerTarget('extras', { label: 'send_extras', icon: 'enlarge', takes: ({ blob, url }) => Boolean(url) || blob?.type.startsWith('image/'), send });
}

async function send({ blob, url }) {
  const file = blob ?? await (await fetch(url)).blob();
  await sendToExtras([file.name ? file : new File([file], url.split('/').pop(), { type: file.type })]);
}

// Opens the tab and hands it files (or blobs).
export async function sendToExtras(files) {
  await openTab('extras');
  await (await loaded).receive(files);
  byId('extras_image')?.scrollIntoView({ block: 'nearest' });
}
