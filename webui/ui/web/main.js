// Starts everything once Gradio has drawn the page: the views, the event stream, the keys.

import { button, byId, icon, present } from './dom.js';
import { mountExamples } from './examples.js';
import { mountExtrasTarget } from './extras_target.js';
import { mountForms } from './forms.js';
import { mountPaste } from './paste.js';
import { mountPictures } from './pictures.js';
import { openTab } from './send.js';
import { mountModelDefaults } from './model_defaults.js';
import { generate, interrupt, loadCheckpoints, mountForm, relist, skipBatch } from './form.js';
import { offerOldForm } from './form_defaults.js';
import { applyPageSettings } from './page_settings.js';
import { mountQueue, queueIsOpen, toggle } from './queue.js';
import { mountQuicksettings } from './quicksettings.js';
import { apply, change, running, state } from './store.js';
import { connect } from './stream.js';
import { mountStyles } from './styles.js';
import { mountNotices } from './toast.js';
import { mountViewer } from './viewer.js';
import { get } from './api.js';
import { t } from './words.js';

const { easel, easelPage: page } = window;

let boot = null;
connect(receive, (up) => { if (state.up !== up) change({ up }); });
present('easel_tools', 'easel_model_defaults', 'easel_notices', 'easel_quicksettings', 'txt2img_styles_edit_button', 'txt2img_gallery_container', 'paste',
  'txt2img_generate', 'txt2img_reuse_seed', 'txt2img_negative_token_counter', 'txt2img_override_settings', 'txt2img_prompt', 'txt2img_neg_prompt').then(start);

function start() {
  const theme = themeButton();
  mountNotices();
  mountViewer();
  mountForms();
  mountForm();
  mountStyles('txt2img');
  mountQuicksettings();
  // Gradio draws a tab when it is first opened; only then are its scripts fetched.
  present('img2img_depth_place').then(() => import('./depth.js')).then((depth) => depth.mountDepth());
  present('easel_models').then(() => import('./models.js')).then((models) => models.mountModels());
  present('settings').then(() => import('./settings.js')).then((settings) => settings.mountSettings());
  applyPageSettings();
  offerOldForm();
  mountPaste();
  mountPictures();
  mountExtrasTarget();
  mountExamples();
  mountModelDefaults();
  byId('easel_tools').replaceChildren(mountQueue(), theme);
  document.addEventListener('keydown', onKey, true);
  loadCheckpoints();
  // Gradio draws a tab when it is first opened; what is mounted above is in the first one.
  const tab = easel.tabs.includes(easel.tabBefore) ? easel.tabBefore : easel.tabs[0];
  if (tab !== 'txt2img') openTab(tab);
  document.documentElement.dataset.easel = 'ready';
}

function receive(event) {
  apply(event);
  if (event.type === 'snapshot') {
    if (boot !== null && boot !== event.boot) restarted();
    boot = event.boot;
  }
  if (event.type === 'catalog') relist();
  if (event.type === 'ui_changed') location.reload(); // every field comes back from the draft
}

// The server came back as another process: the page goes on as it is, unless it is of another version or has scripts that are no more.
async function restarted() {
  const { version } = await get('ping').catch(() => page), scripts = await fetch(`${page.web}/main.js`, { method: 'HEAD', cache: 'no-store' }).catch(() => null);
  if (version !== page.version || scripts?.status === 404) location.reload();
  else { easel.recount?.(); loadCheckpoints(); }
}

function themeButton() {
  const face = button('moon', t('theme_dark'), () => {
    const next = easel.isDark() ? 'light' : 'dark';
    localStorage.setItem('easel.theme', JSON.stringify(next));
    easel.paint();
    draw();
  }, { id: 'easel_theme', class: 'icon-button' });
  const draw = () => {
    const dark = easel.isDark();
    face.replaceChildren(icon(dark ? 'sun' : 'moon'));
    face.title = t(dark ? 'theme_light' : 'theme_dark');
    face.setAttribute('aria-label', face.title);
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  addEventListener('storage', (event) => { if (event.key === 'easel.theme') { easel.paint(); draw(); } }); // chosen in another tab
  draw();
  return face;
}

function onKey(event) {
  if (event.isComposing) return; // Enter that ends a Chinese input
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); event.stopPropagation(); generate(); }
  else if (event.key === 'Enter' && event.altKey) { event.preventDefault(); event.stopPropagation(); if (running()) skipBatch(); }
  else if (event.key === 'Escape') onEscape(event);
}

// Esc closes what is open first; only then it interrupts.
function onEscape(event) {
  if (document.querySelector('dialog[open], .menu:not([hidden]), [aria-expanded="true"][role="listbox"], ul.options')) return;
  if (queueIsOpen()) { event.preventDefault(); toggle(); }
  else if (running()) { event.preventDefault(); interrupt(); }
}
