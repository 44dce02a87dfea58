// What a model is good with: the button beside the checkpoint compares it with the form, puts it there, and keeps the form's values for the model.

import { call, get, newest } from './api.js';
import { byId, h, icon } from './dom.js';
import { loadCheckpoints } from './form.js';
import { current, now } from './forms.js';
import { openDiff } from './paste.js';
import { state, subscribe } from './store.js';
import { toast } from './toast.js';
import { t } from './words.js';

const { easel } = window;
const FIELDS = ['width', 'height', 'cfg_scale', 'distilled_cfg_scale', 'steps', 'sampler', 'scheduler'];
const SETTINGS = { clip_skip: 'CLIP_stop_at_last_layers', vae: 'sd_vae' };

export function mountModelDefaults() {
  const face = byId('easel_model_defaults');
  face.setAttribute('aria-label', t('model_defaults'));
  face.title = t('model_defaults');
  face.append(icon('sliders'));
  face.addEventListener('click', () => open().catch((error) => toast(error.info ?? { message: String(error) }, 'error')));
  const draw = () => {
    face.classList.toggle('has-defaults', Object.keys(settled(chosen()?.suggests)).length > 0);
    document.body.classList.toggle('distilled', isDistilled(chosen()));
    document.body.classList.toggle('distilled-hires', isDistilled(byName(easel.draft.hr_checkpoint_name ?? easel.born.hr_checkpoint_name) ?? chosen()));
    document.body.classList.toggle('sees-depth', chosen()?.variant === 'depth');
  };
  subscribe(draw);
  document.addEventListener('easel:keep', (event) => { if (['checkpoint', 'hr_checkpoint_name'].includes(event.detail)) draw(); });
  draw();
}

const byName = (name) => state.checkpoints?.find((item) => item.name === name);
const chosen = () => byName(easel.draft.checkpoint ?? easel.born.checkpoint);
const isDistilled = (model) => model?.family === 'flux' && model.variant !== 'schnell'; // as Checkpoint.is_distilled
const settled = (suggests) => Object.fromEntries(Object.entries(suggests || {}).filter(([name, value]) => name !== 'prompts' && value !== null));

// A model's values as the form holds them: fields, and settings for the next request only. Overrides that the model says nothing of stay.
export function formValues(suggests, overrides) {
  const known = settled(suggests);
  const fields = Object.fromEntries(FIELDS.filter((name) => name in known).map((name) => [name, known[name]]));
  const settings = Object.fromEntries(Object.entries(SETTINGS).filter(([name]) => name in known).map(([name, key]) => [key, known[name]]));
  return Object.keys(settings).length ? { ...fields, settings: { ...overrides, ...settings } } : fields;
}

const latest = newest();
async function open() {
  if (!state.checkpoints) await loadCheckpoints(); // the page has just opened
  const model = chosen();
  if (!model) return void toast({ message: t('no_checkpoint_title') });
  const tab = current(), [form, server] = await latest(Promise.all([now(tab), get('settings')])) ?? [];
  if (!form) return; // the button was pressed again
  if (chosen()?.name !== model.name) return open(); // another one was chosen meanwhile
  const values = formValues(model.suggests, form.settings), known = Object.keys(values).length > 0;
  const keep = (dialog, what, done) => () => call('PUT', 'checkpoints/preferences', { checkpoint: model.name, values: what }).then(() => {
    dialog.close();
    toast({ message: t(done, { name: model.name }) });
  }, (error) => toast(error.info, 'error'));
  const own = formOf(form, server);
  openDiff({ values, comments: known ? [] : [t('model_defaults_none')], kind: 'model' }, {
    tab, title: t('model_defaults'), summary: model.name,
    extra: (dialog) => [
      h('button', { type: 'button', class: 'act', id: 'easel_keep_defaults', text: t('model_defaults_keep'), onclick: keep(dialog, own, 'model_defaults_kept') }),
      model.kept && h('button', { type: 'button', class: 'act quiet', id: 'easel_forget_defaults', text: t('model_defaults_forget'), onclick: keep(dialog, null, 'model_defaults_forgotten') }),
    ],
  });
}

// What would be kept: the form as it is, with the VAE and the clip skip that count now where they are not the ordinary ones.
function formOf(form, server) {
  const values = Object.fromEntries(FIELDS.filter((name) => name !== 'distilled_cfg_scale' || isDistilled(chosen())).map((name) => [name, form[name]]));
  const skip = form.settings?.[SETTINGS.clip_skip] ?? server[SETTINGS.clip_skip], vae = form.settings?.[SETTINGS.vae] ?? server[SETTINGS.vae];
  return { ...values, clip_skip: skip > 1 ? skip : null, vae: vae === 'Automatic' ? null : vae };
}
