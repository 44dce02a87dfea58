// Runs before Gradio draws anything: theme and language of the document, and the draft put into the page's own configuration, so that every field
// is born with the value it had. No field is ever overwritten afterwards, so nothing a person types can be lost. Inlined into the head by shell.py.
(() => {
  const page = window.easelPage;
  const server = askServer(); // settings of the page, defaults of the form
  const read = (key) => { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } };
  // What a tab of the browser remembers over a reload; a new one takes what was kept last (`forAll`).
  const recall = (key) => { try { return JSON.parse(sessionStorage.getItem(key) ?? localStorage.getItem(key)); } catch { return null; } };
  const remember = (key, value, forAll = value) => {
    try {
      sessionStorage.setItem(key, JSON.stringify(value));
      localStorage.setItem(key, JSON.stringify(forAll));
    } catch { /* storage is full or forbidden: the page works without it */ }
  };
  const draft = recall('easel.draft') || {};
  remember('easel.draft', draft, read('easel.draft') || {}); // what another tab says from now on stays there

  const easel = window.easel = { page, server, draft, recall, remember, born: {} };
  easel.keep = (path, value) => {
    if (draft[path] === value) return;
    draft[path] = value;
    remember('easel.draft', draft, { ...read('easel.draft'), [path]: value }); // of each field what was said last in any tab
    document.dispatchEvent(new CustomEvent('easel:keep', { detail: path }));
  };
  // One or more fields of a form are other ones now.
  easel.note = (values, tab) => Object.values(page.forms[tab]).forEach(({ key }, index) => {
    if (JSON.stringify(values[index]) !== JSON.stringify(key in draft ? draft[key] : easel.born[key])) easel.keep(key, values[index]);
  });
  // Filled in by main.js; until it has loaded, what Gradio calls must not fail.
  easel.answered = (...answer) => { easel.early = answer; };
  easel.showScript = () => {};
  easel.reuseSeed = (seed) => seed;
  easel.shown = () => null;
  easel.openPanel = easel.enlarge = easel.sizeOfPicture = () => {};
  easel.withCanvas = (tab, values) => values;
  easel.rescan = () => {};
  easel.applyStyles = (tab, texts) => texts;
  easel.read = () => {};
  easel.fill = (values) => values;
  easel.tab = easel.making = 'txt2img'; // the open tab, and the form that is meant
  easel.tabBefore = recall('easel.tab'); // main.js opens it again
  easel.openedTab = (id) => {
    easel.tab = id;
    if (id in page.forms) easel.making = id;
    remember('easel.tab', id);
    document.dispatchEvent(new CustomEvent('easel:tab', { detail: id }));
  };

  const translations = window.gradio_config?.i18n_translations || {};
  const locales = Object.keys(translations);
  const language = server.settings.localization;
  const chosen = locales.includes(language) && language; // not "None"
  const wanted = chosen || navigator.language || 'en'; // the rule by which Gradio chooses for its components
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

  const fields = new Map(Object.values(page.forms).flatMap((form) => Object.entries(form).map(([path, { id, key }]) => [id, { path, key }])));
  for (const component of window.gradio_config?.components || []) {
    if (chosen) component.props = translated(component.props, translations[chosen]);
    const { path, key } = fields.get(component.id) || {};
    if (!path) continue;
    const { visible, ...look } = server.form[key] || {};
    Object.assign(component.props, look);
    if (visible === false) component.props.elem_classes = [...(component.props.elem_classes || []), 'out-of-sight']; // stays in the page: scripts count on it
    easel.born[key] = component.props.value;
    if (key in draft) restore(component, path, draft[key]);
    const hidden = { sampler: server.settings.hide_samplers, scheduler: server.settings.hide_schedulers }[path] || [];
    if (hidden.length) component.props.choices = component.props.choices.filter((choice) => !hidden.includes(choice[1]) || choice[1] === component.props.value);
  }

  arrangeTabs(window.gradio_config || {}, server.settings.ui_tab_order || [], server.settings.hidden_tabs || []);

  // Tabs in the order of the settings, hidden ones without their button. txt2img is drawn first in any case, since what main.js mounts is in it;
  // main.js opens the tab that is to be seen.
  function arrangeTabs({ components = [], page: pages }, order, hidden) {
    const tabs = components.find((component) => component.type === 'tabs');
    if (!tabs) return;
    const idOf = (node) => components.find((component) => component.id === node.id).props.id;
    const find = (node) => (node.id === tabs.id ? node : (node.children || []).map(find).find(Boolean));
    const node = find(pages[''].layout), place = (child) => { const at = order.indexOf(page.tabNames[idOf(child)]); return at < 0 ? order.length : at; };
    node.children.sort((a, b) => place(a) - place(b));
    tabs.props.selected = 'txt2img';
    const ids = node.children.map(idOf), gone = ids.filter((id) => id !== 'settings' && hidden.includes(page.tabNames[id]));
    easel.tabs = ids.filter((id) => !gone.includes(id));
    if (gone.length) document.head.append(Object.assign(document.createElement('style'), { textContent: `${gone.map((id) => `[role="tab"][data-tab-id="${id}"]`)} { display: none !important; }` }));
  }

  // Gradio has chosen the browser's language by now; where the setting names another one, its marks are filled in before it sees them.
  function translated(value, words) {
    if (typeof value === 'string') {
      const key = value.startsWith('__i18n__') && JSON.parse(value.slice('__i18n__'.length)).key;
      return (key && words[key]) || value;
    }
    if (Array.isArray(value)) return value.map((item) => translated(item, words));
    if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, translated(item, words)]));
    return value;
  }

  // Gradio takes the configuration as soon as this script is through, so the answer is waited for: one short question to our own server.
  function askServer() {
    const request = new XMLHttpRequest();
    request.open('GET', 'api/v1/page', false);
    try { request.send(); } catch { /* away: the page shows so by itself */ }
    return request.status === 200 ? JSON.parse(request.responseText) : { settings: {}, form: {}, complaints: [] };
  }

  function restore(component, path, value) {
    const choices = component.props.choices;
    const offered = (value) => choices.some((choice) => choice[1] === value);
    // A sampler or script that an extension took away again is left at its default. Checkpoints and styles are checked when their list is read.
    const gone = choices && path !== 'checkpoint' && !Array.isArray(value) && !offered(value);
    if (!gone && value !== null) component.props.value = value;
  }
})();
