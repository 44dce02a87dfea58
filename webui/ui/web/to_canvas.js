// A picture that is sent to the canvas, and what it says of itself to the form beside it. Fetched when something is sent.

import { get, newest } from './api.js';
import { decode } from './canvas_store.js';
import { change, now, undo, valueOf } from './forms.js';
import { compare, hasValues, pasteFrom, valuesOf } from './paste.js';
import { openTab } from './send.js';
import { toast } from './toast.js';
import { t } from './words.js';

const TAB = 'img2img';
const inCells = (side) => Math.min(Math.max(Math.round(side / 8) * 8, 64), 2048);

// What was said of a picture that img2img made names the picture it began with too. Here it is itself what one begins with.
const ofForm = ({ values: { mode, image, colour, mask, depth, ...values }, ...metadata }) => ({ ...metadata, values });

const latest = newest();
const isWritten = () => ['prompt', 'negative_prompt'].some((path) => valueOf(TAB, path));

// One click: the picture lies on the canvas; what was there comes back with its undo. Its parameters come along where nothing is written yet, and are offered elsewhere.
export async function send({ blob, url, id, metadata }, mode, canvas) {
  try {
    const [found] = await Promise.all([latest(Promise.all([blob || fetch(url).then((answer) => answer.blob()), metadata || (id && get(`pictures/${id}/info`))])), openTab(TAB)]);
    if (!found) return; // another was sent since
    const [picture, said] = found, about = said && ofForm(said);
    const { openPicture } = await canvas, paper = await openPicture(picture, mode), step = paper?.done.at(-1);
    if (!paper) return; // the canvas has said why
    const back = async () => {
      await undo();
      if (step && paper.done.at(-1) === step) paper.undo(); // nothing was painted on it since
    };
    if (about && !isWritten() && await takeAll(about)) return void toast({ message: t('sent_img2img_all'), action: { label: t('undo'), act: back } });
    toast({ message: t('sent_img2img'), action: about && { label: t('send_parameters'), act: () => pasteFrom(Promise.resolve(about), { blob: picture, tab: TAB }) } });
  } catch (error) { toast(error.info ?? { message: String(error) }, 'error'); }
}

// The parts that a form's values name, as files: of the picture that they name, or over the one that is there; a layer that they do not speak of is kept
// (`seen`: the one that counts now). `keeper` has what is there.
export async function bring({ image: picture, colour, mask }, seen, keeper) {
  const load = async ([part, ref]) => {
    if (!ref) return [part, !picture || ref === undefined && part === seen ? await keeper.blob(part) : null];
    const answer = await fetch(`api/v1/images/${ref.sha256}`);
    if (!answer.ok) throw new Error(t('canvas_gone'));
    return [part, await answer.blob()];
  };
  return Object.fromEntries(await Promise.all(Object.entries({ picture, colour, mask }).map(load)));
}

// A file as the mask, stretched over the sheet.
export async function bringMask(file, paper) {
  const mask = await decode(file), size = ({ width, height }) => `${width}×${height}`;
  if (size(mask) !== size(paper)) toast({ message: t('canvas_mask_stretched', { from: size(mask), to: size(paper) }) });
  paper.takeMask(mask);
}

// All that it says, without asking, and the picture's own size; false when it says nothing, or when something was written meanwhile.
async function takeAll(metadata) {
  const form = hasValues(metadata) && await now(TAB);
  if (!form || isWritten()) return false;
  const size = metadata.width ? { width: inCells(metadata.width), height: inCells(metadata.height) } : {};
  await change(valuesOf(form, compare(form, { ...metadata.values, ...size }, TAB).rows), TAB);
  return true;
}
