// The controls of the filter. The URL has the filter; the controls show it and change it.

import { el, fill, uniqueId } from '../dom.js';
import { AGES, type Filter, type FilterName } from './filters.js';
import { PRIORITIES, STATUSES } from './sections.js';

type Option = readonly [value: string, label: string];

const ANY: Option = ['', 'any'];

/** The controls. */
export class FilterBar {
  readonly element: HTMLDetailsElement;
  readonly #summary: HTMLElement;
  #filter: Filter = {};
  readonly #change: (filter: Filter) => void;
  readonly #controls = new Map<FilterName, HTMLInputElement | HTMLSelectElement>();
  readonly #fields = new Map<FilterName, HTMLElement>();
  readonly #clear: HTMLButtonElement;
  #typing: ReturnType<typeof setTimeout> | undefined;

  constructor(change: (filter: Filter) => void) {
    this.#change = change;
    this.#clear = el('button', { type: 'button', class: 'quiet small', onclick: () => change({}) }, 'Clear filters');
    const several: Option = ['queued,running', 'unfinished'];
    const form = el('form', { class: 'filters', role: 'search', 'aria-label': 'Filter of jobs', onsubmit: (event: Event) => event.preventDefault() },
      this.#select('status', 'State', [ANY, several, ...STATUSES.map((status): Option => [status, status])]),
      this.#select('circuit', 'Circuit', [ANY]),
      this.#text('id', 'Id begins with', '7c2d3f…'),
      this.#text('owner', 'Owner', 'name of a key'),
      this.#select('kind', 'Kind', [['', 'proofs'], ['build', 'builds'], ['deploy', 'deployments'], ['all', 'all']]),
      this.#select('age', 'Accepted', [ANY, ...AGES.map(({ value, label }): Option => [value, label])]),
      this.#select('priority', 'Priority', [ANY, ...PRIORITIES.map((priority): Option => [priority, priority])]),
      this.#select('problem', 'Problem', [ANY]),
      this.#select('order', 'Order', [['', 'latest first'], ['oldest', 'oldest first']]),
      el('div', { class: 'clear' }, this.#clear));
    // Narrow screens show the controls on demand; wide ones have no summary to close them with.
    this.#summary = el('summary', {}, 'Filter');
    this.element = el('details', { class: 'filter-box' }, this.#summary, form);
    const wide = matchMedia('(min-width: 46.01rem)');
    const open = (): void => {
      this.element.open = wide.matches;
    };
    wide.addEventListener('change', open);
    open();
  }

  /** Shows a filter. `seesAll` is whether the jobs of others can be selected. */
  show(filter: Filter, seesAll: boolean): void {
    this.#filter = filter;
    for (const [name, control] of this.#controls) {
      const value = name === 'owner' ? (filter.owner ?? '').replace('key:', '') : filter[name] ?? '';
      if (control instanceof HTMLSelectElement && !Array.from(control.options).some((option) => option.value === value)) {
        control.append(el('option', { value }, value));
      }
      if (control.value !== value && control !== document.activeElement) control.value = value;
    }
    for (const name of ['owner', 'kind'] as const) {
      const field = this.#fields.get(name);
      if (field) field.hidden = !seesAll;
    }
    const set = Object.keys(filter).length;
    this.#clear.hidden = set === 0;
    this.#summary.textContent = set === 0 ? 'Filter' : `Filter (${set})`;
  }

  /** Offers these values, and the chosen one. */
  offer(name: 'circuit' | 'problem', values: readonly string[]): void {
    const control = this.#controls.get(name);
    if (!(control instanceof HTMLSelectElement) || control === document.activeElement) return;
    const chosen = this.#filter[name];
    const all = [...new Set([...values, ...(chosen === undefined ? [] : [chosen])])].sort();
    const present = Array.from(control.options, (option) => option.value);
    if (present.slice(1).join('\n') === all.join('\n')) return;
    fill(control, el('option', { value: '' }, ANY[1]), all.map((value) => el('option', { value }, value)));
    control.value = chosen ?? '';
  }

  #select(name: FilterName, label: string, options: readonly Option[]): HTMLElement {
    const control = el('select', { id: uniqueId('filter'), name, onchange: () => this.#set(name, control.value) },
      options.map(([value, text]) => el('option', { value }, text)));
    return this.#field(name, label, control);
  }

  #text(name: 'id' | 'owner', label: string, placeholder: string): HTMLElement {
    const read = (): void => {
      clearTimeout(this.#typing);
      const text = control.value.trim();
      if (name === 'id') this.#set(name, text.toLowerCase());
      else this.#set(name, text === '' || text === 'anonymous' || text === 'mine' ? text : `key:${text}`);
    };
    const control = el('input', { id: uniqueId('filter'), name, type: 'search', placeholder, autocomplete: 'off', spellcheck: 'false',
      maxlength: 64, onchange: read, oninput: () => {
        clearTimeout(this.#typing);
        this.#typing = setTimeout(read, 400);
      } });
    return this.#field(name, label, control);
  }

  #field(name: FilterName, label: string, control: HTMLInputElement | HTMLSelectElement): HTMLElement {
    this.#controls.set(name, control);
    const field = el('div', { class: 'field', 'data-field': name }, el('label', { for: control.id }, label), control);
    this.#fields.set(name, field);
    return field;
  }

  #set(name: FilterName, value: string): void {
    const { [name]: _, ...rest } = this.#filter;
    const filter: Filter = value === '' ? rest : { ...rest, [name]: value };
    if (JSON.stringify(filter) !== JSON.stringify(this.#filter)) this.#change(filter);
  }
}
