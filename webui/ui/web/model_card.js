// One model's card, opened: picture, what the file says of itself, and what a person writes about it (A1111's `name.json` beside the file).

import { call, get, inLine, newest, post } from './api.js';
import { button, byId, h } from './dom.js';
import { useCheckpoint } from './model_forms.js';
import { addressOf, baseName, pictureOf, sizeOf } from './models.js';
import { state } from './store.js';
import { toast } from './toast.js';
import { t } from './words.js';

// Key in the file, label, and what is unlike one line of text: `lines`, `number`, `choices`, the `kinds` of models that have it.
const FIELDS = [
  ['description', 'card_description', {}], ['activation text', 'card_activation', {}],
  ['negative text', 'card_negative', { kinds: ['lora', 'embedding', 'hypernetwork'] }],
  ['preferred weight', 'card_weight', { kinds: ['lora', 'hypernetwork'], number: true }],
  ['prediction', 'card_prediction', { kinds: ['checkpoint'], choices: [['', 'prediction_as_found'], ['epsilon', 'prediction_epsilon'], ['v', 'prediction_v'], ['v-zsnr', 'prediction_v_zsnr']] }],
  ['license', 'card_licence', {}], ['tags', 'card_tags', {}], ['notes', 'card_notes', { lines: 4 }],
];
const complain = (error) => toast(error.info || { message: String(error) }, 'error');
const latest = newest();
let before = null; // the dialog of the last card

