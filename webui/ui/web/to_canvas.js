// A picture that is sent to the canvas, and what it says of itself to the form beside it. Fetched when something is sent.

import { get } from './api.js';
import { change, now, undo } from './forms.js';
import { compare, hasValues, pasteFrom, valuesOf } from './paste.js';
import { openTab } from './send.js';
import { toast } from './toast.js';
import { t } from './words.js';

const TAB = 'img2img';
const inCells = (side) => Math.min(Math.max(Math.round(side / 8) * 8, 64), 2048);

// One click: the picture lies on the canvas; what was there comes back with its undo. Its parameters come along where nothing is written yet, and are offered elsewhere.
export async function send({ blob, url, id, metadata }, mode, canvas) {
  try {
    const picture = blob || await (await fetch(url)).blob();
    await openTab(TAB);
    const { openPicture } = await canvas;
    await openPicture(picture, mode);
    const about = metadata ? Promise.resolve(metadata) : id ? get(`pictures/${id}/info`) : null, form = await now(TAB);
    if (about && !form.prompt && !form.negative_prompt && await takeAll(await about, form)) return void toast({ message: t('sent_img2img_all'), action: { label: t('undo'), act: undo } });
    toast({ message: t('sent_img2img'), action: about && { label: t('send_parameters'), act: () => pasteFrom(about, { blob: picture, tab: TAB }) } });
  } catch (error) { toast(error.info ?? { message: String(error) }, 'error'); }
}

// All that it says, without asking, and the picture's own size; false when it says nothing.
async function takeAll(metadata, form) {
  if (!hasValues(metadata)) return false;
  const size = metadata.width ? { width: inCells(metadata.width), height: inCells(metadata.height) } : {};
  await change(valuesOf(form, compare(form, { ...metadata.values, ...size }, TAB).rows), TAB);
  return true;
}
