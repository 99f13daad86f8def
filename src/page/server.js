// --- the connection: the server that the page comes from -----------------------------------------
async function answerTo(path, body, signal) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body) headers['content-type'] = 'application/json';
  const answer = await fetch(path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body), signal });
  if (answer.status === 401) { $('key-form').hidden = false; $('key').focus(); }
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}
const ask = async (path, body) => (await answerTo(path, body)).json();
// Takes the events of an answer as they come: the name and the data of each.
async function eventsOf(path, body, signal, take) {
  const reader = (await answerTo(path, body, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split('\n\n');
    rest = events.pop();
    for (const event of events) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event);
      take(name, JSON.parse(data));
    }
  }
}
// A drawing as a request has it.
const drawn = canvas => ({ picture: canvas.toDataURL('image/png') });
// The rows of a forecast of rows.
async function forecastOf(rows) {
  const shape = [1, rows.length, model.features.length];
  const { outputs: [values] } = await ask(`/v2/models/${encodeURIComponent(model.name)}/infer`, { inputs: [{ name: 'sequence', datatype: 'FP32', shape, data: [rows] }] });
  const [, steps, width] = values.shape;
  return Array.from({ length: steps }, (_, t) => values.data.slice(t * width, (t + 1) * width));
}
