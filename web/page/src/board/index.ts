// The board: jobs, provers and circuits of the server, live.

import { el, fill } from '../dom.js';
import type { View } from '../view.js';

/** Shows the board. */
export const board: View = (root) => {
  fill(root, el('h1', {}, 'Board'));
  return () => {};
};
