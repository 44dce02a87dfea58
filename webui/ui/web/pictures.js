// Where a picture can be sent: to the canvas, in one of its modes. The canvas itself is fetched when its tab is first drawn.

import { get } from './api.js';
import { present } from './dom.js';
import { mountTab } from './form.js';
import { now, undo } from './forms.js';
import { mountPasteTab, pasteFrom, takeAll } from './paste.js';
import { openTab, registerTarget } from './send.js';
import { mountStyles } from './styles.js';
import { toast } from './toast.js';
import { t } from './words.js';

const DRAWN = ['canvas', 'prompt', 'neg_prompt', 'steps', 'styles_edit_button', 'gallery_container', 'generate', 'reuse_seed', 'negative_token_counter', 'override_settings'].map((name) => `img2img_${name}`);
const TARGETS = { img2img: ['img2img', 'picture'], sketch: ['sketch', 'brush'], inpaint: ['inpaint', 'lasso'] };
let canvas;

export function mountPictures() {
  canvas = present(...DRAWN).then(async () => {
    mountTab('img2img');
    mountStyles('img2img');
    mountPasteTab('img2img');
    const module = await import('./canvas.js');
    await module.mountCanvas();
    return module;
  });
  for (const [id, [mode, icon]] of Object.entries(TARGETS)) {
    registerTarget(id, { label: `send_${id}`, icon, takes: ({ blob, url }) => Boolean(url) || blob?.type.startsWith('image/'), send: (source) => send(source, mode) });
  }
}

// One click: the picture lies on the canvas; what was there comes back with its undo. Its parameters come along where nothing is written yet, and are offered elsewhere.
async function send({ blob, url, id, metadata }, mode) {
  try {
    const picture = blob || await (await fetch(url)).blob();
    await openTab('img2img');
    const { openPicture } = await canvas;
    await openPicture(picture, mode);
    const about = metadata ? Promise.resolve(metadata) : id ? get(`pictures/${id}/info`) : null, words = await now('img2img');
    if (about && !words.prompt && !words.negative_prompt && await takeAll(await about, 'img2img')) return void toast({ message: t('sent_img2img_all'), action: { label: t('undo'), act: undo } });
    toast({ message: t('sent_img2img'), action: about && { label: t('send_parameters'), act: () => pasteFrom(about, { blob: picture, tab: 'img2img' }) } });
  } catch (error) { toast(error.info ?? { message: String(error) }, 'error'); }
}
