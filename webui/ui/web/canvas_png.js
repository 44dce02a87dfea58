// Strokes and masks as PNG: a mask in grey is a fifth of what the browser's own encoder makes of it. Packing runs beside the page.

const CRC = new Uint32Array(256).map((_, value) => { for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ value >>> 1 : value >>> 1; return value; });

function chunk(name, data) {
  const bytes = new Uint8Array(data.length + 12), view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set([...name].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(data, 8);
  let sum = 0xffffffff;
  for (let at = 4; at < bytes.length - 4; at++) sum = CRC[(sum ^ bytes[at]) & 255] ^ sum >>> 8;
  view.setUint32(bytes.length - 4, ~sum >>> 0);
  return bytes;
}

// Of an ImageData. `grey`: how opaque each pixel is, as grey. Every row as its difference to the one above.
export async function encodePng({ data: pixels, width, height }, grey) {
  const parts = grey ? 1 : 4, row = width * parts, lines = new Uint8Array((row + 1) * height), take = grey ? 4 : 1, from = grey ? 3 : 0;
  for (let y = 0, to = 0; y < height; y++) {
    lines[to++] = 2;
    let at = y * width * 4 + from;
    for (let x = 0; x < row; x++, at += take) lines[to++] = pixels[at] - (y ? pixels[at - width * 4] : 0);
  }
  const header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, grey ? 0 : 6], 8);
  const packed = await new Response(new Blob([lines]).stream().pipeThrough(new CompressionStream('deflate'))).arrayBuffer();
  return new Blob([new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), chunk('IHDR', header), chunk('IDAT', new Uint8Array(packed)), chunk('IEND', new Uint8Array(0))], { type: 'image/png' });
}
