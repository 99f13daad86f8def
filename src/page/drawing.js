// --- drawing -------------------------------------------------------------------------------------
const pad = $('draw'), pen = pad.getContext('2d');
const cursor = { x: 140, y: 60, down: false };
let isInked = false, last = null, pending = 0;
function wipe() {
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, 280, 280);
  isInked = false;
  cursor.down = false;
  clearTimeout(pending);
  pending = 0;
}
function stroke(from, to) {
  pen.strokeStyle = '#000';
  pen.lineWidth = 22;
  pen.lineCap = pen.lineJoin = 'round';
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x + .01, to.y);
  pen.stroke();
  isInked = true;
  pending = pending || setTimeout(() => { pending = 0; send(false); }, 150);
}
function send(plays) {
  if (!isInked) return;
  erased.clear();
  request(drawn(pad), plays);
}
const place = event => {
  const box = pad.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width * 280, y: (event.clientY - box.top) / box.height * 280 };
};
pad.onpointerdown = event => { pad.setPointerCapture(event.pointerId); last = place(event); stroke(last, last); };
pad.onpointermove = event => { if (last) { const now = place(event); stroke(last, now); last = now; } };
pad.onpointerup = pad.onpointercancel = () => {
  if (!last) return;
  last = null;
  clearTimeout(pending);
  pending = 0;
  send(true);
};
pad.onkeydown = event => {
  const by = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] }[event.key];
  if (event.key === ' ') {
    cursor.down = !cursor.down;
    if (cursor.down) stroke(cursor, cursor); else send(true);
  } else if (by) {
    const from = { x: cursor.x, y: cursor.y };
    cursor.x = Math.max(12, Math.min(268, cursor.x + by[0]));
    cursor.y = Math.max(12, Math.min(268, cursor.y + by[1]));
    if (cursor.down) stroke(from, cursor);
  } else return;
  event.preventDefault();
  pad.setAttribute('aria-label', `Drawing area, pen ${cursor.down ? 'down' : 'up'} at ${Math.round(cursor.x / 2.8)} % from the left, ${Math.round(cursor.y / 2.8)} % from the top`);
};
$('clear').onclick = () => { wipe(); forget(); };

