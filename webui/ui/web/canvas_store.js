// Where the sheet goes: into the browser's own database, so that a reload brings everything back, and into the server's store, each file once. Each tab of the
// browser has a sheet of its own; a new one begins with a copy of what was worked on last.

import { call, inLine } from './api.js';
import { encodePng } from './canvas_png.js';
import { t } from './words.js';

const { recall, remember } = window.easel;
const PARTS = ['picture', 'colour', 'mask'];
const KEPT = 12; // sheets; older ones go
const NAME = 'easel.sheet';

export const inTurn = inLine(); // what comes onto the sheet, in the order in which it was asked for

let base = null; // the database, once it is open
const database = new Promise((resolve) => {
  const request = indexedDB.open('easel', 1);
  request.onupgradeneeded = () => request.result.createObjectStore('canvas');
  request.onsuccess = () => resolve(base = request.result);
  request.onerror = () => resolve(null); // forbidden: the page works without it
});

// Resolves to what `act(store)` asked for; undefined when it failed: what is on the page stays there.
const within = (mode, act) => new Promise((resolve) => {
  const transaction = base.transaction('canvas', mode), request = act(transaction.objectStore('canvas'));
  transaction.oncomplete = () => resolve(request.result ?? null);
  transaction.onerror = transaction.onabort = () => resolve(undefined);
  transaction.commit();
});
const stored = async (mode, act) => (await database ? within(mode, act) : undefined);

// The pixels of a file.
export const decode = (blob) => createImageBitmap(blob).catch(() => { throw new Error(t('canvas_unreadable')); });

// Whether this tab alone has the name of a sheet from now on. Plain http has no Web Locks: there a tab trusts what it remembers itself.
const claim = (name) => new Promise((resolve) => {
  if (!navigator.locks) return resolve(NAME in sessionStorage);
  navigator.locks.request(name, { ifAvailable: true }, (lock) => { resolve(Boolean(lock)); return lock && new Promise(() => {}); });
});

// `before`: the sheet to begin with; `name`: where this tab writes.
async function ownName(prefix) {
  const before = recall(NAME), name = before && await claim(before) ? before : `${prefix}/${Date.now()}-${Math.random()}`;
  if (name !== before) await claim(name);
  remember(NAME, name);
  return { before, name };
}

export class Keeper {
  // `file(part)` gives (a promise of) what a part is now as a blob, or null; `raw(part)` the same at once, a layer as its pixels.
  constructor(prefix, file, raw) {
    Object.assign(this, { file, raw, versions: {}, files: {}, refs: {}, timer: 0, sent: 0 });
    this.named = this.pending = ownName(prefix).then((found) => { this.name = found.name; return found; });
    document.addEventListener('easel:lost', () => { this.refs = {}; }); // on the server: all goes up again
    document.addEventListener('visibilitychange', () => { if (document.visibilityState === 'hidden') this.save(); });
  }

  changed(part) {
    this.versions[part] = (this.versions[part] || 0) + 1;
    clearTimeout(this.timer);
    clearTimeout(this.resting);
    this.timer = setTimeout(() => this.save(), 300);
    this.resting = setTimeout(() => PARTS.forEach((each) => this.ref(each).catch(() => {})), 1500); // Generate need not wait then; what goes wrong is said there
  }

  // The file of a part, made once for each version.
  async blob(part) {
    const version = this.versions[part] || 0;
    if (this.files[part]?.version !== version) {
      const entry = this.files[part] = { version, blob: this.file(part) };
      entry.blob.then((made) => { entry.made = made; }, () => {});
    }
    return this.files[part].blob;
  }

  isIn(versions) { return PARTS.every((part) => this.versions[part] === versions?.[part]); }

  save() {
    clearTimeout(this.timer);
    const wanted = { ...this.versions };
    if (this.isIn(this.saved)) return this.pending;
    this.saved = wanted;
    return (this.pending = this.pending.then(async () => {
      const values = Object.fromEntries(await Promise.all(PARTS.map(async (part) => [part, await this.blob(part)])));
      if (await stored('readwrite', (store) => store.put({ ...values, at: Date.now() }, this.name)) !== undefined) this.written = wanted;
    }));
  }

  // The page goes, and nothing is waited for any more: what has no file yet is written as its pixels.
  leave() {
    if (!base || !this.name || this.isIn(this.written)) return;
    const now = (part) => (this.files[part]?.version === (this.versions[part] || 0) ? this.files[part].made : undefined) ?? this.raw(part);
    within('readwrite', (store) => store.put({ ...Object.fromEntries(PARTS.map((part) => [part, now(part)])), at: Date.now() }, this.name));
  }

  // What was on this tab's sheet, or on the one that was used last, as files; undefined when there is none.
  async load() {
    const { before } = await this.named, names = await stored('readonly', (store) => store.getAllKeys()), sheets = names && await stored('readonly', (store) => store.getAll());
    if (!sheets?.length) return undefined;
    const all = names.map((name, index) => ({ name, ...sheets[index] })).sort((a, b) => (b.at || 0) - (a.at || 0));
    const old = all.slice(KEPT).filter(({ name }) => name !== before);
    if (old.length) stored('readwrite', (store) => old.map(({ name }) => store.delete(name)).at(-1));
    const found = all.find(({ name }) => name === before) ?? all[0];
    this.own = found.name === this.name;
    const whole = async (part) => (found[part] instanceof ImageData ? encodePng(found[part], part === 'mask') : found[part] ?? null);
    return Object.fromEntries(await Promise.all(PARTS.map(async (part) => [part, await whole(part)])));
  }

  // What was loaded lies on the sheet: no file of it is to be made again, and nothing written unless it came from another tab.
  took(files) {
    for (const part of PARTS) this.files[part] = { version: this.versions[part], blob: files[part], made: files[part] };
    if (this.own) this.saved = this.written = { ...this.versions };
    this.save();
  }

  // What the request says of a part: an ImageRef, or null. The file goes up once.
  async ref(part) {
    const blob = await this.blob(part);
    if (!blob) return null;
    if (this.refs[part]?.blob !== blob) {
      const entry = this.refs[part] = { blob, ref: null, asked: call('POST', 'images', blob) };
      this.sent += blob.size;
      entry.asked.then((ref) => { entry.ref = ref; }, () => { if (this.refs[part] === entry) delete this.refs[part]; }); // asked again next time
    }
    return this.refs[part].asked;
  }
}
