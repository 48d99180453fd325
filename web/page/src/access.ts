// The button and the dialog for the API key.

import { el, icon } from './dom.js';
import { Session } from './session.js';

const KEY_ICON = ['M8 11.5a4 4 0 1 0 0 8 4 4 0 0 0 0-8z', 'M10.9 12.6L20 3.5', 'M15.5 8l3 3'];

/** The button, with its dialog. */
export function accessButton(session: Session): HTMLElement {
  const label = el('span', {});
  const input = el('input', {
    id: 'access-key', type: 'password', autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'access-note',
  });
  const stored = el('input', { type: 'checkbox', id: 'access-stored' });
  const fault = el('p', { class: 'fault', role: 'alert' });
  const save = (event: Event): void => {
    event.preventDefault();
    const key = input.value.trim();
    if (key !== '' && !Session.isValid(key)) {
      fault.textContent = 'A key is printable ASCII characters without blanks.';
      input.setAttribute('aria-invalid', 'true');
      input.focus();
      return;
    }
    session.setKey(key, stored.checked);
    dialog.close();
  };
  const dialog = el('dialog', { class: 'access', 'aria-labelledby': 'access-title' },
    el('form', { onsubmit: save },
      el('h2', { id: 'access-title' }, 'API key'),
      el('p', { id: 'access-note', class: 'note' },
        'Where the server has keys, requests need one. It stays in the memory of this tab, and no command that this page ' +
        'shows contains it.'),
      el('label', { for: 'access-key' }, 'Key'),
      input,
      fault,
      el('label', { class: 'check', for: 'access-stored' }, stored, 'Keep it for reloads of this tab'),
      el('div', { class: 'actions' },
        el('button', { type: 'button', class: 'quiet', onclick: () => {
          session.setKey('', false);
          dialog.close();
        } }, 'Remove'),
        el('button', { type: 'button', class: 'quiet', onclick: () => dialog.close() }, 'Cancel'),
        el('button', { type: 'submit', class: 'primary' }, 'Use'))));
  const button = el('button', { type: 'button', class: 'chip', 'aria-haspopup': 'dialog', onclick: () => {
    input.value = session.apiKey ?? '';
    input.removeAttribute('aria-invalid');
    stored.checked = session.isStored;
    fault.textContent = '';
    dialog.showModal();
    input.focus();
  } }, icon(...KEY_ICON), label);
  const show = (): void => {
    label.textContent = session.apiKey === undefined ? 'No key' : 'Key set';
  };
  session.onChange(show);
  show();
  return el('div', { class: 'access-slot' }, button, dialog);
}
