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
