// What a page of a server asks for: the interface is in /v1/openapi.json.

const TOKEN = 'attune-token';  // for as long as the tab is open, never in the address

export function rememberToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN) !== null;
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { cache: 'no-store', ...options, headers });
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, error ?? `the server answers ${answer.status}`);
}

export async function get(path) {
  return (await ask(path)).json();
}

export async function post(path) {
  return (await ask(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' })).json();
}

// Follows a stream of Server-Sent Events until it ends or `signal` ends it; EventSource cannot send a token.
// Each event is given as (name, data, id).
export async function follow(path, onEvent, signal) {
  const answer = await ask(path, { signal, headers: { Accept: 'text/event-stream' } });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split('\n\n');
    text = blocks.pop();
    for (const block of blocks) readEvent(block, onEvent);
  }
}

export function readEvent(block, onEvent) {
  const fields = { event: 'message', data: '', id: '' };
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
  }
  if (fields.data) onEvent(fields.event, JSON.parse(fields.data), fields.id);
}
