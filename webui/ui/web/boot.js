// Runs before Gradio draws anything: theme and language of the document, and the draft put into the page's own configuration, so that every field
// is born with the value it had. No field is ever overwritten afterwards, so nothing a person types can be lost. Inlined into the head by shell.py.
(() => {
  const page = window.easelPage;
  const read = (key) => { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } };
  const draft = read('easel.draft') || {};

  const easel = window.easel = { page, draft };
  easel.keep = (path, value) => {
    if (draft[path] === value) return;
    Object.assign(draft, read('easel.draft') || {}, { [path]: value }); // other tabs keep their fields in the same draft
    try { localStorage.setItem('easel.draft', JSON.stringify(draft)); } catch { /* storage is full or forbidden: the page works without it */ }
  };
  // Filled in by main.js; until it has loaded, what Gradio calls must not fail.
  easel.answered = (answer) => { easel.early = answer; };
  easel.showScript = () => {};
  easel.reuseSeed = (seed) => seed;
  easel.rescan = () => {};
  easel.read = () => {};
  easel.fill = (values) => values;
  easel.tab = 'txt2img';
  easel.tabBefore = read('easel.tab'); // main.js opens it again
  easel.openedTab = (id) => { easel.tab = id; try { localStorage.setItem('easel.tab', JSON.stringify(id)); } catch { /* as above */ } };

  const locales = Object.keys(window.gradio_config?.i18n_translations || {});
  const wanted = navigator.language || 'en'; // the rule by which Gradio chooses for its components
  easel.locale = [wanted, wanted.split('-')[0]].find((name) => locales.includes(name)) || 'en';
  easel.words = (window.gradio_config?.i18n_translations || {})[easel.locale] || {};
  document.documentElement.lang = easel.locale;

  const system = matchMedia('(prefers-color-scheme: dark)');
  easel.isDark = () => {
    const chosen = read('easel.theme') || page.theme;
    return chosen === 'dark' || (chosen !== 'light' && system.matches);
  };
  easel.paint = () => {
    const dark = easel.isDark();
    if (document.body.classList.contains('dark') !== dark) document.body.classList.toggle('dark', dark);
    document.documentElement.style.colorScheme = dark ? 'dark' : 'light';
  };
  // Gradio sets its class itself while it starts and when the system changes; ours is the last word.
  new MutationObserver(easel.paint).observe(document.body, { attributes: true, attributeFilter: ['class'] });
  system.addEventListener('change', easel.paint);
  easel.paint();

  const wantedById = new Map(Object.entries(page.ids).filter(([path]) => path in draft).map(([path, id]) => [id, draft[path]]));
  for (const component of window.gradio_config?.components || []) {
    if (!wantedById.has(component.id)) continue;
    const choices = component.props.choices;
    const offered = (value) => choices.some((choice) => choice[1] === value);
    const value = wantedById.get(component.id);
    // A sampler or script that an extension took away again is left at its default. Checkpoints and styles are checked when their list is read.
    const gone = choices && component.id !== page.ids.checkpoint && !Array.isArray(value) && !offered(value);
    if (!gone && value !== null) component.props.value = value;
  }
})();