// `changed()` is called after something was written.
export async function openCard(model, { changed }) {
  let card;
  try { card = await latest(get(addressOf(model, 'card'))); } catch (error) { return void complain(error); }
  if (!card) return; // another was opened since
  before?.remove();
  const dialog = before = document.body.appendChild(h('dialog', { class: 'sheet-dialog model-card', 'aria-label': card.title }));
  dialog.addEventListener('click', (event) => { if (event.target === dialog) close(); }); // beside it
  dialog.addEventListener('cancel', (event) => { event.preventDefault(); close(); });
  const fields = {};
  const shown = FIELDS.filter(([, , { kinds }]) => !kinds || kinds.includes(model.kind));
  const texts = () => Object.fromEntries(Object.entries(fields).map(([key, field]) => [key, field.value]));
  let saved = '';
  const isSaved = () => JSON.stringify(texts()) === saved;
  const close = async () => {
    while (!isSaved()) if (!await save()) return; // it may be typed on meanwhile
    dialog.close();
  };
  const inTurn = inLine(); // each answer is the whole card

  const save = () => inTurn(async () => {
    const written = texts(), { tags, 'preferred weight': weight, ...words } = written;
    const changes = { ...words, tags: tags.split(',').map((tag) => tag.trim()).filter(Boolean) };
    if (weight !== undefined) changes['preferred weight'] = Number(weight) || 0; // A1111's word for "no preference"
    const found = [card.prediction, card.zero_snr].join();
    try { card = await call('PATCH', addressOf(model, 'card'), changes); } catch (error) { complain(error); return false; }
    saved = JSON.stringify(written);
    if ([card.prediction, card.zero_snr].join() !== found) draw(); // the facts say it
    toast({ message: t('card_saved') });
    changed();
    return true;
  });

  const setPicture = (path, body) => inTurn(async () => {
    try { card = await call('PUT', path, body); } catch (error) { return void complain(error); }
    draw();
    changed();
  });

  function draw() {
    const picture = pictureOf(card), last = state.pictures.filter((item) => !item.pending).at(-1);
    const file = h('input', { type: 'file', class: 'sr-only', accept: 'image/png,image/jpeg,image/webp,image/gif', onchange: () => file.files[0] && setPicture(addressOf(card, 'preview'), file.files[0]) });
    const held = document.activeElement;
    for (const [key, label, unlike] of fields.notes ? [] : shown) { // once: in one of them somebody may be typing
      const named = { 'aria-label': t(label), 'data-key': key };
      fields[key] = unlike.choices ? h('select', named, ...unlike.choices.map(([value, word]) => h('option', { value, text: t(word) })))
        : unlike.lines ? h('textarea', { rows: String(unlike.lines), ...named }) : h('input', { type: unlike.number ? 'number' : 'text', ...(unlike.number && { step: '0.05' }), ...named });
      fields[key].value = written(key);
    }
    saved ||= JSON.stringify(texts());
    dialog.replaceChildren(
      h('header', {}, h('h2', { text: card.title }), button('close', t('close'), close, { class: 'icon-button' })),
      h('div', { class: 'about-model' },
        h('div', { class: 'picture' }, picture ? h('img', { src: picture, alt: '' }) : h('span', { class: 'blank', 'aria-hidden': 'true', text: [...card.title][0]?.toUpperCase() || '?' }),
          h('div', { class: 'row' },
            last && h('button', { type: 'button', class: 'act', id: 'card_last_picture', text: t('card_last_picture'), onclick: () => setPicture(`${addressOf(card, 'preview')}&picture=${last.id}`) }),
            h('label', { class: 'act' }, h('span', { text: t('card_choose_picture') }), file))),
        facts()),
      ...(card.error || card.unreadable ? [h('p', { class: 'note bad', role: 'alert', text: card.error || card.unreadable })] : []),
      ...shown.map(([key, label]) => h('label', {}, h('span', { text: t(label) }), fields[key])),
      h('div', { class: 'row' },
        card.kind === 'checkpoint' && !card.error && h('button', { type: 'button', class: 'act primary', text: t('models_use'), onclick: () => { useCheckpoint(card); close(); } }),
        h('button', { type: 'button', class: 'act', id: 'card_save', text: t('card_save'), onclick: save })),
      ...(Object.keys(card.metadata || {}).length ? [h('details', {}, h('summary', { text: t('card_metadata', { n: Object.keys(card.metadata).length }) }), h('pre', { class: 'infotext', tabindex: '0', text: readable(card.metadata) }))] : []));
    (dialog.contains(held) ? held : byId(held?.id))?.focus();
  }

  function written(key) {
    const value = key === 'tags' ? (card.notes.tags || []).join(', ') : card.notes[key] ?? '';
    return key === 'preferred weight' && !Number(value) ? '' : String(value);
  }

  function facts() {
    const hash = card.sha256 || card.hash;
    const rows = [
      ['models_kind', t(`kind_one_${card.kind}`)], ['card_base', baseName(card.base)], ['card_size', sizeOf(card.size)],
      ['card_dtype', Object.entries(card.dtypes || {}).map(([name, count]) => (Object.keys(card.dtypes).length > 1 ? `${name} × ${count}` : name)).join(', ')],
      ['card_parameters', card.parameters ? `${(card.parameters / 1e6).toLocaleString(window.easel.locale, { maximumFractionDigits: card.parameters < 1e8 ? 1 : 0 })} M` : ''],
      ['card_predicts', ['epsilon', 'v'].includes(card.prediction) ? t(`prediction_${card.prediction}${card.zero_snr ? '_zsnr' : ''}`) : ''],
      ['card_licence', card.licence], ['card_changed', new Date(card.mtime * 1000).toLocaleString(window.easel.locale, { dateStyle: 'medium', timeStyle: 'short' })], ['card_path', card.path],
    ].filter(([, value]) => value);
    const hashRow = h('div', { class: 'wide' }, h('dt', { text: 'SHA-256' }), h('dd', {}, hash ? h('code', { text: hash })
      : h('button', { type: 'button', class: 'act', text: t('card_hash'), onclick: compute })));
    return h('dl', {}, ...rows.map(([label, value]) => h('div', { class: label === 'card_path' ? 'wide' : '' }, h('dt', { text: t(label) }), h('dd', { text: value }))), hashRow);
  }

  function compute(event) {
    event.target.disabled = true;
    return inTurn(async () => {
      try { card = await post(addressOf(card, 'hash')); } catch (error) { return void complain(error); }
      if (card.sha256 || card.hash) draw();
      else toast({ message: t('job_hash', { name: card.name }) });
      changed();
    });
  }

  draw();
  dialog.showModal();
}

function readable(metadata) {
  const value = Object.fromEntries(Object.entries(metadata).map(([key, text]) => {
    try { return [key, JSON.parse(text)]; } catch { return [key, text]; }
  }));
  return JSON.stringify(value, null, 2);
}
