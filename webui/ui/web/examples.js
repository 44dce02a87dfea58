// A row of prompts that the chosen checkpoint's own file offers. One click puts a prompt and the model's size and guidance into the form; Ctrl+Z takes it back.

import { byId, h } from './dom.js';
import { formValues } from './model_defaults.js';
import { change } from './forms.js';
import { state, subscribe } from './store.js';
import { t } from './words.js';

const { easel } = window;
let shown = null;

export function mountExamples() {
  subscribe(draw);
  document.addEventListener('easel:keep', (event) => { if (event.detail === 'checkpoint') draw(); });
  draw();
}

function draw() {
  const chosen = easel.draft.checkpoint ?? easel.born.checkpoint;
  const suggests = state.checkpoints?.find((item) => item.name === chosen)?.suggests ?? null;
  if (suggests === shown) return;
  shown = suggests;
  const { prompts = [] } = suggests || {};
  const values = () => formValues(suggests, easel.draft.settings);
  const example = (prompt) => h('button', { type: 'button', class: 'example', text: prompt, onclick: () => change({ prompt, ...values() }, 'txt2img') });
  byId('txt2img_examples').replaceChildren(...(prompts.length ? [h('span', { text: t('examples') }), ...prompts.map(example)] : []));
}
