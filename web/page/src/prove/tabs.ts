// Tabs as the ARIA practices describe them: arrows move, the content is made when it is first shown.

import { el, uniqueId } from '../dom.js';

/** A tab. */
export interface Tab {
  title: string;
  content: () => HTMLElement;
}

/** A row of tabs with their panels. */
export function tabs(label: string, list: readonly Tab[]): HTMLElement {
  const id = uniqueId('tabs');
  const panels = list.map((_, index) => el('div', { role: 'tabpanel', id: `${id}-panel-${index}`, 'aria-labelledby': `${id}-${index}`, hidden: true }));
  const select = (index: number, hasFocus: boolean): void => {
    buttons.forEach((button, other) => {
      button.setAttribute('aria-selected', String(other === index));
      button.tabIndex = other === index ? 0 : -1;
    });
    panels.forEach((panel, other) => {
      panel.hidden = other !== index;
      if (other === index && panel.childElementCount === 0) panel.append(list[index]?.content() ?? '');
    });
    if (hasFocus) buttons[index]?.focus();
  };
  const buttons = list.map(({ title }, index) => el('button', {
    type: 'button', role: 'tab', id: `${id}-${index}`, 'aria-controls': `${id}-panel-${index}`,
    onclick: () => select(index, false),
    onkeydown: (event: KeyboardEvent) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: list.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      select((to + list.length) % list.length, true);
    },
  }, title));
  const element = el('div', { class: 'tabs' }, el('div', { role: 'tablist', 'aria-label': label }, buttons), panels);
  select(0, false);
  return element;
}
