// Settings at the top of the page, chosen by the setting `quicksettings_list`. They count at once. The checkpoint picker among them is Gradio's.

import { byId, h, whenLeft } from './dom.js';
import { control } from './controls.js';
import { loadSettings, onSettings, saveSettings, settings } from './settings_store.js';
import { toast } from './toast.js';

const CHECKPOINT = 'sd_model_checkpoint';

export function mountQuicksettings() {
  const list = window.easel.server.settings.quicksettings_list || [CHECKPOINT];
  document.body.classList.toggle('no-checkpoint-picker', !list.includes(CHECKPOINT));
  if (list.indexOf(CHECKPOINT) > 0) document.body.classList.add('checkpoint-picker-last');
  if (list.every((key) => key === CHECKPOINT)) return;
  const bar = byId('easel_quicksettings');
  const draw = () => whenLeft(bar, () => bar.replaceChildren(...list.map((key) => settings.byKey.get(key)).filter(Boolean).map(place))); // what this server has not is left out
  loadSettings().then(() => { onSettings(draw); draw(); }).catch((error) => toast(error.info || { message: String(error) }, 'error'));
}

function place(setting) {
  const box = h('div', { class: `quick of-${setting.kind}`, id: `setting_${setting.key}`, title: setting.help }, h('span', { class: 'label', text: setting.label }));
  let timer = 0;
  const save = (value) => saveSettings({ [setting.key]: value }).then(() => box.classList.remove('has-error')).catch((error) => {
    box.classList.add('has-error');
    toast(error.info, 'error');
  });
  box.append(control(setting, settings.values[setting.key], (value) => { clearTimeout(timer); timer = setTimeout(save, 300, value); }));
  return box;
}
