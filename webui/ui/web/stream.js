// One event stream for all tabs of a browser (browsers allow six connections to a server, so a stream per tab would lock the seventh out). The tab
// that holds the lock reads the stream and tells the others; when it closes, the next tab gets the lock.

import { get } from './api.js';

const channel = new BroadcastChannel('easel');
const RETRY_FIRST = 700, RETRY_MOST = 5000, LEASE = 4000;

// `onEvent(event)` for each event; `onLink(up)` when the connection to the server comes or goes.
export function connect(onEvent, onLink) {
  let begun = false; // nothing is told before the first snapshot
  const waiting = new Set(); // for each snapshot that was asked for, what came since: it may be younger
  const deliver = (message) => {
    if ('up' in message) return onLink(message.up);
    for (const since of waiting) since.push(message.event);
    begun ||= message.event.type === 'snapshot';
    if (begun) onEvent(message.event);
  };
  const share = (message) => { deliver(message); channel.postMessage(message); };
  channel.onmessage = ({ data }) => deliver(data);

  const refetch = async (wait = RETRY_FIRST) => {
    const since = [];
    waiting.add(since);
    try {
      const event = await get('state');
      waiting.delete(since);
      [event, ...since].forEach((one) => deliver({ event: one }));
      onLink(true);
    } catch {
      waiting.delete(since);
      onLink(false);
      setTimeout(refetch, wait, Math.min(wait * 2, RETRY_MOST));
    }
  };
  refetch();
  document.addEventListener('visibilitychange', () => { if (!document.hidden) refetch(); }); // a laptop that slept
  elect(() => lead(share));
}

// Reads the stream, again after every break, until the returned function is called.
function lead(share) {
  let source, timer, wait = RETRY_FIRST;
  const open = () => {
    source = new EventSource('api/v1/events');
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === 'snapshot') { wait = RETRY_FIRST; share({ up: true }); }
      share({ event });
    };
    source.onerror = () => {
      source.close();
      share({ up: false });
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 1.6, RETRY_MOST);
    };
  };
  open();
  return () => { clearTimeout(timer); source.close(); };
}

function elect(run) {
  if (navigator.locks) return void navigator.locks.request('easel-stream', () => { run(); return new Promise(() => {}); });
  // Web Locks exist only on https and localhost. On plain http (--listen) the stream's holder renews a lease in localStorage instead.
  const me = Math.random().toString(36).slice(2);
  const read = () => { try { return JSON.parse(localStorage.getItem('easel.stream')) || {}; } catch { return {}; } };
  const renew = () => localStorage.setItem('easel.stream', JSON.stringify({ holder: me, until: Date.now() + LEASE }));
  let stop = null;
  const watch = () => {
    const lease = read();
    if (lease.holder === me) { renew(); stop ??= run(); }
    else if (lease.until > Date.now()) { stop?.(); stop = null; } // the browser had put this tab to sleep and another took over
    else renew(); // ours, if nobody writes over it until the next look
  };
  watch();
  setInterval(watch, LEASE / 4);
  addEventListener('pagehide', () => { if (stop) localStorage.removeItem('easel.stream'); });
}
