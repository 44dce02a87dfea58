// Where the sheet goes: into the browser's own database, so that a reload brings everything back, and into the server's store, each file once.

import { call } from './api.js';

const PARTS = ['picture', 'colour', 'mask'];

const database = new Promise((resolve) => {
  const request = indexedDB.open('easel', 1);
  request.onupgradeneeded = () => request.result.createObjectStore('canvas');
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => resolve(null); // forbidden: the page works without it
});

async function stored(mode, act) {
  const open = await database;
  if (!open) return undefined;
  return new Promise((resolve) => {
    const transaction = open.transaction('canvas', mode), request = act(transaction.objectStore('canvas'));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => resolve(undefined); // full: what is on the page stays there
  });
}

export const decode = (blob) => createImageBitmap(blob);

export class Keeper {
  // `file(part)` gives what a part is now as a blob, or null. `key` names the sheet in the database.
  constructor(key, file) {
    Object.assign(this, { key, file, versions: {}, files: {}, refs: {}, timer: 0, pending: Promise.resolve(), sent: 0 });
    addEventListener('pagehide', () => this.save());
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
    if (this.files[part]?.version !== version) this.files[part] = { version, blob: this.file(part) };
    return this.files[part].blob;
  }

  save() {
    clearTimeout(this.timer);
    const wanted = { ...this.versions };
    if (PARTS.every((part) => wanted[part] === this.saved?.[part])) return this.pending;
    this.saved = wanted;
    return (this.pending = this.pending.then(async () => {
      const values = Object.fromEntries(await Promise.all(PARTS.map(async (part) => [part, await this.blob(part)])));
      await stored('readwrite', (store) => store.put(values, this.key));
    }));
  }

  load() { return stored('readonly', (store) => store.get(this.key)); }

  // What was loaded lies on the sheet: nothing of it is to be written again.
  took(files) {
    for (const part of PARTS) this.files[part] = { version: this.versions[part], blob: files[part] };
    this.saved = { ...this.versions };
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
