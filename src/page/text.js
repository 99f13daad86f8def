// --- texts ---------------------------------------------------------------------------------------
let writing = null;              // what ends the text that is being written

function beginText() {
  const known = new Set(model.outputs);
  // Something that it knows every character of.
  $('prompt').value = ['The ', 'the ', 'a '].find(text => [...text].every(c => known.has(c))) ?? [...known].find(c => c.trim()) ?? model.outputs[0];
  const shown = model.outputs.map(c => c === '\n' ? '\u21b5' : c === '\t' ? '\u21e5' : c === ' ' ? '\u2423' : c);
  $('prompt-note').textContent = `It knows these characters: ${shown.slice(0, 200).join(' ')}${shown.length > 200 ? ' ...' : ''}`;
}
function forgetText() {
  writing?.abort();
  writing = null;
  $('written').replaceChildren();
  $('written-says').textContent = '';
  $('halt').disabled = $('adopt').disabled = true;
  $('write').disabled = false;
}

$('write').onclick = async () => {
  forgetText();
  const mine = writing = new AbortController();
  const prompt = $('prompt').value, length = Number($('length').value);
  const parts = ['given', 'drawn'].map(name => Object.assign(document.createElement('span'), { className: name }));
  parts[0].textContent = prompt;
  $('written').replaceChildren(...parts);
  $('trouble').textContent = '';
  $('written-says').textContent = 'Writing.';
  $('write').disabled = true;
  $('halt').disabled = false;
  let count = 0, isWhole = false;
  const written = () => `${count} character${count === 1 ? '' : 's'} written.`;
  try {
    const body = { prompt, length, temperature: Number($('temperature').value), seed: Number($('seed').value), stream: true };
    await eventsOf(`/v1/generate/${encodeURIComponent(model.name)}`, body, mine.signal, (name, data) => {
      if (mine !== writing) return;
      if (name === 'error') throw new Error(data.error);
      if (name === 'text') {
        parts[1].append(data.text);
        count += [...data.text].length;
      } else if (name === 'end') {
        isWhole = true;
        const bits = data.prompt_bits_per_character;
        $('written-says').textContent = `${written()}${bits === null ? '' : ` Your prompt: ${bits.toFixed(2)} bits per character.`}`;
      }
    });
    if (!isWhole) throw new Error('The answer was cut off.');
  } catch (error) {
    if (mine !== writing) return;
    $('written-says').textContent = count || mine.signal.aborted ? `Stopped: ${written()}` : '';
    if (!mine.signal.aborted) trouble(error);
  }
  if (mine !== writing) return;
  $('halt').disabled = true;
  $('write').disabled = false;
  $('adopt').disabled = !count;
};
$('halt').onclick = () => { writing.abort(); $('write').disabled = false; $('write').focus(); };
$('adopt').onclick = () => { $('prompt').value = $('written').textContent; $('prompt').focus(); };
$('temperature').oninput = () => { $('temperature-text').textContent = Number($('temperature').value).toFixed(2); };
