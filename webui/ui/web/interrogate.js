// A picture in words: 📎 (BLIP and CLIP) and 📦 (tags). Knows neither where the picture comes from nor where the words go; who has the buttons says so.

import { post } from './api.js';
import { byId, icon } from './dom.js';
import { subscribe } from './store.js';
import { toast } from './toast.js';
import { t } from './words.js';

const waiting = new Map(); // job → what to do with its end
subscribe((_, event) => {
  if (event.type === 'described') finish(event.job_id, (wait) => wait.resolve(event.text));
  if (event.type !== 'job' || event.job.kind !== 'interrogate') return;
  const { id, status, error } = event.job;
  if (status === 'failed') finish(id, (wait) => wait.reject({ info: error }));
  if (status === 'cancelled' || status === 'interrupted') finish(id, (wait) => wait.resolve(null));
});

function finish(id, act) {
  const wait = waiting.get(id);
  waiting.delete(id);
  if (wait) act(wait);
}

// The words for a stored picture (`{sha256, width, height}`), or null when the job was stopped. `model`: `CLIP`, `BLIP` or `Deepbooru`.
export async function interrogate(image, model) {
  const { id } = await post('interrogate', { image, model });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

// Wires A1111's two buttons: `picture()` gives a stored picture or null (or a promise of it), `write(text)` takes the words.
export function mountInterrogate({ picture, write }) {
  for (const [id, model] of [['interrogate', 'CLIP'], ['deepbooru', 'Deepbooru']]) {
    const face = byId(id);
    if (!face) continue;
    face.replaceChildren(icon(id === 'interrogate' ? 'clip' : 'box'));
    face.title = t(id);
    face.setAttribute('aria-label', face.title);
    face.addEventListener('click', async () => {
      face.disabled = true;
      try {
        const image = await picture();
        if (!image) return void toast({ message: t('interrogate_empty') });
        toast({ message: t('interrogate_running') });
        const text = await interrogate({ sha256: image.sha256, width: image.width, height: image.height }, model);
        if (text) write(text);
      } catch (error) { toast(error.info || { message: String(error) }, 'error'); } finally { face.disabled = false; }
    });
  }
}
