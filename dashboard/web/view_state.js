// What is looked at, kept in the address, so that a view can be sent to somebody.

export const FILTERS = ['shape', 'template', 'gpu', 'policy', 'strategy', 'session'];

export function defaultState() {
  return { shape: '', template: '', gpu: '', policy: '', strategy: '', session: '', hide: [], x: '', scale: 'log', by: 'trials', pin: [] };
}

export function stateFromHash(hash) {
  const state = defaultState();
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  for (const name of [...FILTERS, 'x']) state[name] = given.get(name) ?? '';
  if (given.get('scale') === 'linear') state.scale = 'linear';
  if (given.get('by') === 'seconds') state.by = 'seconds';
  state.hide = (given.get('hide') ?? '').split(',').filter(Boolean);
  state.pin = (given.get('pin') ?? '').split(',').map(Number).filter((id) => Number.isInteger(id) && id > 0).slice(0, 2);
  return state;
}

export function hashOfState(state) {
  const standard = defaultState();
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    const text = Array.isArray(value) ? value.join(',') : value;
    if (text !== String(standard[name])) given.set(name, text);
  }
  const hash = given.toString();
  return hash ? `#${hash}` : '';
}
