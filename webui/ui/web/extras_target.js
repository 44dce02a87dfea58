// "Send to extras", before the tab was ever opened: the tab is shown, its scripts come, and they get the picture.

import { byId, present } from './dom.js';
import { openTab, registerTarget } from './send.js';

let loaded = null;

// Gradio draws the tab when it is first opened; only then are its scripts fetched.
export function mountExtrasTarget() {
  loaded = present('easel_extras').then(() => import('./extras.js')).then(async (extras) => { await extras.mountExtras(); return extras; });
  registerTarget('extras', { label: 'send_extras', icon: 'enlarge', takes: ({ blob, url }) => Boolean(url) || blob?.type.startsWith('image/'), send });
}

// The file at an address of the server.
export async function fileAt(url, name = url.split('/').pop()) {
  const blob = await (await fetch(url)).blob();
  return new File([blob], name, { type: blob.type });
}

async function send({ blob, url }) {
  const file = blob ?? fileAt(url); // asked for at once: the order is that of the clicks
  await openTab('extras');
  (await loaded).receive([file]);
  byId('extras_image')?.scrollIntoView({ block: 'nearest' });
}
