// The button and the dialog for the API key or the voucher.

import { el, icon } from './dom.js';
import { Session } from './session.js';

const KEY_ICON = ['M8 11.5a4 4 0 1 0 0 8 4 4 0 0 0 0-8z', 'M10.9 12.6L20 3.5', 'M15.5 8l3 3'];

/** The button, with its dialog. */
export function accessButton(session: Session): HTMLElement {
  const label = el('span', {});
  const [key, voucher] = [field('access-key'), field('access-voucher')];
  const stored = el('input', { type: 'checkbox', id: 'access-stored' });
  const fault = el('p', { class: 'fault', role: 'alert', id: 'access-fault' });
  const showFault = (input: HTMLInputElement | undefined, text: string): void => {
    for (const each of [key, voucher]) each.removeAttribute('aria-invalid');
    fault.textContent = text;
    input?.setAttribute('aria-invalid', 'true');
    input?.focus();
  };
  const save = (event: Event): void => {
    event.preventDefault();
    const [keyText, voucherText] = [key.value.trim(), voucher.value.trim()];
    if (keyText !== '' && voucherText !== '') return showFault(voucher, 'Enter a key or a voucher, not both.');
    if (keyText !== '' && !Session.isValid(keyText)) return showFault(key, 'A key is printable ASCII characters without blanks.');
    if (Session.isVoucher(keyText)) return showFault(key, 'This is a voucher. Enter it in the field for vouchers.');
    if (voucherText !== '' && !(Session.isVoucher(voucherText) && Session.isValid(voucherText))) {
      return showFault(voucher, 'A voucher begins with epv1. and has no blanks.');
    }
    session.setToken(keyText || voucherText, stored.checked);
    dialog.close();
  };
  const dialog = el('dialog', { class: 'access', 'aria-labelledby': 'access-title' },
    el('form', { onsubmit: save },
      el('h2', { id: 'access-title' }, 'API key or voucher'),
      el('p', { id: 'access-note', class: 'note' },
        'Where the server has keys, requests need a key, or a voucher that was minted with one. It stays in the memory of ' +
        'this tab, and no command that this page shows contains it.'),
      el('label', { for: 'access-key' }, 'Key'),
      key,
      el('label', { for: 'access-voucher' }, 'Voucher'),
      voucher,
      fault,
      el('label', { class: 'check', for: 'access-stored' }, stored, 'Keep it for reloads of this tab'),
      el('div', { class: 'actions' },
        el('button', { type: 'button', class: 'quiet', onclick: () => {
          session.setToken('', false);
          dialog.close();
        } }, 'Remove'),
        el('button', { type: 'button', class: 'quiet', onclick: () => dialog.close() }, 'Cancel'),
        el('button', { type: 'submit', class: 'primary' }, 'Use'))));
  const button = el('button', { type: 'button', class: 'chip', 'aria-haspopup': 'dialog', onclick: () => {
    const token = session.token ?? '';
    key.value = session.isVoucher ? '' : token;
    voucher.value = session.isVoucher ? token : '';
    stored.checked = session.isStored;
    showFault(undefined, '');
    dialog.showModal();
    (session.isVoucher ? voucher : key).focus();
  } }, icon(...KEY_ICON), label);
  const show = (): void => {
    label.textContent = session.token === undefined ? 'No key' : session.isVoucher ? 'Voucher' : 'Key set';
  };
  session.onChange(show);
  show();
  return el('div', { class: 'access-slot' }, button, dialog);
}

function field(id: string): HTMLInputElement {
  return el('input', {
    id, type: 'password', autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'access-note access-fault',
  });
}
