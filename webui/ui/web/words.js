// The page's words in the chosen language, from the same files as Gradio's.

const english = (window.gradio_config?.i18n_translations || {}).en || {};

export function t(key, values = {}) {
  const text = window.easel.words[key] ?? english[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

// A choice of a list, which is a value of the API, in words.
export function choiceName(choice) {
  const key = `choice_${choice}`.replace(/[^\w]+/g, '_').toLowerCase(), word = t(key);
  return word === key ? choice : word;
}

export function timeLeft(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return t('eta_seconds', { n: whole });
  if (whole < 3600) return t('eta_minutes', { m: Math.floor(whole / 60), s: whole % 60 });
  return t('eta_hours', { h: Math.floor(whole / 3600), m: Math.floor((whole % 3600) / 60) });
}

// The name of a picture's file, or why it has none yet.
export function fileOf(picture, hashing) {
  if (!picture.pending) return picture.name;
  return hashing ? t('file_waits_percent', { name: hashing.name, n: Math.round(hashing.fraction * 100) }) : t('file_waits');
}
