// Where a picture can be sent: to the canvas, in one of its modes. The canvas itself is fetched when its tab is first drawn.

import { present } from './dom.js';
import { mountTab } from './form.js';
import { mountPasteTab } from './paste.js';
import { registerTarget } from './send.js';
import { mountStyles } from './styles.js';
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
    registerTarget(id, { label: `send_${id}`, icon, takes: ({ blob, url }) => Boolean(url) || blob?.type.startsWith('image/'), send: (source) => import('./to_canvas.js').then(({ send }) => send(source, mode, canvas)) });
  }
}
