// The work of Batch: pictures and masks go up, jobs are put in line. Fetched when Generate is pressed in that mode.

import { post } from './api.js';
import { now } from './forms.js';
import { toast } from './toast.js';
import { t } from './words.js';

const { easel } = window;
const AT_ONCE = 4; // uploads

// The form's values as a request; what belongs to a script goes under `ext`.
function requestOf(values) {
  const fields = Object.fromEntries(Object.entries(values).filter(([path]) => !path.includes('.'))), prefix = `ext.${values.script}.`;
  const own = Object.entries(values).filter(([path]) => values.script && path.startsWith(prefix)).map(([path, value]) => [path.slice(prefix.length), value]);
  return { ...fields, kind: 'img2img', ...(values.script ? { ext: { [values.script]: Object.fromEntries(own) } } : {}) };
}

// What a picture says of itself, of what is wanted.
async function told(picture, request, wanted) {
  if (!wanted) return {};
  const { values } = await post('png-info', picture);
  const found = Object.fromEntries(wanted.filter((name) => name in values).map((name) => [name, values[name]]));
  if ('prompt' in found && values.styles) found.styles = [...request.styles || [], ...values.styles]; // they were taken out of the prompts
  for (const name of ['prompt', 'negative_prompt']) if (found[name] && request[name]) found[name] = `${request[name]} ${found[name]}`; // appended, as in A1111
  return found;
}

// A file that the server cannot read is left out; any other failure stops the rest.
const isBad = (error) => { if (error.status !== 422) throw error; };

// A job for each picture, in their order, some uploads ahead. `say` hears how far it is. When it cannot go on, gives the pictures that are dealt with
// and need not be sent again; else none. What is chosen meanwhile is for another time.
export async function queueAll(pictures, maskOf, wanted, say) {
  const all = [...pictures], masks = new Map(all.map((picture) => [picture, maskOf(picture)]));
  const waiting = [...all], lost = [], uploads = new Map(), count = () => all.length - waiting.length - lost.length;
  const tell = () => t('batch_queued', { n: count(), m: all.length });
  const up = (file) => { if (!uploads.has(file)) uploads.set(file, post('images', file)); return uploads.get(file); };
  try {
    const values = await now('img2img');
    for (; waiting.length; waiting.shift(), say(tell())) {
      waiting.slice(0, AT_ONCE).forEach((file) => up(file).catch(() => {}));
      const [picture] = waiting, mask = masks.get(picture), request = requestOf(values), sent = { image: await up(picture).catch(isBad), mask: mask && await up(mask).catch(isBad) };
      const bad = sent.image ? mask && !sent.mask && mask : picture;
      if (bad) { lost.push(bad.name); continue; }
      const answer = await post('jobs', { ...request, ...await told(picture, request, wanted), mode: mask ? 'inpaint_upload' : 'img2img', ...sent, colour: null });
      if (!count()) easel.answered(answer, 'img2img');
    }
    toast({ message: tell(), hint: lost.length > 0 && t('batch_left_out', { names: lost.join(', ') }) }, lost.length ? 'error' : 'info');
  } catch (error) {
    if (error.info) easel.answered({ errors: [error.info] }, 'img2img');
    else toast({ message: String(error) }, 'error');
    return all.slice(0, all.length - waiting.length);
  }
  return [];
}

// One job for a folder. Gives the complaints about the folders themselves.
export async function queueFolder(batch) {
  try {
    easel.answered(await post('jobs', { ...requestOf(await now('img2img')), mode: 'img2img', image: null, mask: null, colour: null, batch }), 'img2img');
    return [];
  } catch (error) {
    const told = error.info?.errors || [error.info || { message: String(error) }], ours = (one) => one.field?.startsWith('batch.');
    easel.answered({ errors: told.filter((one) => !ours(one)) }, 'img2img');
    return told.filter(ours);
  }
}
