// Making a picture again: asking for it, what the comparison says, and "Keep it". The viewer and the large view both show it.

import { post } from './api.js';
import { button, h } from './dom.js';
import { change, state } from './store.js';
import { toast } from './toast.js';
import { t } from './words.js';

const asked = new Map(); // picture → the job that makes it again

const complain = (error) => toast(error.info ?? { message: String(error) }, 'error');

export function replay(picture) {
  post(`pictures/${picture.id}/replay`).then(({ id }) => { asked.set(picture.id, id); change({}); }).catch(complain);
}

// A job that the page has not heard of yet is on its way.
function isUnderWay(picture) {
  const id = asked.get(picture.id), job = state.jobs.get(id), report = state.replays.get(picture.id);
  return Boolean(id) && report?.job_id !== id && (!job || ['queued', 'running'].includes(job.status));
}

export const verdict = (report) => (report.identical ? t('replay_identical')
  : t('replay_differs', { max: report.max_difference, share: (report.differing * 100).toPrecision(2) }));

async function keep(report) {
  try {
    const kept = await post(`pictures/${report.picture_id}/replay/keep`);
    change({ replays: new Map(state.replays).set(kept.picture_id, kept) });
    toast({ message: t('replay_kept_done') });
  } catch (error) { complain(error); }
}

// A box for one picture's report; `draw(picture)` shows what is known of it, or hides the box.
export function replayBox() {
  const box = h('div', { class: 'replay', role: 'status', hidden: true });
  let shown = null;
  const draw = (picture) => {
    const report = picture && state.replays.get(picture.id), waits = picture && isUnderWay(picture);
    box.hidden = !report && !waits;
    const now = waits ? 'waits' : report;
    if (box.hidden || now === shown) return;
    shown = now;
    box.classList.toggle('same', waits || report.identical);
    if (waits) return void box.replaceChildren(h('p', { text: t('replay_started') }));
    const kept = report.kept === null ? button('save', t('replay_keep_title'), () => keep(report), { text: t('replay_keep'), class: 'act' })
      : h('span', { class: 'kept', text: t('replay_kept') });
    box.replaceChildren(h('div', { class: 'words' }, h('strong', { text: verdict(report) }), ...report.unmatched.map((text) => h('p', { text }))), kept);
  };
  return { box, draw };
}
