// The depth map of img2img, a field of its form: a place for a picture, which the style sheet shows only with a checkpoint that looks at depth.

import { newest, post } from './api.js';
import { button, byId, h, icon } from './dom.js';
import { change, onFill, valueOf } from './forms.js';
import { toast } from './toast.js';
import { t } from './words.js';

const TAB = 'img2img';
const latest = newest();
let parts;

export function mountDepth() {
  const file = h('input', { type: 'file', class: 'sr-only', id: 'img2img_depth_file', accept: 'image/*', 'aria-label': t('depth_map'), onchange: ({ target }) => { take(target.files[0]); target.value = ''; } });
  const over = (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault(); // the page would ask for its parameters
    parts.zone.classList.toggle('over', event.type === 'dragover');
    if (event.type === 'drop') take(event.dataTransfer.files[0]);
  };
  parts = {
    image: h('img', { alt: t('depth_map') }), none: button('close', t('depth_none'), () => set(null), { class: 'icon-button' }),
    invite: h('div', { class: 'invite' }, icon('picture'), h('strong', { text: t('depth_drop') }), h('span', { text: t('depth_hint') })),
  };
  parts.zone = h('label', { class: 'dropzone', ondragover: over, ondragleave: over, ondrop: over }, file, parts.invite, parts.image);
  byId('img2img_depth_place').replaceChildren(h('div', { class: 'depth' }, parts.zone, parts.none));
  onFill((tab, values) => { if (tab === TAB && 'depth' in values) { latest(null); draw(values.depth); } }); // one that is on its way came before
  draw(valueOf(TAB, 'depth'));
}

async function take(file) {
  if (!file) return;
  try {
    const ref = await latest(post('images', file));
    if (ref) await set(ref);
  } catch (error) { toast(error.info ?? { message: String(error) }, 'error'); }
}

async function set(ref) {
  await change({ depth: ref }, TAB);
  byId('img2img_depth_place').dispatchEvent(new Event('input', { bubbles: true })); // an error that stands here is answered
}

function draw(ref) {
  parts.image.hidden = parts.none.hidden = !ref;
  parts.invite.hidden = Boolean(ref);
  if (ref) parts.image.src = `api/v1/images/${ref.sha256}`;
}
