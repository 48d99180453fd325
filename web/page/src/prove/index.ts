// The page on which a circuit is proved by hand.

import { el, fill } from '../dom.js';
import type { View } from '../view.js';

/** Shows the page. */
export const prove: View = (root) => {
  fill(root, el('h1', {}, 'Prove'));
  return () => {};
};
