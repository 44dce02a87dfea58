// What the settings of the page do to it: classes on the body, the height of the picture area, the screen kept awake. See docs/settings.md.

import { running, subscribe } from './store.js';

export const pageSettings = window.easel.server.settings;

export function applyPageSettings() {
  document.body.classList.toggle('no-token-counters', Boolean(pageSettings.disable_token_counters));
  document.body.classList.toggle('no-progressbar', pageSettings.show_progressbar === false);
  const height = pageSettings.gallery_height;
  if (height) document.documentElement.style.setProperty('--gallery-height', /^[\d.]+$/.test(height) ? `${height}px` : height);
  if (pageSettings.prevent_screen_sleep_during_generation) keepAwake();
}

// The browser takes the lock back when the page is hidden; it is asked for again when the page is seen and something still runs.
function keepAwake() {
  if (!navigator.wakeLock) return; // plain http, or a browser without it
  let lock = null, asked = false;
  const follow = async () => {
    const wanted = Boolean(running()) && document.visibilityState === 'visible';
    if (wanted && !lock && !asked) {
      asked = true;
      lock = await navigator.wakeLock.request('screen').catch(() => null);
      lock?.addEventListener('release', () => { lock = null; });
      asked = false;
    } else if (!wanted && lock) {
      lock.release();
      lock = null;
    }
  };
  subscribe((_, event) => { if (event.type === 'job' || event.type === 'snapshot') follow(); });
  document.addEventListener('visibilitychange', follow);
}
