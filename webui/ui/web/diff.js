// What changed: whether two values say the same, and between two texts word by word. Pure: texts in, pieces out.

const LONGEST = 1500; // words; beyond, the whole middle counts as changed: the table below would have millions of cells

export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// Pieces [kind, text] in order; kind is 'same', 'old' or 'new'.
export function wordDiff(before, after) {
  const a = before.match(/\s+|[^\s,()[\]{}:|]+|./gsu) || [], b = after.match(/\s+|[^\s,()[\]{}:|]+|./gsu) || [];
  let head = 0, tail = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const pieces = [['same', a.slice(0, head).join('')], ...middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ['same', a.slice(a.length - tail).join('')]];
  return join(pieces);
}

// Longest common subsequence, walked from the front.
function middle(a, b) {
  if (a.length > LONGEST || b.length > LONGEST) return [['old', a.join('')], ['new', b.join('')]];
  const width = b.length + 1, length = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i * width + j] = a[i] === b[j] ? length[(i + 1) * width + j + 1] + 1 : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  const pieces = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { pieces.push(['same', a[i++]]); j++; }
    else if (j >= b.length || (i < a.length && length[(i + 1) * width + j] >= length[i * width + j + 1])) pieces.push(['old', a[i++]]);
    else pieces.push(['new', b[j++]]);
  }
  return pieces;
}

// Neighbours of one kind become one; between two changes an unchanged blank is not worth the unrest.
function join(pieces) {
  const out = [];
  for (const [kind, text] of pieces) {
    if (!text) continue;
    if (out.length && out.at(-1)[0] === kind) out.at(-1)[1] += text;
    else out.push([kind, text]);
  }
  return out;
}
