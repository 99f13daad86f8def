// --- the connection: the server that the page comes from -----------------------------------------
async function ask(path, body) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body) headers['content-type'] = 'application/json';
  const answer = await fetch(path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) });
  const content = await answer.json();
  if (answer.status === 401) { $('key-form').hidden = false; $('key').focus(); }
  if (!answer.ok) throw new Error(content.error);
  return content;
}
// A drawing as a request has it.
const drawn = canvas => ({ picture: canvas.toDataURL('image/png') });
