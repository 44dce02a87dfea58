// Calls to the server's own HTTP API. An answer that is an error becomes an `ApiError` with the server's words.

import { t } from './words.js';

export class ApiError extends Error {
  constructor(info, status) {
    super(info.message);
    this.info = info;
    this.status = status;
  }
}

export async function call(method, path, body) {
  let response;
  try {
    const json = body !== undefined && !(body instanceof Blob); // a file goes as it is
    response = await fetch(`api/v1/${path}`, { method, headers: json ? { 'Content-Type': 'application/json' } : {}, body: json ? JSON.stringify(body) : body });
  } catch {
    throw new ApiError({ type: 'Away', message: t('request_failed') }, 0);
  }
  if (response.status === 401) location.reload(); // signed out: the server shows its login page
  const data = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(data && data.message ? data : { type: 'Error', message: `${response.status} ${response.statusText}` }, response.status);
  return data;
}

export const get = (path) => call('GET', path);
export const post = (path, body) => call('POST', path, body);

// For what is asked again before it is answered: `const latest = newest()`, then `await latest(promise)` gives the answer, or undefined when another was asked
// since, whatever became of this one. `latest(null)`: what was asked is not wanted any more.
export function newest() {
  let last;
  return async (asked) => {
    last = asked;
    try {
      const answer = await asked;
      if (asked === last) return answer;
    } catch (error) { if (asked === last) throw error; }
  };
}

// For what must not overtake each other: each begins when the one before has ended, well or not.
export function inLine() {
  let last = Promise.resolve();
  return (act) => (last = last.then(() => act(), () => act()));
}
