// Copies a text.

import { el, icon } from './dom.js';

const COPY = ['M9 9h11v11H9z', 'M5 15H4V4h11v1'];
const DONE = ['M5 13l4 4L19 7'];
const BACK_MS = 1600;

/** A button that copies what `text` returns. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const shown = el('span', {}, 'Copy');
  const button = el('button', { type: 'button', class: 'quiet small', 'aria-label': label, onclick: async () => {
    const isDone = await copy(text());
    button.replaceChildren(icon(...(isDone ? DONE : COPY)), shown);
    shown.textContent = isDone ? 'Copied' : 'Select the text and copy it';
    setTimeout(() => {
      button.replaceChildren(icon(...COPY), shown);
      shown.textContent = 'Copy';
    }, BACK_MS);
  } }, icon(...COPY), shown);
  return button;
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages without TLS have no clipboard, but the older way.
    const area = el('textarea', { class: 'visually-hidden', readonly: true, tabindex: -1, 'aria-hidden': 'true' });
    area.value = text;
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand('copy');
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return isDone;
  }
}
