// Elements of the page. Text is only ever set as text: nothing here parses HTML.

/** What an element can contain. */
export type Child = Node | string | number | false | null | undefined;

/** Attributes, properties and listeners: `{ class: 'a', 'aria-label': 'b', disabled: true, onclick: f }`. */
export type Props = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

/** Makes an element. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: (Child | readonly Child[])[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  setProps(element, props);
  element.append(...nodes(children));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/** Makes an element of a drawing. */
export function svg(tag: string, attributes: Record<string, string | number>, ...children: Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** A line icon of 24 by 24, which screen readers skip. */
export function icon(...paths: string[]): SVGElement {
  const drawn = paths.map((d) => svg('path', { d }));
  return svg('svg', { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true', focusable: 'false' }, ...drawn);
}

/** Replaces the content of an element. */
export function fill(element: Element, ...children: (Child | readonly Child[])[]): void {
  element.replaceChildren(...nodes(children));
}

function setProps(element: HTMLElement, props: Props): void {
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === 'function') element.addEventListener(name.replace(/^on/, ''), value as EventListener);
    else if (value === true) element.setAttribute(name, '');
    else element.setAttribute(name, String(value));
  }
}

function nodes(children: readonly (Child | readonly Child[])[]): (Node | string)[] {
  return children.flat().filter((child) => child !== false && child !== null && child !== undefined)
    .map((child) => (child instanceof Node ? child : String(child)));
}

let last = 0;

/** An id that no other element of the page has. */
export function uniqueId(prefix: string): string {
  last += 1;
  return `${prefix}-${last}`;
}
