// The settings as the server knows them: sections, words in the page's language, values. Read once, when somebody first needs them.

import { call, get, inLine } from './api.js';
import { same } from './diff.js';

export const settings = { sections: [], byKey: new Map(), values: {} };
const listeners = new Set();
const inTurn = inLine(); // an answer is all values: none may be older than the one before
let loading = null;

export const onSettings = (listener) => listeners.add(listener);
const tell = () => listeners.forEach((listener) => listener());

export function loadSettings() {
  loading ??= read().catch((error) => { loading = null; throw error; });
  return loading;
}

async function read() {
  const { locale } = window.easel;
  const translated = locale === 'en' ? {} : fetch(`web/i18n/settings/${locale}.json`).then((answer) => (answer.ok ? answer.json() : {}));
  const [sections, values, words] = await Promise.all([get('settings/schema'), get('settings'), translated]);
  for (const section of sections) {
    [section.title] = words[`section:${section.id}`] || [section.title];
    for (const setting of section.settings) {
      const [label, help] = words[setting.key] || [];
      setting.names = `${setting.key} ${setting.label} ${setting.help} ${label || ''} ${help || ''} ${section.title}`.toLowerCase(); // what search looks in
      setting.label = label || setting.label;
      setting.help = help || setting.help;
      settings.byKey.set(setting.key, setting);
    }
  }
  Object.assign(settings, { sections, values });
  tell();
}

// Raises `ApiError` at the key; then nothing was changed.
export const saveSettings = (changes) => take(() => call('PATCH', 'settings', changes));

export const rereadSettings = () => take(() => get('settings'));

const take = (ask) => inTurn(async () => {
  settings.values = await ask();
  tell();
});

export const isDefault = (setting, value) => same(value, setting.default);
