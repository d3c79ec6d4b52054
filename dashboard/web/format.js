// Numbers for people: four significant digits, units named.

const formats = Array.from({ length: 7 }, (_, places) => new Intl.NumberFormat('en-US', { minimumFractionDigits: places, maximumFractionDigits: places }));

export function significant(value, digits = 4) {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return formats[Math.min(places, 6)].format(value);
}

export function time(us) {
  if (!Number.isFinite(us)) return '–';
  return us < 1000 ? `${significant(us)} µs` : us < 1e6 ? `${significant(us / 1e3)} ms` : `${significant(us / 1e6)} s`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 60) return `${significant(seconds, 3)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function bytes(count) {
  return count < 1024 ? `${count} B` : `${significant(count / 1024, 3)} KiB`;
}

export function count(n) {
  return n.toLocaleString('en-US');
}

export function times(ratio, digits = 2) {
  return Number.isFinite(ratio) ? `${ratio.toFixed(digits)}x` : '–';
}

export function percent(share) {
  return `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)}%`;
}

export function teraflops(flops, us) {
  return flops / us / 1e6;
}

// A value of an axis: words as they are, so that "" and lists can be told from nothing.
export function axisValue(value) {
  if (value === undefined) return 'not used';
  if (value === '') return '""';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

// A word of a POSIX shell.
export function shellQuoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
