// A picture in words: 📎 (BLIP and CLIP) and 📦 (tags). The words go into the prompt of a form; where the picture comes from, who has the buttons says.

import { get, post } from './api.js';
import { byId, icon } from './dom.js';
import { change, valueOf } from './forms.js';
import { state, subscribe } from './store.js';
import { toast } from './toast.js';
import { t } from './words.js';

const waiting = new Map(); // job → what to do with its end
subscribe((_, event) => { if (['job', 'snapshot'].includes(event.type)) [...waiting.keys()].forEach(look); });

// A job may have ended before its number was known here, and while the stream of events was broken.
function look(id) {
  const job = state.jobs.get(id), wait = waiting.get(id);
  if (!wait || !job || job.ended === null) return;
  waiting.delete(id);
  if (job.status === 'failed') wait.reject({ info: job.error });
  else if (job.status === 'done') get(`interrogate/${id}`).then(({ text }) => wait.resolve(text), wait.reject);
  else wait.resolve(null);
}

// The words for a stored picture (`{sha256, width, height}`), or null when the job was stopped. `model`: `CLIP`, `BLIP` or `Deepbooru`.
export async function interrogate(image, model) {
  const { id } = await post('interrogate', { image, model });
  return new Promise((resolve, reject) => { waiting.set(id, { resolve, reject }); look(id); });
}

// Wires A1111's two buttons of a form: `picture()` gives a stored picture or null (or a promise of it).
export function mountInterrogate(tab, picture) {
  for (const [id, model] of [['interrogate', 'CLIP'], ['deepbooru', 'Deepbooru']]) {
    const face = byId(id);
    if (!face) continue;
    face.replaceChildren(icon(id === 'interrogate' ? 'clip' : 'box'));
    face.title = t(id);
    face.setAttribute('aria-label', face.title);
    face.addEventListener('click', async () => {
      face.disabled = true;
      const before = valueOf(tab, 'prompt');
      try {
        const image = await picture();
        if (!image) return void toast({ message: t('interrogate_empty') });
        toast({ message: t('interrogate_running') });
        const text = await interrogate({ sha256: image.sha256, width: image.width, height: image.height }, model);
        const write = () => change({ prompt: text }, tab);
        if (text && valueOf(tab, 'prompt') === before) write();
        else if (text) toast({ message: t('interrogate_prompt_changed'), hint: text, action: { label: t('interrogate_take'), act: write } });
      } catch (error) { toast(error.info || { message: String(error) }, 'error'); } finally { face.disabled = false; }
    });
  }
}
