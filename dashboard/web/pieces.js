// Long work in pieces, so that the page reacts and paints in between.

export const PIECE = 1000;  // points, or rows, that are worked on at once

// Ends the task in hand; what was asked for meanwhile goes first.
export function breath() {
  return new Promise((resolve) => setTimeout(resolve));
}

// Calls work(from, to) for pieces of 0 to `count`, the first at once. False: `stale` said that nobody waits for the
// rest any more.
export async function inPieces(count, work, stale) {
  for (let from = 0; from < count; from += PIECE) {
    if (from > 0) {
      await breath();
      if (stale()) return false;
    }
    work(from, Math.min(count, from + PIECE));
  }
  return true;
}
